"""Importing and exporting score files: every row and every sample is accounted for."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import score_summary
from scoring.database.queries.score_import import FAILURES, ScoreMatcher
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.errors import InputError, RunConflictError
from scoring.exchange import imported_scores
from scoring.exchange.imported_scores import import_scores
from scoring.exchange.score_export import export_scores, write_score_csv
from scoring.exchange.score_files import read_score_cells
from scoring.issues import ImportIssues
from scoring.runs.record import read_run
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace
from tests.synthetic import make_workspace

HEADER = "row_idx,id,image_path,loss_multimodal,loss_text,visnec\n"
# Row 0 is scenes-0 on scenes/00000.png, 1 digits-1, 2 charts-2, 3 scenes-3, and so on.
SAMPLES = [0.5, 0.1, None, Status.TEXT_ONLY, 0.3, 0.2, 0.1, 0.9]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Eight samples without a run, the fourth without an image."""
    return make_workspace(
        tmp_path / "ws", visnec=SAMPLES, with_run=False, with_images=False, with_clusters=False
    )


def write_csv(folder: Path, rows: str, header: str = HEADER, name: str = "scores.csv") -> Path:
    path = folder / name
    path.write_text(header + rows)
    return path


def rows_of(workspace: Workspace, run: str) -> list[dict[str, object]]:
    parts = sorted((workspace.run_dir(run) / "scores").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def issues_of(report: imported_scores.ImportReport) -> dict[str, tuple[int, list[str]]]:
    return {issue["what"]: (issue["n"], issue["examples"]) for issue in report.findings}


def test_every_row_and_every_sample_is_accounted_for(workspace: Workspace, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "0,scenes-0,scenes/00000.png,0.500000,1.250000,0.750000\n"
        "1,digits-1,/data/digits/00001.png,nan,1.0,nan\n"
        "3,scenes-3,,0.1,0.1,0.0\n"
        "4,other,digits/00004.png,0.1,0.1,0.0\n"
        "5,charts-5,elsewhere.png,0.1,0.1,0.0\n"
        "6,scenes-6,,0.1,0.9,0.3\n"
        "6,scenes-6,,0.7,0.9,0.2\n"
        "99,x,,1,1,0\n"
        "abc,x,,1,1,0\n"
        "7,digits-7,digits/00007.png\n",
    )
    report = import_scores(workspace, path, run_id="paper", model="LLaVA-1.5-7B")
    assert report.n_rows == 10
    assert report.statuses == {"scored": 2, "non_finite": 1, "pending": 4, "text_only": 1}
    assert issues_of(report) == {
        "row with the wrong number of cells": (
            1,
            ["3 cells instead of 6: '7,digits-7,digits/00007.png'"],
        ),
        "row_idx is not a number": (1, ["'abc'"]),
        "row_idx outside of the dataset": (1, ["99"]),
        "row_idx repeated; the first row is used": (1, ["row_idx 6 in row 7 of the file"]),
        "score for a sample that cannot have one": (1, ["row 3, which is text_only"]),
        "another id": (1, ["row 4, id 'other' in the file, 'digits-4' here"]),
        "another image": (
            1,
            ["row 5, 'elsewhere.png' in the file, 'charts/00005.png' here"],
        ),
        "visnec is not loss_text - loss_multimodal; the losses are used": (
            1,
            ["row 6, 0.3 instead of 0.8"],
        ),
        "sample without a row in the file": (2, ["row 2", "row 7"]),
    }
    rows = rows_of(workspace, "paper")
    assert [(row["row_idx"], row["status"], row["reason"]) for row in rows] == [
        (0, "scored", None),
        (1, "non_finite", "a loss in scores.csv is not a finite number"),
        (2, "pending", "scores.csv has no row for it"),
        (3, "text_only", "the record names no image"),
        (4, "pending", "its row in scores.csv has another id"),
        (5, "pending", "its row in scores.csv has another image"),
        (6, "scored", None),
        (7, "pending", "scores.csv has no row for it"),
    ]
    assert (rows[0]["loss_text"], rows[0]["loss_multimodal"], rows[0]["visnec"]) == (
        1.25,
        0.5,
        0.75,
    )
    assert (rows[1]["loss_text"], rows[3]["visnec"]) == (None, None)
    assert rows[6]["visnec"] == 0.9 - 0.1


def test_unknown_settings_stay_unknown(workspace: Workspace, tmp_path: Path) -> None:
    path = write_csv(tmp_path, "0,scenes-0,,0.5,1.25,0.75\n")
    run = import_scores(workspace, path, model="LLaVA-1.5-7B").run_id
    record = read_run(workspace, run)
    assert (record.model, record.model_fingerprint, record.score_eos) == ("LLaVA-1.5-7B", "", None)
    assert record.imported_from is not None
    assert record.imported_from.startswith("scores.csv sha256:")
    assert "imported from scores.csv" in str(record.notice)
    store = Store(workspace)
    detail = sample_detail(store, Scope(run), 0)
    (score,) = detail.scores
    assert (score["visnec"], score["n_answer_tokens"], score["n_end_tokens"]) == (0.75, None, None)
    assert detail.turn_scores == []
    summary = score_summary(store.selection(Scope(run)))
    assert (summary.n_scored, summary.answer_tokens) == (1, None)


def test_importing_again_changes_nothing_and_other_scores_are_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, "0,,,0.5,1.25,0.75\n")
    first = import_scores(workspace, path, run_id="paper")
    again = import_scores(workspace, path, run_id="paper")
    assert again == replace(first, already=True)
    other = write_csv(tmp_path, "0,,,0.5,1.5,1.0\n", name="other.csv")
    with pytest.raises(RunConflictError, match=r"imported from scores.csv .*--run"):
        import_scores(workspace, other, run_id="paper")
    with pytest.raises(RunConflictError, match="baselines"):
        import_scores(workspace, path, run_id="paper", baseline="reference")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as CSV"),
        (
            "row_idx,loss\n0,1\n",
            r"lacks loss_multimodal, loss_text \(.*\)\. Found: 'row_idx, l",
        ),
        (
            "row_idx,loss_text,loss_multimodal,loss_text\n0,1,1,1\n",
            "has more than one column named loss_text",
        ),
        (HEADER, "No row of .* fits this dataset of 8 samples"),
        (HEADER + "0,a,,1,1,0\n1,b,,1,1,0\n", r"another id: 2 \(such as row 0, id 'a'.*--no-check"),
        (HEADER + "500,a,,1,1,0\n", r"row_idx outside of the dataset: 1 \(such as 500\)"),
    ],
)
def test_files_that_do_not_fit_the_dataset_are_refused(
    workspace: Workspace, tmp_path: Path, content: str, message: str
) -> None:
    path = write_csv(tmp_path, content, header="")
    with pytest.raises(InputError, match=message):
        import_scores(workspace, path)
    assert not list(workspace.runs_dir.glob("*"))
    assert not list(workspace.root.glob(".import-scores*"))


def test_unchecked_rows_are_joined_by_row_idx(workspace: Workspace, tmp_path: Path) -> None:
    path = write_csv(tmp_path, "0,a,x.png,1,2,1\n1,b,,1,2,1\n")
    report = import_scores(workspace, path, check=False)
    assert report.statuses["scored"] == 2


def test_any_order_of_rows_and_columns_and_compression(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported_scores, "_PART_ROWS", 3)
    path = tmp_path / "scores.csv.gz"
    rows = ["\ufeffextra,loss_text,loss_multimodal,row_idx"]
    rows += [f'"a\nb",{row}.5,{row}.25,{row}' for row in (7, 0, 4, 2, 6, 1, 5)]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    report = import_scores(workspace, path, run_id="paper")
    assert report.statuses == {"scored": 7, "text_only": 1}
    assert issues_of(report) == {"column ignored": (1, ["extra"])}
    written = {row["row_idx"]: row["loss_text"] for row in rows_of(workspace, "paper")}
    assert written == {0: 0.5, 1: 1.5, 2: 2.5, 3: None, 4: 4.5, 5: 5.5, 6: 6.5, 7: 7.5}
    assert len(list((workspace.run_dir("paper") / "scores").glob("*.parquet"))) == 3


@pytest.mark.parametrize("cell", ["", "inf", "-inf", "NaN", "much", "0x1", "1_0"])
def test_losses_that_are_not_finite_become_a_status(
    workspace: Workspace, tmp_path: Path, cell: str
) -> None:
    path = write_csv(tmp_path, f"0,,,0.5,{cell},0.1\n1,,,0.5,1.0,{cell}\n")
    report = import_scores(workspace, path, run_id="paper")
    assert (report.statuses["non_finite"], report.statuses["scored"]) == (1, 1)
    assert rows_of(workspace, "paper")[1]["visnec"] == 0.5


def exported(workspace: Workspace, run: str, **options: object) -> str:
    file = io.StringIO()
    export_scores(Store(workspace), Scope(run), file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_the_papers_csv_round_trips_unchanged(workspace: Workspace, tmp_path: Path) -> None:
    rows = (
        "0,scenes-0,scenes/00000.png,0.100000,0.300000,0.200000\n"
        "4,digits-4,digits/00004.png,1.234567,0.234567,-1.000000\n"
        "7,digits-7,digits/00007.png,0.333333,1.000000,0.666666\n"
    )
    import_scores(workspace, write_csv(tmp_path, rows), run_id="paper")
    assert exported(workspace, "paper", decimals=6) == HEADER + rows
    # Without a number of decimals the numbers are the same, in their shortest form.
    assert exported(workspace, "paper") == HEADER + (
        "0,scenes-0,scenes/00000.png,0.1,0.3,0.2\n"
        "4,digits-4,digits/00004.png,1.234567,0.234567,-1.0\n"
        "7,digits-7,digits/00007.png,0.333333,1.0,0.666666\n"
    )


def test_exported_scores_round_trip_bit_for_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-7, -3.0000000000000004, None, 2.5]
    workspace = make_workspace(
        tmp_path / "ws", visnec=values, with_images=False, with_clusters=False
    )
    build_database(workspace)
    text = exported(workspace, "tiny-run")
    import_scores(workspace, write_csv(tmp_path, text, header=""), run_id="back")
    assert exported(workspace, "back") == text


def test_the_full_csv_has_every_sample_and_no_formula(workspace: Workspace, tmp_path: Path) -> None:
    import_scores(workspace, write_csv(tmp_path, "0,,,1.5,0.5,-1\n"), run_id="paper")
    lines = exported(workspace, "paper", file_format="csv").splitlines()
    assert len(lines) == 9
    assert lines[1] == "0,scenes-0,scenes,scenes/00000.png,scored,,1.5,0.5,-1.0,,,,"
    assert lines[2].endswith("pending,scores.csv has no row for it,,,,,,,")
    with pytest.raises(InputError, match="visnec-csv, csv, jsonl, parquet"):
        exported(workspace, "paper", file_format="xlsx")
    with pytest.raises(InputError, match="no scores per turn"):
        exported(workspace, "paper", file_format="csv", per="turn")
    with pytest.raises(InputError, match="one row per sample"):
        exported(workspace, "paper", per="turn")


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_each_format_has_every_sample_and_reads_back(tmp_path: Path, file_format: str) -> None:
    values = [0.1 + 0.2, 1e-7, Status.TEXT_ONLY, None, 2.5]
    workspace = make_workspace(
        tmp_path / "ws", visnec=values, with_images=False, with_clusters=False
    )
    build_database(workspace)
    path = tmp_path / "scores"  # the kind is found by the content, not by the name
    with path.open("wb") as file:
        target = file if file_format == "parquet" else io.TextIOWrapper(file, "utf-8", newline="")
        export_scores(Store(workspace), Scope("tiny-run"), target, file_format=file_format)
        target.flush()
    report = import_scores(workspace, path, run_id="back")
    assert report.n_rows == 5
    kinds = {issue["what"] for issue in report.findings}
    assert kinds == {"column ignored", "row without losses"}
    assert exported(workspace, "back") == exported(workspace, "tiny-run")


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_statuses_come_back_with_their_reasons(tmp_path: Path, file_format: str) -> None:
    values = [0.5, *([0.1] * len(FAILURES)), Status.TEXT_ONLY, 0.5]
    workspace = make_workspace(
        tmp_path / "ws", visnec=values, with_run=False, with_images=False, with_clusters=False
    )
    lines = [f"{row},,,{status},because" for row, status in enumerate(FAILURES, 1)]
    first = write_csv(
        tmp_path,
        "\n".join(["0,1,2,scored,", *lines]),
        header="row_idx,loss_multimodal,loss_text,status,reason\n",
    )
    import_scores(workspace, first, run_id="first")
    path = tmp_path / "scores"
    with path.open("wb") as file:
        target = file if file_format == "parquet" else io.TextIOWrapper(file, "utf-8", newline="")
        export_scores(Store(workspace), Scope("first"), target, file_format=file_format)
        target.flush()
    import_scores(workspace, path, run_id="back")

    def outcomes(run: str) -> list[tuple[object, object]]:
        return [(row["status"], row["reason"]) for row in rows_of(workspace, run)]

    back = outcomes("back")
    assert back[1:-2] == [(status, "because") for status in FAILURES]
    assert back[:-1] == outcomes("first")[:-1]
    assert back[-1] == ("pending", "scores has no losses for it")


def test_a_status_is_used_only_where_it_can_be_true(workspace: Workspace, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "0,scenes-0,1,2,bad_image\n"
        "1,digits-1,1,2,ok\n"
        "2,charts-2,,,text_only\n"
        "3,scenes-3,,,bad_image\n"
        "4,digits-4,,,too_long\n"
        "5,other,,,too_long\n",
        header="row_idx,id,loss_multimodal,loss_text,status\n",
    )
    report = import_scores(workspace, path, run_id="elsewhere")
    assert [row["status"] for row in rows_of(workspace, "elsewhere")] == [
        *("bad_image", "scored", "pending", "text_only", "too_long", "pending", "pending"),
        "pending",
    ]
    issues = issues_of(report)
    assert issues["unknown status; the row is used without it"] == (1, ["'ok'"])
    assert issues["losses of a row that has the status of one without; they are not used"] == (
        1,
        ["row 0, which is bad_image in the file"],
    )
    assert issues["another id"][0] == 1


def test_ids_that_a_spreadsheet_would_run_come_back(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\n?"}, {"from": "gpt", "value": "!"}]
    record = json.dumps({"id": "=1+1", "image": "-a.png", "conversations": turns})
    (tmp_path / "records.jsonl").write_text(record + "\n")
    workspace = create_workspace(tmp_path / "formulas")
    import_dataset(workspace, [tmp_path / "records.jsonl"])
    scores = write_csv(tmp_path, "0,1,2\n", header="row_idx,loss_multimodal,loss_text\n")
    import_scores(workspace, scores, run_id="a")
    text = exported(workspace, "a", file_format="csv")
    assert "0,'=1+1," in text
    report = import_scores(workspace, write_csv(tmp_path, text, header=""), run_id="b")
    assert report.statuses == {"scored": 1}


def test_turns_are_exported_with_their_samples(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, None], with_images=False)
    build_database(workspace)
    text = exported(workspace, "tiny-run", file_format="jsonl", per="turn")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["row_idx"] for row in rows if row["turn"] is None] == [1]
    turns = [row for row in rows if row["row_idx"] == 0]
    assert [row["turn"] for row in turns] == list(range(len(turns)))
    n = sum(row["n_answer_tokens"] for row in turns)
    assert sum(row["visnec"] * row["n_answer_tokens"] for row in turns) / n == pytest.approx(0.5)
    path = tmp_path / "turns.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="one row per turn"):
        import_scores(workspace, path)


GDO = [
    {
        "qa_uid": uid,
        "bucket": "b",
        "data_quality_metrics": {"loss_video": a, "loss_blind": b, "vds": v, "ppl": 1},
    }
    for uid, a, b, v in [
        ("digits-1", 0.5, 1.25, 0.75),
        ("scenes-0", None, None, None),
        ("unknown", 1, 1, 0),
        ("charts-2", float("nan"), 1.0, None),
    ]
]


def test_gdo_files_are_joined_by_id(workspace: Workspace, tmp_path: Path) -> None:
    lines = [json.dumps(record) for record in GDO]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    report = import_scores(workspace, path, run_id="gdo")
    assert report.n_rows == 5
    assert report.statuses == {"scored": 1, "non_finite": 1, "pending": 5, "text_only": 1}
    rows = rows_of(workspace, "gdo")
    assert (rows[1]["loss_multimodal"], rows[1]["loss_text"], rows[1]["visnec"]) == (
        0.5,
        1.25,
        0.75,
    )
    assert rows[0]["reason"] == "metrics.jsonl has no losses for it"
    issues = issues_of(report)
    assert issues["line that is not a JSON object"] == (1, ["line 2"])
    assert issues["id that no sample has"] == (1, ["'unknown'"])
    assert issues["column ignored"][0] == 2
    array = tmp_path / "metrics.json"
    array.write_text(json.dumps(GDO, indent=1))
    assert import_scores(workspace, array, run_id="array").statuses == report.statuses
    table = tmp_path / "metrics.parquet"
    pq.write_table(pa.Table.from_pylist(GDO), table)
    assert import_scores(workspace, table, run_id="table").statuses == report.statuses
    packed = tmp_path / "metrics.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert import_scores(workspace, packed, run_id="packed").statuses == report.statuses


def test_a_file_per_pass_is_paired(workspace: Workspace, tmp_path: Path) -> None:
    seen, blind = tmp_path / "seen.jsonl", tmp_path / "blind.csv"
    rows = [("scenes-0", 0.5), ("digits-1", 0.25), ("charts-2", 0.1), ("unknown", 1.0)]
    lines = [{"id": name, "loss": loss, "messages": []} for name, loss in rows]
    seen.write_text("".join(json.dumps(line) + "\n" for line in lines))
    blind.write_text("id,loss\ndigits-1,2.0\nscenes-0,1.25\ndigits-4,1\n")
    report = import_scores(workspace, seen, blind=blind, run_id="pair")
    assert report.n_rows == 7
    assert report.statuses == {"scored": 2, "pending": 5, "text_only": 1}
    scores = [row["visnec"] for row in rows_of(workspace, "pair")]
    assert scores == [0.75, 1.75, *[None] * 6]
    assert issues_of(report) == {
        "column ignored": (1, ["messages"]),
        "id that no sample has": (1, ["'unknown'"]),
        "row of the blind file without a row in the other": (1, ["row 4"]),
        "row without losses": (1, ["row 2"]),
        "sample without a row in the file": (4, ["row 4", "row 5", "row 6", "row 7"]),
    }
    assert import_scores(workspace, seen, blind=blind, run_id="pair").already
    with pytest.raises(InputError, match=r"lacks loss_multimodal, loss_text \(.*--blind\)"):
        import_scores(workspace, seen)


def test_ids_that_several_samples_have_name_none(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path / "ws", visnec=[0.1, 0.2], with_run=False, with_images=False, with_clusters=False
    )
    part = next(workspace.dataset_dir.glob("part-*.parquet"))
    table = pq.read_table(part)
    ids = pa.array(["same", "same"], pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), part)
    path = write_csv(tmp_path, "same,0.5,1.5\n", header="id,loss_full,loss_blind\n")
    with pytest.raises(InputError, match=r"id that several samples have: 1 \(such as 'same'\)"):
        import_scores(workspace, path)


def test_formulas_are_neutralised_and_numbers_are_not() -> None:
    file = io.StringIO()
    write_score_csv(file, ("id", "visnec"), [[("=1+1", -0.5), ("@x", 1e-7), (None, None)]])
    assert file.getvalue() == "id,visnec\n'=1+1,-0.5\n'@x,1e-07\n,\n"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_number_reads_back_as_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    columns = ("row_idx", "loss_multimodal", "loss_text")
    with (folder / "scores.csv").open("w", newline="") as file:
        write_score_csv(file, columns, [[(row, x, -x) for row, x in enumerate(numbers)]])
    n = len(numbers)
    samples = pa.table(
        {
            "row_idx": range(n),
            "id": pa.nulls(n, pa.string()),
            "images": [["a.png"]] * n,
            "status": ["pending"] * n,
            "reason": pa.nulls(n, pa.string()),
        }
    )
    issues = ImportIssues()
    with ScoreMatcher(folder) as matcher:
        assert matcher.add_rows(read_score_cells(folder / "scores.csv", issues)) == n
        assert matcher.match_samples([samples], issues, check=True) == n
        (scores,) = matcher.read_scores("scores.csv", "none", n)
    assert scores.column("loss_multimodal").to_pylist() == numbers
    assert scores.column("loss_text").to_pylist() == [-x for x in numbers]
    assert issues.counts == {}
