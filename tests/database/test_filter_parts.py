"""Newer parts of a filter, each against a written-out list of samples."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import schemas
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries import browse
from scoring.database.queries.browse import first_hits, matching_rows
from scoring.database.queries.compare import flip_filter, other_name
from scoring.database.queries.overview import sample_count, score_health, score_summary
from scoring.database.score_index.thresholds import count_near
from scoring.errors import FilterError, InputError
from scoring.necessity import Bands, Category
from scoring.samples import Status
from scoring.workspace import Workspace
from tests.database.conftest import SCOPE, built
from tests.synthetic import (
    RUN_ID,
    Row,
    append_decisions,
    decision_event,
    make_workspace,
    typed_row,
    write_run,
)

_OPEN = (("Why?", "so so", 4, 0.7, 0.5), ("And (then)?", "It ends.", 2, 0.5, 1.0))
ROWS = [
    Row(turns=(("What colour?", "Yes", 1, 0.5, 0.25),), image="one.png", source="a"),
    Row(turns=_OPEN, image="one.png", source="a"),
    Row(turns=(("Which?", "B", 4, 2.0, 0.5),), image="two.png", source="b"),
    Row(turns=(("How many?", "12", 4, 0.5, 1.5),), image="three.png", source="b"),
    Row(turns=(("Where?", "on the left", 4, 0.375, 0.25),), image="two.png", source="b"),
    Row(status=Status.TEXT_ONLY, turns=(("Describe", "one " * 9, 4, 0, 0),), source="b"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """ROWS with two baselines (the second 0.125 lower), a second run and two reviewers."""
    root = tmp_path_factory.mktemp("parts")
    workspace = make_workspace(
        root / "ws", rows=ROWS, with_images=False, baselines=("none", "gray")
    )
    flipped = [*ROWS[:2], typed_row(0.125, 2), typed_row(0.5, 3), *ROWS[4:]]
    write_run(workspace, flipped, "x", run_id="second", created_at="2026-01-03T00:00:00Z")
    append_decisions(workspace, [decision_event(1, 0, "keep"), decision_event(2, 3, "drop")])
    append_decisions(workspace, [decision_event(1, 3, "keep", reviewer="ben")], "ben@desk")
    build_database(workspace)
    return Store(workspace)


CHOSEN = {
    "kind:yes/no,choice": [0, 2],
    "kind:number": [3],
    "kind:phrase,text": [1, 4, 5],
    "length:..3": [2, 3],
    "length:3..6": [0, 1],
    "turns:2..": [1],
    "turns:1..2": [0, 2, 3, 4, 5],
    "image:one.png": [0, 1],
    'image:one.png,"three.png"': [0, 1, 3],
    "reviewer:ada": [0, 3],
    "reviewer:ben": [3],
    "certainty:undecided": [0],  # 0.25 is the upper limit
    "certainty:sure": [1, 2, 3, 4],
    "content:1..2": [0],
    "content:3..4": [2, 3, 4],  # one of four tokens is the end
    "content:4..5": [1],  # two of six are ends
    # By the second baseline the scores are 0.125, -0.16, 1.375, -1.125 and 0.
    "baselines:differ": [0],
    "baselines:agree": [1, 2, 3, 4],
    "baselines:agree,differ": [0, 1, 2, 3, 4],
    "other:second": [0, 1, 2, 3, 4],
    "other:second/none runs:differ": [2, 3],
    "other:second/none runs:agree": [0, 1, 4],
    "other:second other_category:redundant": [2, 4],
    "category:vision-critical other:second other_category:redundant": [2],
    "other:tiny-run/gray runs:differ": [0],
    "text:ends": [1],  # in the second answer
    "text:~/colou?r/": [0],
    "text:~/COLOU?R/": [0],
    "text:~/Colou?r/c": [],
    'text:"~/^(12|B)$/"': [2, 3],
    r'text:"~/\\(then\\)/"': [1],
    "loss_text:0.45..0.6 loss_multimodal:..0.5": [0],
}


@pytest.mark.parametrize("text", CHOSEN)
def test_filter_part_selects_these_samples(parts: Store, text: str) -> None:
    which = parse_filter(text)
    assert parse_filter(str(which)) == which
    assert matching_rows(parts.selection(SCOPE, which)).tolist() == CHOSEN[text]
    assert score_summary(parts.selection(SCOPE, which)).n_samples == len(CHOSEN[text])
    assert sample_count(parts.selection(SCOPE, which)) == len(CHOSEN[text])


def test_current_band_limits_apply(parts: Store) -> None:
    which, bands = parse_filter("certainty:undecided"), Bands(-2.0, 5.0)
    assert matching_rows(parts.selection(SCOPE, which, bands)).tolist() == []
    assert score_summary(parts.selection(SCOPE, which, bands)).n_samples == 0
    assert score_summary(parts.selection(SCOPE, which)).n_samples == 1


def test_every_part_is_described() -> None:
    for name in Filter.__dataclass_fields__:
        with pytest.raises(FilterError, match=rf"{name}: has no value. Write {name}:"):
            parse_filter(f"{name}:")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("text:~/open", ["does not end", "slash"]),
        ("runs:differ", ["Name it too", "other:RUN/BASELINE"]),
        ("other_category:redundant", ["Name it too"]),
        ("kind:essay", ["'essay'", "yes/no"]),
        ("certainty:maybe", ["'maybe'", "undecided"]),
        ("length:short", ["length:short", "length:1..20"]),
        ("other:a,b", ["one value"]),
    ],
)
def test_invalid_filter_is_explained(text: str, names: list[str]) -> None:
    with pytest.raises(FilterError) as error:
        parse_filter(text)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize("text", ["~/(a/", "~/[z/", "~/a**/", r"~/\1/"])
def test_invalid_regular_expression_is_explained(parts: Store, text: str) -> None:
    with pytest.raises(FilterError, match="Invalid regular expression ") as error:
        sample_count(parts.selection(SCOPE, Filter(text=text)))
    assert "Invalid Input Error" not in str(error.value)
    with pytest.raises(FilterError):
        first_hits(parts.selection(SCOPE, Filter(text=text)))


def test_missing_run_is_named(parts: Store) -> None:
    with pytest.raises(InputError, match="no scores of run 'third'"):
        sample_count(parts.selection(SCOPE, parse_filter("other:third")))


def test_hostile_text_is_matched_as_text(parts: Store) -> None:
    for text in ("'; DROP TABLE scores; --", "%", "_", '"', "\\", "\ud800", "~/'; --/"):
        assert sample_count(parts.selection(SCOPE, Filter(text=text))) == 0
    assert sample_count(parts.selection(SCOPE, Filter(image=("' OR 1=1 --",)))) == 0


def test_first_hits_report_how_far_they_searched(
    parts: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "_SEARCH_ROWS", 2)
    which = Filter(text="~/wh(at|ere|ich|y)/")  # rows 0, 1, 2 and 4
    found = first_hits(parts.selection(SCOPE, which), limit=3, seconds=60)
    assert (found.n_hits, found.n_searched, found.n_samples, found.complete) == (3, 4, 6, False)
    assert [one["row_idx"] for one in found.records] == [2, 0, 1]  # by score
    at_once = first_hits(parts.selection(SCOPE, which), seconds=0)
    assert (at_once.n_hits, at_once.n_searched) == (2, 2)
    every = first_hits(parts.selection(SCOPE, Filter(text="e", source=("b",))), seconds=60)
    assert every.complete
    assert [one["row_idx"] for one in every.records] == [4, 5]  # 5 has no score
    with pytest.raises(InputError, match="text:words"):
        first_hits(parts.selection(SCOPE))


def test_health(parts: Store) -> None:
    found = score_health(parts.selection(SCOPE))
    assert found.statuses == {"scored": 5, "text_only": 1}
    assert (found.n_scored, found.n_one_token, found.n_compared) == (5, 1, 5)
    assert (found.n_undecided, str(found.noise)) == (1, "± 0.000002 in float32")
    assert (found.n_compared, found.n_differing) == (5, 1)
    assert found.n_truncated == 0
    nothing = score_health(parts.selection(SCOPE, Filter(source=("nowhere",))))
    assert (nothing.n_scored, nothing.n_undecided, nothing.n_differing) == (0, 0, 0)


def test_one_word_with_a_scored_end_token_is_one_token(tmp_path: Path) -> None:
    typed = [0.5, 0.5, 0.5, 0.5, None]
    workspace, store = built(tmp_path, visnec=typed, tokens=[1, 2, 2, 3, 1])
    found = score_health(store.selection(SCOPE))
    assert (found.n_scored, found.n_one_token) == (4, 3)

    record = workspace.run_dir(RUN_ID) / "run.json"
    said = json.loads(record.read_text("utf-8"))
    assert said["score_eos"] is True
    record.write_text(json.dumps({**said, "score_eos": False}), "utf-8")
    build_database(workspace)
    found = score_health(store.selection(SCOPE))
    assert found.n_one_token == 1


def test_content_tokens_come_from_the_parts(tmp_path: Path) -> None:
    """Three answer tokens each: one content token with an end and a thought, or three."""
    workspace, store = built(tmp_path, visnec=[0.5, 0.5], tokens=[3, 3])
    part = next((workspace.run_dir(RUN_ID) / "scores").glob("part-*.parquet"))
    rows = pq.read_table(part).to_pylist()
    for row, n in zip(rows, (1, 0), strict=True):
        row["turns"][0] |= {"n_end_tokens": n, "n_thought_tokens": n}
    pq.write_table(pa.Table.from_pylist(rows, schemas.SCORES), part)
    build_database(workspace)
    assert score_health(store.selection(SCOPE)).n_one_token == 1
    for text, expected in (("content:1..2", [0]), ("content:3..4", [1])):
        assert matching_rows(store.selection(SCOPE, parse_filter(text))).tolist() == expected


def with_dtype(workspace: Workspace, dtype: str) -> None:
    record = workspace.run_dir(RUN_ID) / "run.json"
    said = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps({**said, "dtype": dtype}), "utf-8")
    build_database(workspace)


def test_the_noise_of_the_dtype_leaves_a_category_open(tmp_path: Path) -> None:
    # bfloat16: 0.01 around 0 and 0.25.
    typed = [0.245, 0.265, -0.0099, 0.1, None, 0.255]
    workspace, store = built(tmp_path, visnec=typed)
    with_dtype(workspace, "bfloat16")
    chosen = {"undecided": [0, 2, 5], "sure": [1, 3], "unknown": []}
    for certainty, expected in chosen.items():
        which = parse_filter(f"certainty:{certainty}")
        assert matching_rows(store.selection(SCOPE, which)).tolist() == expected
    assert score_health(store.selection(SCOPE)).n_undecided == 3
    assert count_near(store.selection(SCOPE), 0.25, 0.01) == 2
    assert count_near(store.selection(SCOPE), 0.245, 0.0) == 1
    with_dtype(workspace, "")  # as of scores from elsewhere
    found = score_health(store.selection(SCOPE))
    assert (found.noise, found.n_undecided) == (None, None)
    which = parse_filter("certainty:unknown")
    assert matching_rows(store.selection(SCOPE, which)).tolist() == [0, 1, 2, 3, 5]


def test_health_without_a_second_baseline(tmp_path: Path) -> None:
    store = built(tmp_path, visnec=[0.5, -0.5])[1]
    found = score_health(store.selection(SCOPE))
    assert (found.n_compared, found.n_differing, found.n_undecided) == (0, 0, 0)
    assert matching_rows(store.selection(SCOPE, parse_filter("baselines:differ"))).tolist() == []


def test_flip_is_a_filter(parts: Store) -> None:
    other = other_name(SCOPE)
    assert other == f"{RUN_ID}/none"
    which = flip_filter(parse_filter("source:b"), SCOPE, Category.REDUNDANT, Category.MISALIGNED)
    assert str(which) == (f"source:b category:redundant other:{other} other_category:misaligned")
