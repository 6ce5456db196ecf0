"""A small workspace in which every text of the dataset, the runs and the reviewers is an attack.

Each text would fetch from another host, run a script, break out of its element or act as a control
character if a page treated it as anything but text. A script that runs sets ``window.attacked``.
Row 0 has all of them at once in each of its fields.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.records import read_dataset_info
from scoring.exchange.imported_scores import import_scores
from scoring.exports.export import export_subset
from scoring.predictions.imported import import_predictions
from scoring.rules import Threshold
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import Workspace, save_settings, write_json
from tests import synthetic
from tests.synthetic import (
    Row,
    append_decisions,
    decision_event,
    make_workspace,
    typed_row,
    write_clusters,
    write_run,
)

PRINTABLE = (
    "<script>window.attacked='script'</script>",
    "<img src=x onerror=\"window.attacked='img'\">",
    "![beacon](http://example.invalid/beacon.png)",
    "[link](javascript:window.attacked='link') **bold** :red[red] $x^2$",
    "</div></style><style>body{display:none}</style>",
    "<svg onload=\"window.attacked='svg'\"><a href='http://example.invalid'>a</a></svg>",
    "<iframe srcdoc=\"<script>parent.attacked='frame'</script>\"></iframe>",
    "\" onmouseover=\"window.attacked='attribute'\" '",
)
ATTACKS = (
    *PRINTABLE,
    "esc\x1b[31m\x1b]0;title\x07ape",
    "bidi\u202eover\u2066isolate\u2028line",
    "nul\0byte",
)
ALL = " ".join(ATTACKS)
MAIN_RUN, RUN_ID, IMPORTED_RUN = synthetic.RUN_ID, "attacked-run", "brought-run"
SUBSET = "attacked"
SETTINGS = ("model_family", "template", "dtype", "device", "device_name", "processor")
_N = 24


def as_file(attack: str) -> str:
    """Return the attack as a valid file name."""
    return attack.replace("/", "_").replace("\0", "")


def build_hostile_workspace(root: Path) -> None:
    """Write the workspace with its database."""
    rows = [_everything(), *(_row(i) for i in range(1, _N))]
    workspace = make_workspace(root, rows=rows, with_clusters=False, with_predictions=True)
    workspace = replace(workspace, settings=replace(workspace.settings, notice=f"{ALL} notice"))
    save_settings(workspace)
    fingerprint = read_dataset_info(workspace).fingerprint
    write_clusters(workspace, rows, fingerprint, names=[f"{attack} cluster" for attack in ATTACKS])
    _score_otherwise(workspace, rows, fingerprint)
    _change(workspace.run_dir(MAIN_RUN) / "run.json", **_settings())
    _name_files(workspace)
    _decide(workspace)
    _bring_scores(workspace)
    _bring_predictions(workspace)
    build_database(workspace)
    _choose(workspace)


def break_subset(root: Path) -> None:
    """Write a subset that the library would not save; its file may come from elsewhere."""
    write_json(root / "subsets" / "broken.json", {"name": ALL, "rule": {"kind": ALL}})


def _change(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text("utf-8")) | changes)


def _everything() -> Row:
    row = replace(
        _row(0),
        source=ALL,
        id=ALL,
        predictions=(f"{ALL} blind", f"{ALL} seeing"),
        tokens=ATTACKS,
        extra={ALL: ALL},
    )
    turn = (f"{ALL} question", f"{ALL} answer", *row.turns[0][2:])
    return replace(row, turns=(turn, turn))


def _row(i: int) -> Row:
    """Return a sample with one attack in its source, id, image name, texts and reason."""
    attack = ATTACKS[i % len(ATTACKS)]
    status = Status.MISSING_IMAGE if i % 5 == 4 else None
    row = typed_row(0.125 * (i % 9) - 0.25, i) if status is None else typed_row(status, i)
    question, _, tokens, text, multimodal = row.turns[0]
    return replace(
        row,
        source=attack,
        id=f"{attack}{i}",
        image=f"{as_file(attack)}{i}.png",
        cluster=i % len(ATTACKS),
        turns=((f"{attack} {question}", f"{attack} answer {i}", tokens, text, multimodal),),
        extra={attack: attack},
        reason=None if status is None else f"{attack} reason",
        predictions=(f"{attack} blind", f"{attack} seeing"),
    )


def _score_otherwise(workspace: Workspace, rows: list[Row], fingerprint: str) -> None:
    """Add an earlier run that gives every sample another sample's scores."""
    others = [
        replace(row, turns=rows[-1 - i].turns[:1] * len(row.turns)) for i, row in enumerate(rows)
    ]
    created = "2025-01-01T00:00:00Z"
    write_run(workspace, others, fingerprint, run_id=RUN_ID, model=ATTACKS[1], created_at=created)


def _settings() -> dict[str, Any]:
    """Return all texts of a run record."""
    told = {name: f"{ALL} {name}" for name in ("model", "notice", *SETTINGS)}
    return {**told, "versions": {ALL: f"{ALL} version"}, "tokens": True}


def _name_files(workspace: Workspace) -> None:
    """Give the dataset's files hostile names and formats."""
    path = workspace.dataset_dir / "dataset.json"
    files = json.loads(path.read_text("utf-8"))["files"]
    _change(path, files=[{**one, "name": f"{ALL} name", "why": f"{ALL} why"} for one in files])


def _decide(workspace: Workspace) -> None:
    """Let every reviewer decide about row 0 and one other row; damage one log."""
    events = []
    for n, attack in enumerate(ATTACKS, 1):
        said = {"reviewer": attack, "note": f"{attack} note", "queue": f"{attack} queue"}
        events.append(decision_event(2 * n - 1, 0, ("keep", "drop")[n % 2], **said))
        events.append(decision_event(2 * n, n, "keep", **said))
    append_decisions(workspace, events, "attacker@laptop")
    torn = workspace.reviews_dir / f"{as_file(ATTACKS[1])}@laptop.jsonl"
    torn.write_text(f'{{"{ALL}\n', "utf-8")


def _bring_scores(workspace: Workspace) -> None:
    """Add a run whose scores were imported from a file with a hostile name."""
    path = workspace.root.parent / f"{as_file(ATTACKS[0])}.csv"
    path.write_text("row_idx,loss_multimodal,loss_text,visnec\n0,0.5,1.0,0.5\n1,0.5,0.25,-0.25\n")
    import_scores(workspace, path, model=ALL, run_id=IMPORTED_RUN, check=False)
    record = workspace.run_dir(IMPORTED_RUN) / "run.json"
    _change(record, created_at="2024-01-01T00:00:00+00:00")


def _bring_predictions(workspace: Workspace) -> None:
    """Import models and a file with hostile names, and records that match no sample."""
    path = workspace.root.parent / f"{as_file(ATTACKS[2])}.jsonl"
    lines = [{"id": f"{attack} unknown", "prediction": attack} for attack in ATTACKS]
    lines += [
        {"row_idx": row, "model": attack, "prediction": f"{attack} brought"}
        for attack in PRINTABLE
        for row in (0, 1, 2, 3)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    import_predictions(workspace, path, model="fits none")


def _choose(workspace: Workspace) -> None:
    """Save a subset, export it to folders with hostile names; save one of a missing run."""
    subset = SubsetDefinition(SUBSET, Threshold(min=0.0), MAIN_RUN, "none", synthetic.CLUSTERING_ID)
    save_subset(workspace, subset)
    done = export_subset(workspace, Store(workspace), subset, format="llava")
    for attack in PRINTABLE:
        shutil.copytree(done.folder, workspace.exports_dir / as_file(attack))
    spoilt = workspace.exports_dir / as_file(f"{ATTACKS[0]} spoilt")
    shutil.copytree(done.folder, spoilt)
    _change(spoilt / "manifest.json", format=ALL)
    elsewhere = replace(subset, name="elsewhere", run_id=ALL, created_at=ALL, baseline=ALL)
    save_subset(workspace, elsewhere)
    write_json(workspace.subsets_dir / "no[red]name.json", {"name": ALL})
