"""Datasets in two files: lists of datasets with read options, and images by key."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.dataset.importing import import_dataset, preview_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import InputError
from scoring.images.decode import ImageProblem, open_reference
from scoring.readers.inputs import find_inputs
from scoring.readers.options import ReadOptions
from scoring.workspace import create_workspace, open_workspace
from tests.readers.test_files import COLOURS, answers, colours, imported, png, write_lines
from tests.readers.test_variants import told

TURNS = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
ODD = [{"who": "customer", "says": "<image>q"}, {"who": "clerk", "says": "a"}]
LIST = {
    "chat": {
        "file_name": "chat.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",
                 "assistant_tag": "assistant"},
    },
    "odd": {
        "file_name": "sub/odd.json",
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "images": "pictures", "system": "sys"},
        "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "customer",
                 "assistant_tag": "clerk"},
    },
    "flat": {"file_name": "flat.json", "columns": {"prompt": "do", "query": "with",
                                                   "response": "done"}},
    "far": {"hf_hub_url": "owner/name"},
}  # fmt: skip


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "red.png").write_bytes(png("red"))
    (folder / "chat.json").write_text(json.dumps([{"messages": TURNS, "images": ["red.png"]}]))
    odd = {"talk": ODD, "pictures": ["red.png"], "sys": "be brief", "id": "o"}
    (folder / "sub" / "odd.json").write_text(json.dumps([odd]))
    (folder / "flat.json").write_text(json.dumps([{"do": "add", "with": "1", "done": "2"}]))
    (folder / "dataset_info.json").write_text(json.dumps(LIST))
    return folder / "dataset_info.json"


def test_a_list_gives_files_and_columns(listed: Path, tmp_path: Path) -> None:
    workspace = imported(tmp_path, f"{listed}#chat,odd,flat")
    samples = list(read_samples(workspace))
    assert [told(sample) for sample in samples] == [
        ["h: [0]q", "a: a"],
        ["s: be brief", "h: [0]q", "a: a"],
        ["h: add\n1", "a: 2"],
    ]
    assert [(sample.id, sample.source) for sample in samples] == [
        (None, "chat"), ("o", "odd"), (None, "flat"),
    ]  # fmt: skip
    assert colours(workspace) == [[COLOURS["red"]], [COLOURS["red"]], []]
    names = [file.name for file in read_dataset_info(workspace).files]
    assert names == ["chat.json", "sub/odd.json", "flat.json"]


def test_the_options_of_a_list_are_part_of_the_fingerprint(listed: Path, tmp_path: Path) -> None:
    by_list = import_dataset(create_workspace(tmp_path / "a"), [f"{listed}#chat"])
    alone = import_dataset(create_workspace(tmp_path / "b"), [listed.parent / "chat.json"])
    assert by_list.fingerprint != alone.fingerprint
    (preview,) = preview_dataset([f"{listed}#odd"])
    assert preview.sample is not None and preview.sample.answer == "a"


def test_user_options_override_those_of_a_list(listed: Path) -> None:
    options = ReadOptions(columns={"question": "with", "answer": "do"})
    (preview,) = preview_dataset([f"{listed}#flat"], options=options)
    assert preview.sample is not None
    assert told(preview.sample) == ["h: 1", "a: add"]


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("", r"without a local file \(far\).+dataset_info\.json#chat,odd,flat"),
        ("#far", r"without a local file \(far\)"),
        ("#nothing", "has no dataset 'nothing'. Choose from: chat, odd, flat, far"),
    ],
)
def test_remote_and_unknown_datasets_of_a_list_are_refused(
    listed: Path, suffix: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_inputs([f"{listed}{suffix}"])


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hostname", "gone.json"])
def test_a_list_cannot_name_files_outside_its_folder(listed: Path, name: str) -> None:
    (listed.parent.parent / "secret.json").write_text("[]")
    listed.write_text(json.dumps({"x": {"file_name": name}}))
    with pytest.raises(InputError, match="but its folder has no such file"):
        find_inputs([listed])


def test_records_with_file_names_are_not_a_list(tmp_path: Path) -> None:
    records = {"a": {"question": "q", "answer": "a", "image": "", "file_name": "x.png"}}
    (tmp_path / "r.json").write_text(json.dumps(records))
    assert [one.listed_options for one in find_inputs([tmp_path / "r.json"])] == [None]
    with pytest.raises(InputError, match="is not a list of datasets"):
        find_inputs([f"{tmp_path / 'r.json'}#a"])


# ---- images by key ----------------------------------------------------------------------------


def write_interleaved(tmp_path: Path) -> Path:
    data = {f"D3_INS_{i}": {"instruction": "q", "answer": f"a{i}", "image_ids": [f"IMG/{i}"],
                            "rel_ins_ids": []} for i in range(4)}  # fmt: skip
    (tmp_path / "D3_instructions.json").write_text(json.dumps({"meta": {}, "data": data}))
    return tmp_path / "D3_instructions.json"


def keyed(tmp_path: Path, kind: str) -> Path:
    encoded = {
        f"IMG/{i}": base64.b64encode(png(name)).decode() for i, name in enumerate(COLOURS)
    }  # the fourth is missing
    if kind == "json":
        path = tmp_path / "D3.json"
        path.write_text(json.dumps(encoded, indent=1).replace("/", "\\/"))
        return path
    path = tmp_path / "D3.parquet"
    if kind == "base64":
        pq.write_table(pa.table({"base64": encoded.values(), "id": encoded.keys()}), path)
    else:
        images = [{"bytes": base64.b64decode(one), "path": None} for one in encoded.values()]
        pq.write_table(pa.table({"key": list(encoded), "image": images}), path)
    return path


@pytest.mark.parametrize("kind", ["json", "base64", "bytes"])
def test_images_by_key_are_read_in_place(tmp_path: Path, kind: str) -> None:
    images = keyed(tmp_path, kind)
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [write_interleaved(tmp_path)], [images])
    workspace = open_workspace(workspace.root)
    samples = list(read_samples(workspace))
    assert answers(samples) == ["a0", "a1", "a2", "a3"]
    found = [
        open_reference(image, workspace.image_roots).getpixel((5, 5))
        for sample in samples[:3]
        for image in sample.images
    ]
    assert found == list(COLOURS.values())
    assert samples[3].images == ("IMG/3",)
    with pytest.raises(ImageProblem, match="IMG/3"):
        open_reference(samples[3].images[0], workspace.image_roots)
    assert images.resolve() in workspace.image_roots
    assert workspace.dataset_dir.resolve() not in workspace.image_roots


def test_files_without_images_by_key_are_refused(tmp_path: Path) -> None:
    data = write_interleaved(tmp_path)
    workspace = create_workspace(tmp_path / "ws")
    write_lines(tmp_path / "list.json", [[1, 2]])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    for name, message in (
        ("gone", "gone does not exist"),
        ("list.json", "contains no images indexed by a key. --images accepts"),
        ("x.parquet", r"has the columns x. A table of images needs a key column \(id, key"),
    ):
        with pytest.raises(InputError, match=message):
            import_dataset(workspace, [data], [tmp_path / name])
    (tmp_path / "y").mkdir()
    twice = [keyed(tmp_path, "json"), keyed(tmp_path / "y", "json")]
    with pytest.raises(InputError, match="Two image files are named 'D3"):
        import_dataset(workspace, [data], twice)


def test_image_files_with_the_same_name_are_refused(tmp_path: Path) -> None:
    images = keyed(tmp_path, "bytes")
    (tmp_path / "y").mkdir()
    again = (tmp_path / "y" / images.name).resolve()
    table = pq.read_table(images)
    columns = {"question": ["q"] * len(table), "answer": ["a"] * len(table)}
    pq.write_table(pa.table({**columns, "key": table["key"], "image": table["image"]}), again)
    data = write_interleaved(tmp_path)
    with pytest.raises(InputError, match=r"already has a file named 'D3\.parquet'"):
        import_dataset(create_workspace(tmp_path / "one"), [again], [images])
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [data], [images])
    workspace = open_workspace(workspace.root)
    more = write_lines(tmp_path / "more.jsonl", [{"query": "q", "response": "a", "image": "IMG/2"}])
    with pytest.raises(InputError, match=r"already has a file named 'D3\.parquet'"):
        import_dataset(workspace, [more], [again], append=True)
    assert import_dataset(workspace, [more], [images], append=True).n_samples == 5
    workspace = open_workspace(workspace.root)
    *_, last = read_samples(workspace)
    found = open_reference(last.images[0], workspace.image_roots)
    assert found.getpixel((5, 5)) == COLOURS["blue"]


@pytest.mark.parametrize("member", ["offset=0&bytes=3&key=x", "offset=9&bytes=99999999999&key=x"])
def test_a_keyed_position_without_text_is_a_bad_image(tmp_path: Path, member: str) -> None:
    path = keyed(tmp_path, "json")
    with pytest.raises(ImageProblem):
        open_reference(f"{path.name}#{member}", [path])
