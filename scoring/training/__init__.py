"""Training on what was scored: records to batches, and sampling by weight."""
