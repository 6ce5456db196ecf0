"""Reads and writes of the pages: the only callers of the library, with a cache in front."""
