"""Write README.md of an export, and for its dataset card figures, plots and Croissant metadata.

The YAML at the start of README.md lists the data files, so that ``datasets.load_dataset`` reads
those and not the files next to them.

Text of the dataset (names of sources and files) is shown in code spans without backticks, line
breaks and invisible characters, so no record can make a card show a link, an image or HTML. An
export made by this version is verified with its card byte by byte: keep these texts as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from scoring.exports.data_files import gives_paths_as_images, list_data_files
from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import BytesFile, OutputFile
from scoring.exports.manifest import Manifest
from scoring.exports.options import FORMATS
from scoring.exports.parents import list_terms, source_front_matter, source_sections
from scoring.exports.plots import draw_score_histogram, draw_source_bars
from scoring.exports.source_weights import describe_source_files
from scoring.exports.tables import table_schema
from scoring.rules import Mixture

_MAX_ROWS = 40
_MAX_CODE = 80
_LOADERS = {
    "huggingface": 'datasets.load_from_disk("FOLDER")["train"]',
    "webdataset": 'webdataset.WebDataset(sorted(glob("FOLDER/*.tar")), shardshuffle=False)',
    "ids": 'datasets.load_dataset("FOLDER", "row_idx", split="train")',
}
_LISTS = {
    "ids": "It has no records: a row number is the position of a sample in the dataset.",
    "dropped": "It has no records: each line gives the id and row number of a sample, and why it "
    "was left out.",
}
"""What is in the files of the formats without records."""
_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
_SIZES += [(10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B")]

_MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".tar": "application/x-tar",
    ".txt": "text/plain",
}
_TYPES = {"int64": "sc:Integer", "double": "sc:Float", "bool": "sc:Boolean"}
_COLUMNS = {
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
_WEIGHT = "How often the sample counts in training; the mean is 1."
_REPEATS = "How often the sample counts in training."
_IMAGES = {
    "@type": "cr:FileSet",
    "@id": "images",
    "name": "images",
    "description": "The images, under the paths that the records give; images.jsonl lists them.",
    "encodingFormat": "image/*",
    "includes": "images/**",
}
_OWN_NAMES = (
    "citeAs column conformsTo dataBiases dataCollection equivalentProperty extract field "
    "fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5 parentField "
    "path personalSensitiveInformation recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
_CONTEXT = {
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


_EDITED = (
    "Records corrected by reviewers: {samples:,}. `edits.jsonl` has each before and after its edit."
)


def card_outputs(plan: ExportPlan, manifest: Manifest) -> list[OutputFile]:
    """Return README.md, and the rest of a card, for the files that ``manifest`` lists."""
    if not plan.options.card and plan.options.version < 4:
        return []
    has_rows = not (plan.options.format == "llava" and plan.is_object())
    schema = table_schema(plan) if gives_paths_as_images(plan.options) else None
    contents = {"README.md": card_text(manifest, has_rows, schema).encode()}
    if plan.options.card:
        contents |= {
            "croissant.json": _croissant_bytes(plan, manifest),
            "plots/scores.svg": draw_score_histogram(plan.outcome),
            "plots/sources.svg": draw_source_bars(plan.outcome),
        }
    return [BytesFile(name, [(None, content)]) for name, content in contents.items()]


def card_text(manifest: Manifest, has_rows: bool = True, schema: pa.Schema | None = None) -> str:
    """Return README.md: after the YAML what the export is, with figures where it has a card.

    ``has_rows`` is False where the records are members of one JSON object. ``schema`` has the
    columns where image paths are loaded as images.
    """
    loaders = ['datasets.load_dataset("FOLDER", split="train")'] if has_rows else []
    loaders += [_LOADERS[manifest.format]] if manifest.format in _LOADERS else []
    command = manifest.start_command("FOLDER")
    parts = [
        "\n".join(
            ["---", *_front_matter(manifest), *list_data_files(manifest, has_rows, schema), "---"]
        ),
        f"# {manifest.subset.name}",
        _summary(manifest),
        _describe_changes(manifest),
        *(f"**Incomplete.** {note}." for note in manifest.image_notes()),
        *(_list_figures(manifest) if manifest.options.card else []),
        *source_sections(manifest),
        "## Load it",
        f"Format {code_span(manifest.format)}: {FORMATS[manifest.format]}.",
        *(f"    {loader}" for loader in loaders or ["json.load(open('samples.json'))"]),
        *(
            ["## Train on it", "Replace the words in capitals:", f"    {command}"]
            if command
            else []
        ),
        "## Rebuild it",
        "`manifest.json` names every input with its digest. Beside its workspace this rebuilds "
        "the export and compares it:",
        "    visnec verify manifest.json -w WORKSPACE",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest) -> list[str]:
    """Return what the Hugging Face hub shows of a dataset; no text of the dataset."""
    n_samples, text = manifest.n_listed, manifest.options.license
    size = next((name for limit, name in _SIZES if n_samples < limit), "1B<n<10B")
    front = ["task_categories:", "- image-text-to-text", "tags:", "- visnec"]
    front += ["size_categories:", f"- {size}"]
    front += [] if text is None else [f"license: {json.dumps(text)}"]
    return front + source_front_matter(manifest)


def _list_figures(manifest: Manifest) -> list[str]:
    """Return the parts of a card about the samples, how they were chosen, and the files."""
    titles = ("source", "status", "category")
    files = [
        f"| {code_span(file.name)} | {file.bytes:,} | `{file.sha256[:16]}…` |"
        for file in manifest.outputs
    ]
    return [
        "![VisNec scores before and after](plots/scores.svg)",
        "![Samples by source before and after](plots/sources.svg)",
        "## Samples before and after",
        *(_counts_table(title, manifest.counts[f"by_{title}"]) for title in titles),
        "## How it was chosen",
        _list_choices(manifest),
        "## Files",
        "\n".join(["| file | bytes | sha256 |", "|---|---:|---|", *files]),
    ]


def code_span(text: object) -> str:
    """Return foreign text as a code span that cannot be escaped from, even inside a table."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    plain = " ".join(plain.replace("`", "'").replace("|", "¦").split())
    plain = plain if len(plain) <= _MAX_CODE else plain[: _MAX_CODE - 1] + "…"
    return f"`{plain}`" if plain else "(none)"


def _summary(manifest: Manifest) -> str:
    samples = f"{manifest.n_listed:,} of {manifest.counts['samples']:,} samples"
    dataset = "a multimodal instruction dataset"
    if manifest.format == "dropped":
        subject = f"A list of {samples} of {dataset}: those left out of a subset"
    else:
        subject = f"{samples} of {dataset}"
        subject = f"Ids and row numbers of {subject}" if manifest.format == "ids" else subject
    return (
        f"{subject}, chosen by how much their answers need the image (VisNec score: mean loss of "
        "the answer without the image minus mean loss with it)."
    )


def _describe_changes(manifest: Manifest) -> str:
    if not manifest.derived:
        return _LISTS.get(manifest.format, "Every record is as it came, byte for byte.")
    written = manifest.counts.get("written", {})
    sentences = [_EDITED.format(**written["edits"])] if "edits" in written else []
    if turns := written.get("turns"):
        verb = "masked" if manifest.options.turns == "mask" else "taken out"
        sentences.append(
            f"{turns['answers']:,} answers of {turns['samples_changed']:,} samples were {verb}; "
            f"{turns['samples_without_answers']:,} samples were left without any and are not "
            f"here; {turns['samples_left_whole']:,} could not be cut and are whole."
        )
    if repeats := written.get("repeats"):
        n_absent = manifest.counts["selected"] - repeats["samples"]
        sentences.append(
            f"Samples are repeated by their weights: {repeats['records']:,} records of "
            f"{repeats['samples']:,} samples, at most {repeats['most']:,} of one; {n_absent:,} "
            "samples whose weight is less than one record are not here."
        )
    if manifest.source_files:
        lines = describe_source_files(manifest.options.trainer, manifest.source_files)
        sentences.append("Each source has a file, which the trainer weighs:")
        sentences += [f"{code_span(line)}." for line in lines]
    if manifest.options.weights == "column":
        key = code_span(manifest.options.weight_key)
        sentences.append(f"The key {key} is how often a sample counts.")
    if n := written.get("records_from_other_files"):
        sentences.append(f"{n:,} records came from files that are no JSON and were written anew.")
    if manifest.format == "messages":
        sentences.append("Records are rewritten as messages of typed parts.")
    if n := written.get("records_rewritten_for_trainer"):
        sentences.append(f"{n:,} records were rewritten as LLaVA records.")
    if manifest.options.scores:
        sentences.append("Losses and scores are added to each record.")
    if names := manifest.options.add_columns:
        keys = ", ".join(code_span(f"col:{name}") for name in names)
        sentences.append(f"Imported values are added to each record: {keys}.")
    if n := written.get("records_with_new_image_paths"):
        sentences.append(f"{n:,} records name the copies of their images by new paths.")
    return " ".join([_LISTS.get(manifest.format, "**Derived data.**"), *sentences])


def _list_choices(manifest: Manifest) -> str:
    subset, run, bands = manifest.subset, manifest.inputs.run, manifest.bands
    clustering = manifest.inputs.clustering
    choices: list[tuple[str, object]] = [
        ("rule", subset.rule),
        *([("filter", subset.where)] if subset.where else []),
        ("scores of the model", run.get("model")),
        ("blind baseline", subset.baseline),
        ("run", subset.run_id),
        ("clustering", clustering["clustering_id"] if clustering else "none"),
        ("samples without an image", subset.text_only),
        ("samples without a score", subset.unscored),
        ("decisions by hand", "win over the rule" if subset.hand_wins else "left out"),
        ("kept by hand against the rule", manifest.counts["hand_kept"]),
        ("dropped by hand against the rule", manifest.counts["hand_dropped"]),
        ("redundant from, vision-critical from", f"{bands['low']:g}, {bands['high']:g}"),
        ("dataset files", ", ".join(file["name"] for file in manifest.inputs.dataset["files"])),
        ("dataset fingerprint", manifest.inputs.dataset["fingerprint"]),
    ]
    return "\n".join(f"- {name}: {code_span(value)}" for name, value in choices)


def _counts_table(title: str, counts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(name, int(n["before"]), int(n["after"])) for name, n in counts.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    lines = [f"| {title} | before | after |", "|---|---:|---:|"]
    for name, before, after in rows[:_MAX_ROWS]:
        lines.append(f"| {code_span(name)} | {before:,} | {after:,} |")
    if rest := rows[_MAX_ROWS:]:
        before, after = sum(row[1] for row in rest), sum(row[2] for row in rest)
        lines.append(f"| {len(rest):,} more | {before:,} | {after:,} |")
    return "\n".join(lines)


def _croissant_bytes(plan: ExportPlan, manifest: Manifest) -> bytes:
    """Return the content of ``croissant.json`` (format version 1.0) for the files next to it.

    It lists files, and columns where the format has fixed ones; fields of JSON records are not
    guessed.
    """
    options = plan.options
    licenses = list_terms(manifest.inputs.dataset, "license")
    from_owner = {
        "license": options.license or (licenses[0] if len(licenses) == 1 else licenses or None),
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
            "encodingFormat": _MEDIA_TYPES.get(
                file.name[file.name.rindex(".") :], "application/octet-stream"
            ),
            "sha256": file.sha256,
        }
        for file in manifest.outputs
    ]
    if options.images in ("copy", "link"):
        distribution.append(_IMAGES)
    value: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": plan.outcome.definition.name,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": _summary(manifest),
        **{name: text for name, text in from_owner.items() if text is not None},
        "distribution": distribution,
    }
    if options.format == "parquet" and options.columns != "source" and not plan.source_files:
        is_mixture = isinstance(manifest.subset.rule, Mixture)
        descriptions = _COLUMNS | {options.weight_key: _REPEATS if is_mixture else _WEIGHT}
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
        return value | {"dataType": _TYPES.get(str(kind), "sc:Text"), "source": source}
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
