"""Columns: values of samples or answers that were computed elsewhere, stored with the scores."""
