"""Weights per source, for trainers that weigh whole files: a file for each source of a subset.

The weight of a source is the mean weight of its samples. Each trainer has its own word for it, and
some round it; the manifest and the messages give both values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import InputError
from scoring.rules.candidates import Floats

if TYPE_CHECKING:
    from scoring.exports.export_plan import ExportPlan
    from scoring.exports.options import ExportOptions
    from scoring.subsets.definitions import ResolvedSubset

_SETTINGS = {
    "llamafactory": "interleave_probs",
    "llava-next": "sampling_strategy",
    "internvl": "repeat_time",
}
_MAX_SOURCES = 1000
_MAX_NAME = 40
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The file of a source.

    ``entry`` is its name for the trainer, ``weight`` the mean weight of its samples, and
    ``setting`` how the trainer gives the file this weight.
    """

    source: str
    entry: str
    file: str
    samples: int
    weight: float
    setting: float | str

    def to_dict(self) -> dict[str, Any]:
        """Return the values for the manifest."""
        return asdict(self)


def plan_source_files(
    outcome: ResolvedSubset, options: ExportOptions, weights: Floats
) -> tuple[SourceFile, ...]:
    """Return a file for each source with selected samples; ``weights`` are those of the samples."""
    codes = outcome.candidates.source[outcome.subset.kept]
    totals = np.bincount(codes, weights)
    counts = np.bincount(codes)
    present = np.flatnonzero(counts)
    if len(present) > _MAX_SOURCES:
        raise InputError(
            f"The subset has {len(present):,} sources, and --weights source writes a file for "
            f"each, at most {_MAX_SOURCES:,}. Use --weights repeat."
        )
    means = (totals[present] / counts[present]).tolist()
    settings = _trainer_settings(options.trainer, means, counts[present].tolist())
    files = []
    for number, code in enumerate(present.tolist()):
        source = outcome.candidates.sources[code]
        entry = f"{outcome.definition.name}-{number:03d}-{_OTHER.sub('-', source)[:_MAX_NAME]}"
        file = PurePath(options.data_file)
        files.append(
            SourceFile(
                source,
                entry.rstrip("-"),
                f"{file.stem}-{number:03d}{file.suffix}",
                int(counts[code]),
                float(f"{means[number]:.6g}"),
                settings[number],
            )
        )
    return tuple(files)


def _trainer_settings(
    trainer: str | None, weights: Sequence[float], counts: Sequence[int]
) -> list[float | str]:
    """Return how a trainer is to weigh each source.

    LLaMA-Factory draws from files by probability. LLaVA-NeXT can only leave samples out, so the
    source of the highest weight is complete. InternVL repeats files a whole number of times, so the
    source of the lowest weight is there once.
    """
    if trainer == "llamafactory":
        total = sum(weight * n for weight, n in zip(weights, counts, strict=True))
        shares = (weight * n / total for weight, n in zip(weights, counts, strict=True))
        return [float(f"{share:.12g}") for share in shares]
    if trainer == "internvl":
        return [round(weight / min(weights)) for weight in weights]
    kept = [
        max(1, round(n * weight / max(weights))) for weight, n in zip(weights, counts, strict=True)
    ]
    return ["all" if k == n else f"random:{k}" for k, n in zip(kept, counts, strict=True)]


def split_by_source(plan: ExportPlan) -> Iterator[tuple[SourceFile, ExportPlan]]:
    """Yield the file of each source and the plan of its samples."""
    outcome = plan.outcome
    codes = outcome.candidates.source[outcome.subset.kept]
    for file, code in zip(plan.source_files, np.unique(codes).tolist(), strict=True):
        chosen = codes == code
        subset = replace(outcome.subset, selected=plan.rows[chosen])
        decoded = None if plan.decoded is None else plan.decoded[chosen]
        part = replace(plan, outcome=replace(outcome, subset=subset), decoded=decoded)
        yield file, part


def mixing_options(trainer: str | None, files: Sequence[Mapping[str, Any]]) -> str:
    """Return what the start command needs besides the names of the entries."""
    if trainer != "llamafactory" or not files:
        return ""
    shares = ",".join(f"{file['setting']:.12g}" for file in files)
    return f" --mix_strategy interleave_over --interleave_probs {shares}"


def describe_source_files(trainer: str | None, files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each file: its samples and weight, and how the trainer weighs it."""
    lines = []
    for file in files:
        exact = file["weight"] / min(other["weight"] for other in files)
        is_rounded = trainer == "internvl" and abs(exact - file["setting"]) > 0.01 * exact
        lines.append(
            f"{file['file']}: {file['samples']:,} samples of {file['source']!r}, mean weight "
            f"{file['weight']:.4g}, {_SETTINGS.get(str(trainer), 'setting')} {file['setting']}"
            + (f" (rounded from {exact:.2f})" if is_rounded else "")
        )
    return lines
