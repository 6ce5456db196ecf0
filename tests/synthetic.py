"""A small real workspace with exact values from a test, or with plausible random ones.

It writes the files of a workspace itself, with the schemas of the parts, so that the database, the
selection and the pages can be tested without a model. Scores given by a test are stored exactly:
answer token counts are powers of two, and the losses are chosen so that their difference is the
given value to the last bit.

    python -m tests.synthetic DEST [N]
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from scoring import schemas
from scoring.bundled import MODEL_NOTICE
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace, save_settings, write_json

RUN_ID = "tiny-run"
CLUSTERING_ID = "instructions-k6"
CLUSTER_NAMES = ("colour of a shape", "counting", "written digit", "chart bars", "signs", "chat")
CREATED_AT = "2026-01-02T03:04:05Z"
_COLOURS = {"red": "#c0392b", "green": "#27ae60", "blue": "#2c6fbb", "yellow": "#e0b400"}
_SIGNS = ("HARBOUR", "CAFÉ", "EXIT 12", "MUSEUM", "PLATFORM 3")
_HOSTILE = (
    "<script>alert('text is not code')</script> What colour is it?",
    "![a picture](http://example.invalid/beacon.png) **bold** What colour is it?",
    '=HYPERLINK("http://example.invalid") naïve café 図 – what colour is it?',
)
# Statuses that the record alone decides; every other status is detected while scoring.
_BY_RECORD = {
    Status.TEXT_ONLY: "the record names no image",
    Status.NO_ANSWER: "the conversation holds no answer",
}
_REASONS = _BY_RECORD | {
    Status.MISSING_IMAGE: "the image file does not exist",
    Status.BAD_IMAGE: "the image file is truncated",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One sample to write. ``turns`` are (question, answer, tokens, text loss, multimodal loss).

    ``reason`` is why it has no score, ``predictions`` (text-only, multimodal) are the run's
    predictions, ``tokens`` the texts of the first answer's tokens; None: plausible ones, or none.
    """

    status: Status = Status.SCORED
    source: str = "scenes"
    image: str | None = None
    turns: tuple[tuple[str, str, int, float, float], ...] = ()
    cluster: int = 0
    id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    predictions: tuple[str, str] | None = None
    tokens: tuple[str, ...] | None = None


def typed_row(value: float | Status | None, position: int = 0, tokens: int = 4) -> Row:
    """Return a row with exactly this VisNec score, or with this status; None means pending."""
    sources = ("scenes", "digits", "charts")
    source = sources[position % len(sources)]
    row = Row(
        source=source,
        image=f"{source}/{position:05d}.png",
        cluster=position % len(sources),
        id=f"{source}-{position}",
        turns=((f"Question {position}?", f"answer {position}", tokens, 0.0, 0.0),),
    )
    if value is None or isinstance(value, Status):
        status = value or Status.PENDING
        return replace(row, status=status, image=None if status is Status.TEXT_ONLY else row.image)
    text, multimodal = _losses(float(value))
    return replace(
        row, turns=((f"Question {position}?", f"answer {position}", tokens, text, multimodal),)
    )


def make_workspace(
    root: Path,
    n: int = 120,
    with_images: bool = True,
    *,
    visnec: Sequence[float | Status | None] | None = None,
    rows: Sequence[Row] | None = None,
    tokens: Sequence[int] | None = None,
    baselines: Sequence[str] = ("none",),
    with_run: bool = True,
    with_predictions: bool = True,
    with_clusters: bool = True,
    with_decisions: bool = False,
    running: bool = False,
    part_rows: int = 50,
    container: str = "array",
    seed: int = 7,
) -> Workspace:
    """Write a complete small workspace and return it.

    ``rows`` or ``visnec`` (with ``tokens``, powers of two) give the exact samples; otherwise ``n``
    plausible ones are made from ``seed``: several sources, samples sharing an image, several turns,
    hostile text, and rows without a score. ``running`` adds the progress file of an active run.
    """
    if visnec is not None:
        counts = tokens or [4] * len(visnec)
        rows = [typed_row(v, i, t) for i, (v, t) in enumerate(zip(visnec, counts, strict=True))]
    rows = list(rows) if rows is not None else plausible_rows(n, seed)
    workspace = create_workspace(root)
    workspace = replace(workspace, settings=replace(workspace.settings, image_roots=("images",)))
    save_settings(workspace)
    if with_images:
        write_images(root / "images", rows)
    fingerprint = write_dataset(workspace, rows, part_rows, container)
    if with_run:
        write_run(workspace, rows, fingerprint, baselines=baselines, part_rows=part_rows)
        if with_predictions:
            write_predictions(workspace, rows)
        if running:
            write_progress(workspace, rows)
    if with_clusters:
        write_clusters(workspace, rows, fingerprint)
    if with_decisions:
        write_decisions(workspace, len(rows), seed)
    return workspace


def plausible_rows(n: int, seed: int = 7) -> list[Row]:
    """Return samples of five sources in turn, with every kind of row that the pages must show."""
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    return [_plausible_row(i, n, draw) for i in range(n)]


def _plausible_row(i: int, n: int, draw: random.Random) -> Row:
    source = ("scenes", "digits", "charts", "words", "scenes", "chat")[i % 6]
    cluster = {"scenes": draw.randrange(2), "digits": 2, "charts": 3, "words": 4, "chat": 5}[source]
    # The two scenes in each cycle of sources ask about the same picture.
    image = None if source == "chat" else f"{source}/{i // 6:05d}.png"
    row = Row(
        source=source,
        image=image,
        turns=_plausible_turns(source, i, draw),
        cluster=cluster,
        id=None if i % 19 == 3 else f"{source}-{i // 2 if i % 31 == 5 else i}",
        extra={"licence": "CC0", "weight": 1.50} if i % 7 == 0 else {},
    )
    if source == "chat":
        return replace(row, status=Status.TEXT_ONLY)
    if i % 17 == 8:
        return replace(row, status=Status.MISSING_IMAGE, image=f"{source}/missing-{i}.png")
    if i % 23 == 10:
        return replace(row, status=Status.BAD_IMAGE, image=f"{source}/bad-{i}.png")
    if i % 29 == 13:
        return replace(row, status=Status.NO_ANSWER, turns=(("Describe it.", "", 0, 0.0, 0.0),))
    return replace(row, status=Status.PENDING) if i >= n - n // 20 else row


def _plausible_turns(
    source: str, i: int, draw: random.Random
) -> tuple[tuple[str, str, int, float, float], ...]:
    colour, digit = list(_COLOURS)[i // 6 % len(_COLOURS)], draw.randrange(10)
    texts = {
        "scenes": (f"What colour is the {('circle', 'square')[i % 2]}?", f"It is {colour}."),
        "digits": ("Which digit is written here?", str(digit)),
        "charts": (
            "Which bar is the tallest, and by how much?",
            f"Bar {'ABCD'[i % 4]}, by {digit}.",
        ),
        "words": ("What does the sign say?", draw.choice(_SIGNS)),
        "chat": (
            f"What is {digit} plus {i % 10}?",
            f"It is {digit + i % 10}. <image> is only text.",
        ),
    }
    question, answer = texts[source]
    if source == "scenes" and i % 37 in (4, 12, 30):
        question = _HOSTILE[i % len(_HOSTILE)]
    turns = [(question, answer, *_plausible_losses(draw))]
    if source == "scenes" and i % 4 == 0:
        turns.append(("How many shapes are there?", str(1 + i % 4), *_plausible_losses(draw)))
    if i % 16 == 0:
        turns.append(
            ("Is the sky blue on a clear day?", "Yes.", *_plausible_losses(draw, shift=0.0))
        )
    return tuple(turns)


def _plausible_losses(draw: random.Random, shift: float = 0.4) -> tuple[int, float, float]:
    multimodal = abs(draw.gauss(0.5, 0.4))
    return draw.randrange(2, 24), max(multimodal + draw.gauss(shift, 0.6), 0.01), multimodal


def _losses(visnec: float) -> tuple[float, float]:
    """Return losses that differ by exactly ``visnec``, around 0.5 if floating point allows it."""
    if visnec >= -0.5 and (0.5 + visnec) - 0.5 == visnec:
        return 0.5 + visnec, 0.5
    return (visnec, 0.0) if visnec >= 0 else (0.0, -visnec)


def original_record(row_idx: int, row: Row) -> bytes:
    """Return the record of a row as LLaVA JSON; separators and escapes vary from row to row."""
    conversation = []
    for turn, (question, answer, *_) in enumerate(row.turns):
        placeholder = "<image>\n" if row.image and turn == 0 else ""
        conversation.append({"from": "human", "value": placeholder + question})
        if row.status is not Status.NO_ANSWER:
            conversation.append({"from": "gpt", "value": answer})
    record = row.extra | ({} if row.id is None else {"id": row.id})
    record |= {"image": row.image} if row.image else {}
    record |= {"conversations": conversation}
    separators = (", ", ": ") if row_idx % 2 else (",", ":")
    return json.dumps(record, ensure_ascii=row_idx % 3 == 0, separators=separators).encode()


def write_dataset(workspace: Workspace, rows: Sequence[Row], part_rows: int, container: str) -> str:
    """Write the dataset parts and ``dataset.json``; return the dataset's fingerprint."""
    originals = [original_record(i, row) for i, row in enumerate(rows)]
    values = [_dataset_row(i, row, originals[i]) for i, row in enumerate(rows)]
    _write_parts(workspace.dataset_dir, values, schemas.DATASET, part_rows)
    array = container == "array"
    content = b"[" + b",\n".join(originals) + b"]\n" if array else b"\n".join([*originals, b""])
    fingerprint = hashlib.sha256(b"\n".join(originals)).hexdigest()
    file = {
        "name": "records.json" if array else "records.jsonl",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "format": "llava",
        "container": container,
        "n_records": len(rows),
    }
    info = {"fingerprint": fingerprint, "n_samples": len(rows), "imported_at": CREATED_AT}
    write_json(workspace.dataset_dir / "dataset.json", info | {"files": [file]})
    return fingerprint


def _dataset_row(row_idx: int, row: Row, original: bytes) -> dict[str, Any]:
    answered = row.status is not Status.NO_ANSWER
    turns: list[dict[str, Any]] = []
    for turn, (question, answer, *_) in enumerate(row.turns):
        offsets = [0] if row.image and turn == 0 else []
        turns.append({"role": "human", "text": question, "image_offsets": offsets})
        if answered:
            turns.append({"role": "assistant", "text": answer, "image_offsets": []})
    return {
        "row_idx": row_idx,
        "id": row.id,
        "source": row.source,
        "images": [row.image] if row.image else [],
        "n_images": 1 if row.image else 0,
        "n_turns": len(row.turns) if answered else 0,
        "question": row.turns[0][0] if row.turns else "",
        "answer": row.turns[0][1] if row.turns and answered else "",
        "turns": turns,
        "status": row.status if row.status in _BY_RECORD else Status.PENDING,
        "reason": (row.reason or _BY_RECORD[row.status]) if row.status in _BY_RECORD else None,
        "original": original,
    }


def write_run(
    workspace: Workspace,
    rows: Sequence[Row],
    fingerprint: str,
    *,
    run_id: str = RUN_ID,
    model: str = "tiny-vlm",
    baselines: Sequence[str] = ("none",),
    part_rows: int = 50,
    created_at: str = CREATED_AT,
) -> None:
    """Write ``run.json`` and the score parts; pending rows are in none of the parts.

    Each baseline after the first has a text-only loss that is 0.125 nats per answer token lower.
    """
    record = run_record(run_id, model, fingerprint, baselines, created_at)
    write_json(workspace.run_dir(run_id) / "run.json", record)
    values = [
        _score_row(i, row, baseline, 0.125 * b)
        for i, row in enumerate(rows)
        if row.status is not Status.PENDING
        for b, baseline in enumerate(baselines)
    ]
    _write_parts(workspace.run_dir(run_id) / "scores", values, schemas.SCORES, part_rows)


def run_record(
    run_id: str,
    model: str,
    fingerprint: str,
    baselines: Sequence[str],
    created_at: str = CREATED_AT,
) -> dict[str, Any]:
    """Return the contents of ``run.json``."""
    return {
        "run_id": run_id,
        "model": model,
        "model_fingerprint": hashlib.sha256(model.encode()).hexdigest(),
        "model_family": "tiny",
        "dataset_fingerprint": fingerprint,
        "baselines": list(baselines),
        "template": "plain",
        "dtype": "float32",
        "device": "cpu",
        "score_eos": True,
        "max_length": 2048,
        "truncate": False,
        "created_at": created_at,
        "versions": {"visnec-studio": "0.1.0"},
        "notice": MODEL_NOTICE,
    }


def _score_row(row_idx: int, row: Row, baseline: str, lower: float) -> dict[str, Any]:
    turns = [
        {
            "turn": turn,
            "loss_text_sum": (text - lower) * tokens,
            "loss_multimodal_sum": multimodal * tokens,
            "n_answer_tokens": tokens,
        }
        for turn, (_, _, tokens, text, multimodal) in enumerate(row.turns)
    ]
    return {
        "row_idx": row_idx,
        "baseline": baseline,
        "status": row.status,
        "reason": row.reason or _REASONS.get(row.status),
        "truncated": False,
        "turns": turns if row.status is Status.SCORED else [],
        **({} if row.tokens is None else _token_values(row, row.tokens, lower)),
    }


def _token_values(row: Row, texts: Sequence[str], lower: float) -> dict[str, Any]:
    """Return tokens of the first answer, each with the mean loss."""
    _, _, _, text, multimodal = row.turns[0]
    return {
        "token_turns": [0] * len(texts),
        "token_texts": list(texts),
        "token_loss_text": [text - lower] * len(texts),
        "token_loss_multimodal": [multimodal] * len(texts),
    }


def write_predictions(workspace: Workspace, rows: Sequence[Row], run_id: str = RUN_ID) -> None:
    """Write predictions of the scored rows: right with the image, mostly wrong without it."""
    values = []
    for i, row in enumerate(rows):
        if row.status is Status.SCORED:
            usual = (row.turns[0][1] if i % 5 == 0 else "I cannot see it.", row.turns[0][1])
            blind, seeing = row.predictions or usual
            values.append({"row_idx": i, "prediction_text": blind, "prediction_multimodal": seeing})
    _write_parts(workspace.run_dir(run_id) / "predictions", values, schemas.PREDICTIONS, 1000)


def write_progress(workspace: Workspace, rows: Sequence[Row], run_id: str = RUN_ID) -> None:
    """Write a progress file as an active scorer does."""
    done = sum(row.status is not Status.PENDING for row in rows)
    statuses = {str(status): _count(rows, status) for status in Status if _count(rows, status)}
    progress = {
        "phase": "score",
        "state": "running",
        "process": {"host": "example", "machine": "", "pid": 1, "started": ""},
        "updated_at": CREATED_AT,
        "total": len(rows),
        "rate": 12.5,
        "written": {"done": done, "statuses": statuses, "sources": {}},
        "in_flight": {"done": 0, "statuses": {}, "sources": {}},
        "source_totals": {},
    }
    write_json(workspace.run_dir(run_id) / "progress" / "example-1.json", progress)


def _count(rows: Sequence[Row], status: Status) -> int:
    return sum(row.status is status for row in rows)


def write_clusters(
    workspace: Workspace,
    rows: Sequence[Row],
    fingerprint: str,
    clustering_id: str = CLUSTERING_ID,
    names: Sequence[str] = CLUSTER_NAMES,
) -> None:
    """Write a clustering with the cluster numbers of the rows."""
    folder = workspace.clusters_dir / clustering_id
    folder.mkdir(parents=True, exist_ok=True)
    values = [
        {"row_idx": i, "cluster_id": row.cluster, "distance": 0.125 * (i % 7)}
        for i, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(values, schemas.CLUSTERS), folder / "clusters.parquet")
    sizes = [sum(row.cluster == c for row in rows) for c in range(len(names))]
    info = {
        "clustering_id": clustering_id,
        "embedder": "tfidf-svd",
        "k": len(names),
        "seed": 42,
        "created_at": CREATED_AT,
        "dataset_fingerprint": fingerprint,
        "clusters": [
            {"cluster_id": c, "name": name, "size": sizes[c]} for c, name in enumerate(names)
        ],
    }
    write_json(folder / "clustering.json", info)


def decision_event(seq: int, row_idx: int, decision: str | None, **changes: Any) -> dict[str, Any]:
    """Return a line of a decision log, with readable defaults."""
    event = {
        "event_id": f"event-{changes.get('reviewer', 'ada')}-{seq:05d}",
        "seq": seq,
        "reviewer": "ada",
        "row_idx": row_idx,
        "decision": decision,
        "note": None,
        "queue": "lowest",
        "sampling_probability": None,
        "decided_at": f"2026-01-03T10:{seq // 60 % 60:02d}:{seq % 60:02d}Z",
        "undoes": None,
    }
    return event | changes


def append_decisions(
    workspace: Workspace, events: Iterable[dict[str, Any]], log: str = "ada@desk"
) -> None:
    """Append lines to a decision log."""
    workspace.reviews_dir.mkdir(parents=True, exist_ok=True)
    with (workspace.reviews_dir / f"{log}.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def write_decisions(workspace: Workspace, n: int, seed: int = 7) -> None:
    """Write two reviewers who agree on most samples; one decision is undone, one has a note."""
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    seen = draw.sample(range(n), min(n, 12))
    ada = [decision_event(s, r, ("keep", "drop", "unsure")[s % 3]) for s, r in enumerate(seen, 1)]
    ada[0]["note"] = "the image shows it"
    undone = {"undoes": ada[-1]["event_id"]}
    ada.append(decision_event(len(ada) + 1, seen[-1], None, **undone))
    ben = [
        decision_event(
            s, r, "keep" if s == 2 else ("keep", "drop", "unsure")[s % 3], reviewer="ben"
        )
        for s, r in enumerate(seen[:5], 1)
    ]
    append_decisions(workspace, ada, "ada@desk")
    append_decisions(workspace, ben, "ben@laptop")


def write_images(root: Path, rows: Sequence[Row]) -> None:
    """Write a PNG for every row that has an image; truncate bad ones, leave out missing ones."""
    for row in rows:
        if row.image is None or row.status is Status.MISSING_IMAGE or (root / row.image).exists():
            continue
        path = root / row.image
        path.parent.mkdir(parents=True, exist_ok=True)
        render_image(row).save(path)
        if row.status is Status.BAD_IMAGE:
            path.write_bytes(path.read_bytes()[:60])


def render_image(row: Row) -> Image.Image:
    """Return a small picture that matches the row's first answer if its source allows it."""
    answer = row.turns[0][1] if row.turns else ""
    picture = Image.new("RGB", (128, 96), "#f3efe6")
    pen = ImageDraw.Draw(picture)
    colour = next((code for name, code in _COLOURS.items() if name in answer), "#7f5fa0")
    if row.source == "scenes":
        pen.rectangle((0, 66, 128, 96), fill="#cfd8c8")
        pen.ellipse((22, 26, 72, 76), fill=colour)
        pen.rectangle((84, 46, 114, 76), fill="#5b6770")
    elif row.source == "charts":
        for bar, height in enumerate((30, 52, 70, 44)):
            pen.rectangle((14 + 28 * bar, 88 - height, 34 + 28 * bar, 88), fill=colour)
    else:
        pen.text((14, 30), answer[:14], fill="#202020", font_size=36 if len(answer) < 4 else 17)
    return picture


def _write_parts(
    folder: Path, values: Sequence[dict[str, Any]], schema: pa.Schema, part_rows: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, start in enumerate(range(0, len(values), part_rows)):
        table = pa.Table.from_pylist(list(values[start : start + part_rows]), schema)
        pq.write_table(table, folder / f"part-{part:05d}.parquet", compression="zstd")


def main(arguments: Sequence[str]) -> None:
    """Write a workspace with every kind of content."""
    n = int(arguments[1]) if len(arguments) > 1 else 120
    make_workspace(
        Path(arguments[0]), n, baselines=("none", "gray"), with_decisions=True, running=True
    )


if __name__ == "__main__":
    main(sys.argv[1:])
