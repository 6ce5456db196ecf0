"""Maps: instructions and images in two dimensions, stored as columns."""
