"""From the view to a subset and back, the parts of a filter, exports on disk, the loss plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest

from dashboard.charts.plots import loss_plane_figure
from dashboard.data.context import Context
from dashboard.data.exports import default_export_folder, read_exports, start_export
from dashboard.data.samples import read_row_tiles
from dashboard.data.subsets import read_subset_outcome
from dashboard.pages.subset.panels import find_edge_rows
from dashboard.pages.subset.rule_choices import (
    read_definition,
    read_rule,
    view_changes,
)
from dashboard.pages.subset.rule_families import (
    FAMILIES,
    REASON_NAMES,
    RULE_MEANINGS,
    RULE_NAMES,
)
from dashboard.view.navigation import sample_link
from dashboard.view.state import RuleKind, View, write_view
from dashboard.widgets.filter_bar import CLEAR, read_chips, remove_chip
from scoring.database.filters import Filter, Range
from scoring.database.values import LossPlane
from scoring.errors import InputError, RuleError
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.necessity import Bands, Category
from scoring.rules import (
    Ablation,
    AnswerThresholds,
    Control,
    Mixture,
    RandomShare,
    Rule,
    Threshold,
    TopCount,
    TopShare,
)
from scoring.rules.candidates import ANSWER_KINDS
from scoring.rules.evidence import RULES_BY_EVIDENCE
from scoring.subsets.definitions import SubsetDefinition, delete_subset, list_subsets, save_subset
from scoring.subsets.selection import Reason

BANDS = Bands(0.0, 0.25)


def test_every_rule_and_reason_is_named() -> None:
    assert set(RULE_NAMES) == set(RULE_MEANINGS) == set(RuleKind)
    assert set(REASON_NAMES) == set(Reason)


def test_rules_are_offered_in_the_order_of_the_evidence() -> None:
    offered = [str(kind) for family in FAMILIES for kind in family.rules]
    assert offered == list(RULES_BY_EVIDENCE)


def test_rules_from_the_view() -> None:
    assert read_rule(View(), BANDS) == Threshold(min=0.25)
    assert read_rule(View(maximum=0.0), BANDS) == Threshold(max=0.0)
    assert read_rule(View(minimum=-1.0, maximum=0.5), BANDS) == Threshold(-1.0, 0.5)
    assert read_rule(View(rule=RuleKind.TOP_SHARE, share=0.3), BANDS) == TopShare(0.3)
    assert read_rule(View(rule=RuleKind.TOP_COUNT, count=7), BANDS) == TopCount(7)
    random = View(rule=RuleKind.RANDOM, share=0.5, seed=3)
    assert read_rule(random, BANDS) == RandomShare(share=0.5, seed=3)
    with pytest.raises(RuleError):
        read_rule(View(minimum=1.0, maximum=0.0), BANDS)


def test_mixtures_from_the_view() -> None:
    mixture = View(
        rule=RuleKind.MIXTURE, target=(("scenes", 0.5),), amount="count", count=5, seed=0
    )
    band = Mixture((("scenes", 0.5),), count=5, min=0.25)
    assert read_rule(mixture, BANDS) == band
    assert read_rule(replace(mixture, cut=0.1), BANDS) == replace(band, min=0.1)
    assert read_rule(replace(mixture, rank_by="visnec"), BANDS) == band  # it ranks nothing
    everything = replace(band, min=None, by="all")
    assert read_rule(replace(mixture, draw_by="all", minimum=0.1), BANDS) == everything
    by_category = replace(mixture, mix_per="category", target=(("redundant", 0.5),))
    assert read_rule(by_category, BANDS) == Mixture((("redundant", 0.5),), per="category", count=5)


def test_a_mixture_that_was_saved_without_limits_opens_as_a_draw_from_all_scores() -> None:
    before = Mixture((("scenes", 0.5),), count=5, min=None)
    changes = view_changes(SubsetDefinition("before", before, "run"))
    assert changes is not None
    assert changes["draw_by"] == "all"
    view = replace(View(), **changes)
    assert read_rule(view, BANDS) == replace(before, by="all")


VIEWS = [
    View(rule=RuleKind.MIXTURE, mix_per="col:topic", target=(("maps", 0.25),), share=0.5),
    View(rule=RuleKind.MIXTURE, target=(("scenes", 0.5),), amount="count", count=5, max_repeat=2),
    View(
        rule=RuleKind.MIXTURE,
        mix_per="category",
        target=(("misaligned", 0.0), ("vision-critical", 0.75)),
        low=0.0,
        high=0.5,
        amount="tokens",
        tokens=70,
        maximum=0.9,
        draw_by="visnec",
        seed=4,
    ),
    View(rule=RuleKind.MIXTURE, target=(("scenes", 0.5),), draw_by="all"),
    View(rule=RuleKind.MIXTURE, target=(("scenes", 0.5),), draw_by="visnec", rank_by="loss_text"),
    View(minimum=-0.5, maximum=0.75),
    View(rule=RuleKind.TOP_SHARE, share=0.35, text_only=True),
    View(rule=RuleKind.TOP_COUNT, count=12, unscored=True),
    View(rule=RuleKind.PAPER, share=0.2, hand=False),
    View(rule=RuleKind.PAPER_CODE),
    View(rule=RuleKind.RANDOM, share=0.4, seed=9),
    View(rule=RuleKind.RANDOM, by_count=True, count=5),
    View(rule=RuleKind.ANSWER_THRESHOLD, minimum=0.2, answer_limits=(("word", None, 0.5),)),
    View(rule=RuleKind.DROP_MISALIGNED, below=-0.1),
    View(rule=RuleKind.RELATIVE, share=0.3),
    View(rule=RuleKind.BAND, minimum=0.1, amount="share", share=0.2, per="cluster", seed=4),
    View(rule=RuleKind.BAND, maximum=0.1, amount="count", count=6),
    View(rule=RuleKind.TOP_TOKENS, tokens=77),
    View(rule=RuleKind.LENGTH_CORRECTED, share=0.3),
    View(rule=RuleKind.PER_CLUSTER, at_least=2),
    View(rule=RuleKind.PER_SOURCE, share=0.5),
    View(rule=RuleKind.BUDGET, count=9, floor=1, ceiling=4, source_limits=(("chat", 0, None),)),
    View(rule=RuleKind.WEIGHTS, weigh="rank", temperature=0.3, max_weight=0.0),
    View(rule=RuleKind.WEIGHTS, min_weight=0.2, max_weight=3.0),
    View(rule=RuleKind.WEIGHTS, weigh="ratio", max_weight=3.0),
    View(rule=RuleKind.ABLATION, loss="high-multimodal-loss", per="source", at_least=1),
    View(rule=RuleKind.CONTROL, of=RuleKind.PAPER, share=0.25, arm="text-loss", per="cluster"),
    View(rule=RuleKind.CONTROL, of=RuleKind.BAND, minimum=0.1, share=0.2, seed=4),
    View(rule=RuleKind.CONTROL, of=RuleKind.BUDGET, count=9, ceiling=3, seed=4),
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view.rule))
def test_a_saved_subset_opens_as_the_view_it_was_made_from(context: Context, view: View) -> None:
    definition = read_definition(context, view, "one")
    changes = view_changes(definition)
    assert changes is not None
    again = read_definition(context, replace(View(), **changes), "one")
    assert replace(again, created_at=definition.created_at) == definition


@pytest.mark.parametrize(
    "rule",
    [
        Control(Control(TopShare(0.5)), "visnec"),
        Control(RandomShare(share=0.5, seed=1), "random", seed=2),
        Control(Ablation("text-loss", per="cluster"), "random", "source"),
        Mixture(tuple((f"a long name of a source {n}", 0.001) for n in range(900)), count=5),
        AnswerThresholds(limits=tuple((kind, 0.1, None) for kind in ANSWER_KINDS)),
    ],
    ids=str,
)
def test_a_rule_without_controls_here_is_not_misread(context: Context, rule: Rule) -> None:
    definition = SubsetDefinition("one", rule, context.scope.run_id)
    assert view_changes(definition) is None


def test_the_edge_of_a_subset(context: Context) -> None:
    view = View(rule=RuleKind.TOP_COUNT, count=20, hand=False)
    outcome = read_subset_outcome(context, read_definition(context, view))
    score = dict(zip(outcome.candidates.row_idx, outcome.candidates.visnec, strict=True))
    edges = find_edge_rows(outcome, 5)
    kept = [score[row] for row in edges["Lowest scores kept"]]
    dropped = [score[row] for row in edges["Highest scores dropped"]]
    assert kept == sorted(score[row] for row in outcome.subset.selected)[:5]
    assert dropped == sorted(dropped, reverse=True)
    assert max(dropped) <= min(kept)
    tiles = read_row_tiles(context, edges["Lowest scores kept"])
    assert [tile["row_idx"] for tile in tiles] == edges["Lowest scores kept"]


def export(
    context: Context, definition: SubsetDefinition, file_format: str, overwrite: bool = False
) -> None:
    folder = default_export_folder(context.workspace, definition.name, file_format)
    job = start_export(context.workspace, definition, ExportOptions(file_format), folder, overwrite)
    assert job.wait_for_end(60)
    assert job.state == "done", job.error


def test_saving_exporting_and_verifying(context: Context) -> None:
    workspace = context.workspace
    definition = read_definition(context, View(rule=RuleKind.TOP_COUNT, count=15), "best")
    save_subset(workspace, definition)
    assert list_subsets(workspace) == [definition]
    for file_format in ("llava", "ids"):
        export(context, definition, file_format)
    found, problems = read_exports(workspace)
    assert [one.folder.name for one in found] == ["best", "best-ids"]
    assert problems == []
    names = {path.name for path, _ in found[1].files}
    assert names == {"ids.txt", "row_idx.txt", "README.md", "manifest.json"}
    report = verify_manifest(found[0].folder, workspace)
    assert report.n_samples == found[0].manifest.counts["selected"]
    with pytest.raises(InputError):
        export(context, definition, "llava")
    export(context, definition, "llava", overwrite=True)
    delete_subset(workspace, "best")
    assert list_subsets(workspace) == []


def test_a_damaged_manifest_is_told_and_hides_no_other(root: Path, context: Context) -> None:
    definition = read_definition(context, View(), "good")
    export(context, definition, "jsonl")
    (root / "exports" / "bad").mkdir()
    (root / "exports" / "bad" / "manifest.json").write_text("{")
    good = (root / "exports" / "good-jsonl" / "manifest.json").read_text()
    (root / "exports" / "elsewhere").mkdir()
    (root / "exports" / "elsewhere" / "manifest.json").write_text(
        good.replace("samples.jsonl", "../../workspace.json")
    )
    found, problems = read_exports(context.workspace)
    assert [one.folder.name for one in found] == ["good-jsonl"]
    assert len(problems) == 2


def test_a_sample_is_linked_by_its_row_whatever_else_the_view_holds() -> None:
    for view in (View(), View(sample=3, cut=0.5, seed=4, reviewer="ada")):
        parameters = dict(parse_qsl(sample_link(view).partition("?")[2] + "17"))
        assert parameters == write_view(replace(view, sample=17))


# ---- parts of a filter ---------------------------------------------------------------------------

WHICH = Filter(
    source=("a", "b=c"),
    cluster=(3,),
    category=(Category.MISALIGNED,),
    decision=("none",),
    visnec=Range(None, 0.2),
    text="x",
)


def test_parts_of_a_filter_in_words() -> None:
    said = [(part.name, part.value) for part in read_chips(WHICH, {3: "colours"})]
    assert said == [
        ("source", "a"),
        ("source", "b=c"),
        ("cluster", "colours"),
        ("category", "misaligned"),
        ("decision", "undecided"),
        ("VisNec score", "below 0.2"),
        ("text", "x"),
    ]


def test_each_part_can_be_taken_out() -> None:
    for part in read_chips(WHICH, {}):
        left = remove_chip(WHICH, part.key)
        assert part.key not in {one.key for one in read_chips(left, {})}
        assert len(read_chips(left, {})) == len(read_chips(WHICH, {})) - 1
    assert remove_chip(WHICH, CLEAR) == Filter()
    assert remove_chip(WHICH, "__class__=x") == WHICH
    assert remove_chip(WHICH, "source=z") == WHICH


# ---- charts --------------------------------------------------------------------------------------


def test_the_loss_plane_shows_every_sample_and_both_limits() -> None:
    counts = np.zeros((60, 60), dtype=np.int64)
    counts[2, 3], counts[10, 1] = 5, 2
    plane = LossPlane(counts, np.linspace(0.0, 6.0, 61))
    for dark in (False, True):
        figure = loss_plane_figure(plane, Bands(0.0, 0.25), dark)
        assert int(np.nansum(figure.data[0].customdata)) == 7
        assert len(figure.data) == 3
        limit = figure.data[2]
        assert [x - y for x, y in zip(limit.x, limit.y, strict=True)] == pytest.approx([0.25, 0.25])


def test_an_empty_loss_plane_is_drawn() -> None:
    plane = LossPlane(np.zeros((60, 60), dtype=np.int64), np.linspace(0.0, 6.0, 61))
    assert loss_plane_figure(plane, Bands(0.0, 0.25), dark=False).data
