"""Parts of pages: each has a ``show(...)`` that draws itself and returns what was chosen."""
