"""Charts: values in, a plotly figure or the picture of the map out."""
