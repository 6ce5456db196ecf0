"""Croissant metadata of an export: what dataset searches and loaders read (format version 1.0).

The one decision behind it: it tells files with their digests, and columns where the format has
fixed ones; what the records of a JSON file hold is their own affair and is not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from scoring.exports import ExportPlan, FileDigest
from scoring.exports.tables import table_schema

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.0"
_KINDS: Final = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".tar": "application/x-tar",
    ".txt": "text/plain",
}
_TYPES: Final = {
    "int64": "sc:Integer",
    "double": "sc:Float",
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "binary": "sc:Text",
}
_COLUMNS: Final = {
    "row_idx": "Position in the dataset that the subset was chosen from.",
    "id": "Identifier of the record; may repeat or be absent.",
    "source": "The part of the dataset that the sample comes from.",
    "images": "Paths of the images, in the order of their occurrence.",
    "conversations": "Turns, each with its role (from) and its text (value).",
    "status": "scored, or why there is no score.",
    "loss_text": "Mean loss of the answer without the image, nats per answer token.",
    "loss_multimodal": "Mean loss of the answer with the image, nats per answer token.",
    "visnec": "VisNec score: loss_text - loss_multimodal.",
    "n_answer_tokens": "Answer tokens that the losses are means over.",
    "turn_mask": "Of each answer whether it is to be trained on.",
    "record": "The record as its file held it.",
}
_IMAGES: Final = {
    "@type": "cr:FileSet",
    "@id": "images",
    "name": "images",
    "description": "The images, under the paths that the records give; images.jsonl lists them.",
    "encodingFormat": "image/*",
    "includes": "images/**",
}
_OWN_NAMES: Final = {
    "citeAs", "column", "conformsTo", "dataBiases", "dataCollection", "equivalentProperty",
    "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath",
    "key", "md5", "parentField", "path", "personalSensitiveInformation", "recordSet",
    "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
}  # fmt: skip


def croissant_bytes(chosen: ExportPlan, facts: Sequence[FileDigest], description: str) -> bytes:
    """The content of ``croissant.json`` for files that lie beside it."""
    name = chosen.outcome.definition.name
    value: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": name,
        "conformsTo": CONFORMS_TO,
        "description": description,
        **_said(chosen),
        "distribution": [_file(fact) for fact in facts],
    }
    if chosen.options.images in ("copy", "link"):
        value["distribution"].append(_IMAGES)
    if chosen.options.format == "parquet" and chosen.options.columns != "source":
        value["recordSet"] = [_records(chosen)]
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _said(chosen: ExportPlan) -> dict[str, str]:
    """What only the owner of a dataset knows about it."""
    options = chosen.options
    said = {
        "license": options.license,
        "url": options.url,
        "datePublished": options.date_published,
    }
    return {name: one for name, one in said.items() if one is not None}


def _context() -> dict[str, Any]:
    prefixed = {name: f"cr:{name}" for name in sorted(_OWN_NAMES)}
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        **{
            key: value if key != "conformsTo" else "dct:conformsTo"
            for key, value in prefixed.items()
        },
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    }


def _file(fact: FileDigest) -> dict[str, Any]:
    suffix = fact.name[fact.name.rindex(".") :]
    return {
        "@type": "cr:FileObject",
        "@id": fact.name,
        "name": fact.name,
        "contentUrl": fact.name,
        "contentSize": f"{fact.bytes} B",
        "encodingFormat": _KINDS.get(suffix, "application/octet-stream"),
        "sha256": fact.sha256,
    }


def _records(chosen: ExportPlan) -> dict[str, Any]:
    schema = table_schema(chosen)
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/row_idx"},
        "field": [_field(field, chosen.options.weight_key) for field in schema],
    }


def _field(field: pa.Field, weight_key: str) -> dict[str, Any]:
    kind = field.type
    repeated = pa.types.is_list(kind)
    inner = kind.value_type if repeated else kind
    told = "How often the sample counts in training; the mean is 1."
    value: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"samples/{field.name}",
        "name": field.name,
        "description": told if field.name == weight_key else _COLUMNS[field.name],
    }
    source = {"fileObject": {"@id": "samples.parquet"}, "extract": {"column": field.name}}
    if repeated:
        value["repeated"] = True
    if pa.types.is_struct(inner):
        names = [inner.field(place).name for place in range(inner.num_fields)]
        value["subField"] = [
            {
                "@type": "cr:Field",
                "@id": f"samples/{field.name}/{name}",
                "name": name,
                "dataType": "sc:Text",  # sc:ImageObject stands for one image, not for a list
                "source": source | {"transform": {"jsonPath": name}},
            }
            for name in names
        ]
        return value
    return value | {"dataType": _TYPES[str(inner)], "source": source}
