"""People's decisions: logged without loss, and resolved to the current decision per sample."""
