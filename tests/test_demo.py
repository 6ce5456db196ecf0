"""The demo as an instrument: what the bundled model measures on the bundled data.

Remake the golden values after the model or the data changed: python -m tests.test_demo
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.demo.build import DEMO_RUN, build_demo
from scoring.workspace import Workspace, open_workspace

GOLDEN = Path(__file__).parent / "golden" / "demo_scores.json"
README = Path(__file__).parent.parent / "data" / "README.md"
KINDS = (
    ("vision_critical", "redundant"),
    ("redundant", "misaligned"),
    ("vision_critical", "misaligned"),
)
EVERY = 40  # golden values are kept of each 40th sample


def made(row: dict[str, object]) -> str:
    return "broken" if "broken" in row else str(row["made"])


def records() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        (bundled_folder("demo") / "records.json").read_text("utf-8")
    )
    return found


def scores(workspace: Workspace) -> dict[int, float]:
    found = read_candidates(Store(workspace), Scope(DEMO_RUN))
    scored = found.scored
    rows, visnec = found.row_idx[scored].tolist(), found.visnec[scored].tolist()
    return dict(zip(rows, visnec, strict=True))


def auc(workspace: Workspace, higher: str, lower: str) -> float:
    """Probability that a sample of kind ``higher`` scores above one of kind ``lower``."""
    kinds = [made(record) for record in records()]
    pairs = [(kinds[row], score) for row, score in scores(workspace).items()]
    chosen = [(kind == higher, score) for kind, score in pairs if kind in (higher, lower)]
    return float(roc_auc_score([one[0] for one in chosen], [one[1] for one in chosen]))


@pytest.mark.parametrize(
    ("higher", "lower", "at_least"),
    [
        ("vision_critical", "redundant", 0.95),
        ("redundant", "misaligned", 0.95),
        ("vision_critical", "misaligned", 0.98),
    ],
)
def test_score_separates_the_kinds_as_stated_in_the_readme(
    demo_built: Path, higher: str, lower: str, at_least: float
) -> None:
    measured = auc(open_workspace(demo_built), higher, lower)
    assert measured >= at_least
    assert f"{measured:.3f}" in README.read_text("utf-8")


def test_every_record_gets_its_intended_status(demo_built: Path) -> None:
    store = Store(open_workspace(demo_built))
    frame = status_counts(store.selection(Scope(DEMO_RUN)))
    found = {status: n for status, n in zip(frame["status"], frame["n"], strict=True) if n}
    expected: dict[str, int] = {}
    for record in records():
        status = str(record.get("broken", "scored" if "image" in record else "text_only"))
        expected[status] = expected.get(status, 0) + 1
    assert found == expected


def test_scores_match_the_golden_file(demo_built: Path) -> None:
    workspace = open_workspace(demo_built)
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert len(golden) >= 10
    for row, values in golden.items():
        detail = detail_of(workspace, int(row))
        assert detail == pytest.approx(values, abs=1e-3), f"row {row}"


def test_predictions_with_the_image_are_correct_where_it_is_needed(demo_built: Path) -> None:
    """A model that guessed would answer few of these; without the image it does."""
    store, scope = Store(open_workspace(demo_built)), Scope(DEMO_RUN)
    right_with = right_without = n = 0
    for row, record in enumerate(records()):
        if made(record) == "vision_critical" and row % 5 == 0:
            found = sample_detail(store, scope, row)
            answer = record["conversations"][1]["value"]  # type: ignore[index]
            predicted = found.predictions[0]
            right_with += predicted["prediction_multimodal"] == answer
            right_without += predicted["prediction_text"] == answer
            n += 1
    assert right_with / n > 0.75
    assert right_without / n < 0.5


def test_model_is_small_and_described_by_a_notice(demo_built: Path) -> None:
    size = sum(path.stat().st_size for path in bundled_folder(BUNDLED_MODEL).glob("*.safetensors"))
    assert 0 < size < 10_000_000
    notice = open_workspace(demo_built).settings.notice
    assert notice is not None
    assert "demonstration model" in notice


def test_building_the_demo_again_changes_nothing(demo_workspace: Path) -> None:
    messages: list[str] = []
    before = (demo_workspace / "visnec.duckdb").stat().st_mtime_ns
    build_demo(demo_workspace, on_message=messages.append)
    assert messages == []
    assert (demo_workspace / "visnec.duckdb").stat().st_mtime_ns == before


def detail_of(workspace: Workspace, row: int) -> dict[str, float]:
    found = read_candidates(Store(workspace), Scope(DEMO_RUN))
    place = found.row_idx.tolist().index(row)
    return {
        "loss_text": round(float(found.loss_text[place]), 6),
        "loss_multimodal": round(float(found.loss_multimodal[place]), 6),
        "visnec": round(float(found.visnec[place]), 6),
    }


def remake() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = build_demo(Path(folder) / "demo")
        rows = [row for row in sorted(scores(workspace)) if row % EVERY == 0]
        values = {str(row): detail_of(workspace, row) for row in rows}
        GOLDEN.write_text(json.dumps(values, indent=1) + "\n")
        for higher, lower in KINDS:
            sys.stdout.write(f"{higher} > {lower}: {auc(workspace, higher, lower):.4f}\n")


if __name__ == "__main__":
    remake()
