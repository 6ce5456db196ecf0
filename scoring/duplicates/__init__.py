"""Near-duplicates within a dataset, and leaks between it and benchmarks."""
