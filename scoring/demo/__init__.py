"""The demo workspace, built from the bundled dataset and model."""
