"""From scores, rules and decisions to a subset: chosen, saved, compared, and how sure it is."""
