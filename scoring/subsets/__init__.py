"""Subsets chosen by rules and decisions: selected, saved, compared, and checked for stability."""
