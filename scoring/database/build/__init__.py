"""Builds the database of a workspace from its parts."""
