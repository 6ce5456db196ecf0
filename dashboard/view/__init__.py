"""The view that the URL describes, and the widgets and fragments bound to it."""
