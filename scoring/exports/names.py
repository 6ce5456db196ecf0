"""Names of the files of an export.

Names in a manifest become paths, and an export replaces the contents of its folder, so only names
that an export writes are allowed in either.
"""

from __future__ import annotations

import re

FOLDERS = ("images", "plots")
_NAME = re.compile(
    r"samples\.(json|jsonl|parquet)|samples-\d{6}\.tar|data-\d{5}-of-\d{5}\.arrow"
    r"|(dataset_info|state|croissant)\.json|(ids|row_idx)\.txt|(dropped|images)\.jsonl"
    r"|README\.md|plots/[a-z_]+\.svg"
)


def is_output_name(name: str) -> bool:
    """Return whether an export writes files of this name."""
    return _NAME.fullmatch(name) is not None
