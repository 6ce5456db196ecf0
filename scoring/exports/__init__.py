"""The formats of an export: one module per kind of file, and here what each one is made of.

- options, chosen, edits: which samples go out, and what is changed about their records
- texts, tables, source_tables, shards, images: the files
- card, plots, croissant: what tells people and tools about them
- files: how a file is written and compared
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scoring.exports.export_plan import ExportPlan, plan_export
from scoring.exports.files import FileDigest, OutputFile
from scoring.exports.names import is_output_name
from scoring.exports.options import FORMATS, ExportOptions, options_from_dict
from scoring.exports.shards import image_list, shard_outputs
from scoring.exports.source_tables import source_outputs
from scoring.exports.tables import folder_outputs, parquet_outputs
from scoring.exports.texts import array_outputs, dropped_outputs, id_outputs, line_outputs

__all__ = [
    "FORMATS",
    "ExportOptions",
    "ExportPlan",
    "FileDigest",
    "is_output_name",
    "options_from_dict",
    "plan_export",
    "read_outputs",
]

_MAKERS: Mapping[str, Callable[[ExportPlan], list[OutputFile]]] = {
    "llava": array_outputs,
    "jsonl": line_outputs,
    "parquet": parquet_outputs,
    "huggingface": folder_outputs,
    "webdataset": shard_outputs,
    "ids": id_outputs,
    "dropped": dropped_outputs,
}


def read_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """The files of an export, to be written or compared in this order, each to its end."""
    of_source = chosen.options.columns == "source"
    make = source_outputs if of_source else _MAKERS[chosen.options.format]
    outputs = make(chosen)
    images = chosen.options.images
    if images != "none" and chosen.options.format != "webdataset":
        outputs.append(image_list(chosen, link=images == "link", keep=images != "embed"))
    return outputs
