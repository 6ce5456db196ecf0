"""How values are written on the screen."""
