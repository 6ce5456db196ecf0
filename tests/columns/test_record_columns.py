"""Keys of the records as columns: a FineVision-shaped table goes from its import to an export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scoring
from scoring.columns.parts import list_columns, part_path
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.dataset import importing
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.exchange.record_columns import import_dataset
from scoring.workspace import Workspace, create_workspace
from tests.columns.test_import_columns import in_database, values
from tests.readers.test_files import png, record
from tests.readers.test_import import interrupted_after
from tests.readers.test_import_command import visnec_import

RATINGS = [[1, 4], [5], [3], None]


def write_finevision(path: Path) -> Path:
    """Write four rows with the columns that FineVision ships; the last one has no ratings."""
    images = [[{"bytes": png(colour), "path": None}] for colour in ("red", "blue", "red", "green")]
    pair = {"user": "What colour?", "assistant": "Red"}
    table = {
        "images": images,
        "texts": [[pair] * len(each or [1]) for each in RATINGS],
        "source": ["chartqa", "chartqa", "vqav2", "vqav2"],
        "relevance_ratings": pa.array(RATINGS, pa.list_(pa.int64())),
        "relevance_min": pa.array([min(each) if each else None for each in RATINGS], pa.int64()),
        "visual_dependency_ratings": pa.array(RATINGS, pa.list_(pa.int64())),
        "visual_dependency_min": pa.array([1, 5, 3, None], pa.int64()),
    }
    pq.write_table(pa.table(table), path)
    return path


def write_lines(path: Path, *extra: dict[str, Any]) -> Path:
    records = [record(number, None) | keys for number, keys in enumerate(extra)]
    path.write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


def test_ratings_go_from_the_import_to_an_export(tmp_path: Path) -> None:
    path = write_finevision(tmp_path / "train-00000.parquet")
    keys = "*_ratings,*_min,source"
    done = visnec_import(path, "-w", tmp_path / "ws", "--columns", keys, "--json")
    assert done.exit_code == 0, done.output
    columns = {column["name"]: column for column in json.loads(done.stdout)["columns"]}
    assert {name: (column["type"], column["per"]) for name, column in columns.items()} == {
        "relevance_min": ("integer", "sample"),
        "relevance_ratings": ("integer", "turn"),
        "source": ("text", "sample"),
        "visual_dependency_min": ("integer", "sample"),
        "visual_dependency_ratings": ("integer", "turn"),
    }
    assert columns["source"]["on"] == "record"
    assert columns["source"]["file"] == "train-00000.parquet"
    assert columns["relevance_min"]["n_values"] == 3
    workspace = scoring.open_workspace(tmp_path / "ws")
    scoring.score_dataset(workspace, scoring.load_model("tiny-vlm"), run_id="r")
    scoring.build_database(workspace)
    store, scope = Store(workspace), scoring.Scope("r")
    where = parse_filter("visnec:-100.. col:relevance_min>=3 col:source=chartqa,vqav2")
    assert matching_rows(store.selection(scope, where)).tolist() == [1, 2]
    where = parse_filter("col:visual_dependency_ratings.mean<3")
    assert matching_rows(store.selection(scope, where)).tolist() == [0]
    file = tmp_path / "scores.parquet"
    names = ["relevance_ratings", "visual_dependency_min"]
    with file.open("wb") as opened:
        scoring.export_scores(store, scope, opened, file_format="parquet", columns=names)
    table = pq.read_table(file).to_pydict()
    assert table["col:relevance_ratings"] == RATINGS
    assert table["col:visual_dependency_min"] == [1, 5, 3, None]
    assert None not in table["visnec"]
    rule = {"share": 0.5, "where": "col:relevance_min>=3"}
    select = scoring.SelectOptions("clean", "top-share", **rule)  # type: ignore[arg-type]
    (subset,) = scoring.create_subsets(workspace, store, select)
    best = max((1, 2), key=table["visnec"].__getitem__)
    assert subset.subset.selected.tolist() == [best]
    options = scoring.ExportOptions("parquet", images="embed", add_columns=tuple(names))
    folder = scoring.export_subset(workspace, store, subset.definition, format=options).folder
    (exported,) = pq.read_table(folder / "samples.parquet").to_pylist()
    assert exported["col:relevance_ratings"] == RATINGS[best]
    assert exported["visnec"] == table["visnec"][best]
    assert exported["images"][0]["bytes"] == png(("red", "blue", "red", "green")[best])
    assert scoring.verify_manifest(folder).n_samples == 1


def test_nested_keys_numbers_texts_and_what_is_left_out(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_lines(
        tmp_path / "x.jsonl",
        {"data_quality_metrics": {"vds": 0.5, "ppl": 3}, "n": 1, "ok": True, "text": "\ud800ü"},
        {"data_quality_metrics": {"vds": float("nan")}, "n": 2.5, "text": "b", "per": [1, 2]},
        {"data_quality_metrics": {"vds": None}, "meta": {"deep": {"x": 1}}, "per": [3]},
    )
    keys = ["data_quality_metrics.*", "n", "ok", "text", "per", "meta.deep"]
    import_dataset(workspace, [path], columns=keys)
    assert values(workspace, "data_quality_metrics.vds") == {0: 0.5}
    assert values(workspace, "data_quality_metrics.ppl") == {0: 3}
    assert values(workspace, "n") == {0: 1.0, 1: 2.5}
    assert values(workspace, "ok") == {0: True}
    assert values(workspace, "text") == {0: "?ü", 1: "b"}
    assert values(workspace, "per") == {2: [3]}
    findings = {item["what"]: item for item in list_columns(workspace)[0].findings}
    assert findings["data_quality_metrics.vds: not a finite number, left empty"]["n"] == 1
    assert findings["per: number of values is not the number of answers"]["n"] == 1
    assert findings["column of objects or lists ignored"]["examples"] == ["meta.deep"]
    assert not list(workspace.dataset_dir.glob("values*"))


def test_cells_of_a_table_of_text_have_their_types(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("index\tquestion\tanswer\tscore\tlevel\n0\tq\ta\t0.5\teasy\n1\tq\tb\t\thard\n")
    import_dataset(workspace, [path], columns=["score", "level"])
    assert values(workspace, "score") == {0: 0.5}
    assert values(workspace, "level") == {0: "easy", 1: "hard"}


def test_a_key_that_no_record_has_imports_nothing(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"clip": 1}, {"clip": 2})
    done = visnec_import(path, "-w", tmp_path / "ws", "--columns", "clip,clop,*_min")
    assert isinstance(done.exception, InputError)
    message = str(done.exception)
    assert "No record has a key 'clop', '*_min', which --columns names." in message
    assert "Keys of the records: id, conversations, clip." in message
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (({"x": 1}, {"x": "a"}), "values of several types: integer 1 in row 1"),
        (({"x": {}},), "no columns to import"),
        (({"x": 1}, {"x": 2**53 + 2}), "above 2\\*\\*53"),
    ],
)
def test_refused_values_leave_nothing(
    workspace: Workspace, tmp_path: Path, extra: tuple[dict[str, Any], ...], problem: str
) -> None:
    path = write_lines(tmp_path / "x.jsonl", *extra)
    with pytest.raises(InputError, match=problem):
        import_dataset(workspace, [path], columns=["x"])
    assert list_columns(workspace) == []
    assert [each.name for each in workspace.root.iterdir()] == ["workspace.json"]


def test_a_limit_and_damaged_records_keep_rows_and_values_together(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"x": 0}, {"x": 1}, {"x": 2}, {"x": 3})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "[broken", *lines[1:]]))
    options = scoring.ReadOptions(limit=3, keep_going=True)
    import_dataset(workspace, [path], options=options, columns=["x"])
    assert values(workspace, "x") == {0: 0, 2: 1}


def test_columns_are_added_later_and_grow_with_the_dataset(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = write_lines(tmp_path / "a.jsonl", {"x": 1, "y": "p"}, {"x": 2})
    second = write_lines(tmp_path / "b.jsonl", {"x": 0.5, "y": "q"})
    import_dataset(workspace, [first])
    import_dataset(workspace, [first], columns=["x"])
    assert values(workspace, "x") == {0: 1, 1: 2}
    import_dataset(workspace, [second], append=True)
    assert values(workspace, "x") == {0: 1, 1: 2}
    import_dataset(workspace, [second], append=True, columns=["x", "y"])
    assert values(workspace, "x") == {0: 1.0, 1: 2.0, 2: 0.5}
    assert values(workspace, "y") == {2: "q"}
    for _ in range(2):  # the second time nothing changes, not even the name of a part
        import_dataset(workspace, [first], columns=["y"])
        assert values(workspace, "y") == {0: "p", 2: "q"}
        parts = {part_path(workspace, column) for column in list_columns(workspace)}
    import_dataset(workspace, [second], append=True, columns=["x"])
    assert {part_path(workspace, column) for column in list_columns(workspace)} == parts
    assert [row[3] for row in in_database(workspace, "y")] == ["p", "q"]
    other = write_lines(tmp_path / "c.jsonl", {"x": "text"})
    with pytest.raises(InputError, match="'x' has one number per sample, and the key 'x' of these"):
        import_dataset(workspace, [other], append=True, columns=["x"])
    assert read_dataset_info(workspace).n_samples == 3


def test_exports_from_before_an_append_are_verified_still(tmp_path: Path) -> None:
    first = write_finevision(tmp_path / "a.parquet")
    workspace, keys = create_workspace(tmp_path / "ws"), ["*_min", "source"]
    import_dataset(workspace, [first], columns=keys)
    scoring.score_dataset(workspace, scoring.load_model("tiny-vlm"), run_id="r")
    scoring.build_database(workspace)

    def export(name: str) -> Path:
        workspace = scoring.open_workspace(tmp_path / "ws")  # with the image folders of all files
        select = scoring.SelectOptions(name, "top-count", count=4, where="col:relevance_min>=3")
        (subset,) = scoring.create_subsets(workspace, Store(workspace), select)
        options = scoring.ExportOptions("parquet", images="embed", add_columns=("relevance_min",))
        return scoring.export_subset(
            workspace, Store(workspace), subset.definition, format=options
        ).folder

    folders = [export("zero")]
    for number, low in ((1, 4), (2, 2.5)):  # the second makes a column of integers one of numbers
        table = pq.read_table(first)
        place = table.schema.get_field_index("relevance_min")
        table = table.set_column(place, "relevance_min", pa.array([low] * 4))
        pq.write_table(table, tmp_path / f"{number}.parquet")
        import_dataset(workspace, [tmp_path / f"{number}.parquet"], append=True, columns=keys)
        folders.append(export(f"after-{number}"))
    for folder in folders:
        rated = pq.read_table(folder / "samples.parquet")["col:relevance_min"]
        assert rated.to_pylist() == [5, 3]
        assert rated.type == (pa.float64() if folder.name == "after-2" else pa.int64())
        assert scoring.verify_manifest(folder).n_samples == 2
    parts = list((workspace.columns_dir / "relevance_min").glob("values-*.parquet"))
    assert len(parts) == 3
    current = {part_path(workspace, column) for column in list_columns(workspace)}
    assert [part in current for part in parts].count(True) == 1
    assert values(workspace, "relevance_min") == {
        **dict(zip(range(3), (1.0, 5.0, 3.0), strict=True)),
        **dict.fromkeys(range(4, 8), 4.0),
        **dict.fromkeys(range(8, 12), 2.5),
    }


def test_an_interrupted_import_keeps_the_values_of_finished_files(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        write_lines(tmp_path / f"{name}.jsonl", {"x": name}, {"x": name.upper()}) for name in "abc"
    ]
    monkeypatch.setattr(importing, "_CHECKPOINT_ROWS", 1)

    def reads() -> Iterator[list[Path]]:
        with monkeypatch.context() as patch:
            opened = interrupted_after(5, patch)
            with pytest.raises(KeyboardInterrupt):
                import_dataset(workspace, files, columns=["x"])
            yield opened
        with monkeypatch.context() as patch:
            opened = interrupted_after(99, patch)
            import_dataset(workspace, files, columns=["x"])
            yield opened

    assert list(reads()) == [files, files[2:]]
    assert values(workspace, "x") == dict(enumerate("aAbBcC"))
