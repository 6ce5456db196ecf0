"""Names of the files of an export.

The one decision behind it: names in a manifest become paths, and an export replaces what lies in
its folder, so only names that an export gives may stand in either place.
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
    """Whether a file of an export may be called so."""
    return _NAME.fullmatch(name) is not None
