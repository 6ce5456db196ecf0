"""Controls: what they are drawn from, and where a subset has none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scoring.database.connection import Store
from scoring.errors import InputError
from scoring.necessity import DEFAULT_BANDS
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import (
    AnswerThresholds,
    Band,
    ClusterShare,
    Control,
    DropMisaligned,
    PaperTopShare,
    RandomShare,
    RelativeShare,
    Rule,
    Threshold,
    TopCount,
    TopShare,
    Weights,
)
from scoring.samples import Status
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition, read_outcome
from scoring.trials.controls import draw_control, find_obstacle, select_all, subset_rows
from scoring.workspace import Workspace
from tests.trials.conftest import N_SCORED

Save = Callable[..., SubsetDefinition]


def resolve(workspace: Workspace, save: Save, rule: Rule, **choices: object) -> ResolvedSubset:
    return read_outcome(workspace, Store(workspace), save(rule.name, rule, **choices))


def test_random_has_the_size_and_other_samples_for_each_seed(
    workspace: Workspace, save: Save
) -> None:
    resolved = resolve(workspace, save, TopCount(12))
    draws = [draw_control(resolved, "random", DEFAULT_BANDS, seed) for seed in (1, 2)]
    again = draw_control(resolved, "random", DEFAULT_BANDS, 1)
    assert [len(draw.row_idx) for draw in draws] == [12, 12]
    assert draws[0].row_idx.tolist() != draws[1].row_idx.tolist()
    assert draws[0].row_idx.tolist() == again.row_idx.tolist() == sorted(again.row_idx.tolist())
    assert set(draws[0].weights) == {1.0}
    assert max(draws[0].row_idx.max(), draws[1].row_idx.max()) < N_SCORED  # scored samples only


def test_a_saved_random_subset_is_not_its_own_control(workspace: Workspace, save: Save) -> None:
    resolved = resolve(workspace, save, RandomShare(count=30, seed=1))
    drawn = draw_control(resolved, "random", DEFAULT_BANDS, 1)
    assert drawn.row_idx.tolist() != resolved.subset.selected.tolist()


@pytest.mark.parametrize(
    ("rule", "lowest"),
    [
        (PaperTopShare(0.3), 0.03125),
        (TopShare(0.2), DEFAULT_BANDS.high),
        (RelativeShare(0.2), DEFAULT_BANDS.high),
    ],
)
def test_band_draws_inside_the_filter_of_the_rule(
    workspace: Workspace, save: Save, rule: Rule, lowest: float
) -> None:
    resolved = resolve(workspace, save, rule)
    drawn = [draw_control(resolved, "band", DEFAULT_BANDS, seed).row_idx for seed in range(1, 40)]
    scores = resolved.candidates.visnec[np.concatenate(drawn)]
    assert scores.min() == lowest  # every sample of the filter is drawn sooner or later
    assert {len(rows) for rows in drawn} == {len(resolved.subset.selected)}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Threshold(0.25), "only 28 could be drawn instead"),
        (AnswerThresholds(0.25), "only 28 could be drawn instead"),
        (DropMisaligned(-0.05), "only 37 could be drawn instead"),
        (Band(min=0.25, share=0.1), "no ranking inside a filter"),
        (TopShare(0.9), "it keeps 54 scored samples, and only 28"),
        (RandomShare(0.5), "no ranking inside a filter"),
        (Control(TopCount(5)), "no ranking inside a filter"),
        (Weights(), "no ranking inside a filter"),
    ],
)
def test_band_is_refused_where_a_rule_has_no_filter_or_takes_all_of_it(
    workspace: Workspace, save: Save, rule: Rule, reason: str
) -> None:
    resolved = resolve(workspace, save, rule)
    with pytest.raises(InputError, match=reason):
        draw_control(resolved, "band", DEFAULT_BANDS, 1)


def test_cluster_matches_the_number_in_each_cluster(workspace: Workspace, save: Save) -> None:
    resolved = resolve(workspace, save, TopCount(17))
    drawn = draw_control(resolved, "cluster", DEFAULT_BANDS, 3)
    clusters = resolved.candidates.cluster_id
    ours, theirs = clusters[drawn.row_idx], clusters[resolved.subset.selected]
    assert np.bincount(ours).tolist() == np.bincount(theirs).tolist()
    assert drawn.row_idx.tolist() != resolved.subset.selected.tolist()


def test_cluster_needs_clusters(workspace: Workspace) -> None:
    definition = SubsetDefinition("top", TopCount(5), "tiny-run")
    resolved = read_outcome(workspace, Store(workspace), definition)
    obstacle = find_obstacle(resolved, "cluster", DEFAULT_BANDS)
    assert obstacle is not None
    assert "visnec cluster" in obstacle


def test_tokens_matches_the_answer_tokens(workspace: Workspace, save: Save) -> None:
    resolved = resolve(workspace, save, TopCount(20))
    tokens = resolved.candidates.n_answer_tokens
    wanted = tokens[resolved.subset.selected].sum()
    for seed in range(1, 6):
        drawn = draw_control(resolved, "tokens", DEFAULT_BANDS, seed)
        assert abs(tokens[drawn.row_idx].sum() - wanted) <= 4  # half of the longest answer


def test_choices_of_the_subset_apply_to_its_controls(workspace: Workspace, save: Save) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(row, Decision.DROP) for row in range(20)])
    log.append([DecisionDraft(25, Decision.KEEP)])
    resolved = resolve(workspace, save, TopCount(10), text_only="keep")
    assert resolved.subset.selected.tolist() == [25, *range(50, 64)]
    for seed in range(1, 9):
        drawn = draw_control(resolved, "random", DEFAULT_BANDS, seed).row_idx
        assert len(drawn) == 15
        assert drawn[-4:].tolist() == [60, 61, 62, 63]  # the same text-only samples
        assert drawn.min() >= 20  # none that a person dropped


def test_weights_are_dealt_out_at_random(workspace: Workspace, save: Save) -> None:
    resolved = resolve(workspace, save, Weights(temperature=0.5, max_weight=4.0))
    rows = subset_rows(resolved)
    for kind in ("random", "cluster"):
        drawn = draw_control(resolved, kind, DEFAULT_BANDS, 1)
        assert drawn.row_idx.tolist() == rows.row_idx.tolist()
        assert sorted(drawn.weights) == sorted(rows.weights)
        assert drawn.weights.tolist() != rows.weights.tolist()
    clusters = resolved.candidates.cluster_id[rows.row_idx]
    for cluster in set(clusters.tolist()):
        mask = clusters == cluster
        assert sorted(drawn.weights[mask]) == sorted(rows.weights[mask])
    assert rows.weights.mean() == pytest.approx(1)
    with pytest.raises(InputError, match="it weights samples"):
        draw_control(resolved, "tokens", DEFAULT_BANDS, 1)


def test_all_has_every_sample_that_can_be_trained_on(workspace: Workspace, save: Save) -> None:
    resolved = resolve(workspace, save, ClusterShare(0.2))
    assert select_all(resolved.candidates).row_idx.tolist() == list(range(64))
    statuses = resolved.candidates.status.copy()
    statuses[3] = list(Status).index(Status.MISSING_IMAGE)
    object.__setattr__(resolved.candidates, "status", statuses)
    assert 3 not in select_all(resolved.candidates).row_idx
