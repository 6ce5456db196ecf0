"""The formats of an export and the files that each consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import OutputFile
from scoring.exports.shards import image_list, shard_outputs
from scoring.exports.source_tables import source_outputs
from scoring.exports.tables import folder_outputs, parquet_outputs
from scoring.exports.texts import array_outputs, dropped_outputs, id_outputs, line_outputs

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
