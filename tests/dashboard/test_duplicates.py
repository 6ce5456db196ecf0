"""The near-duplicates of an open sample: shown, decided as a group, undone as a whole."""

from __future__ import annotations

from pathlib import Path

from dashboard.view.state import Key
from scoring.exchange.imported_columns import import_columns
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import decision_feed, open_review_log
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, written

ADA = {str(Key.REVIEWER): "ada"}


def decided(root: Path) -> dict[int, str]:
    feed = decision_feed(open_workspace(root))
    values = feed.query_state(lambda state: state.list_decided("ada", range(10)))
    return {row: str(decision) for row, decision in values.items()}


def add_groups(root: Path) -> None:
    path = root / "groups.csv"
    path.write_text("row_idx,image_group\n" + "".join(f"{row},5\n" for row in (1, 2, 3, 4)))
    import_columns(open_workspace(root), path)


def test_one_decision_for_a_group(root: Path, draw: Draw) -> None:
    add_groups(root)
    log = open_review_log(open_workspace(root), "ada", "desk")
    log.append([DecisionDraft(4, Decision.KEEP)])
    before = decided(root)
    app = draw("explore", {"sample": "2"}, session=ADA)
    assert not app.exception, app.exception
    assert "4 samples (col:image_group=5)" in written(app) + str(app.caption)
    button = app.button("keep-images")
    assert button.label == "Keep this, drop 3 others"
    button.click().run()
    assert decided(root) == before | {1: "drop", 2: "keep", 3: "drop", 4: "keep"}
    shown = written(app) + str(app.caption)
    assert "Kept 1 and dropped 2 samples. Skipped 1 sample" in shown
    app.button("undo-group").click().run()
    assert decided(root) == before
    again = draw("explore", {"sample": "2"}, session=ADA)
    again.button("group-images").click().run()
    assert again.query_params["filter"] == "col:image_group=5"


def test_without_groups_and_without_a_name(root: Path, draw: Draw) -> None:
    def has_groups(row: int) -> bool:
        app = draw("explore", {"sample": str(row)})
        assert not [each for each in app.button if str(each.key).startswith("keep-")]
        return "Near-duplicates" in [each.value for each in app.subheader]

    assert not has_groups(2)
    add_groups(root)
    assert has_groups(2)
    assert not has_groups(7)
