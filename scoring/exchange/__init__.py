"""Import scores computed elsewhere, and export scores for other tools."""
