"""Prompts out and losses back: another engine gives the scores of our own, or is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import scoring
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.database.connection import Store
from scoring.database.queries.export import read_score_rows
from scoring.database.values import Scope
from scoring.dataset.records import read_dataset_info
from scoring.engine.baselines import BaselineSettings
from scoring.errors import InputError, RunConflictError
from scoring.exchange import prompt_export
from scoring.exchange.loss_import import import_losses
from scoring.exchange.prompt_export import export_prompts, find_spans
from scoring.models import load_model, load_prompt_encoder
from scoring.models.hf import HfModel
from scoring.runs.record import read_run
from scoring.workspace import Workspace

DATA = Path(__file__).parent.parent.parent / "data" / "demo"
PER_SOURCE = 4
MULTIMODAL, TEXT = ("multimodal",), ("text",)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model(BUNDLED_MODEL, device="cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model: HfModel) -> Path:
    """A folder with a workspace, scored as ``own``, its prompts, and losses of a plain loop."""
    folder = tmp_path_factory.mktemp("exported")
    chosen: dict[str, list[Row]] = {}
    for record in json.loads((DATA / "records.json").read_text("utf-8")):
        has_turns = len(record["conversations"]) > 2
        kind = chosen.setdefault(f"{record['source']} {has_turns} {'image' in record}", [])
        if len(kind) < PER_SOURCE:
            kind.append(record)
    file = folder / "records.json"
    file.write_text(json.dumps([record for kind in chosen.values() for record in kind]))
    workspace = scoring.create_workspace(folder / "ws")
    scoring.import_dataset(workspace, [file], [DATA / "images"])
    scoring.score_dataset(workspace, model, run_id="own", tokens=True)
    export_prompts(workspace, load_prompt_encoder(BUNDLED_MODEL), folder / "prompts")
    prompts = read_prompts(folder)
    rows = [
        {"row_idx": row["row_idx"], "pass": row["pass"], "losses": losses}
        for row, losses in zip(prompts, plain_losses(prompts), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "losses.parquet")
    return folder


@pytest.fixture
def workspace(exported: Path) -> Workspace:
    return scoring.open_workspace(exported / "ws")


def read_prompts(folder: Path) -> list[Row]:
    parts = sorted((folder / "prompts" / "prompts").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def plain_losses(prompts: list[Row]) -> list[list[float]]:
    """Batch 1, full logits, log-softmax, from the exported rows alone."""
    folder = bundled_folder(BUNDLED_MODEL)
    processor = AutoProcessor.from_pretrained(folder)
    network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    losses = []
    for row in prompts:
        images = [
            Image.open(image["path"] or io.BytesIO(image["bytes"])).convert("RGB")
            for image in row["images"]
        ]
        pixels = processor.image_processor(images, return_tensors="pt") if images else {}
        ids = torch.tensor([row["token_ids"]])
        mask = torch.ones_like(ids)  # (1, length)
        mask[0, row["masked_positions"]] = 0
        with torch.inference_mode():
            logprobs = (
                network(input_ids=ids, attention_mask=mask, **pixels)
                .logits[0]
                .float()
                .log_softmax(-1)
            )
        positions = [at for span in row["answer_spans"] for at in range(span["start"], span["end"])]
        losses.append([-float(logprobs[at - 1, ids[0, at]]) for at in positions])
    return losses


def change_losses(exported: Path, path: Path, change: Callable[[list[Row]], list[Row]]) -> Path:
    rows = change(pq.read_table(exported / "losses.parquet").to_pylist())
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def scores_of(workspace: Workspace, run_id: str, per: str = "sample") -> list[tuple[Any, ...]]:
    batches = read_score_rows(Store(workspace), Scope(run_id), per)
    return [row for rows in batches for row in rows]


def assert_same_scores(own: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    assert len(own) == len(other)
    for expected, row in zip(own, other, strict=True):
        for value, given in zip(expected, row, strict=True):
            if isinstance(value, float):
                assert given == pytest.approx(value, abs=1e-5)
            else:
                assert given == value


def test_a_plain_loop_gives_the_scores_of_our_own_engine(
    exported: Path, workspace: Workspace, model: HfModel
) -> None:
    report = import_losses(
        workspace,
        [exported / "losses.parquet"],
        exported / "prompts",
        run_id="other",
        engine="a plain loop",
        tokens=True,
        model=model,
        probe=5,
        tolerance=1e-4,
    )
    assert report.findings == []
    assert report.probe is not None
    assert report.probe["n"] == 5
    assert report.probe["largest_difference"] < 1e-5
    own, other = scores_of(workspace, "own"), scores_of(workspace, "other")
    assert {row[4] for row in own} == {"scored", "text_only", "missing_image"}
    assert_same_scores(own, other)
    turns = scores_of(workspace, "own", "turn")
    assert len(turns) > len(own)
    assert_same_scores(turns, scores_of(workspace, "other", "turn"))
    record = read_run(workspace, "other")
    assert (record.model, record.model_fingerprint, record.dtype) == (BUNDLED_MODEL, "", "")
    assert "a plain loop" in str(record.notice)


@pytest.mark.parametrize("baseline", ["reference", "gray", "blur", "shuffled"])
def test_prompts_of_each_baseline_give_our_own_scores(
    workspace: Workspace, model: HfModel, tmp_path: Path, baseline: str
) -> None:
    folder = tmp_path / baseline
    scoring.score_dataset(workspace, model, baselines=(baseline,), run_id=f"own-{baseline}")
    settings = BaselineSettings((baseline,))
    encoder = model if baseline == "gray" else load_prompt_encoder(BUNDLED_MODEL)
    export_prompts(workspace, encoder, folder / "prompts", baselines=settings, limit=12)
    prompts = read_prompts(folder)
    texts = [row for row in prompts if row["pass"] in TEXT]
    assert {row["baseline"] for row in prompts} == {baseline}
    assert all(bool(row["masked_positions"]) == (baseline == "reference") for row in texts)
    assert all(bool(row["images"]) == (baseline != "reference") for row in texts)
    rows = [
        {"row_idx": row["row_idx"], "pass": row["pass"], "losses": losses}
        for row, losses in zip(prompts, plain_losses(prompts), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "losses.parquet")
    report = import_losses(
        workspace,
        [folder / "losses.parquet"],
        folder / "prompts",
        run_id=f"other-{baseline}",
        model=model,
        probe=3,
        tolerance=1e-4,
    )
    assert report.findings == []
    own, other = (
        [
            row
            for rows in read_score_rows(Store(workspace), Scope(f"{name}-{baseline}", baseline))
            for row in rows
        ]
        for name in ("own", "other")
    )
    scored = {row[0] for row in other if row[4] == "scored"}
    assert len(scored) == len(texts) > 5
    assert_same_scores(
        [row for row in own if row[0] in scored], [row for row in other if row[0] in scored]
    )


def test_baselines_whose_prompts_cannot_be_exported_are_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    encoder = load_prompt_encoder(BUNDLED_MODEL)
    for names, message in ((("gray",), "measured with its weights"), (("none", "blur"), "one bl")):
        with pytest.raises(InputError, match=message):
            export_prompts(workspace, encoder, tmp_path / "new", baselines=BaselineSettings(names))
    assert not (tmp_path / "new").exists()


def test_importing_again_changes_nothing(exported: Path, workspace: Workspace) -> None:
    files, prompts = [exported / "losses.parquet"], exported / "prompts"
    first = import_losses(workspace, files, prompts)
    assert import_losses(workspace, files, prompts).already
    with pytest.raises(RunConflictError, match="tokens"):
        import_losses(workspace, files, prompts, run_id=first.run_id, tokens=True)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_means_give_a_run_without_turns(
    exported: Path, workspace: Workspace, tmp_path: Path, suffix: str
) -> None:
    lengths = {
        (row["row_idx"], row["pass"]): len(row["token_ids"]) for row in read_prompts(exported)
    }
    rows = [
        {
            "row_idx": row["row_idx"],
            "pass": row["pass"],
            "loss": float(np.mean(row["losses"])),
            "n_prompt_tokens": lengths[row["row_idx"], row["pass"]],
        }
        for row in pq.read_table(exported / "losses.parquet").to_pylist()
    ]
    wrong = rows[0]["row_idx"]
    rows[0]["n_prompt_tokens"] -= 1
    frame, file = pd.DataFrame(rows), tmp_path / f"means.{suffix}"
    if suffix == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_json(file, orient="records", lines=True, double_precision=15)
    import_losses(workspace, [file], exported / "prompts", run_id=f"means-{suffix}")
    own, means = (
        {row[0]: row[4:9] for row in scores_of(workspace, run)}
        for run in ("own", f"means-{suffix}")
    )
    assert means.pop(wrong)[0] == "placeholder_mismatch"
    del own[wrong]
    assert_same_scores(list(own.values()), list(means.values()))
    with pytest.raises(InputError, match="no scores per turn"):
        scores_of(workspace, f"means-{suffix}", "turn")


def test_a_folder_of_parts_is_read(exported: Path, workspace: Workspace, tmp_path: Path) -> None:
    table, folder = pq.read_table(exported / "losses.parquet"), tmp_path / "parts"
    folder.mkdir()
    pq.write_table(table.slice(0, 9), folder / "a.parquet")
    pq.write_table(table.slice(9), folder / "b.parquet")
    (folder / "_SUCCESS").touch()
    import_losses(workspace, [folder], exported / "prompts", run_id="folder")
    assert_same_scores(scores_of(workspace, "own"), scores_of(workspace, "folder"))
    with pytest.raises(InputError, match="is not a file"):
        import_losses(workspace, [tmp_path / "missing"], exported / "prompts")


def test_log_probabilities_are_negated_and_refused_as_losses(
    exported: Path, workspace: Workspace, tmp_path: Path
) -> None:
    def negate(rows: list[Row], name: str) -> list[Row]:
        return [
            {"row_idx": row["row_idx"], "pass": row["pass"], name: [-x for x in row["losses"]]}
            for row in rows
        ]

    file = change_losses(exported, tmp_path / "a.parquet", lambda rows: negate(rows, "logprobs"))
    import_losses(workspace, [file], exported / "prompts", run_id="logprobs")
    assert_same_scores(scores_of(workspace, "own"), scores_of(workspace, "logprobs"))
    wrong = change_losses(exported, tmp_path / "b.parquet", lambda rows: negate(rows, "losses"))
    with pytest.raises(InputError, match="a column logprobs"):
        import_losses(workspace, [wrong], exported / "prompts")


def test_every_row_that_does_not_fit_has_a_status_and_a_reason(
    exported: Path, workspace: Workspace, tmp_path: Path
) -> None:
    prompts = read_prompts(exported)
    ids = {(row["row_idx"], row["pass"]): row["token_ids"] for row in prompts}
    odd = sorted({row["row_idx"] for row in prompts})[:8]

    def damage(rows: list[Row]) -> list[Row]:
        kept: list[Row] = []
        for row in rows:
            key = (row["row_idx"], row["pass"])
            row |= {"prompt_token_ids": ids[key], "error": None, "id": None}
            row["n_visual_tokens"] = None
            if key == (odd[0], "text"):
                continue
            if key == (odd[1], "multimodal"):  # the image was dropped on the way
                row["prompt_token_ids"] = ids[key][:20]
            if key == (odd[2], "text"):
                row["prompt_token_ids"] = [*ids[key][:-1], 1 + ids[key][-1]]
            if key == (odd[3], "multimodal"):
                row["losses"] = row["losses"][1:]
            if key == (odd[4], "text"):
                row["losses"] = [float("nan"), *row["losses"][1:]]
            if key == (odd[5], "multimodal"):
                row |= {"losses": None, "error": "out of memory"}
            if key == (odd[6], "multimodal"):
                row["n_visual_tokens"] = 1
            if key == (odd[7], "text"):
                row["id"] = "another"
            kept.append(row)
        return [*kept, kept[-1], {**kept[0], "row_idx": 10_000}]

    file = change_losses(exported, tmp_path / "losses.parquet", damage)
    report = import_losses(workspace, [file], exported / "prompts", run_id="damaged")
    assert sum(report.statuses.values()) == read_dataset_info(workspace).n_samples
    rows = {row[0]: (row[4], str(row[5])) for row in scores_of(workspace, "damaged")}
    statuses = [rows[row][0] for row in odd]
    assert statuses == [
        *("pending", "placeholder_mismatch", "token_mismatch", "token_mismatch"),
        *("non_finite", "pending", "placeholder_mismatch", "pending"),
    ]
    reasons = [
        *("no row for its pass text", "read 20 tokens of its pass multimodal instead of"),
        *("other tokens of its pass text", "losses of its pass multimodal for"),
        *("not a finite number", "no loss for its pass multimodal: out of memory"),
        *("read 1 visual tokens of its pass multimodal", "pass text has another id"),
    ]
    for row, reason in zip(odd, reasons, strict=True):
        assert reason in rows[row][1]
    assert {issue["what"]: issue["n"] for issue in report.findings} == {
        "row_idx and pass repeated; the first row is used": 1,
        "row without a prompt in the export": 1,
        "prompt without a row in the files": 1,
        "row without losses": 1,
        "another id": 1,
        "other number of visual tokens": 1,
        "other number of visual or special tokens": 1,
        "other prompt tokens": 1,
        "other number of losses than answer tokens": 1,
        "loss that is not a finite number": 1,
    }


def test_losses_without_the_image_are_refused_by_the_probe(
    exported: Path, workspace: Workspace, model: HfModel, tmp_path: Path
) -> None:
    def drop_images(rows: list[Row]) -> list[Row]:
        blind = {row["row_idx"]: row["losses"] for row in rows if row["pass"] in TEXT}
        return [row | {"losses": blind[row["row_idx"]]} for row in rows]

    file = change_losses(exported, tmp_path / "losses.parquet", drop_images)
    with pytest.raises(InputError, match=r"pass multimodal: .* in the files, .* here"):
        import_losses(workspace, [file], exported / "prompts", run_id="blind", model=model, probe=8)
    assert not workspace.run_dir("blind").exists()
    import_losses(workspace, [file], exported / "prompts", run_id="blind")  # without a probe
    with pytest.raises(InputError, match=r"pass multimodal: .* in the files, .* here"):
        import_losses(workspace, [file], exported / "prompts", run_id="blind", model=model, probe=8)
    assert not list(workspace.root.glob(".import-losses*"))


def test_a_limited_export_resumes_and_leaves_the_rest_pending(
    exported: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_export, "_PART_ROWS", 4)
    encoder, folder = load_prompt_encoder(BUNDLED_MODEL), tmp_path / "prompts"
    whole = export_prompts(workspace, encoder, folder, limit=10)
    assert sum(whole.statuses.values()) == 10
    assert len(list((folder / "prompts").iterdir())) == 3
    before = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    (folder / "unscored" / "part-00001.parquet").unlink()
    (folder / "prompts" / "part-00001.parquet").unlink()
    assert export_prompts(workspace, encoder, folder, limit=10) == whole
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == before
    with pytest.raises(InputError, match=r"of 10 samples, and this export has 11\. Choose a new"):
        export_prompts(workspace, encoder, folder, limit=11)
    report = import_losses(workspace, [exported / "losses.parquet"], folder, run_id="ten")
    assert report.statuses["scored"] == whole.statuses["pending"]
    assert report.statuses["pending"] == report.n_samples - 10
    assert any(
        "its prompts were not exported" in str(row[5]) for row in scores_of(workspace, "ten")
    )


def test_prompts_are_complete_and_need_no_weights(exported: Path, model: HfModel) -> None:
    settings = json.loads((exported / "prompts" / "prompts.json").read_text("utf-8"))
    assert settings["record"]["model_fingerprint"] == model.info.fingerprint
    assert settings["record"]["template_digest"] == model.info.template_digest
    for row in read_prompts(exported):
        inside = [
            token
            for span in row["answer_spans"]
            for token in row["token_ids"][span["start"] : span["end"]]
        ]
        assert row["answer_ids"] == inside
        has_image = row["pass"] in MULTIMODAL
        assert (row["n_visual_tokens"] > 0) is has_image is bool(row["images"])
        assert row["token_ids"].count(settings["image_token_id"]) == row["n_visual_tokens"]
        assert len(row["answer_segments"]) == len(row["answer_texts"]) == len(inside)


def test_spans_of_one_turn_may_be_interrupted() -> None:
    assert find_spans([-1, 0, 0, -1, 0, 1]) == [
        {"turn": 0, "start": 1, "end": 3},
        {"turn": 0, "start": 4, "end": 5},
        {"turn": 1, "start": 5, "end": 6},
    ]


@pytest.mark.parametrize(
    ("columns", "problem", "found"),
    [
        ({"row_idx": [0], "losses": [[0.5]]}, "it lacks pass", "row_idx, losses"),
        (
            {"row_idx": [0], "pass": ["text"], "score": [1.0]},
            "it lacks losses, logprobs or loss",
            "row_idx, pass, score",
        ),
        (
            {"row_idx": [0], "pass": ["text"], "loss": [1.0], "losses": [[1.0]]},
            "has both losses and loss. Leave out all but one",
            "loss, losses",
        ),
    ],
)
def test_other_files_are_refused_with_what_they_have(
    exported: Path, workspace: Workspace, tmp_path: Path, columns: Row, problem: str, found: str
) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=f"{problem}.*Found: .*{found}.*Accepted: row_idx; pass"):
        import_losses(workspace, [path], exported / "prompts")
