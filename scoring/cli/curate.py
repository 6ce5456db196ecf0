"""Commands that turn scores into a dataset: cluster, select, export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scoring.cli.options import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.cli.talk import count_progress, print_json, print_line, say, table, talk
from scoring.clustering import DEFAULT_K, DEFAULT_SEED, Clustering, list_clusterings
from scoring.errors import InputError
from scoring.runs import now, only_run
from scoring.selection import Treatment
from scoring.workspace import Workspace, open_workspace


def cluster(
    workspace: WorkspaceOption,
    k: Annotated[int, typer.Option("--k", help="How many clusters.")] = DEFAULT_K,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the k-means.")] = DEFAULT_SEED,
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            help="A sentence-transformers model by name or path, or tfidf. Default: "
            "all-MiniLM-L6-v2 where sentence-transformers is installed, else tfidf.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Group the samples by their first instruction, as the paper's code does."""
    from dataclasses import asdict

    from scoring.clustering import cluster_dataset
    from scoring.embeddings import load_embedder
    from scoring.store import build_database

    place = open_workspace(workspace)
    loaded = load_embedder(embedder)
    with count_progress(f"Embedding ({loaded.name})") as show:
        clustering = cluster_dataset(place, loaded, k=k, seed=seed, on_progress=show)
    build_database(place)
    rows = [(one.cluster_id, one.size, one.name) for one in clustering.clusters]
    talk.print(
        table(f"Clustering {clustering.clustering_id}", ["cluster", "samples", "like"], rows)
    )
    if json:
        print_json(asdict(clustering))


def select(
    workspace: WorkspaceOption,
    name: Annotated[str, typer.Option("--name", help="Name of the subset.")],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="threshold (--min, --max), top-share (--share), top-count (--count), paper and "
            "paper-code (--share, per cluster), random (--share or --count, --seed).",
        ),
    ],
    minimum: Annotated[
        float | None, typer.Option("--min", help="Lowest VisNec score kept.")
    ] = None,
    maximum: Annotated[
        float | None, typer.Option("--max", help="VisNec score from which on nothing is kept.")
    ] = None,
    share: Annotated[float | None, typer.Option("--share", help="Share, for example 0.15.")] = None,
    count: Annotated[int | None, typer.Option("--count", help="Number of samples.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of a random rule.")] = None,
    run: RunOption = None,
    baseline: BaselineOption = "none",
    clustering: Annotated[
        str | None, typer.Option("--clustering", help="Which clustering; the newest unless named.")
    ] = None,
    text_only: Annotated[
        Treatment, typer.Option("--text-only", help="Samples without an image: drop or keep.")
    ] = "drop",
    unscored: Annotated[
        Treatment, typer.Option("--unscored", help="Samples without a score: drop or keep.")
    ] = "drop",
    hand_wins: Annotated[
        bool,
        typer.Option("--hand/--no-hand", help="Whether hand decisions win over the rule."),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a subset of that name.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Name a subset by a rule; hand decisions win over it."""
    from scoring.rules import rule_from_dict
    from scoring.store import Store
    from scoring.subsets import SubsetDefinition, read_outcome, save_subset

    place = open_workspace(workspace)
    options = {"min": minimum, "max": maximum, "share": share, "count": count, "seed": seed}
    given = {key: value for key, value in options.items() if value is not None}
    definition = SubsetDefinition(
        name=name,
        rule=rule_from_dict({"rule": rule, **given}),
        run_id=only_run(place, run).run_id,
        baseline=baseline,
        clustering_id=_clustering_id(place, clustering),
        text_only=text_only,
        unscored=unscored,
        hand_wins=hand_wins,
        created_at=now(),
    )
    outcome = read_outcome(place, Store(place), definition)
    save_subset(place, definition, overwrite)
    subset = outcome.subset
    talk.print(table(f"Subset {name}: {definition.rule}", *_frame_rows(outcome.by_source())))
    say(
        f"{len(subset.selected):,} of {len(subset.row_idx):,} samples; hand decisions added "
        f"{subset.n_hand_kept:,} and removed {subset.n_hand_dropped:,}"
    )
    if json:
        reasons = outcome.reasons().to_dict(orient="records")
        selected = len(subset.selected)
        print_json({**definition.to_dict(), "n_selected": selected, "reasons": reasons})


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A subset named by select.")],
    workspace: WorkspaceOption,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to write; WORKSPACE/exports/NAME unless named."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--format", help="llava (a JSON array), jsonl or ids.")
    ] = "llava",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that lies there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a subset, each record byte for byte, with the manifest that replays it."""
    from scoring.export import export_subset
    from scoring.store import Store
    from scoring.subsets import read_subset

    place = open_workspace(workspace)
    definition = read_subset(place, name)
    with count_progress("Exporting") as show:
        result = export_subset(place, Store(place), definition, to, format, show, overwrite)
    if result.n_new_parts:
        say(f"{result.n_new_parts} newer parts are not in the database; take them in with build")
    say(f"{result.n_samples:,} samples; check them at any time with:")
    say(f"visnec verify {result.folder / 'manifest.json'} -w {workspace}")
    if json:
        print_json(result.manifest.to_dict())
    else:
        print_line(str(result.folder))


def verify(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="manifest.json of an export.")
    ],
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Its workspace, where it lies outside of it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild an export from its workspace and compare every byte."""
    from scoring.provenance import verify_manifest

    place = open_workspace(workspace) if workspace else None
    with count_progress("Comparing") as show:
        report = verify_manifest(manifest, place, lambda _, done, total: show(done, total))
    for note in (*report.changed_inputs, *report.notes):
        say(f"note: {note}")
    say(f"Verified: {report.n_samples:,} samples, byte for byte as the workspace rebuilds them")
    if json:
        print_json(
            {
                "verified": True,
                "n_samples": report.n_samples,
                "changed_inputs": report.changed_inputs,
                "notes": report.notes,
            }
        )


def _clustering_id(place: Workspace, name: str | None) -> str | None:
    found: list[Clustering] = list_clusterings(place)
    if name is None:
        return found[-1].clustering_id if found else None
    if name not in [one.clustering_id for one in found]:
        known = ", ".join(one.clustering_id for one in found) or "none yet"
        raise InputError(f"no clustering {name!r} in {place.root}; there are: {known}")
    return name


def _frame_rows(frame: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
    flat = frame.reset_index()
    rows = [
        tuple(value.item() if hasattr(value, "item") else value for value in row)
        for row in flat.itertuples(index=False)
    ]
    return [str(column) for column in flat.columns], rows
