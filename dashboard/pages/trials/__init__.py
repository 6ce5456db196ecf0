"""The Trials page."""
