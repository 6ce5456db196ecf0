"""Export a subset: one module per kind of file, and here the table of formats.

- options, export_plan, export_records, json_edits: which samples, and the changes to their records
- texts, tables, source_tables, shards, images: the formats
- card, plots, croissant: descriptions for people and tools
- files: how a file is written and compared
- export, manifest, verify, manifest_diff: the folder, and how it is rebuilt and compared
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
    "plan_outputs",
]

_FORMAT_OUTPUTS: Mapping[str, Callable[[ExportPlan], list[OutputFile]]] = {
    "llava": array_outputs,
    "jsonl": line_outputs,
    "parquet": parquet_outputs,
    "huggingface": folder_outputs,
    "webdataset": shard_outputs,
    "ids": id_outputs,
    "dropped": dropped_outputs,
}


def plan_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return the files of an export. Write or compare them in this order, each to its end."""
    options = plan.options
    make_outputs = (
        source_outputs if options.columns == "source" else _FORMAT_OUTPUTS[options.format]
    )
    outputs = make_outputs(plan)
    if options.images != "none" and options.format != "webdataset":
        outputs.append(
            image_list(plan, link=options.images == "link", keep=options.images != "embed")
        )
    return outputs
