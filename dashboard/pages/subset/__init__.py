"""The Subset page."""
