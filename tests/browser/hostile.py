"""A small workspace in which every text that a dataset, a run or a person can bring is an attack.

Each text would fetch from another host, run a script or break out of its element if any page read
it as HTML or Markdown. A script that runs says so in ``window.attacked``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scoring.samples import Status
from scoring.workspace import Workspace, write_json
from tests.synthetic import (
    Row,
    append_decisions,
    decision_event,
    make_workspace,
    typed_row,
    write_clusters,
    write_run,
)

ATTACKS = (
    "<script>window.attacked='script'</script>",
    "<img src=x onerror=\"window.attacked='img'\">",
    "![beacon](http://example.invalid/beacon.png)",
    "[link](javascript:window.attacked='link') **bold** :red[red] $x^2$",
    "</div></style><style>body{display:none}</style>",
    "<svg onload=\"window.attacked='svg'\"><a href='http://example.invalid'>a</a></svg>",
    "<iframe srcdoc=\"<script>parent.attacked='frame'</script>\"></iframe>",
    "\" onmouseover=\"window.attacked='attribute'\" '",
)
RUN_ID = "attacked-run"
_N = 24


def build_hostile_workspace(root: Path) -> None:
    """Writes the workspace; its rows carry every attack in every field."""
    rows = [_row(i) for i in range(_N)]
    workspace = make_workspace(root, rows=rows, with_clusters=False, with_predictions=True)
    names = [f"{attack} cluster" for attack in ATTACKS]
    fingerprint = "f" * 64
    write_clusters(workspace, rows, fingerprint, names=names)
    events = [
        decision_event(n, n, "keep", reviewer=attack, note=attack)
        for n, attack in enumerate(ATTACKS, 1)
    ]
    append_decisions(workspace, events, "attacker@desk")
    write_run(
        workspace,
        rows,
        fingerprint,
        run_id=RUN_ID,
        model=ATTACKS[1],
        created_at="2025-01-01T00:00:00Z",
    )
    _write_subset(workspace)


def _write_subset(workspace: Workspace) -> None:
    """A subset as the library would refuse to save it, for its file may come from elsewhere."""
    saved = {
        "name": ATTACKS[0],
        "rule": {"kind": "threshold", "min": 0.0},
        "run_id": ATTACKS[1],
        "baseline": ATTACKS[2],
        "clustering_id": ATTACKS[3],
        "created_at": ATTACKS[4],
    }
    for name in ("hostile", "hostile[red]"):
        write_json(workspace.subsets_dir / f"{name}.json", saved)


def _row(i: int) -> Row:
    """One sample: the attack in its source, identifier, image name, question and answer."""
    attack = ATTACKS[i % len(ATTACKS)]
    status = Status.MISSING_IMAGE if i % 5 == 4 else None
    row = typed_row(0.125 * (i % 9) - 0.25, i) if status is None else typed_row(status, i)
    question, _, tokens, text, multimodal = row.turns[0]
    return replace(
        row,
        source=attack,
        id=f"{attack}{i}",
        image=f"{attack.replace('/', '_')}{i}.png",
        cluster=i % len(ATTACKS),
        turns=((f"{attack} {question}", f"{attack} answer {i}", tokens, text, multimodal),),
        extra={attack: attack},
    )
