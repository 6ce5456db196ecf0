"""Pages of an imported run show what is unknown; cards show how predictions match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from dashboard.data.cards import build_card
from scoring.bundled import MODEL_NOTICE
from scoring.database.connection import Store
from scoring.database.queries.detail import sample_detail
from scoring.database.values import Scope
from scoring.dataset.records import read_samples
from scoring.exchange.imported_scores import import_scores
from scoring.necessity import Bands
from scoring.workspace import open_workspace, save_settings
from tests.dashboard.conftest import Draw, threshold_figures, written

SCORED_ELSEWHERE = "Scores computed elsewhere, imported from elsewhere.csv."
HEADER = "row_idx,loss_multimodal,loss_text\n"


def notices(app: AppTest) -> list[dict[str, Any]]:
    """Return the data of the notices that can be dismissed."""
    protos = (one.proto for one in app.get("bidi_component"))
    return [json.loads(one.json) for one in protos if one.component_name.endswith("notice")]


def test_pages_of_an_imported_run_show_what_is_unknown(
    root: Path, tmp_path: Path, draw: Draw
) -> None:
    path = tmp_path / "elsewhere.csv"
    rows = (f"{row},0.5,{row % 7}.25\n" for row in range(0, 120, 2))
    path.write_text(HEADER + "".join(rows))
    import_scores(open_workspace(root), path, run_id="elsewhere", model="LLaVA-1.5-7B")

    overview = draw("overview", {"run": "elsewhere"})
    assert not overview.exception
    assert "unknown: these scores were computed elsewhere" in threshold_figures(overview)
    assert "imported from elsewhere.csv" in written(overview)

    assert [notice["text"] for notice in notices(overview)] == [SCORED_ELSEWHERE]
    assert [notice["text"] for notice in notices(draw("overview", {"run": "tiny-run"}))] == [
        MODEL_NOTICE
    ]

    runs = draw("runs", {"run": "elsewhere"})
    assert not runs.exception
    assert "unknown: these scores were computed elsewhere" in written(runs)

    for page in ("explore", "review", "subset"):
        assert not draw(page, {"run": "elsewhere"}).exception, page
    opened = draw("explore", {"run": "elsewhere", "sample": "0"})
    assert not opened.exception


def test_other_runs_of_the_demo_workspace_have_no_demo_notice(
    root: Path, tmp_path: Path, draw: Draw
) -> None:
    """Its notice is about the runs of the bundled model."""
    workspace = open_workspace(root)
    save_settings(replace(workspace, settings=replace(workspace.settings, notice=MODEL_NOTICE)))
    path = tmp_path / "elsewhere.csv"
    path.write_text(f"{HEADER}0,0.5,1.25\n")
    import_scores(open_workspace(root), path, run_id="elsewhere", model="LLaVA-1.5-7B")
    assert MODEL_NOTICE not in [
        each["text"] for each in notices(draw("overview", {"run": "elsewhere"}))
    ]
    own = notices(draw("overview", {"run": "tiny-run"}))
    assert [notice["text"] for notice in own] == [MODEL_NOTICE]


def test_a_card_shows_how_predictions_match(root: Path) -> None:
    workspace = open_workspace(root)
    store = Store(workspace)
    # Row 1 is answered with a single digit, and by every fifth row without the image only.
    detail = sample_detail(store, Scope("tiny-run"), 1)
    sample = next(read_samples(workspace, [1]))
    card = build_card(sample, detail, "none", Bands(), "edition")
    (one,) = card["predictions"]
    assert one["multimodal_match"] == {"same": True, "said": "= reference"}
    assert one["text_match"] == {"same": False, "said": "≠ reference"}

    (held,) = detail.predictions
    changes = {"exact_multimodal": False, "letter_multimodal": True, "f1_text": 0.5}
    gone = {"prediction_text": None, "reason": "the image is gone"}
    changed = [held | changes | gone]
    card = build_card(
        sample,
        replace(detail, predictions=changed),
        "none",
        Bands(),
        "edition",
    )
    (one,) = card["predictions"]
    assert one["multimodal_match"] == {"same": True, "said": "= reference, same option"}
    assert (one["text_match"], one["reason"]) == (None, "the image is gone")

    near = [held | {"f1_text": 0.5}]
    card = build_card(
        sample,
        replace(detail, predictions=near),
        "none",
        Bands(),
        "edition",
    )
    assert card["predictions"][0]["text_match"]["said"] == "≠ reference · token F1 0.50"
