"""How models do on a benchmark, with and without the image, on all and on what needs the image."""
