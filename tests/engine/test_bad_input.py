"""All kinds of records in real datasets, through the commands and the bundled model, in one run."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.database.connection import Store
from scoring.database.queries.detail import token_scores
from scoring.database.values import Scope
from scoring.runs.record import read_run, read_run_or_latest
from scoring.samples import Status
from scoring.workspace import Workspace, open_workspace

BASELINES = ("none", "reference", "gray", "blur", "shuffled")
NOISE = Image.effect_noise((48, 40), 90).convert("RGB")


@dataclass(frozen=True)
class Case:
    """A record, its expected status and its reason."""

    record: Any
    status: Status
    reason: str = ""
    files: tuple[tuple[str, Callable[[Path], object]], ...] = field(default=())


def talk(*values: str, first: str = "human") -> list[dict[str, str]]:
    roles = ("human", "gpt") if first == "human" else ("gpt", "human")
    return [{"from": roles[turn % 2], "value": value} for turn, value in enumerate(values)]


def asking(image: str | list[str] | None, question: str = "<image>\nWhat?", answer: str = "red"):  # type: ignore[no-untyped-def]
    record: dict[str, Any] = {"id": str(image), "conversations": talk(question, answer)}
    return record | ({"image": image} if image else {})


def picture(
    name: str, make: Callable[[Path], object], status: Status = Status.SCORED, reason: str = ""
) -> Case:
    return Case(asking(name), status, reason, ((name, make),))


def bomb(path: Path) -> None:
    """A PNG whose header declares 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        head = struct.pack(">I", len(content)) + kind + content
        return head + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def turned(path: Path) -> None:
    exif = NOISE.getexif()
    exif[0x0112] = 6
    NOISE.save(path, exif=exif)


def cut_off(path: Path) -> None:
    NOISE.save(path)
    path.write_bytes(path.read_bytes()[:900])


def moving(path: Path) -> None:
    frames = [NOISE.convert("P"), NOISE.transpose(Image.Transpose.ROTATE_180).convert("P")]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


def locked(path: Path) -> None:
    NOISE.save(path)
    path.chmod(0)


def may_read_anything() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def pictures() -> dict[str, Case]:
    bad, missing = Status.BAD_IMAGE, Status.MISSING_IMAGE
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    return {
        "plain": picture("plain.png", NOISE.save),
        "missing": Case(asking("gone.png"), missing, "is in none of the image folders"),
        "truncated": picture("cut.png", cut_off, bad, "cut.png: "),
        "zero bytes": picture("empty.png", Path.touch, bad, "empty.png is empty"),
        "pointer": picture("lfs.png", lambda path: path.write_bytes(pointer), bad, "git lfs pull"),
        "bomb": picture("bomb.png", bomb, bad, "more pixels than the limit of 100,000,000"),
        "animated": picture("moving.jpg", moving),
        "cmyk": picture("cmyk.jpg", NOISE.convert("CMYK").save),
        "16 bit": picture("deep.png", Image.new("I;16", (20, 20), 40_000).save),
        "rgba": picture("alpha.png", NOISE.convert("RGBA").save),
        "palette": picture(
            "palette.png", lambda path: NOISE.quantize(9).save(path, transparency=b"\0\x80\xff")
        ),
        "exif": picture("turned.jpg", turned),
        "one pixel": picture("dot.png", Image.new("RGB", (1, 1)).save),
        "a line": picture("line.png", Image.new("RGB", (3000, 1)).save),
        "folder": picture("folder.png", Path.mkdir, missing, "folder"),
        "pipe": picture("pipe.png", os.mkfifo, missing),
        "locked": picture("locked.png", locked)
        if may_read_anything()
        else picture("locked.png", locked, bad, "Permission denied"),
        "outside": Case(asking("../outside.png"), Status.REFUSED_PATH, "leads out"),
        "link out": picture(
            "link.png", lambda path: path.symlink_to("/etc/passwd"), Status.REFUSED_PATH
        ),
        "endless link": picture(
            "round.png", lambda path: path.symlink_to(path), Status.REFUSED_PATH
        ),
        "remote": Case(asking("https://example.org/a.png"), Status.REFUSED_PATH),
        "odd name": Case(asking("\ud800\n\0.png"), Status.REFUSED_PATH),
        "long name": Case(asking("x." * 2500), Status.REFUSED_PATH, "File name too long"),
    }


def texts() -> dict[str, Case]:
    mismatch, bad = Status.PLACEHOLDER_MISMATCH, Status.BAD_RECORD
    both = ["plain.png", "alpha.png"]
    return {
        "two images": Case(asking(both, "<image> or <image>?"), Status.SCORED),
        "literal, no image": Case(asking(None, "What is <image>?"), Status.TEXT_ONLY),
        "more placeholders": Case(asking("plain.png", "<image><image>?"), mismatch, "2 "),
        "fewer placeholders": Case(asking(both, "<image>?"), mismatch, "2 image"),
        "no placeholder": Case(asking("plain.png", "What?"), Status.SCORED),
        "empty answer": Case(asking("plain.png", answer=""), Status.NO_ANSWER),
        "blank answer": Case(asking("plain.png", answer=" \n\t"), Status.NO_ANSWER),
        "one answer empty": Case(
            asking("plain.png") | {"conversations": talk("<image>\nA?", "", "B?", "blue")},
            Status.SCORED,
        ),
        "100,000 tokens": Case(
            asking("plain.png", answer="red " * 100_000), Status.TOO_LONG, "the model accepts 512"
        ),
        "answer first": Case(
            asking("plain.png") | {"conversations": talk("red", "<image>?", first="gpt")}, bad
        ),
        "unknown role": Case(
            asking("plain.png") | {"conversations": [{"from": "nobody", "value": "<image>"}]}, bad
        ),
        "no conversation": Case({"image": "plain.png", "conversations": 3}, bad),
        "no object": Case(7, bad),
        "surrogates and NULs": Case(
            asking("plain.png", "<image>\nA\ud800\0?", "r\0e\udfffd"), Status.SCORED
        ),
        "control tokens": Case(
            asking("plain.png", "<image></s><assistant> red</s>?", "</s> <pad>"), Status.SCORED
        ),
        "right to left": Case(
            asking("plain.png", "<image>\u202e\ufeff?", "\u202e!"), Status.SCORED
        ),
    }


CASES = {**pictures(), **texts()}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All cases imported and scored against every baseline."""
    root = tmp_path_factory.mktemp("bad")
    images = root / "images"
    images.mkdir()
    NOISE.save(root / "outside.png")
    for case in CASES.values():
        for name, make in case.files:
            make(images / name)
    (root / "data.json").write_text(json.dumps([case.record for case in CASES.values()]))
    run("import", root / "data.json", "-w", root / "ws", "--images", images)
    asked = [part for baseline in BASELINES for part in ("--baseline", baseline)]
    run("score", "-w", root / "ws", "--model", "tiny-vlm", "--tokens", "--run", "all", *asked)
    return open_workspace(root / "ws")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def outcomes(
    workspace: Workspace, run_id: str, baseline: str = "none"
) -> dict[str, tuple[Any, ...]]:
    query = """
        SELECT row_idx, status, reason, visnec, n_answer_tokens, truncated FROM scores
        WHERE run_id = $run AND baseline = $baseline ORDER BY row_idx
    """
    rows = Store(workspace).snapshot().fetch_rows(query, {"run": run_id, "baseline": baseline})
    assert [row[0] for row in rows] == list(range(len(CASES)))  # counts in are counts out
    return {name: row[1:] for name, row in zip(CASES, rows, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_each_record_gets_a_score_or_a_status_with_its_reason(scored: Workspace, name: str) -> None:
    case = CASES[name]
    status, reason, visnec, n_tokens, truncated = outcomes(scored, "all")[name]
    assert status == case.status, reason
    assert not truncated
    if status == Status.SCORED:
        assert (reason, n_tokens > 0) == (None, True)
        assert -20 < visnec < 20
    else:
        assert (visnec, n_tokens) == (None, None)
        assert reason
        assert case.reason in reason


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_has_every_sample_once(scored: Workspace, baseline: str) -> None:
    found = Counter(row[0] for row in outcomes(scored, "all", baseline).values())
    assert found == Counter(str(case.status) for case in CASES.values())


def test_the_run_record_lists_its_settings(scored: Workspace) -> None:
    record = read_run(scored, "all")
    assert record.baselines == BASELINES
    assert record.baseline_parameters == {"blur_sigma": 0.05, "shuffle_seed": 42}
    assert record.tokens
    assert record.processor is not None
    assert record.processor.startswith("LlavaProcessor, ")
    assert record.device_name
    assert {"python", "torch", "transformers", "tokenizers", "pillow"} <= set(record.versions)
    assert (len(record.model_fingerprint), len(record.dataset_fingerprint)) == (64, 64)


def test_token_values_add_up_to_the_score(scored: Workspace) -> None:
    found = outcomes(scored, "all", "blur")
    store = Store(scored)
    for row, name in enumerate(CASES):
        tokens = token_scores(store, Scope("all", "blur"), row)
        if found[name][0] != Status.SCORED:
            assert tokens is None
            continue
        assert tokens is not None
        assert tokens["visnec"].mean() == pytest.approx(found[name][2], abs=1e-5)
        assert len(tokens) == found[name][3]
    texts = token_scores(store, Scope("all"), list(CASES).index("one answer empty"))
    assert texts is not None
    assert set(texts["turn"]) == {1}
    assert "".join(texts["text"]).strip() == "blue</s>"


def test_samples_that_are_too_long_can_be_truncated(scored: Workspace) -> None:
    run("score", "-w", scored.root, "--model", "tiny-vlm", "--truncate")
    record = read_run_or_latest(scored, None)
    assert record.truncate
    status, _, visnec, n_tokens, truncated = outcomes(scored, record.run_id)["100,000 tokens"]
    assert (status, truncated) == (Status.SCORED, True)
    assert 400 < n_tokens < 512
    assert -20 < visnec < 20
