"""The formats of an export: one module per kind of file, and here what each one is made of.

- options, chosen, edits: which samples go out, and what is changed about their records
- texts, tables, source_tables, shards, images: the files
- card, plots, croissant: what tells people and tools about them
- files: how a file is written and compared
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scoring.exports.export_plan import Chosen, choose
from scoring.exports.files import FileFact, Output
from scoring.exports.names import is_output_name
from scoring.exports.options import FORMATS, ExportOptions, options_from_dict
from scoring.exports.shards import listed_images, tar_files
from scoring.exports.source_tables import source_files
from scoring.exports.tables import folder_files, parquet_files
from scoring.exports.texts import array_files, dropped_files, id_files, line_files

__all__ = [
    "FORMATS",
    "Chosen",
    "ExportOptions",
    "FileFact",
    "choose",
    "is_output_name",
    "options_from_dict",
    "read_outputs",
]

_MAKERS: Mapping[str, Callable[[Chosen], list[Output]]] = {
    "llava": array_files,
    "jsonl": line_files,
    "parquet": parquet_files,
    "huggingface": folder_files,
    "webdataset": tar_files,
    "ids": id_files,
    "dropped": dropped_files,
}


def read_outputs(chosen: Chosen) -> list[Output]:
    """The files of an export, to be written or compared in this order, each to its end."""
    of_source = chosen.options.columns == "source"
    make = source_files if of_source else _MAKERS[chosen.options.format]
    outputs = make(chosen)
    images = chosen.options.images
    if images != "none" and chosen.options.format != "webdataset":
        outputs.append(listed_images(chosen, link=images == "link", keep=images != "embed"))
    return outputs
