"""Trials: short trainings on subsets and on controls, and what their results show."""
