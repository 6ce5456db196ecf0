"""Widgets that two pages or more share."""
