"""Files of predictions: reading, matching to samples, and counted and reported issues."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError
from scoring.predictions.files import PredictionLine, Sight, read_prediction_lines
from scoring.predictions.imported import (
    import_predictions,
    list_prediction_files,
    list_predictions,
    remove_predictions,
)
from scoring.schemas import EVALUATION
from scoring.workspace import Workspace
from tests.evaluation.conftest import write_lines
from tests.synthetic import RUN_ID


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"row_idx": 3, "prediction": "x"}\n\n{"id": 7, "prediction": 2}\n'),
        ("p.json", ' [{"row_idx": 3, "prediction": "x"}, {"id": 7, "prediction": 2}]'),
        ("p.csv", "\ufeffrow_idx,id,prediction\n3,,x\n,7,2\n"),
        ("p.tsv", "id\tprediction\trow_idx\n\tx\t3\n7\t2\t\n"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_all_file_formats_give_the_same_predictions(
    tmp_path: Path, name: str, content: str, compressed: bool
) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    data = content.encode("utf-8")
    path.write_bytes(gzip.compress(data) if compressed else data)
    assert list(read_prediction_lines(path)) == [
        PredictionLine(1, row_idx=3, prediction="x"),
        PredictionLine(2, id="7", prediction="2"),
    ]


def test_the_keys_of_llavas_own_evaluation_are_read(tmp_path: Path) -> None:
    record = {"question_id": 5, "prompt": "?", "text": "A dog", "model_id": "llava-7b"}
    (line,) = read_prediction_lines(write_lines(tmp_path / "answers.jsonl", [record]))
    assert line == PredictionLine(1, id="5", prediction="A dog", model="llava-7b")


def test_every_unusable_record_has_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    lines = [
        "{not json",
        "[1, 2]",
        '{"prediction": "x"}',
        '{"row_idx": 1}',
        '{"row_idx": 1, "prediction": {"a": 1}}',
        '{"row_idx": -1, "prediction": "x"}',
        '{"row_idx": true, "prediction": "x"}',
        '{"row_idx": 1, "prediction": "x", "sight": "guess"}',
        '{"row_idx": 1, "prediction": ""}',
    ]
    path.write_text("\n".join(lines), "utf-8")
    assert [one.problem for one in read_prediction_lines(path)] == [
        "not a record",
        "not a record",
        "neither row_idx nor id",
        "no prediction",
        "no prediction",
        "row_idx is not a number",
        "row_idx is not a number",
        "unknown sight",
        None,  # an empty answer is an answer
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"val_Art_1": "B", "val_Art_2": 2.5}',
        '\ufeff{\n  "val_Art_1": "B",\n  "val_Art_2": 2.5\n}\n',
        '{"val_Art_1": {"prediction": "B"}, "val_Art_2": {"prediction": "2.5"}}',
    ],
)
def test_answers_by_the_id_of_their_sample(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, "utf-8")
    assert list(read_prediction_lines(path)) == [
        PredictionLine(1, id="val_Art_1", prediction="B"),
        PredictionLine(2, id="val_Art_2", prediction="2.5"),
    ]


def test_a_long_object_of_answers_is_read_completely(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    answers = {f"val_{n}": "x" * 100 for n in range(20_000)}
    path.write_text(json.dumps(answers), "utf-8")
    found = list(read_prediction_lines(path))
    assert {one.id: one.prediction for one in found} == answers


def test_records_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    records = [{"id": "a", "prediction": "B"}, {"id": "b", "prediction": "A"}]
    path.write_text("\n".join(json.dumps(one, indent=1) for one in records), "utf-8")
    assert [(one.id, one.prediction) for one in read_prediction_lines(path)] == [
        ("a", "B"), ("b", "A"),
    ]  # fmt: skip
    path.write_text('{"id": "a", "prediction": "B"}', "utf-8")
    assert [one.id for one in read_prediction_lines(path)] == ["a"]


def test_a_table_written_without_quoting(tmp_path: Path) -> None:
    answers = ['"Stop" sign', '"open', "b", 'c"', '"whole"']
    path = tmp_path / "p.tsv.gz"
    rows = "".join(f"{row}\t{answer}\n" for row, answer in enumerate(answers))
    path.write_bytes(gzip.compress(f"row_idx\tprediction\n{rows}".encode()))
    assert [one.prediction for one in read_prediction_lines(path)] == answers
    path = tmp_path / "p.csv"
    path.write_text('row_idx,prediction\n0,"open\n1,b\n2,"a, b"\n', "utf-8")
    found = list(read_prediction_lines(path))
    assert [(one.row_idx, one.prediction) for one in found] == [(None, ""), (1, "b"), (2, "a, b")]
    assert found[0].problem == "not a record" and "must end with one" in found[0].example


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"row_idx": 0, "prediction": "x"}\n{"row_idx": 1, "prediction": "红色"}'),
        ("p.json", '[{"row_idx": 0, "prediction": "红色的自行车"}]'),
        ("p.json", '{"a": "红色的自行车"}'),
        ("p.csv", "row_idx,prediction\n0,红色的自行车\n"),
        ("p.tsv", "row_idx\tprediction\n0\t红色的自行车\n"),
    ],
)
def test_predictions_that_are_not_utf8_are_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("gbk"))
    with pytest.raises(InputError, match=r"byte 0xBA is not UTF-8.* iconv -f \S+ -t UTF-8"):
        list(read_prediction_lines(path))


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("name,answer\n1,x\n", "utf-8")
    with pytest.raises(InputError, match="Predictions need a column prediction"):
        list(read_prediction_lines(path))
    path.write_text("row_idx;prediction\n1;x\n", "utf-8")
    with pytest.raises(InputError, match="separated by semicolons instead of commas"):
        list(read_prediction_lines(path))
    with pytest.raises(InputError, match="does not exist"):
        list(read_prediction_lines(tmp_path / "none.jsonl"))


def test_records_that_match_no_sample_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"id": "a", "prediction": "B"},
        {"id": "a", "prediction": "B"},
        {"id": "a", "prediction": "A"},
        {"id": "nowhere", "prediction": "B"},
        {"id": "twice", "prediction": "red"},
        {"row_idx": 4, "id": "twice", "prediction": "red"},
        {"row_idx": 1, "id": "c", "prediction": "A"},
        {"row_idx": 70, "prediction": "A"},
        {"id": "b"},
    ]
    done = import_predictions(workspace, write_lines(tmp_path / "m.jsonl", records))
    (one,) = done.sets
    assert (one.model, one.sight, one.n_records, one.n_taken) == ("m", "seen", 9, 2)
    assert (one.n_samples, one.n_missing) == (7, 5)
    assert {found["what"]: found["n"] for found in one.findings} == {
        "no prediction": 1,
        "unknown id": 1,
        "id of several samples; give row_idx": 1,
        "id of another sample": 1,
        "row_idx outside of the dataset": 1,
        "repeated prediction": 1,
        "second, different prediction (the first is kept)": 1,
    }
    assert one.n_taken + sum(found["n"] for found in one.findings) == one.n_records
    assert list_predictions(workspace) == [one]


def test_a_file_that_matches_no_sample_imports_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "m.jsonl", [{"id": "nowhere", "prediction": "B"}])
    with pytest.raises(InputError, match=r"No record of .* matches this dataset: unknown id: 1"):
        import_predictions(workspace, path)
    assert list_prediction_files(workspace) == ()


def test_one_file_may_name_several_models_and_sights(workspace: Workspace, tmp_path: Path) -> None:
    records = [
        {"row_idx": 0, "prediction": "B", "model": "org/one"},
        {"row_idx": 0, "prediction": "A", "model": "org/one", "sight": "blind"},
        {"row_idx": 0, "prediction": "A", "model": "org_one"},
    ]
    import_predictions(workspace, write_lines(tmp_path / "m.jsonl", records))
    found = [(one.model, one.sight) for one in list_predictions(workspace)]
    assert found == [("org/one", "seen"), ("org/one", "blind"), ("org_one", "seen")]
    assert remove_predictions(workspace, "org/one") == 2
    assert [one.model for one in list_predictions(workspace)] == ["org_one"]
    with pytest.raises(InputError, match="Imported models: org_one"):
        remove_predictions(workspace, "org/one")


def test_the_same_file_again_changes_nothing_and_another_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "m.jsonl", [{"row_idx": 0, "prediction": "B"}])
    assert not import_predictions(workspace, path).already
    assert import_predictions(workspace, path).already
    write_lines(path, [{"row_idx": 0, "prediction": "A"}, {"row_idx": 1, "prediction": "A"}])
    with pytest.raises(InputError, match="--replace"):
        import_predictions(workspace, path)
    import_predictions(workspace, path, replace=True)
    assert [one.n_taken for one in list_predictions(workspace)] == [2]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_invalid_model_names_are_refused(workspace: Workspace, seen_file: Path, name: str) -> None:
    records = [{"row_idx": 0, "prediction": "B", "model": "fine"}]
    import_predictions(workspace, write_lines(seen_file, records), model=name or None)
    if name:
        write_lines(seen_file, [{"row_idx": 0, "prediction": "B"}])
        with pytest.raises(InputError, match="Invalid model name"):
            import_predictions(workspace, seen_file, model=name)


def test_a_run_name_is_refused(workspace: Workspace, seen_file: Path) -> None:
    with pytest.raises(InputError, match="is the name of a run"):
        import_predictions(workspace, seen_file, model=RUN_ID)


def test_the_database_contains_predictions_with_their_matches(
    workspace: Workspace, seen_file: Path, store: Store
) -> None:
    assert store.snapshot().fetch_rows("SELECT count(*) FROM imported_predictions") == [(0,)]
    import_predictions(workspace, seen_file, model="big", sight=Sight.SEEN)
    assert store.build_state().n_new_parts == 1
    build_database(workspace)
    rows = store.snapshot().fetch_rows(
        "SELECT row_idx, exact, letter FROM imported_predictions ORDER BY row_idx"
    )
    assert rows == [
        (0, False, True),
        (1, True, True),
        (2, False, None),
        (3, True, None),
        (4, False, None),
        (5, True, None),
    ]


def test_matches_of_older_measures_are_recomputed(workspace: Workspace, seen_file: Path) -> None:
    import_predictions(workspace, seen_file)
    (path,) = list_prediction_files(workspace)
    rows = pq.read_table(path).to_pylist()
    wrong = [row | {"exact": False, "letter": False, "matched_by": 0} for row in rows]
    pq.write_table(pa.Table.from_pylist(wrong, EVALUATION), path)
    build_database(workspace)
    found = (
        Store(workspace)
        .snapshot()
        .fetch_rows("SELECT count(*), count(*) FILTER (exact) FROM imported_predictions")
    )
    assert found == [(6, 3)]


def test_predictions_with_odd_characters_are_stored(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"row_idx": 0, "prediction": "\\ud800 \xef\xbf\xbd <b>B</b>"}\n')
    import_predictions(workspace, path)
    build_database(workspace)
    ((text,),) = (
        Store(workspace).snapshot().fetch_rows("SELECT prediction FROM imported_predictions")
    )
    assert text.endswith("<b>B</b>")
    assert json.dumps(text, ensure_ascii=False).encode("utf-8")
