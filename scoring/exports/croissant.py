"""Croissant metadata of an export, for dataset search and loaders (format version 1.0).

It lists files with their digests, and columns where the format has fixed ones. The fields of JSON
records are not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import FileDigest
from scoring.exports.tables import table_schema

_FORMATS: Final = {
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
_WEIGHT: Final = "How often the sample counts in training; the mean is 1."
_IMAGES: Final = {
    "@type": "cr:FileSet",
    "@id": "images",
    "name": "images",
    "description": "The images, under the paths that the records give; images.jsonl lists them.",
    "encodingFormat": "image/*",
    "includes": "images/**",
}
_OWN_NAMES: Final = (
    "citeAs column conformsTo dataBiases dataCollection equivalentProperty extract field "
    "fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5 parentField "
    "path personalSensitiveInformation recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _OWN_NAMES.split()},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def croissant_bytes(plan: ExportPlan, files: Sequence[FileDigest], description: str) -> bytes:
    """Return the content of ``croissant.json`` for the files next to it."""
    options = plan.options
    from_owner = {
        "license": options.license,
        "url": options.url,
        "datePublished": options.date_published,
    }
    distribution: list[Mapping[str, object]] = [
        {
            "@type": "cr:FileObject",
            "@id": file.name,
            "name": file.name,
            "contentUrl": file.name,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": _FORMATS.get(
                file.name[file.name.rindex(".") :], "application/octet-stream"
            ),
            "sha256": file.sha256,
        }
        for file in files
    ]
    if options.images in ("copy", "link"):
        distribution.append(_IMAGES)
    value: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": plan.outcome.definition.name,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": description,
        **{name: text for name, text in from_owner.items() if text is not None},
        "distribution": distribution,
    }
    if options.format == "parquet" and options.columns != "source":
        descriptions = _COLUMNS | {options.weight_key: _WEIGHT}
        value["recordSet"] = [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "key": {"@id": "samples/row_idx"},
                "field": [_describe_field(field, descriptions) for field in table_schema(plan)],
            }
        ]
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _describe_field(field: pa.Field, descriptions: Mapping[str, str]) -> dict[str, Any]:
    is_list = pa.types.is_list(field.type)
    kind = field.type.value_type if is_list else field.type
    value: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"samples/{field.name}",
        "name": field.name,
        "description": descriptions[field.name],
    }
    source = {"fileObject": {"@id": "samples.parquet"}, "extract": {"column": field.name}}
    if is_list:
        value["repeated"] = True
    if not pa.types.is_struct(kind):
        return value | {"dataType": _TYPES[str(kind)], "source": source}
    value["subField"] = [
        {
            "@type": "cr:Field",
            "@id": f"samples/{field.name}/{inner.name}",
            "name": inner.name,
            "dataType": "sc:Text",  # sc:ImageObject is one image, not a list
            "source": source | {"transform": {"jsonPath": inner.name}},
        }
        for inner in kind
    ]
    return value
