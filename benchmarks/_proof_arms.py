"""The arms of ``benchmarks.proof``, made by the public ``visnec`` command from a pool of records.

A pool is imported, scored and clustered in a workspace of its own. What an arm is trained on are
the records that ``visnec export`` writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from benchmarks._proof_world import read_records
from data.build_demo import Record, write_json

EXPERT, WARM, SELF, ORACLE = "expert", "warm", "self", "oracle"
ALL = "all"
BAND, TOLERANCE = 0.25, -0.05
PAIRS = (
    ("vision_critical", "redundant"),
    ("vision_critical", "misaligned"),
    ("redundant", "misaligned"),
)
WEIGHT_KEY = "weight"


@dataclass(frozen=True)
class Arm:
    """What an arm is, and the options of ``visnec select`` that make it.

    ``{share}``, ``{seed}``, ``{n}`` (the size of the paper's subset by the expert) and ``{paper}``
    (its name) are filled in.
    """

    about: str
    options: str
    run: str = EXPERT

    @property
    def is_weighted(self) -> bool:
        """Whether its export has weights."""
        return "--rule weights" in self.options


_SHARE = " --share {share}"
_PAPER = "--rule paper" + _SHARE
_BAND = "--rule band --min 0.25 --count {n} --seed {seed}"
_DROP = "--rule drop-misaligned --text-only keep --below "
_WEIGHTS = "--rule weights --by softmax --temperature 0.5 --max-weight 4 --text-only keep"
_CONTROL = "--rule control --of {paper} --per cluster "

ARMS = {
    ALL: Arm("the whole pool", "--rule random --share 1 --text-only keep"),
    "random": Arm("random", "--rule random --count {n} --seed {seed}"),
    "paper": Arm("`paper`: top of each cluster", _PAPER),
    "band": Arm("`band`: random with VisNec >= 0.25", _BAND),
    "top": Arm("top without clusters", "--rule top-count --count {n}"),
    "text-loss": Arm("highest text-only loss of each cluster", _CONTROL + "--by text-loss"),
    "random-per-cluster": Arm(
        "random, clusters as `paper`", _CONTROL + "--by random --seed {seed}"
    ),
    "nonneg": Arm("random with VisNec >= 0", "--rule band --min 0 --count {n} --seed {seed}"),
    "oracle": Arm(
        "random of the truly vision-critical",
        "--rule band --min 0.5 --count {n} --seed {seed}",
        ORACLE,
    ),
    "drop-0.05": Arm("`drop-misaligned` below -0.05", _DROP + str(TOLERANCE)),
    "drop-0": Arm("`drop-misaligned` below 0", _DROP + "0"),
    "weights": Arm("`weights` softmax 0.5, at most 4", _WEIGHTS),
    "relative": Arm("`relative`: highest VisNec / text-only loss", "--rule relative" + _SHARE),
    "length-corrected": Arm("`length-corrected`", "--rule length-corrected" + _SHARE),
    "paper-warm": Arm("`paper`", _PAPER, WARM),
    "band-warm": Arm("`band`", _BAND, WARM),
    "drop-0.05-warm": Arm("`drop-misaligned` below -0.05", _DROP + str(TOLERANCE), WARM),
    "weights-warm": Arm("`weights`", _WEIGHTS, WARM),
    "paper-self": Arm("`paper`", _PAPER, SELF),
    "band-self": Arm("`band`", _BAND, SELF),
    "drop-0.05-self": Arm("`drop-misaligned` below -0.05", _DROP + str(TOLERANCE), SELF),
    "weights-self": Arm("`weights`", _WEIGHTS, SELF),
}


def run_visnec(*arguments: object) -> None:
    """Run the ``visnec`` command in this process, which saves a start of Python each time."""
    from scoring.cli import app  # after a worker has set its number of threads

    with contextlib.redirect_stdout(io.StringIO()):
        code = app([*map(str, arguments), "--quiet"], prog_name="visnec", standalone_mode=False)
    if code:
        raise RuntimeError(f"visnec {' '.join(map(str, arguments))} ended with exit code {code}")


@dataclass(frozen=True)
class Pool:
    """The records of one seed and their workspace, in a folder."""

    folder: Path
    seed: int

    @property
    def workspace(self) -> Path:
        """The workspace folder."""
        return self.folder / "workspace"

    @property
    def records(self) -> list[Record]:
        """The records in the order of the dataset."""
        return read_records(self.folder / "records.json")

    def create(self, records: list[Record], images: Path, clusters: int) -> None:
        """Import and cluster the records, unless that was done."""
        done = self.folder / "imported"
        if done.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        data = self.folder / "records.json"
        write_json(data, records)
        run_visnec("import", data, "-w", self.workspace, "--images", images)
        run_visnec("cluster", "-w", self.workspace, "--k", clusters)
        done.touch()

    def score(self, run: str, model: Path | None = None) -> None:
        """Score the records with a model, or with the truth, unless that was done."""
        done = self.folder / f"scored-{run}"
        if done.exists():
            return
        if model is None:
            truth = self.folder / "truth.csv"
            truth.write_text("row_idx,loss_multimodal,loss_text\n" + "".join(self._true_losses()))
            run_visnec("import-scores", truth, "-w", self.workspace, "--run", run)
        else:
            options = ("--device", "cpu", "--run", run)
            run_visnec("score", "-w", self.workspace, "--model", model, *options)
        done.touch()

    def _true_losses(self) -> list[str]:
        """Return losses that differ by one nat where the sample is vision-critical."""
        return [
            f"{row},0,{float(record['made'] == 'vision_critical')}\n"
            for row, record in enumerate(self.records)
            if "image" in record
        ]

    def export(self, name: str, share: float) -> Path:
        """Select and export an arm, unless that was done; return the file of its records."""
        subset = f"{name}-{100 * share:g}"
        folder = self.workspace / "exports" / subset
        if not (folder / "manifest.json").exists():
            arm, values = ARMS[name], {"share": share, "seed": self.seed, "n": 0, "paper": ""}
            if "{n}" in arm.options or "{paper}" in arm.options:
                paper = self.export("paper", share)
                values |= {"n": len(read_records(paper)), "paper": paper.parent.name}
            options = [*arm.options.format(**values).split(), "--run", arm.run, "--overwrite"]
            run_visnec("select", "-w", self.workspace, "--name", subset, *options)
            weights = ["--weights", "column", "--weight-key", WEIGHT_KEY] if arm.is_weighted else []
            run_visnec(
                "export", subset, "-w", self.workspace, "--format", "jsonl", *weights, "--overwrite"
            )
        return next(folder.glob("*.jsonl"))

    def describe_scores(self, run: str) -> dict[str, float]:
        """Return how well the scores of a run separate the kinds.

        AUCs by pair of kinds; the share of scores below 0; the precision and the recall of
        "misaligned" below 0 and below the tolerance.
        """
        path = self.folder / f"scores-{run}.parquet"
        options = ("--run", run, "--format", "parquet", "--to", path)
        run_visnec("export-scores", "-w", self.workspace, *options)
        rows = [row for row in pq.read_table(path).to_pylist() if row["visnec"] is not None]
        records = self.records
        made = np.array([records[row["row_idx"]]["made"] for row in rows])
        visnec = np.array([row["visnec"] for row in rows])
        facts = {"negative": float((visnec < 0).mean())}
        for high, low in PAIRS:
            chosen = np.isin(made, (high, low))
            if len(set(made[chosen])) == 2:
                area = roc_auc_score(made[chosen] == high, visnec[chosen])
                facts[f"{high} > {low}"] = float(area)
        wrong = made == "misaligned"
        for limit in (0.0, TOLERANCE):
            below = visnec < limit
            facts[f"precision below {limit:g}"] = float(wrong[below].mean()) if below.any() else 0.0
            facts[f"recall below {limit:g}"] = float(below[wrong].mean()) if wrong.any() else 0.0
        return facts


def read_weights(records: list[Record]) -> list[float] | None:
    """Return the weights of exported records, or None if they have none."""
    if WEIGHT_KEY not in records[0]:
        return None
    return [float(record[WEIGHT_KEY]) for record in records]


def write_result(path: Path, result: dict[str, object]) -> None:
    """Write a result, which appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(path)
