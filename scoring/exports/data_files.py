"""Files and columns for ``datasets.load_dataset``: the YAML at the start of README.md."""

from __future__ import annotations

import hashlib
import json
from itertools import chain

import pyarrow as pa

from scoring.exports.manifest import Manifest
from scoring.exports.options import ExportOptions

_DATA_FILES = {"huggingface": "train/data-*.arrow", "dropped": "dropped.jsonl"}
_NO_ROWS = "samples.json-is-one-object-export-it-as-jsonl"
"""Name of no file: ``datasets`` would read an object of records as a single row."""


def gives_paths_as_images(options: ExportOptions) -> bool:
    """Return whether columns are known and ``datasets`` can open the images by their paths.

    It opens a path as it is, from the current folder, so only absolute ones are images for it.
    """
    trainer = options.trains_with
    has_list = trainer is None or not trainer.parts_name_images
    has_columns = options.format == "parquet" and options.columns != "source"
    return options.absolute_images and has_list and (has_columns or options.format == "messages")


def list_data_files(
    manifest: Manifest, has_rows: bool, schema: pa.Schema | None = None
) -> list[str]:
    """Return the files that ``datasets`` reads, and their columns where it cannot infer them.

    Its cache knows a folder by its name and by these lines alone, so a digest is one of them.
    """
    digests = {file.name: file.content_sha256 or file.sha256 for file in manifest.outputs}
    digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    version = f"  description: Export {digest}"
    if manifest.format == "ids":
        first = ["- config_name: ids", "  data_files: ids.txt", version, "  default: true"]
        return ["configs:", *first, "- config_name: row_idx", "  data_files: row_idx.txt", version]
    files: str | list[str] = _NO_ROWS
    if has_rows:
        files = [file["file"] for file in manifest.source_files] or _DATA_FILES.get(
            manifest.format, manifest.options.data_file
        )
    columns: list[str] = []
    if manifest.format == "webdataset":
        names = [output.name for output in manifest.outputs if output.name.endswith(".tar")]
        files = sorted({f"{name.partition('-')[0]}-*.tar" for name in names})
        columns = _list_tar_columns(manifest)
    elif schema is not None:
        columns = ["dataset_info:", "  features:", *chain.from_iterable(map(_list_column, schema))]
    configs = ["configs:", "- config_name: default", f"  data_files: {json.dumps(files)}", version]
    return [*configs, *columns]


def _list_tar_columns(manifest: Manifest) -> list[str]:
    """Return the columns of tar files, which ``datasets`` would infer from five samples."""
    n = int(manifest.counts.get("written", {}).get("most_images_of_a_sample", 0))
    images = [f"{number}.jpg" for number in range(n)] if n > 1 else ["jpg"] * n
    kinds = {"json": "{json: {decode: true}}", **dict.fromkeys(images, "image")}
    kinds |= dict.fromkeys(("__key__", "__url__"), "string")
    pairs = (
        (f"  - name: {json.dumps(name)}", f"    dtype: {kind}") for name, kind in kinds.items()
    )
    return ["dataset_info:", "  features:", *chain.from_iterable(pairs)]


def _list_column(field: pa.Field, indent: str = "  ") -> list[str]:
    """Return a column as README.md declares it to ``datasets``; images are a list of images."""
    start, kind = f"{indent}- name: {json.dumps(field.name)}", field.type
    if not pa.types.is_list(kind):
        return [start, f"{indent}  dtype: {_name_type(kind)}"]
    if pa.types.is_struct(kind.value_type):
        columns = (_list_column(inner, f"{indent}  ") for inner in kind.value_type)
        return [start, f"{indent}  list:", *chain.from_iterable(columns)]
    value = "image" if field.name == "images" else _name_type(kind.value_type)
    return [start, f"{indent}  list: {value}"]


def _name_type(kind: pa.DataType) -> str:
    return "float64" if kind == pa.float64() else str(kind)
