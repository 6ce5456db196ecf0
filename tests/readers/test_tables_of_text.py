"""TSV and CSV: quotation marks, first lines, separators."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import RecordError
from scoring.images.decode import open_reference
from scoring.readers import tsv
from scoring.readers.detect import detect_format
from scoring.readers.options import ReadOptions
from scoring.readers.tsv import find_unquoted_line
from scoring.samples import Sample
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.readers.test_files import png

ANSWERS = ['"Stop" sign', "plain", '"unclosed', "b", "c", 'ends"', 'a "b" c', '"whole"']


def written(tmp_path: Path, *rows: str, name: str = "t.tsv") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


def imported(tmp_path: Path, path: Path, keep_going: bool = False) -> Workspace:
    workspace = create_workspace(tmp_path / f"ws{keep_going}")
    import_dataset(workspace, [path], options=ReadOptions(keep_going=keep_going))
    return open_workspace(workspace.root)


def samples(tmp_path: Path, path: Path, keep_going: bool = False) -> list[Sample]:
    return list(read_samples(imported(tmp_path, path, keep_going)))


def test_an_unquoted_table_keeps_its_rows_and_quotation_marks(tmp_path: Path) -> None:
    rows = [f"{n}\tq{n}\t{answer}" for n, answer in enumerate(ANSWERS)]
    path = written(tmp_path, "id\tquestion\tanswer", *rows)
    workspace = imported(tmp_path, path)
    found = list(read_samples(workspace))
    assert [(one.id, one.answer) for one in found] == [
        (str(n), answer) for n, answer in enumerate(ANSWERS)
    ]
    (file,) = read_dataset_info(workspace).files
    assert "line 2 has unquoted fields" in file.why


def unquoted_line(path: Path) -> int | None:
    with path.open("rb") as file:
        return find_unquoted_line(file, path.name)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["1\tq\ta", '2\t"q\ta', "3\tq\ta", '4\tq"\ta'], 3),  # swallows whole rows, comes out even
        (["1\tq\ta", "2\tq\ta", '3\tq\t"a'], 4),  # open at the end of the file
        (['1\t"a" q\ta'], 2),  # goes on after its end
        (['1\t"q"\t"a"', '2\t"q\twith a tab"\ta'], None),
        (['1\tq\t"a\nover two lines"', "2\tq\ta"], None),
        (['1\t"q ""so"" q"\ta'], None),
        (['1\t"q', "2\tq\ta"], None),  # a ragged line proves nothing
        (["1\tq\ta"] * 3, None),
    ],
)
def test_unbalanced_quotation_marks_are_reported(
    tmp_path: Path, rows: list[str], line: int | None
) -> None:
    path = written(tmp_path, "id\tquestion\tanswer", *rows)
    assert unquoted_line(path) == line


def test_an_open_quotation_mark_is_found_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsv, "MAX_RECORD_BYTES", 10_000)
    rows = ['0\tq\t"open', *(f"{n}\tq\ta" for n in range(1, 5_000))]
    path = written(tmp_path, "id\tquestion\tanswer", *rows)
    assert unquoted_line(path) == 2
    assert len(samples(tmp_path, path)) == 5_000


def test_quoted_tables_are_read_as_before(tmp_path: Path) -> None:
    rows = ['1\t"q ""so""\twith a tab"\t"a\nb"', "2\tq\tplain"]
    first, second = samples(tmp_path, written(tmp_path, "id\tquestion\tanswer", *rows))
    assert (first.question, first.answer) == ('q "so"\twith a tab', "a\nb")
    assert second.answer == "plain"


def test_images_are_found_in_a_table_without_quoting(tmp_path: Path) -> None:
    cell = base64.b64encode(png("red")).decode()
    rows = [f'{n}\t"{n} open\t{cell}\ta' for n in range(3)]
    workspace = imported(tmp_path, written(tmp_path, "index\tquestion\timage\tanswer", *rows))
    for number, sample in enumerate(read_samples(workspace)):
        assert sample.question == f'"{number} open'
        assert "&quoting=none&at=" in sample.images[0]
        image = open_reference(sample.images[0], workspace.image_roots)
        assert image.getpixel((5, 5)) == (255, 0, 0)


def test_an_open_quotation_mark_in_csv_loses_only_its_line(tmp_path: Path) -> None:
    rows = ["1,q,a", '2,"q,b', "3,q,c", '4,q,"d, e"']
    path = written(tmp_path, "id,question,answer", *rows, name="t.csv")
    with pytest.raises(RecordError, match=r"row 2, at byte 25: .*must end with one"):
        samples(tmp_path, path)
    kept = samples(tmp_path, path, keep_going=True)
    assert [one.answer for one in kept] == ["a", "", "c", "d, e"]
    assert [one.status for one in kept].count("bad_record") == 1  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    "first",
    ["1\tcoco/1.jpg\tWhat is this?\ta cat", "a.jpg\twhat\ta cat", "7\t8\t9", f"x\t{'y' * 101}\tz"],
)
def test_a_record_is_not_treated_as_column_names(tmp_path: Path, first: str) -> None:
    with pytest.raises(
        RecordError, match="the first line looks like a record, not like column names"
    ):
        detect_format(written(tmp_path, first, first))


@pytest.mark.parametrize("first", ["0\t1\t2", "question\t1\t2", "uid\tpicture\tgold", "\tid\tx"])
def test_column_names_are_accepted(tmp_path: Path, first: str) -> None:
    assert detect_format(written(tmp_path, first, "a\tb\tc")).container == "tsv"


def test_semicolons_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "id;image;question;answer", "1;a.jpg;q, r;a", name="t.csv")
    with pytest.raises(RecordError, match=r"separates its columns with semicolons\. Save it with"):
        detect_format(path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("header", [b"id\rquestion", b'"' + b"q" * 200_000])
def test_an_invalid_header_is_refused_with_a_message(
    tmp_path: Path, name: str, header: bytes
) -> None:
    (tmp_path / name).write_bytes(header + b"\n1,red\n")
    with pytest.raises(RecordError, match=rf"{name}"):
        samples(tmp_path, tmp_path / name)
