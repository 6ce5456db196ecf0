"""The state of a view in its URL, and the widgets and fragments bound to it."""
