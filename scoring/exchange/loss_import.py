"""Import losses that another engine computed for exported prompts, as a run of its own.

A loss is used only if the engine read the same tokens, as far as its files show. Losses per answer
token give a run with turns and tokens; means per sample give one without.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.database.build.build import build_database
from scoring.database.queries.loss_import import LossMatcher
from scoring.database.queries.score_json import read_json_keys
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.engine.pipeline import build_scorer
from scoring.engine.scorer import SampleScore, score_row, turn_scores
from scoring.errors import InputError
from scoring.exchange.imported_scores import (
    ImportReport,
    describe_files,
    publish_run,
    read_earlier_report,
)
from scoring.exchange.prompt_export import PARTS, PASSES, PROMPTS, PromptExport, read_prompt_export
from scoring.exchange.score_files import CSV, JSON_ARRAY, PARQUET, detect_kind
from scoring.issues import ImportIssues
from scoring.models.base import VisionLanguageModel
from scoring.necessity import visnec_score
from scoring.runs.record import RunRecord, find_differences, settings_digest, utc_now
from scoring.samples import Status
from scoring.schemas import IMPORTED_SCORES, SCORES
from scoring.workspace import Workspace, check_name

DEFAULT_TOLERANCE = 0.05
_PER_TOKEN, _PER_SAMPLE = ("losses", "logprobs"), "loss"
_OPTIONAL = (
    *("id", "n_answer_tokens", "prompt_token_ids", "n_prompt_tokens", "n_visual_tokens"),
    "error",
)
_ACCEPTED = (
    "row_idx; pass (multimodal or text); one of losses (nats per answer token), logprobs or loss "
    f"(the mean); optionally {', '.join(_OPTIONAL)}"
)
_BATCH_ROWS = 8192
_PART_ROWS, _MOST_PARTS = 100_000, 256


@dataclass(frozen=True, slots=True)
class LossFile:
    """A file of losses: what it is and its columns."""

    path: Path
    kind: str
    columns: tuple[str, ...]

    @property
    def is_per_token(self) -> bool:
        """Whether it has a loss for each answer token."""
        return any(name in self.columns for name in _PER_TOKEN)


def import_losses(
    workspace: Workspace,
    files: Sequence[Path],
    prompts: Path,
    *,
    run_id: str | None = None,
    engine: str = "another engine",
    dtype: str = "",
    tokens: bool = False,
    model: VisionLanguageModel | None = None,
    probe: int = 0,
    tolerance: float = DEFAULT_TOLERANCE,
) -> ImportReport:
    """Import losses for the prompts in a folder and build the database.

    Importing the same files again changes nothing; with ``probe`` they are compared again.

    Args:
        workspace: The workspace that the prompts were exported from.
        files: Parquet, JSON lines or (means only) CSV, or folders of these; one row per prompt.
        prompts: The folder that ``export_prompts`` wrote.
        run_id: Name of the run; by default a digest of the files.
        engine: What computed the losses, for the record.
        dtype: The number format it computed in, for the record.
        tokens: Whether to keep the loss of every answer token.
        model: The model that the prompts are for, if ``probe`` is above 0.
        probe: Samples whose losses are compared with those of ``model``.
        tolerance: The largest difference of a mean loss that is accepted, in nats.

    Raises:
        InputError: A file is not one of losses, no loss fits, or a probe exceeds the tolerance.
        RunConflictError: The name of the run is in use.
    """
    export, n_samples = read_prompt_export(prompts), read_dataset_info(workspace).n_samples
    if not read_dataset_info(workspace).includes_edition(export.dataset):
        raise InputError(f"The prompts in {prompts} are of another dataset than {workspace.root}.")
    issues, files = ImportIssues(), _list_files(files)
    loss_files = [_inspect_file(path, issues) for path in files]
    per_token = {file.is_per_token for file in loss_files}
    if len(per_token) != 1:
        raise InputError("Import files with losses per token and with means as runs of their own.")
    is_per_token = per_token.pop()
    record = _build_record(export, files, run_id, engine, dtype, tokens and is_per_token)
    earlier = None
    if (workspace.run_dir(record.run_id) / "run.json").exists():
        earlier = read_earlier_report(workspace, record)
        if model is None or not probe:
            return earlier
    with tempfile.TemporaryDirectory(prefix=".import-losses.", dir=workspace.root) as name:
        folder = Path(name) / "run"
        with LossMatcher(Path(name)) as matcher:
            n_rows = sum(matcher.add_file(file.path, file.kind) for file in loss_files)
            parts, unscored = (sorted((prompts / kind).glob("part-*.parquet")) for kind in PARTS)
            if not matcher.match_prompts(parts, unscored, n_samples, issues):
                raise InputError(
                    f"No sample gets a score from {', '.join(map(str, files))}{issues.in_words()}."
                )
            compared = None
            if model is not None and probe:
                rows = matcher.sample_scored(probe)
                compared = _probe_model(workspace, export, model, rows, tolerance)
            if earlier is not None:
                return replace(earlier, probe=compared)
            batches = matcher.read_rows(_BATCH_ROWS)
            statuses = _write_parts(folder / "scores", batches, record, n_samples, is_per_token)
        report = ImportReport(
            run_id=record.run_id,
            file=", ".join(path.name for path in files),
            n_rows=n_rows,
            n_samples=n_samples,
            statuses=dict(statuses),
            findings=issues.as_rows(),
            probe=compared,
        )
        publish_run(workspace, folder, record, report)
    build_database(workspace)
    return report


def _list_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and those in folders: engines such as Ray Data write folders of parts."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("[!._]*")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"The folder {path} is empty.")
        if missing := [file for file in inside if not file.is_file()]:
            raise InputError(f"{missing[0]} is not a file.")
        files += inside
    return files


def _inspect_file(path: Path, issues: ImportIssues) -> LossFile:
    """Return the kind and columns of a file of losses. Raises InputError for other files."""
    kind, codec = detect_kind(path)
    try:
        if kind == PARQUET:
            names = pq.read_schema(path).names
        elif kind == CSV:
            with pa.input_stream(str(path), compression=codec) as stream:
                names = pa.csv.open_csv(stream).schema.names
        else:
            names = read_json_keys(path, codec, kind == JSON_ARRAY, "")
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as {kind}: {error}") from error
    file = LossFile(path, kind, tuple(names))
    if problem := _find_problem(file):
        raise InputError(
            f"{path} {problem}. Found: {', '.join(names)[:300]!r}. Accepted: {_ACCEPTED}. CSV has "
            "means only."
        )
    known = {"row_idx", "pass", *_PER_TOKEN, _PER_SAMPLE, *_OPTIONAL, *PROMPTS.names}
    others = [name for name in names if name not in known]
    issues.add("column ignored", len(others), others)
    return file


def _find_problem(file: LossFile) -> str:
    """Return why the columns are not those of a file of losses; empty if they are."""
    missing = [name for name in ("row_idx", "pass") if name not in file.columns]
    losses = [name for name in (*_PER_TOKEN, _PER_SAMPLE) if name in file.columns]
    if missing or not losses:
        missing += [] if losses else [f"{', '.join(_PER_TOKEN)} or {_PER_SAMPLE}"]
        return f"is not a file of losses for exported prompts: it lacks {' and '.join(missing)}"
    if len(losses) > 1:
        return f"has both {' and '.join(losses)}. Leave out all but one of these columns"
    is_list_in_csv = file.kind == CSV and file.is_per_token
    return f"is CSV, which cannot have {losses[0]} per token" if is_list_in_csv else ""


def _build_record(
    export: PromptExport,
    files: Sequence[Path],
    run_id: str | None,
    engine: str,
    dtype: str,
    tokens: bool,
) -> RunRecord:
    """Return the record of the run: the settings of the prompts, computed by another engine."""
    names, digest = describe_files(files)
    name = run_id or settings_digest(losses=digest, prompts=export.record.run_id, tokens=tokens)
    return replace(
        export.record,
        run_id=check_name(name, "run"),
        created_at=utc_now(),
        model_fingerprint="",  # the engine may have other weights, such as quantized ones
        dtype=dtype,
        device="",
        device_name=None,
        shortcuts=(),
        tokens=tokens,
        notice=f"Losses computed by {engine} for exported prompts, imported from {names}.",
        imported_from=f"{names} sha256:{digest}",
    )


def _write_parts(
    folder: Path,
    batches: Iterable[list[dict[str, Any]]],
    record: RunRecord,
    n_samples: int,
    is_per_token: bool,
) -> Counter[str]:
    """Write the parts of the run and return the statuses of its samples."""
    statuses: Counter[str] = Counter()
    schema = SCORES if is_per_token else IMPORTED_SCORES
    to_row = _token_row if is_per_token else _mean_row
    n_batches = -(-max(_PART_ROWS, -(-n_samples // _MOST_PARTS)) // _BATCH_ROWS)
    folder.mkdir(parents=True)
    remaining = iter(batches)
    for number in count():
        part = list(islice(remaining, 1))
        if not part:
            return statuses
        path = folder / f"part-{number:06d}-imported.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for rows in chain(part, islice(remaining, n_batches - 1)):
                converted = [to_row(row, record) for row in rows]
                writer.write_table(pa.Table.from_pylist(converted, schema))
                statuses.update(row["status"] for row in rows)
    return statuses


def _token_row(row: dict[str, Any], record: RunRecord) -> dict[str, Any]:
    """Return a row of ``schemas.SCORES``, with sums per turn."""
    baseline, status = record.first_baseline, Status(row["status"])
    if status is not Status.SCORED:
        return score_row(SampleScore(row["row_idx"], baseline, status, row["reason"]))
    spans = row["answer_spans"]
    lengths = [span["end"] - span["start"] for span in spans]
    turns = np.repeat([span["turn"] for span in spans], lengths)  # (answer_tokens,)
    text = np.array(row["losses_text"], np.float32)  # (answer_tokens,), as the next
    multimodal = np.array(row["losses_multimodal"], np.float32)
    tokens = {
        "token_turns": turns.tolist(),
        "token_texts": row["answer_texts"] or None,
        "token_loss_text": text,
        "token_loss_multimodal": multimodal,
    }
    return score_row(
        SampleScore(
            row["row_idx"],
            baseline,
            status,
            turns=turn_scores(turns.tolist(), text, multimodal, row["answer_segments"] or ()),
            tokens=tokens if record.tokens else {},
        )
    )


def _mean_row(row: dict[str, Any], record: RunRecord) -> dict[str, Any]:
    """Return a row of ``schemas.IMPORTED_SCORES``."""
    values = {name: row[name] for name in ("row_idx", "status", "reason")}
    values |= {"baseline": record.first_baseline}
    if row["status"] != Status.SCORED:
        return values
    text, multimodal = row["loss_text"], row["loss_multimodal"]
    values |= {"loss_text": text, "loss_multimodal": multimodal}
    return values | {"visnec": visnec_score(text, multimodal)}


def _probe_model(
    workspace: Workspace,
    export: PromptExport,
    model: VisionLanguageModel,
    rows: Sequence[tuple[int, float, float]],
    tolerance: float,
) -> dict[str, Any]:
    """Compare losses with those of the model. Raises InputError if they differ too much.

    ``rows`` are row_idx, multimodal and text-only loss.
    """
    info = model.info
    settings: dict[str, object] = {
        "model_fingerprint": info.fingerprint,
        "template_digest": info.template_digest,
        "model_files": None if info.files is None else dict(info.files),
    }
    if changed := find_differences(export.record, settings):
        raise InputError(f"The model differs from that of the prompts: {'; '.join(changed)}.")
    with tempfile.TemporaryDirectory() as folder:
        scorer = build_scorer(workspace, export.record, model, Path(folder))
        samples = list(read_samples(workspace, [row_idx for row_idx, _, _ in rows]))
        scores = {score.row_idx: score for score in scorer.score(scorer.prepare(samples))}
    differences = []
    for row_idx, *losses in rows:
        own = (scores[row_idx].loss_multimodal, scores[row_idx].loss_text)
        for name, given, expected in zip(PASSES, losses, own, strict=True):
            if expected is not None:
                text = f"row {row_idx}, pass {name}: {given:.6f} in the files, {expected:.6f} here"
                differences.append((abs(given - expected), text))
    largest, worst = max(differences, default=(0.0, f"{info.name} scored none of the samples"))
    if not differences or largest > tolerance:
        raise InputError(
            f"Nothing was imported: the mean losses of {len(differences) // 2:,} samples differ "
            f"from those of {info.name} by up to {largest:.6f} nats ({worst}), and the tolerance "
            f"is {tolerance:g}. Check that the engine got the images and that its positions fit, "
            "or state another --tolerance."
        )
    return {"n": len(differences) // 2, "largest_difference": largest, "tolerance": tolerance}
