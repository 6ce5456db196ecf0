"""Export the prompts of both passes, so that another engine can compute the losses.

The folder has ``prompts.json`` (the settings of the run), ``prompts/part-*.parquet`` (two rows per
sample, one per pass) and ``unscored/part-*.parquet`` (why the other samples have no prompts). Parts
appear whole, so an export that was stopped resumes.
"""

from __future__ import annotations

import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from scoring.dataset.records import read_dataset_info
from scoring.engine.baselines import BLUR, GRAY, SHUFFLED, BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import build_preparer, build_run_record
from scoring.engine.plan import CHUNK_ROWS, Plan, open_plan
from scoring.engine.prefetch import Prefetcher, Window
from scoring.engine.preparation import ImageLoader, Prepared, Preparer, Problem
from scoring.engine.scorer import check_baselines
from scoring.errors import InputError
from scoring.images.containers import read_embedded
from scoring.images.decode import open_image, resolve_image
from scoring.models.base import EncodedSample, PromptReader, VisionLanguageModel
from scoring.runs.record import RunRecord, run_from_json
from scoring.samples import Sample, Status
from scoring.unicode_text import replace_surrogates
from scoring.workspace import Workspace, open_atomic, open_workspace, write_json

PROMPTS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("id", pa.string()),
        ("pass", pa.string()),  # multimodal | text
        ("baseline", pa.string()),  # what replaces the image in the pass text
        ("text", pa.string()),  # the rendered prompt, one placeholder per image
        ("token_ids", pa.list_(pa.int32())),  # with the placeholders expanded
        # token positions in token_ids, without the last; several spans of a turn follow one another
        (
            "answer_spans",
            pa.list_(pa.struct([("turn", pa.int32()), ("start", pa.int32()), ("end", pa.int32())])),
        ),
        ("answer_ids", pa.list_(pa.int32())),  # the token ids of these spans
        ("answer_texts", pa.list_(pa.string())),
        ("answer_segments", pa.list_(pa.int8())),  # 0 content, 1 thought, 2 end of turn
        ("n_visual_tokens", pa.int32()),  # null if the model does not name their id
        # positions in token_ids that no token may attend to, in the pass text of reference
        ("masked_positions", pa.list_(pa.int32())),
        # in the order of the placeholders; bytes only where no file is the image
        ("images", pa.list_(pa.struct([("path", pa.string()), ("bytes", pa.binary())]))),
    ]
)
"""``prompts/part-*.parquet``: what an engine has to read."""

UNSCORED = pa.schema([("row_idx", pa.int64()), ("status", pa.string()), ("reason", pa.string())])
"""``unscored/part-*.parquet``: the samples without prompts."""

MULTIMODAL, TEXT = PASSES = ("multimodal", "text")
SETTINGS = "prompts.json"
PARTS = ("prompts", "unscored")
_VERSION = 1
_PART = "part-{:05d}.parquet"
_PART_ROWS = 64 * CHUNK_ROWS

OnProgress = Callable[[int, int], None]
"""Called with samples done, samples in all."""


@dataclass(frozen=True, slots=True)
class PromptExport:
    """What an export of prompts is about (``prompts.json``)."""

    record: RunRecord  # of the run that the same settings would start
    dataset: str  # fingerprint of the dataset as it was exported
    n_samples: int  # of the plan, from its start
    image_token_id: int | None  # of each visual token in token_ids
    statuses: dict[str, int]  # of these samples, pending with prompts; empty until it is complete
    version: int = _VERSION


def export_prompts(
    workspace: Workspace,
    model: PromptReader,
    folder: Path,
    *,
    baselines: BaselineSettings | None = None,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> PromptExport:
    """Write the prompts of all samples, or the first ``limit`` of a run; resume if it was stopped.

    Args:
        workspace: A workspace with a dataset.
        model: What ``load_prompt_encoder`` returns, or a model.
        folder: A new folder, or that of the same export.
        baselines: The blind baseline of the pass without the image, ``none`` by default.
        limit: The number of samples, in the order of a run.
        on_progress: Called with samples done and in all.

    Raises InputError if the folder is not empty and not of the same export, or the baseline is not
    one that the model supports.
    """
    baselines = baselines or BaselineSettings()
    _check_baseline(model, baselines)
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    info = read_dataset_info(workspace)
    n_samples = info.n_samples if limit is None else min(limit, info.n_samples)
    export = PromptExport(
        record=build_run_record(workspace, model, ScoreOptions(baselines=baselines)),
        dataset=info.fingerprint,
        n_samples=n_samples,
        image_token_id=model.info.image_token_id,
        statuses={},
    )
    export = _begin_export(folder, export)
    plan = open_plan(workspace, export.record.image_index)
    encoder = cast(VisionLanguageModel, model)  # a preparer only encodes
    preparer = build_preparer(workspace, export.record, encoder, folder)
    task = _PromptTask(preparer, workspace)
    for number, start in enumerate(range(0, n_samples, _PART_ROWS)):
        end = min(start + _PART_ROWS, n_samples)
        if not (folder / "unscored" / _PART.format(number)).exists():
            _write_part(folder, number, _generate_rows(plan, task, np.arange(start, end)))
        if on_progress is not None:
            on_progress(end, n_samples)
    export = replace(export, statuses=_count_statuses(folder))
    write_json(folder / SETTINGS, asdict(export))
    return export


def _check_baseline(model: PromptReader, baselines: BaselineSettings) -> None:
    """Raise InputError for a baseline whose prompts cannot be exported."""
    if len(baselines.names) > 1:
        raise InputError(
            f"Prompts are for one blind baseline, not for {', '.join(baselines.names)}. Export "
            "each to a folder of its own."
        )
    if baselines.primary == GRAY and model.neutral_colour() is None:
        raise InputError(
            "Prompts of the baseline gray cannot be exported: which colour the model maps to zero "
            "is measured with its weights, and only its other files are loaded. Choose another "
            "--baseline, such as blur."
        )
    check_baselines(cast(VisionLanguageModel, model), baselines)  # which only encodes


def read_prompt_export(folder: Path) -> PromptExport:
    """Return what a complete export of prompts is about. Raises InputError."""
    export = _read_settings(folder)
    if export is None:
        raise InputError(
            f"{folder} has no {SETTINGS}. Name the folder that export-prompts wrote with --prompts."
        )
    if export.version != _VERSION:
        raise InputError(f"{folder} was written by another version. Run export-prompts again.")
    if export.n_samples and not export.statuses:
        raise InputError(f"The export in {folder} is not complete. Run export-prompts again.")
    return export


def _begin_export(folder: Path, export: PromptExport) -> PromptExport:
    """Write the settings of a new export, or return those of the one to resume."""
    before = _read_settings(folder)
    if before is None:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty. Choose a new folder.")
        write_json(folder / SETTINGS, asdict(export))
        return export
    problem = None
    if before.version != export.version:
        problem = "was written by another version"
    elif before.dataset != export.dataset:
        problem = "has the prompts of other data"
    elif before.record.run_id != export.record.run_id:
        problem = f"has the prompts of {before.record.model} with other settings"
        if before.record.model != export.record.model:
            problem = f"has the prompts of {before.record.model}, not of {export.record.model}"
    elif before.n_samples != export.n_samples:
        problem = (
            f"has the prompts of {before.n_samples:,} samples, and this export has "
            f"{export.n_samples:,}"
        )
    if problem is not None:
        raise InputError(f"{folder} {problem}. Choose a new folder with --to.")
    return before


def _read_settings(folder: Path) -> PromptExport | None:
    path = folder / SETTINGS
    try:
        raw = json.loads(path.read_text("utf-8"))
        return PromptExport(**raw | {"record": run_from_json(raw["record"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"Cannot read {path}: {error}") from error


def _count_statuses(folder: Path) -> dict[str, int]:
    n_rows = sum(pq.read_metadata(path).num_rows for path in folder.glob("prompts/part-*.parquet"))
    statuses = Counter({Status.PENDING.value: n_rows // 2})
    for path in folder.glob("unscored/part-*.parquet"):
        statuses.update(pq.read_table(path, columns=["status"]).column(0).to_pylist())
    return dict(statuses)


def _write_part(folder: Path, number: int, batches: Iterable[Sequence[dict[str, Any]]]) -> None:
    name = _PART.format(number)
    with (
        open_atomic(folder / "unscored" / name) as unscored_file,  # left last: it marks the end
        open_atomic(folder / "prompts" / name) as prompts_file,
        pq.ParquetWriter(unscored_file, UNSCORED, compression="zstd") as unscored,
        pq.ParquetWriter(prompts_file, PROMPTS, compression="zstd") as prompts,
    ):
        for rows in batches:
            for writer, has_status in ((prompts, False), (unscored, True)):
                chosen = [row for row in rows if ("status" in row) is has_status]
                writer.write_table(pa.Table.from_pylist(chosen, writer.schema))


def _generate_rows(
    plan: Plan, task: _PromptTask, positions: NDArray[np.int64]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the samples at ``positions``, which are prepared in threads."""
    windows = deque(np.array_split(positions, -(-len(positions) // CHUNK_ROWS)))
    with Prefetcher(plan, task) as ahead:
        while windows or len(ahead):
            while windows and not ahead.is_full:
                ahead.put_window(Window((), windows.popleft()))
            for items in ahead.get_window()[1]:
                yield task.compute_rows(items)


PreparedPrompt = tuple[Sample, Prepared, list[bytes]]
"""A sample, its two passes, and the images of the blind pass as PNG."""


class _PromptTask:
    """Turns samples into rows of ``PROMPTS``, or of ``UNSCORED``; a ``SampleTask``."""

    def __init__(self, preparer: Preparer, workspace: Workspace) -> None:
        self._preparer, self._roots = preparer, workspace.image_roots
        self._image_token = preparer.model.info.image_token_id
        (self._baseline,) = preparer.baselines

    def prepare(self, samples: Sequence[Sample]) -> list[PreparedPrompt]:
        """Decode and tokenise samples."""
        loader, prompts = ImageLoader(self._roots), []
        for sample, prepared in zip(samples, self._preparer.prepare(samples), strict=True):
            images: list[bytes] = []
            if self._baseline in (GRAY, BLUR, SHUFFLED) and prepared.multimodal is not None:
                shown = loader.load_images(sample.images)
                replaced = self._preparer.replace_images(self._baseline, sample.images, shown)
                images = [] if isinstance(replaced, Problem) else list(map(_to_png, replaced))
            prompts.append((sample, prepared, images))
        return prompts

    def encoded_samples(self, item: PreparedPrompt) -> Iterator[EncodedSample]:
        """Yield the inputs of both passes."""
        passes = (item[1].multimodal, *item[1].blind)
        return (encoded for encoded in passes if isinstance(encoded, EncodedSample))

    def compute_rows(self, items: list[PreparedPrompt]) -> list[dict[str, Any]]:
        """Return two rows per sample, or one with its status."""
        rows: list[dict[str, Any]] = []
        for sample, prepared, replacements in items:
            (blind,) = prepared.blind
            if isinstance(blind, Problem):
                reason = None if blind.reason is None else replace_surrogates(blind.reason)
                status = {"status": blind.status.value, "reason": reason}
                rows.append({"row_idx": sample.row_idx, **status})
                continue
            assert prepared.multimodal is not None  # noqa: S101 - the blind pass was compared to it
            images = [self._describe_image(reference) for reference in sample.images]
            rows.append(self._prompt_row(sample, MULTIMODAL, prepared.multimodal, images))
            blind_images = [{"path": None, "bytes": content} for content in replacements]
            rows.append(self._prompt_row(sample, TEXT, blind, blind_images))
        return rows

    def _prompt_row(
        self, sample: Sample, name: str, encoded: EncodedSample, images: list[dict[str, Any]]
    ) -> dict[str, Any]:
        n_visual_tokens = None
        if self._image_token is not None:
            n_visual_tokens = encoded.input_ids.count(self._image_token)
        return {
            "row_idx": sample.row_idx,
            "id": None if sample.id is None else replace_surrogates(sample.id),
            "pass": name,
            "baseline": self._baseline,
            "text": encoded.text,
            "token_ids": encoded.input_ids,
            "answer_spans": find_spans(encoded.turn_ids),
            "answer_ids": encoded.answer_ids,
            "answer_texts": [replace_surrogates(piece) for piece in encoded.pieces],
            "answer_segments": encoded.segments,
            "n_visual_tokens": n_visual_tokens,
            "masked_positions": _find_masked(encoded),
            "images": images,
        }

    def _describe_image(self, reference: str) -> dict[str, Any]:
        """Return the path of an image, or its bytes if it is only a part of a file."""
        location = resolve_image(reference, self._roots)
        if location.box is not None:
            return {"path": None, "bytes": _to_png(open_image(location))}
        if location.member:
            return {"path": None, "bytes": read_embedded(location.path, location.member)}
        return {"path": str(location.path.resolve()), "bytes": None}


def _to_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _find_masked(encoded: EncodedSample) -> list[int]:
    """Return the positions of tokens that are masked."""
    mask = encoded.inputs.get("attention_mask")  # (1, length)
    return [] if mask is None else np.flatnonzero(np.asarray(mask[0]) == 0).tolist()


def find_spans(turn_ids: Sequence[int]) -> list[dict[str, int]]:
    """Return the spans of answer tokens of one turn each; ``end`` is exclusive."""
    spans, start = [], 0
    for turn, tokens in groupby(turn_ids):
        end = start + sum(1 for _ in tokens)
        if turn >= 0:
            spans.append({"turn": turn, "start": start, "end": end})
        start = end
    return spans
