"""Tests of VisNec Studio."""
