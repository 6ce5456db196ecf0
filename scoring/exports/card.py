"""The dataset card of an export: README.md with its figures and plots, and Croissant metadata.

The one decision behind it: text of the dataset (names of sources, of files) stands in code spans
from which backticks, line breaks and invisible characters were taken, so that no card can be made
to show a link, an image or HTML by what a record says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scoring.exports import FORMATS, ExportPlan, FileDigest
from scoring.exports.croissant import croissant_bytes
from scoring.exports.files import BytesFile, OutputFile
from scoring.exports.manifest import Manifest
from scoring.exports.plots import score_histogram, source_bars

_MAX_ROWS = 40
_MAX_CODE = 80
_OPENERS = {
    "parquet": 'datasets.load_dataset("parquet", data_files="samples.parquet")',
    "huggingface": 'datasets.load_from_disk("FOLDER")',
    "jsonl": 'datasets.load_dataset("json", data_files="samples.jsonl")',
    "webdataset": 'webdataset.WebDataset("samples-{000000..LAST}.tar")',
}


def card_outputs(chosen: ExportPlan, manifest: Manifest) -> list[OutputFile]:
    """README.md, croissant.json and the plots, for the files that ``manifest`` lists."""
    facts = manifest.outputs
    contents = {
        "README.md": card_text(manifest).encode(),
        "croissant.json": croissant_bytes(chosen, facts, _sentence(manifest)),
        "plots/scores.svg": score_histogram(chosen.outcome),
        "plots/sources.svg": source_bars(chosen.outcome),
    }
    return [BytesFile(name, [(None, content)]) for name, content in contents.items()]


def card_text(manifest: Manifest) -> str:
    """The card in Markdown."""
    counts, subset = manifest.counts, manifest.subset
    parts = [
        *_front_matter(manifest),
        f"# {subset.name}",
        _sentence(manifest),
        *_changes(manifest),
        *_lacking_images(manifest),
        "![VisNec scores before and after](plots/scores.svg)",
        "![Samples by source before and after](plots/sources.svg)",
        "## Samples before and after",
        _table("source", counts["by_source"]),
        _table("status", counts["by_status"]),
        _table("category", counts["by_category"]),
        "## How it was chosen",
        _bullets(_choices(manifest)),
        "## Files",
        _files(manifest.outputs),
        *_opening(manifest),
        "## Rebuild it",
        "`manifest.json` names every input with its digest. Beside its workspace this rebuilds "
        "the export and compares it:",
        "    visnec verify manifest.json -w WORKSPACE",
    ]
    return "\n\n".join(parts) + "\n"


def code_span(text: object) -> str:
    """Foreign text as a code span that cannot be left, also inside a table."""
    plain = "".join(one if one.isprintable() else " " for one in str(text))
    plain = " ".join(plain.replace("`", "'").replace("|", "¦").split())
    plain = plain if len(plain) <= _MAX_CODE else plain[: _MAX_CODE - 1] + "…"
    return f"`{plain}`" if plain else "(none)"


def _front_matter(manifest: Manifest) -> list[str]:
    """What the Hugging Face hub reads; only words of ours and of whoever exports stand in it."""
    n = int(manifest.counts["selected"])
    sizes = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M")]
    sizes += [(10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B")]
    size = next((one for most, one in sizes if n < most), "1B<n<10B")
    lines = ["---", "task_categories:", "- image-text-to-text", "tags:", "- visnec"]
    lines += ["size_categories:", f"- {size}"]
    if manifest.options.license is not None:
        lines.append(f"license: {json.dumps(manifest.options.license)}")
    data = {"parquet": "samples.parquet", "jsonl": "samples.jsonl", "llava": "samples.json"}
    if name := data.get(manifest.format):
        lines += ["configs:", "- config_name: default", f"  data_files: {name}"]
    return ["\n".join([*lines, "---"])]


def _sentence(manifest: Manifest) -> str:
    counts = manifest.counts
    return (
        f"{counts['selected']:,} of {counts['samples']:,} samples of a multimodal instruction "
        "dataset, chosen by how much their answers need the image (VisNec score: mean loss of the "
        "answer without the image minus mean loss with it)."
    )


def _changes(manifest: Manifest) -> list[str]:
    if not manifest.derived:
        return ["Every record is as it came, byte for byte."]
    written = manifest.counts.get("written", {})
    said = []
    if turns := written.get("turns"):
        verb = "masked" if manifest.options.turns == "mask" else "taken out"
        said.append(
            f"{turns['answers']:,} answers of {turns['samples_changed']:,} samples were {verb}; "
            f"{turns['samples_without_answers']:,} samples were left without any and are not "
            f"here; {turns['samples_left_whole']:,} could not be cut and are whole."
        )
    if repeats := written.get("repeats"):
        said.append(
            f"Samples are repeated by their weights: {repeats['records']:,} records of "
            f"{repeats['samples']:,} samples, at most {repeats['most']:,} of one."
        )
    if manifest.options.weights == "column":
        said.append(
            f"The key {code_span(manifest.options.weight_key)} is how often a sample counts."
        )
    if n := written.get("records_from_other_files"):
        said.append(f"{n:,} records came from files that are no JSON and were written anew.")
    if n := written.get("records_with_new_image_paths"):
        said.append(f"{n:,} records name the copies of their images by new paths.")
    return ["**Derived data.** " + " ".join(said)]


def _lacking_images(manifest: Manifest) -> list[str]:
    if manifest.options.version < 3:  # whose cards did not say it
        return []
    return [f"**Incomplete.** {note}." for note in manifest.image_notes()]


def _choices(manifest: Manifest) -> list[tuple[str, object]]:
    subset, run = manifest.subset, manifest.inputs.run
    clustering = manifest.inputs.clustering
    bands = manifest.bands
    return [
        ("rule", subset.rule),
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


def _bullets(facts: Sequence[tuple[str, object]]) -> str:
    return "\n".join(f"- {what}: {code_span(value)}" for what, value in facts)


def _table(what: str, counts: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"| {what} | before | after |", "|---|---:|---:|"]
    ordered = sorted(counts.items(), key=lambda one: (-int(one[1]["before"]), one[0]))
    for name, one in ordered[:_MAX_ROWS]:
        lines.append(f"| {code_span(name)} | {one['before']:,} | {one['after']:,} |")
    if rest := ordered[_MAX_ROWS:]:
        before = sum(int(one["before"]) for _, one in rest)
        after = sum(int(one["after"]) for _, one in rest)
        lines.append(f"| {len(rest):,} more | {before:,} | {after:,} |")
    return "\n".join(lines)


def _files(facts: Sequence[FileDigest]) -> str:
    lines = ["| file | bytes | sha256 |", "|---|---:|---|"]
    lines += [f"| {code_span(one.name)} | {one.bytes:,} | `{one.sha256[:16]}…` |" for one in facts]
    return "\n".join(lines)


def _opening(manifest: Manifest) -> list[str]:
    opener = _OPENERS.get(manifest.format)
    about = f"Format {code_span(manifest.format)}: {FORMATS[manifest.format]}."
    lines = [about] if opener is None else [about, f"    {opener}"]
    if most := manifest.counts.get("written", {}).get("most_images_of_a_sample"):
        lines.append(f"    {_shard_loader(int(most))}")
    return lines


def _shard_loader(most_images: int) -> str:
    """How ``datasets`` opens tar files, with the columns named: it would take them from the first
    five samples, and pass over the images of all others where these have none.
    """
    names = [f"{n}.jpg" for n in range(most_images)] if most_images > 1 else ["jpg"]
    columns = (
        {"json": "Json()"}
        | dict.fromkeys(names, "Image()")
        | {
            "__key__": 'Value("string")',
            "__url__": 'Value("string")',
        }
    )
    named = ", ".join(f'"{name}": datasets.{kind}' for name, kind in columns.items())
    return (
        'datasets.load_dataset("webdataset", data_files="samples-*.tar", split="train", '
        f"features=datasets.Features({{{named}}}))"
    )
