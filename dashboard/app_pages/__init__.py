"""The pages: each composes components and charts from top to bottom and decides nothing else."""
