"""Leaks of benchmarks into a dataset, each kind checked manually."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import ImageOps

import scoring
from scoring.columns.parts import list_columns
from scoring.dataset.importing import import_dataset
from scoring.duplicates.benchmark_texts import BenchmarkTexts, compared_words, find_prompts
from scoring.duplicates.leakage import check_leakage
from scoring.errors import InputError
from scoring.exchange.imported_columns import import_columns
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.columns.test_import_columns import values
from tests.duplicates.test_images import picture
from tests.test_cli import visnec

LONG = "the tall ship with four white masts anchored in the harbour north of the old city wall"
CHOICE = "Read the question below and answer with nothing but the letter of the correct option."


def record(question: str, answer: str = "yes", image: str | None = None) -> dict[str, object]:
    text = ("<image>\n" if image else "") + question
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]
    return {"conversations": turns} | ({"image": image} if image else {})


def write(path: Path, *records: dict[str, object]) -> Path:
    path.write_text(json.dumps(records), "utf-8")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for name, image in {
        "train/a": picture(1),
        "train/b": ImageOps.mirror(picture(2)),
        "train/c": picture(3),
        "bench/a": picture(1),
        "bench/b": picture(2).resize((200, 150)),
        "bench/d": picture(4),
    }.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    write(
        tmp_path / "bench.json",
        record("What is this?", image="bench/a.png"),
        record("How many?", image="bench/b.png"),
        record(f"Describe {LONG}.", image="bench/d.png"),
        record(f"{LONG} Where?", "Here", image="bench/d.png"),
        record("Where is Rome?", "In Italy"),
        record("Where is Oslo?", "In Norway", image="bench/gone.png"),
    )
    path = write(
        tmp_path / "train.json",
        record("Name it.", image="train/a.png"),
        record("What is this?", image="train/c.png"),
        record("Name it.", image="train/b.png"),
        record(f"Look! {LONG}", image="train/c.png"),
        record("where is ROME", "in Italy"),
        record("Where is Rome?", "In Europe"),
        record("Name it.", image="train/gone.png"),
    )
    import_dataset(create_workspace(tmp_path / "ws"), [path])
    return open_workspace(tmp_path / "ws")


def test_each_kind(workspace: Workspace, tmp_path: Path) -> None:
    report = check_leakage(workspace, {"bench": tmp_path / "bench.json"})
    (leaks,) = report.benchmarks
    # Rows 2 and 3 of the benchmark share a run of 13 words with row 3, and row 3 is similar to it.
    assert leaks.leaked == {"image": 1, "near-image": 2, "question": 3, "near-question": 3}
    assert (leaks.n_samples, leaks.n_leaked, leaks.n_dataset) == (6, 5, 4)
    assert leaks.share == 5 / 6
    assert (leaks.n_uncompared, leaks.n_unread) == (3, 1)
    assert leaks.examples["image"] == [(0, 0)]
    assert leaks.examples["near-image"] == [(1, 2)]
    assert set(leaks.examples["question"]) == {(2, 3), (3, 3), (4, 4)}
    expected = {0: "image", 1: "none", 2: "near-image", 3: "question", 4: "question", 5: "none"}
    assert values(workspace, "leak") == values(workspace, "leak_bench") == expected
    assert report.n_unread == 1  # row 6: its image is gone
    settings = report.columns[0].settings
    assert settings["benchmarks"] == {"bench": str(tmp_path / "bench.json")}


def test_questions_only_and_a_workspace(workspace: Workspace, tmp_path: Path) -> None:
    import_dataset(create_workspace(tmp_path / "other"), [tmp_path / "bench.json"])
    benchmarks = {"other": tmp_path / "other", "same": tmp_path / "train.json"}
    report = scoring.check_leakage(workspace, benchmarks, images=False)
    assert [each.n_leaked for each in report.benchmarks] == [3, 3]
    assert report.benchmarks[0].leaked["image"] == 0
    assert [column.name for column in list_columns(workspace)] == [
        "leak",
        "leak_other",
        "leak_same",
    ]
    assert values(workspace, "leak_same")[5] == "question"
    assert values(workspace, "leak_other")[5] == "none"
    scoring.check_leakage(workspace, {"other": tmp_path / "other"}, images=False)
    assert [column.name for column in list_columns(workspace)] == ["leak", "leak_other"]


def test_a_changed_word_is_found_as_nearly_the_same() -> None:
    bench = BenchmarkTexts([(f"Is {LONG} a very big one", "", True)], 0.6)
    words = LONG.split()
    words[9] = "near"  # no run of 13 words is left
    run, near = bench.compare([(f"Is {' '.join(words)} a very big one", "", True)])
    assert (run.tolist(), near.tolist()) == ([], [[0, 0]])


def test_prompts_of_a_benchmark_are_not_compared() -> None:
    texts = [(f"Is there a {name}? {CHOICE}", "A", True) for name in "abcdefghijkl"]
    prompts = find_prompts(texts)
    assert prompts
    assert not find_prompts(texts[:10])
    assert compared_words(texts[0], prompts) == []
    assert compared_words((f"{LONG} {CHOICE}", "A", True), prompts) == LONG.split()
    assert compared_words(("Where is Rome?", "Italy", False), prompts) == [
        *("where", "is", "rome", "italy"),
    ]
    run, near = BenchmarkTexts(texts, 0.8).compare([(f"Is it late? {CHOICE}", "A", True)])
    assert len(run) == len(near) == 0


def test_what_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name the benchmarks"):
        check_leakage(workspace, {})
    empty = write(tmp_path / "empty.json", {"conversations": []})
    with pytest.raises(InputError, match=r"empty\.json has no record with a question"):
        check_leakage(workspace, {"empty": empty}, images=False)
    path = tmp_path / "x.csv"
    path.write_text("row_idx,leak\n0,4\n", "utf-8")
    import_columns(workspace, path)
    with pytest.raises(InputError, match=r"column 'leak' already, imported from x\.csv"):
        check_leakage(workspace, {"bench": tmp_path / "bench.json"}, images=False)


def test_the_command(workspace: Workspace, tmp_path: Path) -> None:
    command = ["check-leakage", "-w", workspace.root, "--benchmark", tmp_path / "bench.json"]
    done = visnec(*command, "--json", "--max", "0.9")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["benchmarks"][0]["name"] == "bench"
    assert result["benchmarks"][0]["share"] == 5 / 6
    assert "3 questions about images have fewer than 13 words" in done.stderr
    above = visnec(*command, "--questions-only", "--max", "0.4")
    assert above.returncode == 1
    assert "More than 40.00 % is in the dataset: bench (50.00 %)" in above.stderr
    twice = visnec(*command, "--benchmark", tmp_path / "bench.json")
    assert twice.returncode == 2
    assert "Two benchmarks have the name bench" in twice.stderr
