"""What a run leaves on disk: its record, its parts, its leases and its progress."""
