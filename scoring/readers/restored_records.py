"""Original records of an imported export: its tables contain them in the column ``record``.

They are restored where they equal the other columns of their row, so that an export of
the import gives them byte for byte. A record that was written for the export, or names images that
are only in the table, is not what was imported once, and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from scoring.readers.json_stream import RawRecord
from scoring.readers.records import to_sample
from scoring.samples import Sample

_COLUMNS = {"row_idx", "id", "source", "images", "conversations", "status", "record"}


def restore_record(sample: Sample, row: object) -> Sample:
    """Return the sample of a row with the record in it, if it is a row of an export."""
    if not isinstance(row, Mapping) or not row.keys() >= _COLUMNS:
        return sample
    original, row_idx, images = row["record"], row["row_idx"], row["images"]
    if not (isinstance(original, bytes) and isinstance(row_idx, int) and isinstance(images, list)):
        return sample
    try:
        value = json.loads(original.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return sample
    paths = tuple(image["path"] if isinstance(image, dict) else image for image in images)
    stated = to_sample(row_idx, RawRecord(original, value), sample.source)
    is_same = stated.turns == sample.turns and tuple(map(str, stated.images)) == paths
    return replace(sample, original=original) if is_same and sample.turns else sample
