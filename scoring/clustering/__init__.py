"""Clusters of similar instructions: embedders, vectors and k-means."""
