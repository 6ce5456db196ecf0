"""The recipes of docs/recipes.md run, as far as the packages that they use are installed."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.build.build import build_database
from scoring.necessity import DEFAULT_BANDS
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.workspace import open_workspace

PAGE = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def samples(demo_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The table of the DuckDB recipe, in the current folder with the exports of the page."""
    monkeypatch.chdir(demo_workspace.parent)
    run_command("visnec select -w demo --run demo --name keep15 --rule paper --share 0.15")
    workspace = open_workspace(demo_workspace)
    open_review_log(workspace, "ada").append([DecisionDraft(21, Decision.KEEP)])
    build_database(workspace)
    block = re.search(r"<!-- runs -->\n\n((?: {4}.*\n)+)", PAGE)
    assert block is not None
    for line in block[1].splitlines():
        run_command(line.strip())
    run_recipe("DuckDB")
    return pd.read_parquet("keep15.parquet")


def run_command(line: str) -> None:
    result = CliRunner().invoke(cli.app, shlex.split(line)[1:], catch_exceptions=False)
    assert result.exit_code == 0, f"{line}\n{result.output}"


def run_recipe(heading: str) -> dict[str, Any]:
    """Run the code of a recipe and return its variables."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    exec(RECIPES[heading], variables)  # noqa: S102 - our own page
    return variables


def test_the_table_of_the_duckdb_recipe_has_scores_predictions_and_decisions(
    samples: pd.DataFrame,
) -> None:
    exported = pq.read_table("keep15-copied/samples.parquet").to_pandas()
    assert samples["row_idx"].tolist() == exported["row_idx"].tolist()
    assert samples["visnec"].tolist() == exported["visnec"].tolist()
    assert samples["prediction_multimodal"].notna().all()
    categories = [str(DEFAULT_BANDS.category_of(score)) for score in samples["visnec"]]
    assert samples["category"].tolist() == categories
    decided = samples[samples["decision"].notna()]
    assert (decided["row_idx"].tolist(), decided["decision"].tolist()) == ([21], ["keep"])


def test_the_pandas_recipe_lists_answers_that_need_no_image(samples: pd.DataFrame) -> None:
    blind = run_recipe("pandas")["samples"]["blind"]
    lines = Path("check-these.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == blind.sum() < len(samples)


def test_the_datasets_recipe_opens_the_embedded_images(samples: pd.DataFrame) -> None:
    variables = run_recipe("Datasets")
    assert len(variables["critical"]) == (samples["visnec"] >= 0.25).sum()
    assert variables["first"]["visnec"] == samples["visnec"].max()
    sizes = [[image.size for image in row["images"]] for row in variables["dataset"]]
    assert [[image.size for image in row["images"]] for row in variables["copied"]] == sizes


def test_the_webdataset_recipe_opens_every_image(
    samples: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    run_recipe("WebDataset")
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(samples["id"])
    assert not any("[]" in line for line in lines)


def test_the_fiftyone_recipe_has_every_field(samples: pd.DataFrame) -> None:
    pytest.importorskip("fiftyone")
    dataset = run_recipe("FiftyOne")["dataset"]
    assert dataset.values("row_idx") == samples["row_idx"].tolist()
    assert dataset.count_values("category") == Counter(samples["category"])


def test_the_lance_recipe_filters_by_score(samples: pd.DataFrame) -> None:
    pytest.importorskip("lance")
    best = run_recipe("Lance")["best"]
    assert len(best) == (samples["visnec"] >= 1.0).sum()


def test_the_ray_recipe_decodes_the_images(samples: pd.DataFrame) -> None:
    ray = pytest.importorskip("ray")
    try:
        table = run_recipe("Ray Data")["samples"].to_pandas()
    finally:
        ray.shutdown()
    assert sorted(table["row_idx"]) == samples["row_idx"].tolist()


def test_the_data_juicer_recipe_converts_every_record(samples: pd.DataFrame) -> None:
    pytest.importorskip("data_juicer")
    run_recipe("Data-Juicer")
    assert len(Path("keep15-dj.jsonl").read_text("utf-8").splitlines()) == len(samples)


def test_every_recipe_is_tested() -> None:
    source = Path(__file__).read_text("utf-8")
    assert set(RECIPES) == set(re.findall(r'run_recipe\("(.+?)"\)', source))
