"""The files of a run: its record, its parts, its leases and its progress."""
