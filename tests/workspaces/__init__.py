"""Workspaces as a version of VisNec Studio wrote them, frozen: every later one must open them."""
