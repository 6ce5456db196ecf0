"""Images: from a reference in a record to pixels."""
