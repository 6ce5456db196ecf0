"""Generated pictures and questions about them, for the demo and for training."""
