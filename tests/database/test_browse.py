"""Pages, queues and single samples; every order against plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import (
    fetch_first_pages,
    fetch_page,
    matching_rows,
    read_candidates,
)
from scoring.database.queries.detail import sample_detail, sample_details
from scoring.database.queries.overview import sample_count
from scoring.database.queries.review_queues import review_queue
from scoring.database.score_index.groups import by_cluster
from scoring.database.values import Cursor, Scope, Sort
from scoring.errors import InputError
from scoring.necessity import DEFAULT_BANDS, visnec_score
from scoring.rules.candidates import STATUSES
from tests.database.conftest import SCOPE, built, row_indices
from tests.synthetic import CLUSTER_NAMES, RUN_ID

EVERYTHING = Filter()


def all_pages(store: Store, which: Filter, sort: Sort, limit: int) -> list[list[int]]:
    """Every page of an order, read forward; reading back must give the same pages."""
    pages, cursor, back = [], None, []
    while True:
        page = fetch_page(store.selection(SCOPE, which), sort, cursor, limit)
        pages.append(row_indices(page))
        if len(pages) > 1 and page.previous:
            back.append(page.previous)
        if page.next is None:
            break
        cursor = page.next
    for before, cursor in zip(pages[:-1], back, strict=True):
        page = fetch_page(store.selection(SCOPE, which), sort, cursor, limit)
        assert row_indices(page) == before
        assert page.next is not None
    return pages


def read_truth(store: Store) -> list[dict[str, Any]]:
    """The samples of a store, put together from its parts without SQL."""
    root = store.workspace.root
    table = [row for path in sorted(root.glob("dataset/part-*.parquet"))
             for row in pq.read_table(path).to_pylist()]  # fmt: skip
    for row in table:
        row |= {"visnec": None, "loss_text": None, "loss_multimodal": None, "tokens": None}
    for path in sorted(root.glob("runs/*/scores/part-*.parquet")):
        for score in pq.read_table(path).to_pylist():
            if score["baseline"] != "none":
                continue
            row = table[score["row_idx"]]
            row["status"] = score["status"]
            if score["status"] == "scored":
                tokens = sum(turn["n_answer_tokens"] for turn in score["turns"])
                text = sum(turn["loss_text_sum"] for turn in score["turns"]) / tokens
                multimodal = sum(turn["loss_multimodal_sum"] for turn in score["turns"]) / tokens
                row |= {"loss_text": text, "loss_multimodal": multimodal, "tokens": tokens}
                row["visnec"] = visnec_score(text, multimodal)
    for path in root.glob("clusters/*/clusters.parquet"):
        for one in pq.read_table(path).to_pylist():
            table[one["row_idx"]]["cluster"] = one["cluster_id"]
    return table


KEYS = {
    Sort.VISNEC_ASC: ("visnec", 1),
    Sort.VISNEC_DESC: ("visnec", -1),
    Sort.ROW_IDX: ("row_idx", 1),
    Sort.LOSS_TEXT_DESC: ("loss_text", -1),
    Sort.LOSS_MULTIMODAL_DESC: ("loss_multimodal", -1),
    Sort.TOKENS_DESC: ("tokens", -1),
}


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("limit", [1, 3, 11, 100])
def test_every_sample_is_on_one_page_in_order(store: Store, sort: Sort, limit: int) -> None:
    column, sign = KEYS[sort]
    truth = read_truth(store)
    ordered = sorted(
        truth, key=lambda row: (row[column] is None, sign * (row[column] or 0), row["row_idx"])
    )
    expected = [row["row_idx"] for row in ordered]
    pages = all_pages(store, EVERYTHING, sort, limit)
    assert [row_idx for page in pages for row_idx in page] == expected
    assert all(len(page) == limit for page in pages[:-1])


def test_order_against_a_written_out_list(store: Store) -> None:
    assert all_pages(store, EVERYTHING, Sort.VISNEC_DESC, 4) == [
        [3, 0, 6, 2],
        [9, 5, 1, 8],
        [4, 7, 10],
    ]


@pytest.mark.parametrize("sort", Sort)
def test_pages_under_a_filter(plausible: Store, sort: Sort) -> None:
    which = parse_filter("source:scenes,words decision:none")
    pages = all_pages(plausible, which, sort, 24)
    rows = sorted(row_idx for page in pages for row_idx in page)
    assert rows == matching_rows(plausible.selection(SCOPE, which)).tolist()


def test_page_has_total_and_ends(store: Store) -> None:
    page = fetch_page(store.selection(SCOPE), limit=11)
    assert (page.total, page.next, page.previous) == (11, None, None)
    page = fetch_page(store.selection(SCOPE, Filter(source=("scenes",))), "visnec", limit=2)
    assert page.total == 4
    assert page.next == Cursor(0.5, 0)
    assert page.previous is None
    last = fetch_page(store.selection(SCOPE, Filter(source=("scenes",))), "visnec", page.next, 2)
    assert row_indices(last) == [6, 3]
    assert (last.total, last.next) == (4, None)
    assert last.previous == Cursor(0.5, 6, backward=True)
    none = fetch_page(store.selection(SCOPE, Filter(source=("nowhere",))))
    assert none.records == []
    assert (none.total, none.next, none.previous) == (0, None, None)


def test_first_pages_of_several_selections_equal_single_ones(store: Store) -> None:
    parts = [
        (store.selection(SCOPE, parse_filter("visnec:..0.3")), Sort.VISNEC_DESC),
        (store.selection(SCOPE, Filter(source=("nowhere",))), Sort.VISNEC_ASC),
        (store.selection(SCOPE, parse_filter("visnec:0.3..")), Sort.VISNEC_ASC),
        (store.selection(SCOPE), Sort.ROW_IDX),
    ]
    pages = fetch_first_pages(parts, limit=3)
    assert pages == [fetch_page(selection, order, limit=3) for selection, order in parts]
    assert [len(page.records) for page in pages] == [3, 0, 3, 3]
    assert fetch_first_pages([]) == []


def test_cursor_may_be_between_samples(store: Store) -> None:
    page = fetch_page(store.selection(SCOPE), "visnec", Cursor(0.2, -1), 2)
    assert row_indices(page) == [2, 0]
    page = fetch_page(store.selection(SCOPE), "visnec", Cursor(0.2, -1, backward=True), 2)
    assert row_indices(page) == [5, 9]


def test_the_columns_of_a_page(store: Store) -> None:
    records = fetch_page(store.selection(SCOPE), "row_idx", limit=11).records
    scored, text_only = records[3], records[7]
    assert list(scored) == [
        "row_idx",
        "id",
        "source",
        "images",
        "question",
        "answer",
        "visnec",
        "loss_text",
        "loss_multimodal",
        "n_answer_tokens",
        "n_turns",
        "status",
        "reason",
        "cluster_id",
        "cluster",
        "decision",
    ]
    assert scored == {
        "row_idx": 3,
        "id": "scenes-3",
        "source": "scenes",
        "images": ["scenes/00003.png"],
        "question": "Question 3?",
        "answer": "answer 3",
        "visnec": 2.0,
        "loss_text": 2.5,
        "loss_multimodal": 0.5,
        "n_answer_tokens": 1,
        "n_turns": 1,
        "status": "scored",
        "reason": None,
        "cluster_id": 0,
        "cluster": CLUSTER_NAMES[0],
        "decision": "none",
    }
    assert text_only["images"] == []
    assert text_only["visnec"] is None
    assert text_only["n_answer_tokens"] is None
    assert text_only["reason"] == "the record names no image"


def test_a_page_without_a_clustering(store: Store) -> None:
    records = fetch_page(store.selection(Scope(RUN_ID)), limit=2).records
    assert [(row["cluster_id"], row["cluster"]) for row in records] == [(None, None)] * 2


def test_an_unknown_sort_names_the_sorts(store: Store) -> None:
    with pytest.raises(InputError, match=r"'beauty'.*-loss_text"):
        fetch_page(store.selection(SCOPE), "beauty")


PREDICATES = {
    "": lambda row: True,
    "source:digits,chat": lambda row: row["source"] in {"digits", "chat"},
    "cluster:0,5": lambda row: row["cluster"] in {0, 5},
    "status:text_only,bad_image": lambda row: row["status"] in {"text_only", "bad_image"},
    "category:redundant": lambda row: (
        row["visnec"] is not None and DEFAULT_BANDS.category_of(row["visnec"]) == "redundant"
    ),
    "category:misaligned,vision-critical": lambda row: (
        row["visnec"] is not None and DEFAULT_BANDS.category_of(row["visnec"]) != "redundant"
    ),
    "visnec:0.1..0.6": lambda row: row["visnec"] is not None and 0.1 <= row["visnec"] < 0.6,
    "visnec:..0": lambda row: row["visnec"] is not None and row["visnec"] < 0,
    "loss_text:1.. loss_multimodal:..0.5": lambda row: (
        row["visnec"] is not None and row["loss_text"] >= 1 and row["loss_multimodal"] < 0.5
    ),
    "tokens:3..9": lambda row: row["tokens"] is not None and 3 <= row["tokens"] < 9,
    'text:"COLOUR is"': lambda row: "colour is" in row["question"].lower(),
    "text:café": lambda row: "café" in (row["question"] + row["answer"]).lower(),
    "text:digits-1": lambda row: "digits-1" in (row["id"] or ""),
}


@pytest.mark.parametrize("text", PREDICATES)
def test_filters_select_the_same_samples_as_plain_python(plausible: Store, text: str) -> None:
    expected = [row["row_idx"] for row in read_truth(plausible) if PREDICATES[text](row)]
    assert matching_rows(plausible.selection(SCOPE, parse_filter(text))).tolist() == expected
    assert sample_count(plausible.selection(SCOPE, parse_filter(text))) == len(expected)
    assert expected


def test_queues(store: Store) -> None:
    def queue(order: str, limit: int = 4, which: Filter = EVERYTHING, seed: int = 0) -> list[int]:
        return review_queue(store.selection(SCOPE, which), order, limit, seed).rows

    assert queue("lowest") == [8, 1, 5, 9]
    assert queue("highest") == [3, 0, 6, 2]
    assert queue("threshold:0.2") == [2, 9, 5, 0]  # 0.05, 0.075, 0.2 and 0.3 away
    assert queue("row_idx") == [0, 1, 2, 3]
    assert queue("row_idx", 10, Filter(source=("digits",))) == [1, 4, 7, 10]
    assert sorted(queue("random", 11)) == list(range(11))
    assert queue("random", 11) == queue("random", 11)
    assert queue("random", 11) != queue("random", 11, seed=1)
    everything = queue("random", 11)
    some = queue("random", 11, Filter(source=("scenes",)))
    assert some == [row_idx for row_idx in everything if row_idx in {0, 3, 6, 9}]


def test_a_random_queue_is_the_same_on_every_machine(store: Store) -> None:
    def mix(x: int) -> int:  # SplitMix64
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    expected = sorted(range(11), key=lambda row_idx: mix((row_idx + mix(42)) % 2**64))
    assert review_queue(store.selection(SCOPE), "random", 11, 42).rows == expected


def test_a_random_queue_draws_evenly(plausible: Store) -> None:
    """The first 24 of 240 over 50 seeds: every row is drawn about 5 times."""
    drawn = np.zeros(240, int)
    for seed in range(50):
        drawn[review_queue(plausible.selection(SCOPE), "random", 24, seed).rows] += 1
    # Counts of variance 50 * 0.1 * 0.9 = 4.5 each: the sum of squares has mean 240, deviation 22.
    assert 174 < ((drawn - 5) ** 2 / 4.5).sum() < 306


@pytest.mark.parametrize("order", ["best", "threshold", "threshold:x", "lowest:1", ""])
def test_an_unknown_queue_names_the_queues(store: Store, order: str) -> None:
    with pytest.raises(InputError, match=r"threshold:0\.25"):
        review_queue(store.selection(SCOPE), order, 3)


def test_candidates_are_all_samples_in_dataset_order(store: Store) -> None:
    found = read_candidates(store, SCOPE)
    assert found.row_idx.tolist() == list(range(11))
    assert found.sources == ("charts", "digits", "scenes")
    assert [found.sources[place] for place in found.source[:3]] == ["scenes", "digits", "charts"]
    assert [STATUSES[place].value for place in found.status] == [
        *["scored"] * 4,
        "pending",
        *["scored"] * 2,
        "text_only",
        *["scored"] * 2,
        "bad_image",
    ]
    assert found.visnec[[0, 1, 3]].tolist() == [0.5, -0.25, 2.0]
    assert np.isnan(found.visnec[[4, 7, 10]]).all()
    assert found.loss_text[3] == 2.5
    assert found.loss_multimodal[8] == 1.0
    assert found.n_answer_tokens.tolist() == [2, 4, 8, 1, 0, 2, 4, 0, 16, 4, 0]
    assert found.cluster_id.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    assert read_candidates(store, Scope(RUN_ID)).cluster_id.tolist() == [-1] * 11


def test_sample_detail_is_complete(plausible: Store) -> None:
    truth = read_truth(plausible)
    detail = sample_detail(plausible, SCOPE, 0)
    assert (detail.row_idx, detail.id, detail.source) == (0, "scenes-0", "scenes")
    assert detail.images == ("scenes/00000.png",)
    assert (detail.question, detail.answer) == (truth[0]["question"], truth[0]["answer"])
    assert (detail.n_turns, detail.status, detail.reason) == (3, "scored", None)
    assert detail.cluster == CLUSTER_NAMES[truth[0]["cluster"]]
    assert [one["baseline"] for one in detail.scores] == ["none", "gray"]
    assert detail.scores[0]["visnec"] == pytest.approx(truth[0]["visnec"])
    assert detail.scores[1]["visnec"] == pytest.approx(truth[0]["visnec"] - 0.125)
    assert [(one["baseline"], one["turn"]) for one in detail.turn_scores] == [
        (baseline, turn) for baseline in ("none", "gray") for turn in range(3)
    ]
    (predicted,) = detail.predictions
    assert (predicted["run_id"], predicted["model"]) == (RUN_ID, "tiny-vlm")
    assert predicted["prediction_text"] == truth[0]["answer"]
    assert predicted["prediction_multimodal"] == truth[0]["answer"]
    assert predicted["exact_text"] is True
    # Rows 0 and 4 ask about the same picture.
    assert [one["row_idx"] for one in detail.neighbours] == [4]
    assert detail.n_neighbours == 1


def test_details_of_many_samples_equal_those_of_each(plausible: Store) -> None:
    rows = [4, 0, 5, 0, 239, 17]
    found = sample_details(plausible, SCOPE, rows)
    assert found == {row: sample_detail(plausible, SCOPE, row) for row in rows}
    assert sample_details(plausible, SCOPE, []) == {}
    with pytest.raises(InputError, match=r"no sample 240\. The dataset has rows 0 to 239"):
        sample_details(plausible, SCOPE, [1, 241, 240])


def test_a_sample_without_image_or_score(plausible: Store) -> None:
    detail = sample_detail(plausible, SCOPE, 5)
    assert (detail.images, detail.status, detail.n_neighbours) == ((), "text_only", 0)
    assert [one["visnec"] for one in detail.scores] == [None, None]
    assert detail.turn_scores == detail.predictions == []
    with pytest.raises(InputError, match="rows 0 to 239"):
        sample_detail(plausible, SCOPE, 240)


def test_samples_outside_all_clusters_are_counted(tmp_path: Any) -> None:
    workspace, _ = built(tmp_path, n=24)
    path = next(workspace.clusters_dir.glob("*/clusters.parquet"))
    pq.write_table(pq.read_table(path).slice(0, 20), path)
    build_database(workspace)
    store = Store(workspace)
    frame = by_cluster(store.selection(SCOPE))
    assert frame["n"].sum() == 24
    assert frame[["cluster_id", "name", "n"]].values.tolist()[-1] == [None, None, 4]
    assert read_candidates(store, SCOPE).cluster_id[20:].tolist() == [-1] * 4
