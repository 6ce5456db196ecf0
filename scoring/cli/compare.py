"""Commands that tell how far a choice of samples can be trusted: stability, diff."""

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
    name: Annotated[str, typer.Argument(metavar="NAME", help="A subset named by select.")],
    workspace: WorkspaceOption,
    draws: Annotated[
        int, typer.Option("--draws", help="Draws of the dtype's noise, over all scores together.")
    ] = DEFAULT_DRAWS,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="CSV to write: row_idx, taken, inclusion of each scored sample."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """How sure a subset is: by the other baselines and runs, and the noise of the dtype."""
    place = open_workspace(workspace)
    definition = read_subset(place, name)
    store = Store(place)
    found = read_candidates(store, definition.scope)
    dtype, others = read_replicates(store, definition.scope)
    with count_progress("Sets of scores") as show:
        sure = inclusion_probabilities(definition.rule, found, dtype, others, draws, seed, show)
    if sure.replicates:
        show_table(
            make_table("Other scores of these samples", _REPLICATE_COLUMNS, _replicates(sure))
        )
    show_table(make_table(f"Stability of {name}: {definition.rule}", *frame_rows(sure.by_source())))
    taken = int(sure.selected.sum())
    show_message(
        f"Of {taken:,} samples that the rule takes {sure.n_firm:,} are firm (taken with a "
        f"probability of at least 95 %); {sure.n_open:,} samples are open. Expected overlap with "
        f"the subset of a draw: {sure.overlap:.1%}"
    )
    show_message(f"Judged by {format_basis(sure)}")
    if to is not None:
        _write_inclusion(to, sure)
    if json:
        print_json(
            {
                "name": name,
                "rule": definition.rule.to_dict(),
                "draws": draws,
                "seed": seed,
                "n_taken": taken,
                "n_firm": sure.n_firm,
                "n_open": sure.n_open,
                "overlap": sure.overlap,
                "dtype": sure.dtype,
                "replicates": [asdict(one) for one in sure.replicates],
                "by_source": frame_records(sure.by_source()),
            }
        )


_REPLICATE_COLUMNS = ["run", "baseline", "dtype", "scores of these", "overlap"]


def _replicates(sure: Stability) -> list[tuple[str, ...]]:
    return [
        (
            one.run_id,
            one.baseline,
            one.dtype or "unknown",
            f"{one.coverage:.1%}",
            "left out: too few" if one.overlap is None else f"{one.overlap:.1%}",
        )
        for one in sure.replicates
    ]


def diff(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="A subset named by select, or the manifest of an export."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    workspace: WorkspaceOption,
    rows: Annotated[
        bool, typer.Option("--rows", help="With --json: also the row numbers that differ.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What two subsets or exports have in common and what only one of them holds, by source."""
    from scoring.exports.manifest_diff import diff_manifests
    from scoring.subsets.comparison import compare_subsets

    place = open_workspace(workspace)
    store = Store(place)
    (one, of_one), (other, of_other) = (_outcome(place, store, name) for name in (a, b))
    found = compare_subsets(one.subset, other.subset, one.candidates)
    facts = diff_manifests(of_one, of_other) if of_one and of_other else []
    if facts:
        shown = [(key, _short(first), _short(second)) for key, first, second in facts]
        show_table(make_table("Facts that differ", ["fact", "a", "b"], shown))
    show_table(make_table(f"a: {a}, b: {b}", *frame_rows(found.by_source)))
    show_message(
        f"{a} has {found.n_a:,} samples, {b} {found.n_b:,}; {len(found.both):,} are in both, "
        f"{len(found.only_a):,} only in {a}, {len(found.only_b):,} only in {b}; "
        f"overlap (Jaccard) {found.jaccard:.1%}"
    )
    if json:
        told: dict[str, Any] = {
            "a": a,
            "b": b,
            "n_a": found.n_a,
            "n_b": found.n_b,
            "n_both": len(found.both),
            "n_only_a": len(found.only_a),
            "n_only_b": len(found.only_b),
            "jaccard": found.jaccard,
            "by_source": frame_records(found.by_source),
        }
        if of_one and of_other:
            told["facts"] = [{"fact": key, "a": x, "b": y} for key, x, y in facts]
        if rows:
            told |= {"only_a": found.only_a.tolist(), "only_b": found.only_b.tolist()}
        print_json(told)


def _outcome(place: Workspace, store: Store, name: str) -> tuple[ResolvedSubset, Manifest | None]:
    """The samples of a saved subset, or of an export with its manifest."""
    from scoring.exports.manifest import read_manifest
    from scoring.exports.manifest_diff import is_manifest_path, resolve_manifest

    if not is_manifest_path(name):
        return read_outcome(place, store, read_subset(place, name)), None
    manifest = read_manifest(Path(name))
    return resolve_manifest(place, store, manifest), manifest


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _write_inclusion(path: Path, sure: Stability) -> None:
    found = sure.candidates
    with open_atomic(path, "w") as file:
        file.write("row_idx,taken,inclusion\n")
        for place in found.scored.nonzero()[0]:
            taken = int(sure.selected[place])
            file.write(f"{found.row_idx[place]},{taken},{sure.inclusion[place]:.6g}\n")
