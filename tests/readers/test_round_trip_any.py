"""Any records, laid out in any way: what is imported goes out as it came, and comes in again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.exports.export import export_subset
from scoring.exports.verify import verify_manifest
from scoring.rules import TopShare
from scoring.samples import Sample, Status
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["<image>", "q\n<image>", "\ud800", "=1+1", "a\u2028"]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
EXTRAS = st.dictionaries(TEXTS.map(lambda key: f"x{key}"), VALUES, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    question, answer = draw(TEXTS), "a" + draw(TEXTS)
    if draw(st.booleans()):
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        record: dict[str, Any] = {"conversations": turns}
    else:
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        record = {"messages": chat}
    image = draw(st.sampled_from([None, "", "1.png", ["1.png", "2.png"]]))
    return {**draw(EXTRAS), **({} if image is None else {"image": image}), **record}


LAYOUTS = ("array", "lines", "object", "values", "under a key", "compressed")


def laid_out(layout: str, texts: list[str], indent: str) -> bytes:
    named = f",{indent}".join(f'"k{number}"{indent}: {one}' for number, one in enumerate(texts))
    content = {
        "array": f"[{indent}{f' ,{indent}'.join(texts)}{indent}]",
        "lines": "\n".join(texts) + "\n",
        "object": f"{{{indent}{named}}}",
        "values": "\n".join(texts),
        "under a key": f'{{"meta": {{"a": 1, "b": 2}}, "data": {{{named}}}}}',
        "compressed": "\n".join(texts),
    }[layout].encode()
    return gzip.compress(content) if layout == "compressed" else content


def imported(root: Path, path: Path) -> Workspace:
    import_dataset(create_workspace(root), [path])
    return open_workspace(root)


def understood(samples: list[Sample]) -> list[tuple[object, ...]]:
    return [(one.turns, one.images, one.status, one.original) for one in samples]


@given(
    st.lists(records(), min_size=2, max_size=4),
    st.sampled_from(LAYOUTS),
    st.sampled_from(["", " ", "\n\t"]),
    st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_records_survive_export_and_import(
    made: list[dict[str, Any]], layout: str, indent: str, ascii_only: bool
) -> None:
    across = 1 if layout == "values" else None
    texts = [json.dumps(one, indent=across, ensure_ascii=ascii_only) for one in made]
    texts = [one.encode("utf-8", "replace").decode() for one in texts]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        path = root / "d.json"
        path.write_bytes(laid_out(layout, texts, indent))
        workspace = imported(root / "ws", path)
        samples = list(read_samples(workspace))
        assert [one.original.decode() for one in samples] == texts
        assert Status.BAD_RECORD not in {one.status for one in samples}
        score_dataset(workspace, FakeModel(), run_id="run")
        rule = SubsetDefinition("all", TopShare(1.0), "run", text_only="keep", unscored="keep")
        done = export_subset(workspace, Store(workspace), rule)
        verify_manifest(done.folder / "manifest.json", workspace)
        again = list(read_samples(imported(root / "again", done.folder / "samples.json")))
        assert understood(again) == understood(samples)
        if layout in ("object", "under a key"):
            assert [one.id for one in again] == [f"k{number}" for number in range(len(made))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_generated(tmp_path: Path, layout: str) -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    across = 1 if layout == "values" else None
    texts = [
        json.dumps({"n": number, "conversations": turns}, indent=across) for number in range(3)
    ]
    (tmp_path / "d.json").write_bytes(laid_out(layout, texts, "\n"))
    found = read_samples(imported(tmp_path / "ws", tmp_path / "d.json"))
    assert [one.original.decode() for one in found] == texts
