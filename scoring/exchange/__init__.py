"""Scores from elsewhere and to there: as the CSV of the paper, or with all that is known."""
