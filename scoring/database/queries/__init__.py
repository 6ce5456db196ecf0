"""Reads from the database: one module per subject."""
