"""Generated answers: what is stored of them, and how they match the reference answer."""
