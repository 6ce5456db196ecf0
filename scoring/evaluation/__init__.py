"""Evaluation of models on a benchmark: with and without the image, and where it is needed."""
