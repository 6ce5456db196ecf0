"""Parts of pages: each is a function ``show(...)`` that draws itself and returns what was chosen."""
