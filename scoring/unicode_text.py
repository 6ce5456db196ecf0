"""Text from outside, made safe to store: Parquet, DuckDB, UTF-8 files and tokenizers refuse lone
surrogates."""

from __future__ import annotations


def replace_surrogates(text: str) -> str:
    """Return ``text`` with a question mark in place of each lone surrogate."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
