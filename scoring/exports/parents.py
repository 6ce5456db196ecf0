"""The datasets on the hub that an export comes from, as its card names them.

The card of an ``ids`` export shows how to join the row numbers to the source at its commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from scoring.errors import InputError
from scoring.exports.manifest import Manifest

HUB_URL = "https://huggingface.co/datasets"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[\w.-]+", re.ASCII)
_TERM = re.compile(r"[\w.+-]{1,60}", re.ASCII)  # a license or a language
_LINK = re.compile(r"https://[\w./%~+-]{1,300}", re.ASCII)
_UNKNOWN = "other"

# How the rows of the files of a dataset become one list, by file type.
_LOADERS = {
    "parquet": 'load_dataset("parquet", data_files=[path(f) for f in files], split="train")',
    "arrow": 'load_dataset("arrow", data_files=[path(f) for f in files], split="train")',
    "array": "[row for f in files for row in json.load(open(path(f), encoding='utf-8'))]",
    "lines": "[json.loads(row) for f in files for row in open(path(f), 'rb') if row.strip()]",
}
_SUFFIXES = {"parquet": ".parquet", "arrow": ".arrow", "array": ".json", "lines": ".jsonl"}


def list_parents(dataset: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return each repository, commit, config and split that files of the dataset come from.

    ``dataset`` is the record of the import in a manifest. Names that are not those of the hub are
    left out, because they become links.
    """
    parents: dict[tuple[str, ...], Mapping[str, str]] = {}
    for file in dataset["files"]:
        hub = file.get("hub") or {}
        names = str(hub.get("repository")), str(hub.get("commit"))
        if _REPOSITORY.fullmatch(names[0]) and _COMMIT.fullmatch(names[1]):
            keys = ("repository", "revision", "commit", "config", "split")
            parents.setdefault(tuple(str(hub.get(key, "")) for key in keys), hub)
    return list(parents.values())


def source_front_matter(manifest: Manifest) -> list[str]:
    """Return lines of the card's YAML: the repositories that the dataset comes from, their terms.

    A license that the user names replaces theirs.
    """
    dataset = manifest.inputs.dataset
    names = dict.fromkeys(each["repository"] for each in list_parents(dataset))
    lines = ["source_datasets:", *(f"- {name}" for name in names)] if names else []
    for key in ("license", "language"):
        values = list_terms(dataset, key)
        if not values or (key == "license" and manifest.options.license is not None):
            continue
        lines.append(f"{key}: {json.dumps(values[0] if len(values) == 1 else values)}")
        if key == "license" and values == [_UNKNOWN]:
            for detail, pattern in (("license_name", _TERM), ("license_link", _LINK)):
                texts = list_terms(dataset, detail, pattern)
                lines += [f"{detail}: {json.dumps(texts[0])}"] if len(texts) == 1 else []
    return lines


def list_terms(dataset: Mapping[str, Any], key: str, pattern: re.Pattern[str] = _TERM) -> list[str]:
    """Return the licenses or languages of the source; none unless every file has some."""
    texts = [str((file.get("hub") or {}).get(key, "")) for file in dataset["files"]]
    values = [text.split(",") for text in texts]
    if not all(pattern.fullmatch(value) for each in values for value in each):
        return []
    return list(dict.fromkeys(value for each in values for value in each))


def advise_ids_only(dataset: Mapping[str, Any]) -> str | None:
    """Return advice for a push of copies if the license of the source may forbid them."""
    licenses = list_terms(dataset, "license")
    doubtful = [name for name in licenses if name in (_UNKNOWN, "unknown") or "-nd" in name.lower()]
    if not doubtful or explain_no_join(dataset):
        return None
    return (
        f"The license of the source is {', '.join(doubtful)}. If it does not allow copies, push "
        "row numbers instead of records: --ids-only"
    )


def source_sections(manifest: Manifest) -> list[str]:
    """Return the section of the card about the source, if that is on the hub."""
    parents = list_parents(manifest.inputs.dataset)
    if not parents:
        return []
    lines = []
    for parent in parents:
        name, commit = parent["repository"], parent["commit"]
        chosen = "".join(
            f", {key} `{parent[key]}`"
            for key in ("config", "split")
            if _WORD.fullmatch(parent.get(key, ""))
        )
        terms = list_terms({"files": [{"hub": parent}]}, "license")
        chosen += f", license {', '.join(f'`{term}`' for term in terms)}" if terms else ""
        lines.append(f"- [{name}]({HUB_URL}/{name}/tree/{commit}) at commit `{commit}`{chosen}")
    sections = ["## Source", "\n".join(lines)]
    if manifest.format == "ids" and explain_no_join(manifest.inputs.dataset) is None:
        snippet = "\n".join(["```python", *_join_lines(manifest), "```"])
        sections += ["This joins the row numbers to its records:", snippet]
    return sections


def check_joinable(dataset: Mapping[str, Any]) -> None:
    """Raise InputError if row numbers cannot be joined to the source."""
    if problem := explain_no_join(dataset):
        raise InputError(
            f"Ids only cannot be pushed: {problem}. Push the records instead (without --ids-only), "
            "or import the dataset from the hub: visnec import hf:OWNER/NAME"
        )


def explain_no_join(dataset: Mapping[str, Any]) -> str | None:
    """Return why the rows of the dataset are not those of files on the hub, None if they are."""
    files: Sequence[Mapping[str, Any]] = dataset["files"]
    parents = [list_parents({"files": [file]}) for file in files]
    if not all(parents):
        name = next(file["name"] for file, known in zip(files, parents, strict=True) if not known)
        return f"{name!r} was not imported from the hub, so no one else could find its rows"
    if len(containers := {file["container"] for file in files}) > 1:
        return f"its files are of several types ({', '.join(sorted(containers))})"
    container = next(iter(containers))
    suffixes = {PurePosixPath(file["hub"]["path"]).suffix for file in files}
    if suffixes != {_SUFFIXES.get(container)}:
        return f"files of the type {container} ({', '.join(sorted(suffixes))}) have no row numbers"
    if any(file.get("is_partial") for file in files[:-1]):
        return "only the first records of some of its files were imported"
    return None


def _join_lines(manifest: Manifest) -> list[str]:
    dataset = manifest.inputs.dataset
    last = dataset["files"][-1]
    exact = ">=" if last.get("is_partial") else "=="
    own = re.fullmatch(rf"{HUB_URL}/({_REPOSITORY.pattern})", manifest.options.url or "")
    loader = _LOADERS[last["container"]]
    is_table = loader.startswith("load_dataset")
    get = (
        f'hf_hub_download("{own[1]}", name, repo_type="dataset")'
        if own
        else "name  # in the folder of this card"
    )
    return [
        "import json",
        "from huggingface_hub import hf_hub_download",
        *(["from datasets import load_dataset"] if is_table else []),
        f"own = lambda name: {get}",
        'files = json.load(open(own("manifest.json")))["inputs"]["dataset"]["files"]',
        'path = lambda f: hf_hub_download(f["hub"]["repository"], f["hub"]["path"],',
        '    repo_type="dataset", revision=f["hub"]["commit"])',
        f"source = {loader}",
        f'assert len(source) {exact} sum(f["n_records"] for f in files)',
        'rows = [int(row) for row in open(own("row_idx.txt"))]',
        "subset = source.select(rows)" if is_table else "subset = [source[row] for row in rows]",
    ]
