"""What people decided: written so that nothing is lost, read as what holds now."""
