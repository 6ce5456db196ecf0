"""Pictures that are drawn by rule, and questions about them: for the demo and for training."""
