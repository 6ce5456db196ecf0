"""Exports pushed to a hub, and what readers find there."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import metadata_load
from typer.testing import CliRunner

from scoring import cli
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import InputError
from scoring.exports.export import export_subset
from scoring.exports.manifest import dataset_facts
from scoring.exports.options import ExportOptions
from scoring.exports.parents import list_terms
from scoring.exports.push import push
from scoring.exports.verify import verify_manifest
from scoring.hub.upload import PushTarget
from scoring.images.decode import ImageProblem, open_reference
from scoring.rules import TopShare
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.exports.conftest import RECORDS, SCORES
from tests.hub import LARGE_BYTES, READER, Hub, hub_variables, running_hub, use_hub
from tests.readers.test_files import png, record
from tests.synthetic import RUN_ID, make_workspace, typed_row, write_run

HALF = SubsetDefinition("half", TopShare(0.5), RUN_ID, text_only="keep")
TARGET = PushTarget("me/half")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        use_hub(running, tmp_path / "home", monkeypatch)
        yield running


@pytest.fixture
def pictured(tmp_path: Path) -> Workspace:
    """A workspace of 40 samples whose images are there, with a saved subset."""
    made = make_workspace(tmp_path / "ws", 40)
    build_database(made)
    save_subset(made, HALF)
    return made


def from_hub(tmp_path: Path, hub: Hub, files: dict[str, bytes], name: str = "ws") -> Workspace:
    """A scored workspace of a dataset on the hub, with a saved subset."""
    hub.add("owner/source", files)
    workspace = create_workspace(tmp_path / name)
    info = import_dataset(workspace, ["hf:owner/source"])
    rows = [typed_row(score, n) for n, score in enumerate(SCORES[: info.n_samples])]
    write_run(workspace, rows, info.fingerprint)
    build_database(workspace)
    save_subset(workspace, HALF)
    return open_workspace(workspace.root)


def run_python(code: str, hub: Hub, home: Path) -> Any:
    """Run code in a process of its own against the hub and return the JSON that it prints."""
    environment = {**os.environ, **hub_variables(hub, home)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_subset_is_exported_pushed_loaded_and_imported_again(
    tmp_path: Path, pictured: Workspace, hub: Hub
) -> None:
    result = push(pictured, "half", TARGET)
    repository = hub.repositories["me/half"]
    assert not repository.private
    assert result.pushed.url == f"{hub.url}/datasets/me/half"
    assert result.pushed.commit == repository.branches["main"] and not result.pushed.is_update
    folder = pictured.exports_dir / "half"
    assert result.folder == folder
    written = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert repository.files.keys() - {".gitattributes"} == written.keys()
    for name, path in written.items():
        assert repository.files[name] == path.read_bytes()
    card = repository.files["README.md"].decode()
    assert card.startswith("---\n") and "source_datasets" not in card
    croissant = json.loads(repository.files["croissant.json"])
    assert croissant["url"] == "https://huggingface.co/datasets/me/half"
    verify_manifest(folder, pictured)
    pytest.importorskip("datasets")
    code = "import json, datasets; d = datasets.load_dataset('me/half', split='train'); "
    code += "sizes = [len(images) for images in d['images']]; "
    code += "print(json.dumps([list(d['visnec']), list(d['row_idx']), sizes]))"
    visnec, row_idx, images = run_python(code, hub, tmp_path / "home")
    assert len(visnec) == result.manifest.counts["selected"] and sum(images) > 5
    again = create_workspace(tmp_path / "again")
    import_dataset(again, ["hf:me/half"])
    turns = {s.row_idx: [t.text for t in s.turns] for s in read_samples(pictured)}
    samples = list(read_samples(again))
    assert [[t.text for t in s.turns] for s in samples] == [turns[row] for row in row_idx]
    assert [len(sample.images) for sample in samples] == images


@pytest.mark.parametrize("name", ["llava", "jsonl", "huggingface", "webdataset"])
def test_an_export_on_the_hub_is_imported_with_its_images(
    tmp_path: Path, pictured: Workspace, hub: Hub, name: str
) -> None:
    images = "embed" if name == "huggingface" else "none" if name == "webdataset" else "copy"
    options = ExportOptions(name, images=images, card=True)
    exported = export_subset(
        pictured, Store(pictured), HALF, format=options, allow_missing_images=True
    )
    push(pictured, "half", TARGET)
    again = create_workspace(tmp_path / "again")
    import_dataset(again, ["hf:me/half"])
    again = open_workspace(again.root)
    texts = {s.row_idx: [t.text.strip() for t in s.turns] for s in read_samples(pictured)}
    samples = list(read_samples(again))
    expected = [texts[row] for row in exported.outcome.subset.selected.tolist()]
    found = [[turn.text.strip() for turn in sample.turns] for sample in samples]
    assert sorted(found) == sorted(expected)
    references = [image for sample in samples for image in sample.images]
    assert len(references) > 5
    n_opened = 0
    for image in references:
        with suppress(ImageProblem):
            open_reference(image, again.image_roots)
            n_opened += 1
    assert n_opened > 5


def test_large_files_are_uploaded_by_lfs(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = os.urandom(2_000_000).hex()
    records = [json.dumps(json.loads(RECORDS[0]) | {"noise": noise}).encode() for _ in range(6)]
    workspace = from_hub(tmp_path, hub, {"x.jsonl": b"\n".join(records)})
    export_subset(workspace, Store(workspace), HALF, format=ExportOptions("jsonl", card=True))
    folder = workspace.exports_dir / "half"
    content = (folder / "samples.jsonl").read_bytes()
    assert len(content) > LARGE_BYTES

    def stop(*_: object, **__: object) -> None:
        raise ConnectionError("stopped")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot be reached"):
        patch.setattr("huggingface_hub.HfApi.upload_folder", stop)
        push(workspace, "half", TARGET)
    assert hub.repositories["me/half"].files.keys() == {".gitattributes", "manifest.json"}
    push(workspace, "half", TARGET)
    assert list(hub.blobs.values()) == [content]
    assert hub.repositories["me/half"].files["samples.jsonl"] == content
    uploads = [text for text in hub.requests if text.startswith("PUT /lfs/")]
    push(workspace, "half", PushTarget("me/again"))
    assert [text for text in hub.requests if text.startswith("PUT /lfs/")] == uploads
    again = create_workspace(tmp_path / "again")
    import_dataset(again, ["hf:me/half"])
    assert b"\n".join(one.original for one in read_samples(again)) + b"\n" == content


def test_paths_of_this_machine_are_not_pushed(
    tmp_path: Path, pictured: Workspace, hub: Hub
) -> None:
    def made(workspace: Workspace, **options: Any) -> Path:
        choice = ExportOptions(images="copy", card=True, **options)
        subset = replace(HALF, text_only="drop")
        return export_subset(
            workspace, Store(workspace), subset, format=choice, overwrite=True,
            allow_missing_images=True,
        ).folder  # fmt: skip

    for options in ({"format": "llava", "absolute_images": True}, {"trainer": "internvl"}):
        made(pictured, **options)
        with pytest.raises(InputError, match="name that folder, which is not on the hub"):
            push(pictured, "half", TARGET)
    made(pictured, format="llava", image_prefix="/data/pictures")
    with pytest.raises(InputError, match="name images below /data/pictures, a folder of this"):
        push(pictured, "half", TARGET)
    text = (made(pictured, format="llava") / "manifest.json").read_text("utf-8")
    assert str(tmp_path) not in text
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "x.json").write_text(
        json.dumps([record(n, str(tmp_path / "red.png")) for n in range(2)])
    )
    private = create_workspace(tmp_path / "private")
    info = import_dataset(private, [tmp_path / "x.json"])
    write_run(private, [typed_row(1.0, n) for n in range(2)], info.fingerprint)
    private = open_workspace(private.root)
    build_database(private)
    assert (made(private, format="llava") / "images" / "elsewhere").is_dir()
    with pytest.raises(InputError, match=rf"images\.jsonl contains {tmp_path}, a path of this"):
        push(private, "half", TARGET)
    assert not hub.repositories
    push(pictured, "half", TARGET)


def test_pushed_ids_are_not_imported(tmp_path: Path, hub: Hub) -> None:
    workspace = from_hub(tmp_path, hub, {"data/x.jsonl": b"\n".join(RECORDS[:3])})
    push(workspace, "half", TARGET, ids_only=True)
    with pytest.raises(InputError, match=r"me/half is an export without records \(ids\.txt"):
        import_dataset(create_workspace(tmp_path / "again"), ["hf:me/half"])


def test_pushing_again_replaces_what_was_pushed(pictured: Workspace, hub: Hub) -> None:
    push(pictured, "half", TARGET)
    first = hub.repositories["me/half"].branches["main"]
    assert push(pictured, "half", TARGET).pushed.commit == first
    options = ExportOptions("llava", card=True)
    export_subset(pictured, Store(pictured), HALF, format=options, overwrite=True)
    result = push(pictured, "half", TARGET)
    assert result.pushed.is_update
    files = hub.repositories["me/half"].files
    assert "samples.json" in files and "samples.parquet" not in files
    branch = push(pictured, "half", PushTarget("me/half", revision="v2"))
    assert branch.pushed.url.endswith("/datasets/me/half/tree/v2")
    assert hub.repositories["me/half"].branches.keys() == {"main", "v2"}


def test_other_content_is_never_replaced(pictured: Workspace, hub: Hub) -> None:
    before = {"train.parquet": b"PAR1", "README.md": b"# mine"}
    hub.add("me/half", before)
    with pytest.raises(InputError, match=r"me/half@main contains other files \(README.md, train"):
        push(pictured, "half", TARGET)
    assert hub.repositories["me/half"].files == before
    other = {"workspace_id": "else", "subset": {"name": "half"}}
    for text in (json.dumps(other), "[]", "no json"):
        hub.add("me/other", {"manifest.json": text.encode()})
        with pytest.raises(InputError, match="contains other files"):
            push(pictured, "half", PushTarget("me/other"))


def test_a_private_push(pictured: Workspace, hub: Hub) -> None:
    push(pictured, "half", PushTarget("me/secret", private=True))
    assert hub.repositories["me/secret"].private
    push(pictured, "half", PushTarget("me/secret"))  # stays private
    assert hub.repositories["me/secret"].private
    push(pictured, "half", TARGET)
    with pytest.raises(InputError, match="me/half exists and is public"):
        push(pictured, "half", PushTarget("me/half", private=True))


def test_problems_are_explained(
    pictured: Workspace, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"'half' is not a repository\. Name it as OWNER/NAME"):
        PushTarget("half")
    with pytest.raises(InputError, match=r"No subset 'none' in .*Saved subsets: half"):
        push(pictured, "none", TARGET)
    with pytest.raises(InputError, match="was not imported from the hub"):
        push(pictured, "half", TARGET, ids_only=True)
    export_subset(pictured, Store(pictured), HALF, format=ExportOptions("llava", card=True))
    folder = pictured.exports_dir / "half"
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(InputError, match="your login has no right to do this"):
        push(pictured, "half", TARGET)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"not logged in to the hub\. Log in with hf auth login"):
        push(pictured, "half", TARGET)
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        push(pictured, "half", TARGET)
    (folder / "samples.json").write_text("[]")
    with pytest.raises(InputError, match=r"samples.json is not the file that was exported"):
        push(pictured, "half", TARGET)
    assert not hub.repositories


def test_nothing_is_exported_if_the_hub_refuses(
    pictured: Workspace, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/half", {"README.md": b"# mine"})
    with pytest.raises(InputError, match="me/half exists and is public"):
        push(pictured, "half", PushTarget("me/half", private=True))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="You are not logged in to the hub"):
        push(pictured, "half", TARGET)
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        push(pictured, "half", TARGET)
    assert not (pictured.exports_dir / "half").exists()


def test_the_source_is_in_the_manifest_and_the_card(tmp_path: Path, hub: Hub) -> None:
    workspace = from_hub(tmp_path, hub, {"data/x.jsonl": b"\n".join(RECORDS[:3])})
    commit = hub.repositories["owner/source"].branches["main"]
    options = ExportOptions("llava", card=True)
    result = export_subset(workspace, Store(workspace), HALF, format=options)
    (file,) = result.manifest.inputs.dataset["files"]
    assert (file["hub"]["repository"], file["hub"]["commit"]) == ("owner/source", commit)
    card = (result.folder / "README.md").read_text("utf-8")
    assert "\nsource_datasets:\n- owner/source\n" in card
    link = f"[owner/source](https://huggingface.co/datasets/owner/source/tree/{commit})"
    assert f"- {link} at commit `{commit}`, config `default`, split `train`" in card
    verify_manifest(result.folder, workspace)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("license: cc-by-4.0\nlanguage:\n- en\n- zh\n",
         {"license": "cc-by-4.0", "language": ["en", "zh"]}),
        ("license: [mit, apache-2.0]\nlanguage: en\n",
         {"license": ["mit", "apache-2.0"], "language": "en"}),
        ("license: other\nlicense_name: own-terms\nlicense_link: https://a.org/LICENSE.md\n",
         {"license": "other", "license_name": "own-terms",
          "license_link": "https://a.org/LICENSE.md"}),
        ("license: other\nlicense_link: LICENSE\n", {"license": "other"}),
        ("license: '[x](http://y)'\nlanguage: 7\n", {}),
        ("pretty_name: x\n", {}),
    ],
)  # fmt: skip
def test_the_card_has_the_terms_of_the_source(
    tmp_path: Path, hub: Hub, terms: str, expected: dict[str, Any]
) -> None:
    readme = f"---\n{terms}---\n# Source\n".encode()
    source = {"data/x.jsonl": b"\n".join(RECORDS[:3]), "README.md": readme}
    workspace = from_hub(tmp_path, hub, source)
    result = export_subset(
        workspace, Store(workspace), HALF, format=ExportOptions("llava", card=True)
    )
    front = metadata_load(result.folder / "README.md")
    keys = ("license", "language", "license_name", "license_link")
    assert {key: front[key] for key in keys if key in front} == expected
    croissant = json.loads((result.folder / "croissant.json").read_bytes())
    assert croissant.get("license") == expected.get("license")
    verify_manifest(result.folder, workspace)
    named = ExportOptions("llava", card=True, license="cc0-1.0")
    own = export_subset(workspace, Store(workspace), HALF, format=named, overwrite=True)
    assert metadata_load(own.folder / "README.md")["license"] == "cc0-1.0"


def test_a_license_of_some_files_is_not_that_of_all(tmp_path: Path, hub: Hub) -> None:
    hub.add("a/b", {"x.jsonl": RECORDS[0], "README.md": b"---\nlicense: mit\n---\n"})
    (tmp_path / "own.jsonl").write_bytes(RECORDS[1])
    workspace = create_workspace(tmp_path / "both")
    import_dataset(workspace, ["hf:a/b"])
    assert list_terms(dataset_facts(read_dataset_info(workspace)), "license") == ["mit"]
    import_dataset(workspace, [tmp_path / "own.jsonl"], append=True)
    assert list_terms(dataset_facts(read_dataset_info(workspace)), "license") == []


@pytest.mark.parametrize(
    ("name", "is_doubtful"), [("cc-by-nc-nd-4.0", True), ("other", True), ("mit", False)]
)
def test_a_license_that_may_forbid_copies_is_reported(
    tmp_path: Path, hub: Hub, name: str, is_doubtful: bool
) -> None:
    readme = f"---\nlicense: {name}\n---\n".encode()
    workspace = from_hub(tmp_path, hub, {"x.jsonl": RECORDS[0], "README.md": readme})
    arguments = ["push", "half", "-w", str(workspace.root), "--to", "me/half"]
    export_subset(workspace, Store(workspace), HALF, format=ExportOptions("llava", card=True))
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert (f"license of the source is {name}. If it" in done.stderr) == is_doubtful
    assert (
        "--ids-only"
        not in CliRunner().invoke(cli.app, [*arguments[:-1], "me/i", "--ids-only"]).stderr
    )


@pytest.mark.parametrize("kind", ["lines", "array", "parquet"])
def test_ids_join_to_the_source_at_its_commit(tmp_path: Path, hub: Hub, kind: str) -> None:
    if kind == "parquet":
        sink, names = io.BytesIO(), ["red", "lime", "blue", "red", "lime", "blue"]
        columns = {"id": list("abcdef"), "image": list(map(png, names)), "text": names}
        pq.write_table(pa.table(columns), sink)
        files = {"data/train-00000-of-00001.parquet": sink.getvalue()}
    elif kind == "lines":
        plain = [record for record in RECORDS if b"\n" not in record]
        files = {"x.jsonl": b"\n".join(plain[:2]), "y.jsonl": b"\n".join(plain[2:])}
    else:
        files = {"x.json": b"[" + b",\n".join(RECORDS) + b"]"}
    workspace = from_hub(tmp_path, hub, files, "source")
    result = push(workspace, "half", TARGET, ids_only=True)
    hub.add("owner/source", {"x.jsonl": b"changed later"})
    assert result.folder is None and not workspace.exports_dir.joinpath("half").exists()
    pushed = hub.repositories["me/half"].files
    assert {"ids.txt", "row_idx.txt", "manifest.json", "README.md"} <= pushed.keys()
    rows = [int(row) for row in pushed["row_idx.txt"].split()]
    assert len(rows) == result.manifest.counts["selected"] > 0
    card = pushed["README.md"].decode()
    snippet = card.partition("```python\n")[2].partition("\n```")[0]
    assert len(snippet.splitlines()) <= 11
    if kind == "parquet":
        pytest.importorskip("datasets")
    code = snippet + "\nprint(json.dumps([str(row.get('id')) for row in subset]))"
    ids = run_python(code, hub, tmp_path / "home")
    samples = {sample.row_idx: str(sample.id) for sample in read_samples(workspace)}
    assert ids == [samples[row] for row in rows]
    downloaded = tmp_path / "downloaded"
    for name, content in pushed.items():
        (downloaded / name).parent.mkdir(parents=True, exist_ok=True)
        (downloaded / name).write_bytes(content)
    verify_manifest(downloaded, workspace)


def test_the_command(
    pictured: Workspace, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["push", "half", "-w", str(pictured.root), "--to", "me/half", "--private"]
    done = subprocess.run(
        [sys.executable, "-m", "scoring", *arguments, "--json"],
        env={**os.environ, **hub_variables(hub, tmp_path / "other")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["repository"] == "me/half" and value["folder"].endswith("exports/half")
    assert "Pushing to me/half" in done.stderr
    shutil.rmtree(pictured.exports_dir)
    result = CliRunner().invoke(cli.app, [*arguments[:-1], "--revision", "v2"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{hub.url}/datasets/me/half/tree/v2"
    monkeypatch.delenv("HF_TOKEN")
    assert CliRunner().invoke(cli.app, arguments).exit_code != 0
