"""The database of a workspace, built from its parts: the only place with SQL."""
