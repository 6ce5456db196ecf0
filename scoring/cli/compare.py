"""The commands stability and diff: how much a subset depends on the scores, and on the rule."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoring.cli.console import (
    count_progress,
    frame_records,
    frame_rows,
    make_table,
    print_json,
    show_message,
    show_table,
)
from scoring.cli.options import JsonOption, WorkspaceOption
from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.subsets.definitions import ResolvedSubset, read_outcome, read_subset
from scoring.subsets.stability import (
    DEFAULT_DRAWS,
    Stability,
    format_basis,
    inclusion_probabilities,
    read_replicates,
)
from scoring.workspace import Workspace, open_atomic, open_workspace

if TYPE_CHECKING:
    from scoring.exports.manifest import Manifest


def stability(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A saved subset.")],
    workspace: WorkspaceOption,
    draws: Annotated[
        int, typer.Option("--draws", help="Draws of the dtype's noise, over all scores together.")
    ] = DEFAULT_DRAWS,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="CSV to write: row_idx, taken and inclusion of each scored sample."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Report how stable a subset is across baselines, runs and the noise of the dtype."""
    opened = open_workspace(workspace)
    definition = read_subset(opened, name)
    store = Store(opened)
    candidates = read_candidates(store, definition.scope)
    dtype, replicates = read_replicates(store, definition.scope)
    with count_progress("Sets of scores") as show:
        result = inclusion_probabilities(
            definition.rule, candidates, dtype, replicates, draws, seed, show
        )
    if result.replicates:
        columns = ["run", "baseline", "dtype", "scores of these", "overlap"]
        rows = [
            (
                replicate.run_id,
                replicate.baseline,
                replicate.dtype or "unknown",
                f"{replicate.coverage:.1%}",
                "left out: too few" if replicate.overlap is None else f"{replicate.overlap:.1%}",
            )
            for replicate in result.replicates
        ]
        show_table(make_table("Other scores of these samples", columns, rows))
    title = f"Stability of {name}: {definition.rule}"
    show_table(make_table(title, *frame_rows(result.by_source())))
    n_selected = int(result.selected.sum())
    show_message(
        f"Of {n_selected:,} samples that the rule selects, {result.n_firm:,} are firm (selected "
        f"with a probability of at least 95 %); {result.n_open:,} samples are open. Expected "
        f"overlap with the subset of a draw: {result.overlap:.1%}"
    )
    show_message(f"Based on {format_basis(result)}")
    if to is not None:
        _write_inclusion(to, result)
    if json:
        print_json(
            {
                "name": name,
                "rule": definition.rule.to_dict(),
                "draws": draws,
                "seed": seed,
                "n_taken": n_selected,
                "n_firm": result.n_firm,
                "n_open": result.n_open,
                "overlap": result.overlap,
                "dtype": result.dtype,
                "replicates": [asdict(replicate) for replicate in result.replicates],
                "by_source": frame_records(result.by_source()),
            }
        )


def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A saved subset, or the manifest of an export.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    workspace: WorkspaceOption,
    rows: Annotated[
        bool, typer.Option("--rows", help="With --json: also the row numbers that differ.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare two subsets or exports: what they share and what only one contains, by source."""
    from scoring.exports.manifest_diff import diff_manifests
    from scoring.subsets.comparison import compare_subsets

    opened = open_workspace(workspace)
    store = Store(opened)
    (subset_a, manifest_a), (subset_b, manifest_b) = (
        _read_subset_or_export(opened, store, name) for name in (a, b)
    )
    result = compare_subsets(subset_a.subset, subset_b.subset, subset_a.candidates)
    facts = diff_manifests(manifest_a, manifest_b) if manifest_a and manifest_b else []
    if facts:
        shortened = [
            (fact, _shorten_value(in_a), _shorten_value(in_b)) for fact, in_a, in_b in facts
        ]
        show_table(make_table("Facts that differ", ["fact", "a", "b"], shortened))
    show_table(make_table(f"a: {a}, b: {b}", *frame_rows(result.by_source)))
    show_message(
        f"{a} has {result.n_a:,} samples, {b} {result.n_b:,}; {len(result.both):,} are in both, "
        f"{len(result.only_a):,} only in {a}, {len(result.only_b):,} only in {b}; "
        f"overlap (Jaccard) {result.jaccard:.1%}"
    )
    if json:
        values: dict[str, Any] = {
            "a": a,
            "b": b,
            "n_a": result.n_a,
            "n_b": result.n_b,
            "n_both": len(result.both),
            "n_only_a": len(result.only_a),
            "n_only_b": len(result.only_b),
            "jaccard": result.jaccard,
            "by_source": frame_records(result.by_source),
        }
        if manifest_a and manifest_b:
            values["facts"] = [{"fact": fact, "a": x, "b": y} for fact, x, y in facts]
        if rows:
            values |= {"only_a": result.only_a.tolist(), "only_b": result.only_b.tolist()}
        print_json(values)


def _read_subset_or_export(
    workspace: Workspace, store: Store, name: str
) -> tuple[ResolvedSubset, Manifest | None]:
    """Return the samples of a saved subset, or of an export with its manifest."""
    from scoring.exports.manifest import read_manifest
    from scoring.exports.manifest_diff import is_manifest_path, resolve_manifest

    if not is_manifest_path(name):
        return read_outcome(workspace, store, read_subset(workspace, name)), None
    manifest = read_manifest(Path(name))
    return resolve_manifest(workspace, store, manifest), manifest


def _shorten_value(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _write_inclusion(path: Path, result: Stability) -> None:
    candidates = result.candidates
    with open_atomic(path, "w") as file:
        file.write("row_idx,taken,inclusion\n")
        for position in candidates.scored.nonzero()[0]:
            row_idx, selected = candidates.row_idx[position], int(result.selected[position])
            file.write(f"{row_idx},{selected},{result.inclusion[position]:.6g}\n")
