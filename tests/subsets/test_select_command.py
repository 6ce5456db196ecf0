"""The commands select, stability, diff and cluster --sweep, used by a script with --json."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.build.build import build_database
from scoring.errors import InputError, RuleError
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import Control, Mixture, PaperTopShare
from scoring.samples import Status
from scoring.subsets.create import SelectOptions
from scoring.subsets.definitions import read_subset
from scoring.workspace import Workspace
from tests.synthetic import make_workspace, typed_row

# row:                            0     1      2    3    4                 5     6     7
VISNEC: list[float | Status] = [0.5, -0.25, 0.125, 1.0, Status.TEXT_ONLY, 0.75, 0.5, 0.25]
# sources alternate: scenes 0, 3, 6; digits 1, 4, 7; charts 2, 5; clusters are the row modulo 3


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    tokens = [4, 8, 4, 2, 4, 4, 16, 4]
    workspace = make_workspace(tmp_path / "ws", visnec=VISNEC, tokens=tokens, with_images=False)
    build_database(workspace)
    return workspace


def run_json(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    """Run a command and return the JSON that it prints."""
    command = [*arguments, "-w", str(workspace.root), "--json"]
    done = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def size(workspace: Workspace, name: str, *arguments: str) -> int:
    return int(run_json(workspace, "select", "--name", name, *arguments)["n_selected"])


@pytest.mark.parametrize(
    ("arguments", "n"),
    [
        (["--rule", "threshold", "--min", "0.5"], 4),
        (["--rule", "top-tokens", "--tokens", "7"], 2),  # rows 3 (2 tokens) and 5 (4)
        (["--rule", "drop-misaligned"], 6),  # all but row 1
        (["--rule", "drop-misaligned", "--below", "-0.25"], 7),
        (["--rule", "drop-misaligned", "--below", "0.5", "--text-only", "keep"], 5),
        (["--rule", "relative", "--share", "0.3"], 2),
        (["--rule", "band", "--min", "0.5", "--share", "0.45", "--seed", "2"], 3),  # int(3.15)
        (["--rule", "band", "--max", "0.5", "--count", "2", "--per", "source"], 2),
        (["--rule", "band", "--min", "0.5", "--tokens", "1000", "--per", "cluster"], 4),
        (["--rule", "per-source", "--share", "0.5"], 3),  # int(1.5), 1, 1
        (["--rule", "per-cluster", "--share", "0.1", "--at-least", "1"], 3),
        (["--rule", "length-corrected", "--share", "0.3"], 2),
        (["--rule", "budget", "--count", "5", "--ceiling", "1"], 3),
        (["--rule", "budget", "--count", "5", "--ceiling", "1", "--limits", "scenes=2..3"], 5),
        (["--rule", "ablation", "--by", "text-loss", "--share", "0.5", "--per", "dataset"], 3),
        (["--rule", "random", "--share", "0.5", "--seed", "4"], 3),
        (["--rule", "weights", "--by", "rank"], 7),
        (["--rule", "weights", "--by", "rank", "--text-only", "keep"], 8),
        (["--rule", "threshold", "--min", "0.5", "--text-only", "keep"], 5),
    ],
)
def test_every_rule_has_its_options(workspace: Workspace, arguments: list[str], n: int) -> None:
    assert size(workspace, "one", *arguments) == n


def test_a_control_inherits_the_treatments_of_its_subset(workspace: Workspace) -> None:
    size(
        workspace, "model", "--rule", "paper", "--share", "0.67", "--text-only", "keep", "--no-hand"
    )
    assert size(workspace, "random", "--rule", "control", "--of", "model", "--seed", "5") == size(
        workspace, "again", "--rule", "paper", "--share", "0.67", "--text-only", "keep"
    )
    saved = read_subset(workspace, "random")
    assert saved.rule == Control(PaperTopShare(0.67), seed=5)
    assert (saved.text_only, saved.unscored, saved.hand_wins) == ("keep", "drop", False)
    size(workspace, "other", "--rule", "control", "--of", "model", "--text-only", "drop", "--hand")
    other = read_subset(workspace, "other")
    assert (other.text_only, other.hand_wins) == ("drop", True)


def test_arms_are_saved_with_the_subset_and_have_its_size(workspace: Workspace) -> None:
    found = run_json(
        workspace,
        "select",
        "--name",
        "p",
        "--rule",
        "paper",
        "--share",
        "0.7",
        "--arms",
        "--seed",
        "3",
    )
    assert [one["name"] for one in found["arms"]] == [
        "p-text-loss",
        "p-multimodal-loss",
        "p-no-clusters",
        "p-random",
        "p-random-per-cluster",
    ]
    assert {one["n_selected"] for one in found["arms"]} == {found["n_selected"]}
    assert read_subset(workspace, "p-random").rule == Control(PaperTopShare(0.7), seed=3)


def test_weights_report_the_resulting_mixture(workspace: Workspace) -> None:
    found = run_json(workspace, "select", "--name", "w", "--rule", "weights", "--by", "rank")
    mixture = {one["source"]: one for one in found["composition"]}
    # shares below, ties half: rows 0 and 6 have 3/7 + 1/7, 1: 0.5/7, 2: 1.5/7, 3: 6.5/7, 5: 5.5/7,
    # 7: 2.5/7; twice that has mean 1
    assert mixture["charts"]["weight"] == pytest.approx(2.0, abs=1e-5)
    assert mixture["digits"]["weight"] == pytest.approx(6 / 7, abs=1e-5)
    assert mixture["scenes"]["share_after"] == pytest.approx(29 / 49, abs=1e-5)
    assert mixture["digits"]["kept"] == 2


def test_the_table_of_a_mixture_names_before_and_after(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    command = ["select", "-w", str(workspace.root), "--name", "m", "--rule", "mixture"]
    command += ["--target", "charts=0.8", "--target", "scenes=0.2", "--tokens", "50", "--by", "all"]
    done = CliRunner().invoke(cli.app, [*command, "--max-repeat", "6"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = [" ".join(re.findall(r"[^\s│┃]+", line)) for line in done.stderr.splitlines()]
    assert "source samples tokens share target epochs repeats" in lines
    # charts: 8 tokens in two samples, 40 are five passes over both; scenes: 4, and 16 do not fit
    n = lines.index("charts before 2 8 19.0%")
    assert lines[n + 1] == "after 10 40 90.9% 80.0% 5.00 5"
    said = " ".join(lines)
    assert "Shares of the mixture are of answer tokens" in said
    assert "charts is repeated up to 5 times; more than 4" in said


def test_a_mixture_draws_from_the_upper_band_limit_of_the_workspace() -> None:
    options = SelectOptions("m", "mixture", target=[["charts", 1.0]], count=5)
    bands = Bands(-0.1, 0.4)
    assert options.build_rule(bands=bands) == Mixture((("charts", 1.0),), count=5, min=0.4)
    for changes in ({"by": "all"}, {"by": "visnec"}, {"max": 0.3}, {"per": "category"}):
        rule = replace(options, **changes).build_rule(bands=bands)
        assert rule.to_dict()["min"] is None


def test_diff_reports_what_only_one_subset_contains(workspace: Workspace) -> None:
    size(workspace, "a", "--rule", "top-count", "--count", "3")  # 0, 3, 5
    open_review_log(workspace, "ada", "desk").append([DecisionDraft(1, Decision.KEEP)])
    size(workspace, "b", "--rule", "top-count", "--count", "2")  # 3, 5; 1 by a decision
    found = run_json(workspace, "diff", "a", "b", "--rows")  # a has 1 too
    assert (found["n_a"], found["n_b"], found["n_both"], found["jaccard"]) == (4, 3, 3, 0.75)
    assert (found["only_a"], found["only_b"]) == ([0], [])
    scenes = next(one for one in found["by_source"] if one["source"] == "scenes")
    assert (scenes["a"], scenes["b"]) == (2, 1)


def test_a_path_that_is_no_export_is_not_taken_for_a_name(workspace: Workspace) -> None:
    size(workspace, "a", "--rule", "top-count", "--count", "1")
    missing = ["diff", "a", "exports/b/manifest.json", "-w", str(workspace.root)]
    with pytest.raises(InputError, match=r"exports/b/manifest.json is not the manifest of an exp"):
        CliRunner().invoke(cli.app, missing, catch_exceptions=False)


def test_a_source_in_neither_subset_has_no_overlap(workspace: Workspace) -> None:
    size(workspace, "a", "--rule", "top-count", "--count", "1")
    size(workspace, "b", "--rule", "top-count", "--count", "1")
    done = CliRunner().invoke(cli.app, ["diff", "a", "b", "-w", str(workspace.root)])
    (charts,) = [line for line in done.stderr.splitlines() if line.startswith(" charts")]
    assert charts.split() == ["charts", "2", "0", "0", "0", "0", "0", "-"]


def test_stability_is_printed_and_written(workspace: Workspace, tmp_path: Path) -> None:
    size(workspace, "a", "--rule", "threshold", "--min", "-9")
    to = tmp_path / "out" / "sure.csv"
    found = run_json(workspace, "stability", "a", "--draws", "20", "--to", str(to))
    assert (found["n_taken"], found["n_firm"], found["n_open"], found["overlap"]) == (7, 7, 0, 1.0)
    assert (found["dtype"], found["replicates"]) == ("float32", [])
    lines = to.read_text().splitlines()
    assert lines[0] == "row_idx,taken,inclusion"
    assert [line for line in lines[1:] if line.startswith("3,")] == ["3,1,1"]
    assert len(lines) == 8


def test_a_sweep_reports_how_subsets_overlap(workspace: Workspace) -> None:
    found = run_json(
        workspace, "cluster", "--embedder", "tfidf", "--sweep", "1,2,2:7", "--share", "0.5"
    )
    assert [(one["k"], one["seed"]) for one in found["clusterings"]] == [(1, 42), (2, 42), (2, 7)]
    assert len(found["overlaps"]) == 6
    assert all(0 <= one["jaccard"] <= 1 for one in found["overlaps"])
    assert found["rule"] == {"rule": "paper", "share": 0.5}
    assert {one["embedder"] for one in found["clusterings"]} == {"tfidf"}
    assert not any(one["is_papers_embedder"] for one in found["clusterings"])


def test_clusters_other_than_the_papers_are_reported(workspace: Workspace) -> None:
    ws = ["-w", str(workspace.root), "--json"]
    done = CliRunner().invoke(cli.app, ["cluster", "--embedder", "tfidf", "--k", "2", *ws])
    found = json.loads(done.stdout)
    assert (found["embedder"], found["is_papers_embedder"]) == ("tfidf", False)
    for text in (found["note"], " ".join(done.stderr.split())):
        assert "from TF-IDF over words, not from the paper's all-MiniLM-L6-v2" in text
        assert "For it: " in text
    build_database(workspace)
    for rule, is_reported in (("paper", True), ("per-cluster", False), ("top-share", False)):
        command = ["select", "--name", rule, "--rule", rule, "--share", "0.5", *ws]
        done = CliRunner().invoke(cli.app, command)
        assert ("TF-IDF" in done.stderr) is is_reported


def test_many_clusters_are_printed_as_sizes_and_the_largest(demo_workspace: Path) -> None:
    command = ["cluster", "--embedder", "tfidf", "--k", "30", "-w", str(demo_workspace), "--json"]
    done = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    sizes = sorted(cluster["size"] for cluster in json.loads(done.stdout)["clusters"])
    expected = f"{len(sizes)} clusters of {sizes[0]} to {sizes[-1]} samples, median"
    assert len(sizes) > 20
    assert expected in done.stderr
    table = done.stderr[done.stderr.index("samples  like") :].splitlines()[1:]
    shown = [int(line.split()[1]) for line in table if re.match(r" *\d+ +\d+ ", line)]
    assert shown == sizes[:-21:-1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["select", "--name", "x", "--rule", "paper", "--count", "3"], RuleError),
        (["select", "--name", "x", "--rule", "control"], RuleError),
        (["select", "--name", "x", "--rule", "control", "--of", "nothing"], InputError),
        (["select", "--name", "x", "--rule", "budget", "--count", "3", "--limits", "a"], RuleError),
        (["cluster", "--sweep", "ten"], InputError),
        (["cluster", "--sweep", "10,0"], InputError),
        (["diff", "a", "b"], InputError),
        (["stability", "a"], InputError),
    ],
)
def test_wrong_usage_is_explained(
    workspace: Workspace, arguments: list[str], error: type[Exception]
) -> None:
    command = [*arguments, "-w", str(workspace.root)]
    done = CliRunner().invoke(cli.app, command)
    assert isinstance(done.exception, error)
    assert not list(workspace.subsets_dir.glob("*"))


def test_select_reports_the_composition_before_and_after(tmp_path: Path) -> None:
    rows = [typed_row(0.1 if position % 3 == 0 else 1.0, position) for position in range(120)]
    workspace = make_workspace(tmp_path / "many", rows=rows, with_images=False)
    build_database(workspace)
    arguments = ["select", "--name", "top", "--rule", "top-share", "--share", "0.5"]
    found = run_json(workspace, *arguments)
    sources = {each["source"]: each for each in found["shares"]["source"]}
    assert sources["scenes"] == {
        "source": "scenes", "samples": 40, "share_before": 1 / 3, "kept": 0, "share_after": 0.0,
    }  # fmt: skip
    assert set(found["shares"]) == {"source", "category", "answer type", "cluster"}
    assert found["vanishing"] == [
        "Source scenes nearly vanishes: 33.3 % of the data, 0.0 % of the subset"
    ]
    done = CliRunner().invoke(cli.app, [*arguments, "-w", str(workspace.root)])
    assert "Composition before and after" in done.stderr
    assert "Source scenes nearly vanishes" in re.sub(r"\s+", " ", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["threshold", "--min", "9"], "Subset a keeps none of the 8 samples"),
        (["band", "--min", "0.5", "--share", "0.9"],
         "--share 0.9 asks for 6 samples; the rule can select only 4"),
        (["band", "--min", "0.5", "--count", "5"],
         "--count 5 asks for 5 samples; the rule can select only 4"),
        (["band", "--min", "0.5", "--tokens", "99"],
         "--tokens 99 asks for 99 answer tokens; the rule can select only 26"),
        (["top-tokens", "--tokens", "99"],
         "--tokens 99 asks for 99 answer tokens; the rule can select only 42"),
        (["budget", "--count", "5", "--ceiling", "1"],
         "--count 5 asks for 5 samples; the rule can select only 3"),
        (["band", "--min", "0.5", "--count", "4"], None),
        (["top-count", "--count", "7"], None),
        (["top-tokens", "--tokens", "42"], None),
    ],
)  # fmt: skip
def test_a_subset_that_is_empty_or_too_small_is_reported(
    workspace: Workspace, arguments: list[str], warning: str | None
) -> None:
    found = run_json(workspace, "select", "--name", "a", "--rule", *arguments)
    assert found["size_warnings"] == ([warning] if warning else [])


def test_the_summary_starts_with_the_size_and_the_evidence(workspace: Workspace) -> None:
    command = ["select", "--name", "a", "--rule", "top-count", "--count", "2"]
    command += ["-w", str(workspace.root)]
    wide = {"COLUMNS": "300"}
    lines = CliRunner().invoke(cli.app, command, env=wide).stderr.splitlines()
    assert lines[0].startswith("Subset a: 2 of 8 samples; manual decisions added 0")
    assert lines[1].startswith("Evidence for top-count on synthetic data (docs/selecting.md#")
    table = "\n".join(lines)
    assert re.search(r"kept +dropped +kept of samples +kept answer tokens", table)
    assert re.search(r"scenes +3 +1 +2 +33\.3% ", table)
    assert "already saved" not in table
    again = " ".join(CliRunner().invoke(cli.app, command, env=wide).stderr.split())
    assert "Subset a was already saved with these settings; its file is unchanged" in again
    replaced = CliRunner().invoke(cli.app, [*command, "--overwrite"], env=wide)
    assert "already saved" not in replaced.stderr
