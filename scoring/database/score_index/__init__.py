"""Scores in memory as sorted columns: thresholds, pages and groups without a query."""
