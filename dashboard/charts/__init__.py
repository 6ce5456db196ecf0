"""Charts: values in, a plotly figure out."""
