"""Dataset values that look like formulas, SQL or code are treated as plain values."""

from __future__ import annotations

import csv
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.errors import InputError, RecordError
from scoring.exchange.score_export import export_scores
from scoring.image_references import RECORDS_ROOT
from scoring.images.decode import ImageProblem, resolve_image
from scoring.readers.options import ReadOptions
from scoring.readers.sources import open_sources
from scoring.readers.tars import read_webdataset
from scoring.workspace import create_workspace
from tests.synthetic import make_workspace, typed_row

STATEMENTS = (
    "'; DROP TABLE scores; --",
    '"; DELETE FROM decisions; --',
    "' OR '1'='1",
    "%' OR 1=1 --",
    "x') UNION SELECT 1,2,3 --",
    "$run_id",
    "?",
    "{0}",
    "%s",
    "\\",
    "/*",
    "a\0b",
    "; ATTACH 'x.db' AS y; COPY scores TO 'x.csv'",
    "read_text('/etc/passwd')",
)
FORMULAS = ("=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(1)")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A workspace whose sources, identifiers and questions are statements and formulas."""
    texts = [*STATEMENTS, *FORMULAS]
    rows = []
    for index, text in enumerate(texts):
        row = typed_row(0.125 * index, index)
        _, *rest = row.turns[0]
        rows.append(replace(row, source=text.replace("\0", ""), id=text, turns=((text, *rest),)))
    workspace = make_workspace(tmp_path_factory.mktemp("odd") / "ws", rows=rows)
    build_database(workspace)
    return Store(workspace)


def scope_of(store: Store) -> Scope:
    run_id, baseline = store.snapshot().fetch_rows(
        "SELECT run_id, baseline FROM scores LIMIT 1", {}
    )[0]
    return Scope(run_id, baseline)


@pytest.mark.parametrize("value", STATEMENTS)
def test_a_value_in_a_filter_is_only_a_value(odd: Store, value: str) -> None:
    scope = scope_of(odd)
    count = "SELECT count(*) FROM scores"
    before = odd.snapshot().fetch_rows(count, {})
    plain = value.replace("\0", "")
    rows = matching_rows(odd.selection(scope, Filter(source=(plain,))))
    assert list(rows) == [STATEMENTS.index(value)]
    for row_filter in (Filter(reviewer=(value,)), Filter(text=plain)):
        matching_rows(odd.selection(scope, row_filter))
    assert matching_rows(odd.selection(scope, parse_filter(str(Filter(source=(plain,)))))).size == 1
    assert odd.snapshot().fetch_rows(count, {}) == before


PARTS = sorted(Filter.__dataclass_fields__)


@pytest.mark.parametrize("part", PARTS)
def test_filters_treat_sql_as_a_value_or_refuse_it(odd: Store, part: str) -> None:
    scope = scope_of(odd)
    before = odd.snapshot().fetch_rows("SELECT count(*) FROM scores", {})
    for value in STATEMENTS:
        quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in (f"{part}:{value}", f"{part}:{quoted}"):
            try:
                matching_rows(odd.selection(scope, parse_filter(text)))
            except InputError as error:
                assert str(error)
    assert odd.snapshot().fetch_rows("SELECT count(*) FROM scores", {}) == before


def test_a_spreadsheet_gets_no_formula(odd: Store, tmp_path: Path) -> None:
    with (tmp_path / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        export_scores(odd, scope_of(odd), file, file_format="csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    texts = [cell for cell in cells if cell.lstrip("'") in FORMULAS]
    assert len(texts) >= len(FORMULAS)
    assert all(cell.startswith("'") for cell in texts)


# ---- files that contain code or point outside ----------------------------------------------------


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["data.pkl", "data.json", "data.parquet", "data.tsv"])
def test_pickles_are_refused_under_any_name(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Payload(), protocol=protocol))
    with pytest.raises(RecordError):
        open_sources([str(path)], ReadOptions())


@pytest.mark.parametrize("member", ["../../out.json", "/out.json", "a\\..\\out.json", "fine.json"])
def test_a_zip_is_refused_without_reading_its_members(tmp_path: Path, member: str) -> None:
    """The names of its members make no difference: unpacking is left to the user."""
    path = tmp_path / "data.json"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "[]")
    with pytest.raises(RecordError, match="ZIP"):
        open_sources([str(path)], ReadOptions())
    assert list(tmp_path.iterdir()) == [path]


LEADING_OUT = ("../out.json", "/out.json", "a/../../out.json", "a/b/../../../out.json")


@pytest.mark.parametrize("name", LEADING_OUT)
def test_members_outside_the_archive_are_refused_and_nothing_is_unpacked(
    tmp_path: Path, name: str
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 2
        archive.addfile(info, io.BytesIO(b"{}"))
    content.seek(0)
    (record,) = read_webdataset(content, "a.tar")
    assert isinstance(record.value, dict)
    assert "leads out" in str(record.value["__refused__"])


def test_members_that_are_links_or_oddly_named_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "1.jpg"), (tarfile.LNKTYPE, "2.jpg")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
        for name in ("3#offset=0&bytes=9.jpg", "\u202e\x1b[31m4.jpg", "5\n.txt", ".json", "6"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    workspace = create_workspace(tmp_path / "ws")
    info = import_dataset(workspace, [str(path)], options=ReadOptions("caption"))
    assert info.n_samples == 7
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "ws"}


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "file:a.png",
        "//host/share/a.png",
        "\\\\host\\share\\a.png",
        "C:\\a.png",
        "javascript:alert(1)",
        "data:text/html,x",
        "/dev/zero",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "%2e%2e/out.png",
        "..\\out.png",
        f"{RECORDS_ROOT}#row=0&at=/../../etc/passwd",
        "/etc/passwd#row=0&at=/a",
        "../a.tar#offset=0&bytes=512&member=a",
    ],
)
def test_other_references_open_nothing(tmp_path: Path, reference: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "out.png").write_bytes(b"x")
    with pytest.raises(ImageProblem):
        resolve_image(reference, [tmp_path / "images"])
