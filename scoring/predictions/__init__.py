"""Generated answers: how they are read and stored, and how they match the reference answer."""
