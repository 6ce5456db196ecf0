"""The Subset page: rules select what the library selects, and every choice is in the URL."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboard.charts.plots import overlap_figure
from dashboard.data.context import WORKSPACE_VARIABLE, Context, open_view_context
from dashboard.data.subsets import (
    read_clustering_overlaps,
    read_known_stability,
    read_subset_outcome,
    read_weight_stats,
)
from dashboard.pages.subset.rule_choices import read_definition, view_changes
from dashboard.pages.subset.rule_controls import merge_edits
from dashboard.pages.subset.rule_families import FAMILIES
from dashboard.pages.subset.saved_subsets import read_arms
from dashboard.text import formatting
from dashboard.view.state import RuleKind, View, read_view, write_view
from scoring.clustering.clusters import Clustering
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.dataset.records import read_dataset_info
from scoring.duplicates.find import find_duplicates
from scoring.exchange.imported_columns import import_columns
from scoring.rules import Conditions, TopCount, TopShare, rule_from_dict
from scoring.schemas import CLUSTERS
from scoring.subsets.definitions import SubsetDefinition, list_subsets, read_outcome, save_subset
from scoring.workspace import Workspace, open_workspace, write_json
from tests.dashboard.conftest import Draw, written
from tests.synthetic import CLUSTER_NAMES, CLUSTERING_ID, RUN_ID, make_workspace, typed_row

RULES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "threshold": ({"minimum": "0.1", "maximum": "0.9"}, {"min": 0.1, "max": 0.9}),
    "answer-threshold": (
        {"minimum": "0.2", "answer_limits": '[["word",0.05,null]]'},
        {"min": 0.2, "max": None, "limits": [["word", 0.05, None]]},
    ),
    "filter": (
        {"all_of": "tokens:3..", "any_of": "visnec:0.5..\nsource:charts,digits visnec:..0"},
        {
            "all": ["tokens:3.."],
            "any": ["visnec:0.5..", "source:charts,digits visnec:..0"],
        },
    ),
    "best-of-group": (
        {"group_column": "image_group", "best": "longest-answer"},
        {"group": "image_group", "best": "longest-answer"},
    ),
    "drop-misaligned": ({"below": "0.02"}, {"below": 0.02}),
    "relative": ({"share": "0.25"}, {"share": 0.25}),
    "band": (
        {
            "minimum": "0.1",
            "amount": "tokens",
            "tokens": "90",
            "per": "source",
            "seed": "3",
        },
        {"min": 0.1, "tokens": 90, "per": "source", "seed": 3},
    ),
    "top-share": ({"share": "0.3"}, {"share": 0.3}),
    "top-count": ({"count": "17"}, {"count": 17}),
    "top-tokens": ({"tokens": "120"}, {"tokens": 120}),
    "length-corrected": ({"share": "0.2"}, {"share": 0.2}),
    "paper": ({"share": "0.4"}, {"share": 0.4}),
    "paper-code": ({"share": "0.1"}, {"share": 0.1}),
    "per-cluster": ({"share": "0.2", "at_least": "2"}, {"share": 0.2, "at_least": 2}),
    "per-source": ({"share": "0.2", "at_least": "1"}, {"share": 0.2, "at_least": 1}),
    "mixture": (
        {
            "mix_per": "answer-type",
            "target": '[["word",0.5]]',
            "amount": "count",
            "count": "40",
            "minimum": "0.0",
            "max_repeat": "3",
            "draw_by": "visnec",
        },
        {
            "per": "answer-type",
            "target": [["word", 0.5]],
            "count": 40,
            "min": 0.0,
            "max_repeat": 3,
            "by": "visnec",
        },
    ),
    "budget": (
        {"count": "30", "floor": "3", "ceiling": "9", "source_limits": '[["charts",null,5]]'},
        {"count": 30, "floor": 3, "ceiling": 9, "limits": [["charts", None, 5]]},
    ),
    "weights": (
        {"weigh": "rank", "temperature": "0.5", "min_weight": "0.1", "max_weight": "0.0"},
        {"by": "rank", "temperature": 0.5, "min_weight": 0.1, "max_weight": None},
    ),
    "random": ({"by_count": "1", "count": "12", "seed": "3"}, {"count": 12, "seed": 3}),
    "ablation": (
        {"loss": "multimodal-loss", "per": "source", "share": "0.25"},
        {"by": "multimodal-loss", "per": "source", "share": 0.25},
    ),
    "control": (
        {"of": "paper", "share": "0.4", "arm": "random", "per": "cluster", "seed": "5"},
        {"of": {"rule": "paper", "share": 0.4}, "by": "random", "per": "cluster", "seed": 5},
    ),
}


def test_every_rule_is_tested_and_in_one_family() -> None:
    assert set(RULES) == set(RuleKind)
    assert sorted(kind for family in FAMILIES for kind in family.rules) == sorted(RuleKind)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_selects_what_the_library_selects(
    root: Path, context: Context, draw: Draw, rule: str
) -> None:
    parameters, options = RULES[rule]
    scope = context.scope
    if rule == "best-of-group":
        find_duplicates(context.workspace, ("images",))
    definition = SubsetDefinition(
        "same",
        rule_from_dict({"rule": rule, **options}),
        scope.run_id,
        scope.baseline,
        scope.clustering_id,
    )
    n = len(read_outcome(context.workspace, context.store, definition).subset.selected)
    app = draw("subset", {"rule": rule, **parameters})
    assert not app.exception, app.exception
    said = written(app)
    assert "This rule cannot be applied" not in said
    assert f'Samples in the subset</div><div class="vn-value">{n:,}</div>' in said
    assert {**parameters, "rule": rule}.items() >= dict(app.query_params).items()


@pytest.mark.parametrize("rule", RULES)
def test_the_url_of_a_rule_reads_back(rule: str) -> None:
    view, problems = read_view({"rule": rule, **RULES[rule][0]})
    assert problems == []
    assert read_view(write_view(view)) == (view, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answer_limits", "[" * 3000),
        ("answer_limits", '[["word",NaN,null]]'),
        ("answer_limits", '[["word",null,null]]'),
        ("answer_limits", '{"word":1}'),
        ("source_limits", '[["charts",-1,null]]'),
        ("source_limits", '[["charts",0.5,null]]'),
        ("source_limits", "[[1,2,3]]"),
        ("source_limits", '[["charts",null,' + "9" * 5000 + "]]"),
        ("of", "control"),
        ("of", "weights"),
        ("arm", "__class__"),
        ("per", "turn"),
        ("draws", "100000"),
        ("tokens", "0"),
        ("count", "9" * 30),
    ],
)
def test_invalid_choices_of_a_link_are_ignored(name: str, value: str) -> None:
    view, problems = read_view({name: value})
    assert view == View()
    assert len(problems) == 1


def test_a_rule_that_cannot_be_applied_is_reported(root: Path, draw: Draw) -> None:
    for parameters, answer in (
        ({"rule": "budget", "count": "5", "floor": "9"}, "The floors add up to"),
        ({"rule": "budget", "source_limits": '[["<b>none</b>",1,null]]'}, "Unknown source"),
        ({"rule": "weights", "temperature": "0"}, "The temperature must be above 0"),
        (
            {"rule": "answer-threshold", "answer_limits": '[["prose",1,null]]'},
            "Unknown type of answer",
        ),
    ):
        app = draw("subset", parameters)
        assert not app.exception, app.exception
        said = written(app)
        assert "This rule cannot be applied" in said
        assert answer in said
        assert "<b>none</b>" not in said


def test_a_filter_narrows_any_rule_and_is_in_the_url(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-share", "share": "0.5"})
    app.text_input("subset.where").set_value("source:scenes tokens:>2").run()
    assert app.query_params["where"] == "source:scenes tokens:3.."
    workspace = open_workspace(root)
    where = "source:scenes tokens:3.."
    definition = SubsetDefinition("it", TopShare(0.5), RUN_ID, where=where)
    outcome = read_outcome(workspace, Store(workspace), definition)
    shown = written(app)
    assert (
        f'Samples in the subset</div><div class="vn-value">{len(outcome.subset.selected)}<' in shown
    )
    assert f"{outcome.describe_filter()}." in shown
    assert "does not match the filter" in shown
    assert (view_changes(definition) or {})["where"] == parse_filter(where)


def test_a_combined_ranking_is_typed_and_in_the_url(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-count", "count": "9"})
    app.text_input("subset.rank_by").set_value("visnec  -  .5*loss_text").run()
    assert app.query_params["rank_by"] == "visnec - 0.5*loss_text"
    app.selectbox("view.normalise").set_value("rank").run()
    assert app.query_params["normalise"] == "rank"
    rule = TopCount(9, rank_by="visnec - 0.5*loss_text", normalise="rank")
    outcome = read_outcome(
        open_workspace(root), Store(open_workspace(root)), SubsetDefinition("it", rule, RUN_ID)
    )
    shown = written(app)
    assert "Evidence: Not measured with a combined ranking." in shown
    assert f'<div class="vn-value">{len(outcome.subset.selected)}<' in shown
    changes = view_changes(SubsetDefinition("it", rule, RUN_ID)) or {}
    assert (changes["rank_by"], changes["normalise"]) == ("visnec - 0.5*loss_text", "rank")
    plain = view_changes(SubsetDefinition("it", TopCount(9), RUN_ID)) or {}
    assert plain["rank_by"] is None  # opening it replaces the sum that was typed
    app.text_input("subset.rank_by").set_value("visnec+clip").run()
    assert "with spaces around" in written(app)
    other = draw("subset", {"rule": "paper", "rank_by": "visnec - 0.5*loss_text"})
    assert "subset.rank_by" not in [field.key for field in other.text_input]
    assert "As published" in written(other)


@pytest.mark.usefixtures("root")
def test_the_best_of_groups_waits_for_a_choice(draw: Draw) -> None:
    said = written(draw("subset", {"rule": "best-of-group"}))
    assert "Choose the groups above" in said and "cannot be applied" not in said


def test_conditions_are_typed_one_a_line(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "filter"})
    assert "Type a filter into one of the fields above" in written(app)
    app.text_area("subset.any_of").set_value("visnec>=0.5\n\nsource:charts visnec:..0").run()
    assert app.query_params["any_of"] == "visnec:0.5..\nsource:charts visnec:..0"
    rule = Conditions(any=("visnec:0.5..", "source:charts visnec:..0"))
    definition = SubsetDefinition("it", rule, RUN_ID)
    workspace = open_workspace(root)
    n = len(read_outcome(workspace, Store(workspace), definition).subset.selected)
    assert f'<div class="vn-value">{n}<' in written(app)
    changes = view_changes(definition) or {}
    assert (changes["rule"], changes["all_of"], changes["any_of"]) == ("filter", (), rule.any)
    app.text_area("subset.all_of").set_value("decision:keep").run()
    assert "cannot have decision" in written(app)


def test_a_filter_that_cannot_be_pinned_stays_in_the_field_with_the_reason(
    root: Path, draw: Draw
) -> None:
    app = draw("subset", {"rule": "top-share"})
    for text in ("decision:keep", "colour:red"):
        app.text_input("subset.where").set_value(text).run()
        assert "Not valid" in written(app)
        assert text in [field.value for field in app.text_input]
        assert "where" not in app.query_params
    linked = draw("subset", {"rule": "top-share", "where": "decision:keep"})
    assert "cannot have decision: decisions change" in written(linked)


# ---- controls ------------------------------------------------------------------------------------


def test_a_family_starts_with_its_first_rule(root: Path, draw: Draw) -> None:
    app = draw("subset")
    app.selectbox("rule_family").set_value(FAMILIES[8]).run()
    assert app.query_params["rule"] == "budget"
    assert "with a floor and a ceiling per source" in written(app)
    assert "Not measured; within its groups" in written(app)


def test_a_mixture_starts_in_proportion_and_presets_set_its_targets(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "mixture", "amount": "count", "count": "40"})
    assert "The targets add up to 100 %." in written(app)
    assert "target" not in app.query_params  # in proportion without any
    app.button("preset-0.0").click().run()
    equal = json.loads(app.query_params["target"])
    assert {share for _, share in equal} == {0.25}
    app.button("preset-1.0").click().run()
    shares = dict(json.loads(app.query_params["target"]))
    assert sum(shares.values()) == pytest.approx(1.0)
    typed = json.dumps([[name, 0.5] for name in shares])
    app = draw("subset", {"rule": "mixture", "amount": "count", "count": "40", "target": typed})
    assert "The targets add up to 200 %." in written(app)
    assert "they can add up to at most 1" in written(app)
    app.button("normalize-targets").click().run()
    assert json.loads(app.query_params["target"]) == equal
    assert "This rule cannot be applied" not in written(app)


def test_a_mixture_by_a_column(root: Path, context: Context, draw: Draw) -> None:
    path = root.parent / "topics.jsonl"
    n = read_dataset_info(context.workspace).n_samples
    rows = [{"row_idx": row, "topic": ("maps", "text", "maps")[row % 3]} for row in range(n)]

    def write_topics(records: list[dict[str, Any]]) -> Path:
        path.write_text("\n".join(map(json.dumps, records)), "utf-8")
        return path

    import_columns(context.workspace, write_topics(rows))
    parameters = {"rule": "mixture", "mix_per": "col:topic", "amount": "count", "count": "30"}
    app = draw("subset", {**parameters, "target": '[["maps",0.1],["text",0.9]]'})
    said = written(app)
    assert "This rule cannot be applied" not in said
    assert "Column topic" in said
    proportional = draw("subset", parameters)
    assert "The targets add up to 100 %." in written(proportional)
    import_columns(context.workspace, write_topics(rows[: n // 2]), replace_existing=True)
    half = draw("subset", parameters)  # half of the samples have no topic and no target
    assert "Groups without a target share the other" in written(half)
    missing = draw("subset", {**parameters, "mix_per": "col:other"})
    assert "No column &#x27;other&#x27;" in written(missing)


def test_the_composition_is_shown_by_answer_type(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-share", "share": "0.5"})
    headings = [heading.value for heading in app.subheader]
    assert {"By source", "By category", "By answer type", "By cluster"} <= set(headings)
    assert "Of subset" in written(app)


def test_a_source_that_nearly_vanishes_is_reported(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [typed_row(0.1 if position % 3 == 0 else 1.0, position) for position in range(120)]
    workspace = make_workspace(tmp_path / "many", rows=rows, with_images=False)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    said = written(draw("subset", {"rule": "top-share", "share": "0.5"}))
    assert "Source scenes nearly vanishes: 33.3 % of the data, 0.0 % of the subset" in said
    assert "nearly vanishes" not in written(draw("subset", {"rule": "threshold", "minimum": "0"}))


def test_edits_of_a_limits_table() -> None:
    names = ["charts", "chat", "digits"]
    held = (("chat", 1, None), ("digits", 2, 8))
    edits: dict[int, dict[str, float | None]] = {
        0: {"high": 7.0},
        1: {"low": None},
        2: {"low": 3.0},
    }
    assert merge_edits(held, names, edits, whole=True) == (("charts", None, 7), ("digits", 3, 8))
    assert merge_edits((), names, {1: {"low": 0.25}}, whole=False) == (("chat", 0.25, None),)
    assert merge_edits(held, names, {}, whole=True) == held


def test_switches_for_unscored_samples_show_their_number(root: Path, draw: Draw) -> None:
    app = draw("subset", {"hand": "0"})
    label = next(one.label for one in app.toggle if "text-only" in one.label)
    n = int(label.rpartition("(")[2].rstrip(")"))
    assert n > 0
    because = f'text only (chosen above)</td><td class="number">{n}'
    assert f"<td>dropped</td><td>{because}" in _flat(written(app))
    app.toggle("view.text_only").set_value(True).run()
    assert f"<td>kept</td><td>{because}" in _flat(written(app))


def _flat(said: str) -> str:
    return said.replace(' class=""', "")


# ---- weights -------------------------------------------------------------------------------------


def test_weights_show_what_training_will_see(root: Path, context: Context, draw: Draw) -> None:
    view = View(rule=RuleKind.WEIGHTS, temperature=0.3)
    outcome = read_subset_outcome(context, read_definition(context, view))
    facts = read_weight_stats(context, outcome)
    assert facts is not None
    assert sum(facts.repeats) == len(outcome.subset.selected)
    assert facts.epoch >= sum(n * times for times, n in enumerate(facts.repeats))
    said = written(draw("subset", write_view(view)))
    assert "Mean weight" in said
    assert formatting.share(facts.effective_share, 1) in said
    assert "Mean weight" not in written(draw("subset"))


# ---- arms, comparison, stability, clusterings ----------------------------------------------------


def test_the_arms_of_a_subset_are_saved_with_one_click(
    root: Path, context: Context, draw: Draw
) -> None:
    save_subset(context.workspace, read_definition(context, View(rule=RuleKind.PAPER), "paper15"))
    app = draw("subset", session={"arms-list-paper15-0": True})
    app.button("arms-paper15").click().run()
    assert "Saved 5 arms" in written(app)
    saved = {one.name: one for one in list_subsets(context.workspace)}
    sizes = {
        name: int(candidate.sum())
        for name, one in saved.items()
        if (found := read_subset_outcome(context, one)) is not None
        and (candidate := one.rule.select_mask(found.candidates)) is not None
    }
    assert set(sizes) == {"paper15"} | {
        f"paper15-{arm}"
        for arm in ("text-loss", "multimodal-loss", "no-clusters", "random", "random-per-cluster")
    }
    assert len(set(sizes.values())) == 1
    assert read_arms(saved["paper15-random"]) == {}


def test_two_subsets_side_by_side(root: Path, context: Context, draw: Draw) -> None:
    few = read_definition(context, View(rule=RuleKind.TOP_COUNT, count=10, hand=False), "few")
    save_subset(context.workspace, few)
    link = {"rule": "top-count", "count": "20", "hand": "0", "panel": "compare"}
    said = written(draw("subset", link))
    assert ">50.0 %</div>" in said  # ten of twenty
    app = draw("subset", {**link, "subset_a": "few", "subset_b": "few"})
    assert ">100.0 %</div>" in written(app)
    app.selectbox("view.subset_a").set_value("").run()
    assert "subset_a" not in app.query_params
    assert ">50.0 %</div>" in written(app)


def test_comparing_without_a_saved_subset_shows_what_to_do(root: Path, draw: Draw) -> None:
    assert "No saved subset to compare with" in written(draw("subset", {"panel": "compare"}))


def test_stability_is_computed_on_request(root: Path, context: Context, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-share", "panel": "stability", "draws": "25"})
    assert "Expected overlap" not in written(app)
    app.button("stability").click().run()
    assert not app.exception, app.exception
    said = written(app)
    assert "Expected overlap" in said
    noise = "the noise of the dtype (± 0.000002 in float32)"
    assert f"Based on 1 other set of scores and {noise}" in said
    view = View(rule=RuleKind.TOP_SHARE)
    facts = read_known_stability(context, read_definition(context, view), 25)
    assert facts is not None
    assert facts.n_draws == 25
    assert 0 < facts.n_firm <= facts.n_taken


def test_a_rule_without_scores_has_no_stability(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "random", "panel": "stability"})
    app.button("stability").click().run()
    assert "No stability for this rule" in written(app)


def test_one_clustering_alone_has_no_overlap(root: Path, draw: Draw) -> None:
    said = written(draw("subset", {"rule": "paper", "panel": "clusterings"}))
    assert "--sweep 10,20,30" in said


def test_the_page_shows_how_the_clusters_were_made(root: Path, draw: Draw) -> None:
    said = written(draw("subset", {"rule": "paper"}))
    assert f"Clusters: K = {len(CLUSTER_NAMES)}, seed 42, embedder tfidf-svd" in said
    assert "These are not the paper" in said
    assert "These are not the paper" not in written(draw("subset", {"rule": "per-cluster"}))
    assert "embedder" not in written(draw("subset", {"rule": "top-share"}))


def add_clustering(workspace: Workspace, name: str, n: int, fingerprint: str) -> None:
    """A clustering of the row number modulo ``n``."""
    ids = [row % n for row in range(12)]
    folder = workspace.clusters_dir / name
    folder.mkdir()
    values = [{"row_idx": i, "cluster_id": one, "distance": 0.0} for i, one in enumerate(ids)]
    pq.write_table(pa.Table.from_pylist(values, CLUSTERS), folder / "clusters.parquet")
    clusters = [{"cluster_id": c, "name": str(c), "size": ids.count(c)} for c in range(n)]
    made = Clustering(name, "tfidf", n, 42, "2026-01-01T00:00:00Z", fingerprint, ())
    write_json(folder / "clustering.json", asdict(made) | {"clusters": clusters})


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Twelve samples with the scores 0.1 to 1.2, in one, two and three clusters."""
    workspace = make_workspace(
        tmp_path / "swept", visnec=[round(0.1 * (i + 1), 1) for i in range(12)], with_images=False
    )
    fingerprint = read_dataset_info(workspace).fingerprint
    for n in (1, 2, 3):
        add_clustering(workspace, f"by-{n}", n, fingerprint)
    shutil.rmtree(workspace.clusters_dir / CLUSTERING_ID)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    return workspace


# The highest quarter: of all, rows 9 to 11; of six even and six odd ones, int(1.5): rows 10 and 11;
# of each four rows of the same remainder by 3, one: rows 9 to 11 again.
OVERLAPS = {("by-1", "by-2"): 2 / 3, ("by-1", "by-3"): 1.0, ("by-2", "by-3"): 2 / 3}


def test_overlaps_between_numbers_of_clusters(swept: Workspace, draw: Draw) -> None:
    app = draw("subset", {"rule": "paper", "share": "0.25", "panel": "clusterings"})
    assert not app.exception, app.exception
    said = _flat(written(app))
    for pair in ("K = 1 · K = 2", "K = 1 · K = 3", "K = 2 · K = 3"):
        assert pair in said
    assert said.count("66.7 %") == 2
    assert "100.0 %" in said
    [chart] = app.get("plotly_chart")
    assert json.loads(chart.proto.spec)["data"][0]["type"] == "heatmap"


def test_the_overlap_chart_is_the_table_of_overlaps(swept: Workspace) -> None:
    context = open_view_context(View()).context
    assert context is not None
    definition = read_definition(context, View(rule=RuleKind.PAPER, share=0.25))
    frame = read_clustering_overlaps(context, definition, ("by-1", "by-2", "by-3"))
    pairs = frame[frame["a"] != frame["b"]].set_index(["a", "b"])["jaccard"].to_dict()
    assert pairs == pytest.approx(OVERLAPS)
    names = {"by-1": "K = 1", "by-2": "K = 2", "by-3": "K = 3"}
    heatmap = overlap_figure(frame, names, dark=False).data[0]
    assert list(heatmap.x) == list(heatmap.y) == ["K = 1", "K = 2", "K = 3"]
    expected = [[1, 2 / 3, 1], [2 / 3, 1, 2 / 3], [1, 2 / 3, 1]]
    np.testing.assert_allclose(heatmap.z, expected)


def test_clusterings_from_before_samples_were_added_are_left_out(
    swept: Workspace, draw: Draw
) -> None:
    add_clustering(swept, "older", 2, "of another dataset")
    path = swept.clusters_dir / "older" / "clusters.parquet"
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    build_database(swept)
    app = draw("subset", {"rule": "paper", "panel": "clusterings", "clustering": "by-1"})
    said = written(app)
    assert "cannot be applied to every clustering" not in said
    assert "K = 2 · K = 3" in said
    assert "older" not in said
