"""Every kind of file: detected formats, samples, and refusals."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring.dataset.importing import import_dataset, preview_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import InputError, RecordError
from scoring.images import containers
from scoring.images.decode import ImageProblem, open_reference, resolve_image
from scoring.readers import sources, tables
from scoring.readers.inputs import find_inputs
from scoring.readers.options import ReadOptions
from scoring.samples import Sample, Status
from scoring.workspace import Workspace, create_workspace, open_workspace

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def record(number: int, image: str | None = "red.png") -> dict[str, object]:
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": f"a{number}"}]
    return {"id": str(number), **({"image": image} if image else {}), "conversations": turns}


def imported(tmp_path: Path, *given: Path | str, keep_going: bool = False) -> Workspace:
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, given, options=ReadOptions(keep_going=keep_going))
    return open_workspace(workspace.root)


def colours(workspace: Workspace) -> list[list[object]]:
    """The colour of every image of every sample, as scorers and pages open them."""
    roots = workspace.image_roots
    return [
        [open_reference(image, roots).getpixel((5, 5)) for image in sample.images]
        for sample in read_samples(workspace)
    ]


def answers(samples: Sequence[Sample]) -> list[str]:
    return [sample.answer for sample in samples]


def write_lines(path: Path, records: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


# ---- columns ----------------------------------------------------------------------------------


def test_parquet_with_images_inside(tmp_path: Path) -> None:
    images = [{"bytes": png(name), "path": None} for name in COLOURS]
    table = pa.table({"image": images, "text": list(COLOURS)})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=2)
    workspace = imported(tmp_path, tmp_path / "train.parquet")
    samples = list(read_samples(workspace))
    assert answers(samples) == list(COLOURS)
    assert [sample.origin for sample in samples] == [f"train.parquet#row={i}" for i in range(3)]
    assert {sample.original for sample in samples} == {b""}
    assert workspace.image_roots == ((tmp_path / "train.parquet").resolve(),)
    assert colours(workspace) == [[colour] for colour in COLOURS.values()]
    backwards = [sample.images[0] for sample in reversed(samples)]
    found = [open_reference(one, workspace.image_roots).getpixel((0, 0)) for one in backwards]
    assert found == list(reversed(COLOURS.values()))


def test_parquet_with_lists_of_images_and_with_paths(tmp_path: Path) -> None:
    (tmp_path / "blue.png").write_bytes(png("blue"))
    rows = [
        {"images": [{"bytes": png("red"), "path": "x"}, {"bytes": png("lime"), "path": None}],
         "query": "<image><image>q", "response": "a"},
        {"images": [{"bytes": None, "path": "blue.png"}], "query": "q", "response": "b"},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    workspace = imported(tmp_path, tmp_path / "x.parquet")
    red, lime, blue = COLOURS.values()
    assert colours(workspace) == [[red, lime], [blue]]


def test_a_bytes_column_is_preferred_to_paths(tmp_path: Path) -> None:
    rows = [{"images": ["gone.png"], "image_bytes": [png("red")], "text": "<__dj__image> bed"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dj.parquet")
    assert colours(imported(tmp_path, tmp_path / "dj.parquet")) == [[COLOURS["red"]]]


def test_a_saved_hugging_face_dataset(tmp_path: Path) -> None:
    for split, names in (("train", ["red", "lime"]), ("test", ["blue"])):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        images = [{"bytes": png(name), "path": None} for name in names]
        table = pa.table({"image": images, "question": ["q"] * len(names), "answer": names})
        arrow = str(folder / "data-00000-of-00001.arrow")
        with pa.OSFile(arrow, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    workspace = imported(tmp_path, tmp_path / "saved")
    assert answers(list(read_samples(workspace))) == ["red", "lime", "blue"]
    assert colours(workspace) == [[colour] for colour in COLOURS.values()]
    state = {"_data_files": [{"filename": "../../../etc/passwd"}]}
    (tmp_path / "saved" / "test" / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="is not a valid file name for the dataset folder"):
        find_inputs([tmp_path / "saved"])


def test_damaged_parquet_is_reported_and_its_readable_rows_are_kept(tmp_path: Path) -> None:
    texts = [f"text {number} " * 50 for number in range(400)]
    table = pa.table({"question": texts, "answer": texts})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=100, compression="gzip")
    column = pq.read_metadata(path).row_group(2).column(0)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset or column.dictionary_page_offset)
        file.write(b"\xff" * 200)
    with pytest.raises(RecordError, match=r"x\.parquet: rows 200 to 299 of 400 cannot be read"):
        imported(tmp_path, path)
    samples = list(read_samples(imported(tmp_path, path, keep_going=True)))
    assert [sample.status for sample in samples].count(Status.BAD_RECORD) == 1
    assert len(samples) == 301
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match="is not a readable Parquet file"):
        imported(tmp_path / "b", path)


def test_a_damaged_arrow_file_is_reported_without_a_crash(tmp_path: Path) -> None:
    table = pa.table({"question": list("abcde"), "answer": list("fghij")})
    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    places, far = struct.pack("<6i", *range(6)), struct.pack("<6i", 0, *[1 << 30] * 5)
    assert places in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(places, far))
    with pytest.raises(RecordError, match=r"x\.arrow: row 0 and all rows after it cannot be read"):
        imported(tmp_path, path)
    with pytest.raises(ImageProblem, match="row 2 cannot be read"):
        open_reference("x.arrow#row=2&at=/answer", [path])


def test_text_that_is_not_utf8_affects_only_its_row(tmp_path: Path) -> None:
    column = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    batch = pa.record_batch({"question": column})
    found = list(tables.batch_records(batch, "x", 5))
    assert [one.problem is None for one in found] == [True, False, True]
    assert found[1].problem is not None and found[1].problem.startswith("row 6: ")


# ---- tar --------------------------------------------------------------------------------------


def write_tar(path: Path, members: Sequence[tuple[str, bytes | None]]) -> Path:
    """Members with their content; None makes a link."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content or b""))
    return path


def test_webdataset_in_its_forms(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    two = {
        "images": ["b.png", "a.png"],
        "messages": [
            {"role": "user", "content": "<image><image>q"},
            {"role": "assistant", "content": "b"},
        ],
    }
    write_tar(tmp_path / "s.tar", [
        ("d/0000.jpg", png("red")), ("d/0000.json", json.dumps(turns).encode()),
        ("d/0001.jpg", png("lime")), ("d/0001.txt", b"a caption"),
        ("d/0001.detail.json", b'{"n": 1}'),
        ("d/0002.a.png", png("red")), ("d/0002.b.png", png("blue")),
        ("d/0002.json", json.dumps(two).encode()),
    ])  # fmt: skip
    workspace = imported(tmp_path, tmp_path / "s.tar")
    samples = list(read_samples(workspace))
    assert [sample.id for sample in samples] == ["d/0000", "d/0001", "d/0002"]
    assert answers(samples) == ["a", "a caption", "b"]
    red, lime, blue = COLOURS.values()
    assert colours(workspace) == [[red], [lime], [red, blue]]
    assert samples[0].origin == "s.tar#offset=0&bytes=2048"


def test_members_outside_the_archive_and_links_are_refused(tmp_path: Path) -> None:
    names = ["../evil.jpg", "/abs.jpg", "a/../../b.jpg", "link.jpg"]
    members: list[tuple[str, bytes | None]] = []
    for name in names:
        members.append((name, None if name == "link.jpg" else png("red")))
        members.append((name.replace("jpg", "txt"), b"text"))
    members += [("plain.jpg", png("red")), ("plain.txt", b"text")]
    workspace = imported(tmp_path, write_tar(tmp_path / "s.tar", members))
    samples = list(read_samples(workspace))
    assert [sample.status for sample in samples] == ["refused_path"] * 4 + ["pending"]
    assert samples[0].reason == "the member '../evil.jpg' leads outside the archive"
    assert samples[3].reason == "the member 'link.jpg' is a link or a device, not a file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tar", "ws"]


def test_a_truncated_tar(tmp_path: Path) -> None:
    members = [(f"{i}.{suffix}", content) for i in range(5)
               for suffix, content in (("png", png("red")), ("txt", b"t" * 600))]  # fmt: skip
    path = write_tar(tmp_path / "s.tar", members)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RecordError, match=r"s\.tar: after byte \d+: "):
        imported(tmp_path, path)
    samples = list(read_samples(imported(tmp_path, path, keep_going=True)))
    assert samples[0].status is Status.PENDING
    assert samples[-1].status is Status.BAD_RECORD


def test_names_with_dots_before_the_extension(tmp_path: Path) -> None:
    turns = json.dumps([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]).encode()
    members = [
        (f"d.v1/photo.{number}.{suffix}", content)
        for number, colour in enumerate(COLOURS)
        for suffix, content in (("jpg", png(colour)), ("json", turns))
    ]
    workspace = imported(tmp_path, write_tar(tmp_path / "s.tar", members))
    samples = list(read_samples(workspace))
    assert [one.id for one in samples] == [f"d.v1/photo.{number}" for number in range(3)]
    assert colours(workspace) == [[colour] for colour in COLOURS.values()]
    assert answers(samples) == ["a", "a", "a"]


def test_members_that_share_only_the_name_before_the_first_dot_are_reported(tmp_path: Path) -> None:
    turns = json.dumps([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]).encode()
    members = [(f"photo.{n}.jpg", png("red")) for n in (1, 2)]
    members += [(f"photo.{n}.json", turns) for n in (1, 2)]
    path = write_tar(tmp_path / "s.tar", [("0.jpg", png("red")), ("0.json", turns), *members])
    _, bad = read_samples(imported(tmp_path, path))
    assert (bad.status, bad.reason) == (
        Status.BAD_RECORD,
        "the members photo.1.jpg, photo.2.jpg, photo.1.json form one sample because their "
        "names up to the first dot are 'photo'; rename them without dots before the extension",
    )
    parts = [("7.left.jpg", png("red")), ("7.right.jpg", png("blue")), ("7.json", turns)]
    (whole,) = read_samples(imported(tmp_path / "b", write_tar(tmp_path / "t.tar", parts)))
    assert (whole.id, len(whole.images)) == ("7", 2)


# ---- tables of text ---------------------------------------------------------------------------


def test_a_benchmark_table_with_images_in_base64(tmp_path: Path) -> None:
    red, blue = (base64.b64encode(png(name)).decode() for name in ("red", "blue"))
    rows = [f"10\t{red}\tq\tred\tblue\tA", '11\t10\t"two\nlines"\tred\tblue\tA',
            f"12\t{blue}\tr\tred\tblue\tB", "13\ttoo\tfew"]  # fmt: skip
    (tmp_path / "b.tsv").write_text("\n".join(["index\timage\tquestion\tA\tB\tanswer", *rows, ""]))
    workspace = imported(tmp_path, tmp_path / "b.tsv")
    samples = list(read_samples(workspace))
    assert [sample.id for sample in samples] == ["10", "11", "12", None]
    assert samples[1].question == "two\nlines\nA. red\nB. blue"
    assert samples[3].reason == "row 4 has 3 columns, the header has 6"
    assert colours(workspace) == [[COLOURS["red"]], [COLOURS["red"]], [COLOURS["blue"]], []]


def test_shared_images_are_remembered_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_SHARED_IMAGES", 2)
    # Reading 1 for the third row keeps it, so 2 is forgotten.
    images = {"1": "x" * 64, "2": "x" * 64, "9": "1", "3": "x" * 64, "4": "1", "5": "2", "6": "3"}
    lines = [f"{index}\t{image}\tq\ta\n" for index, image in images.items()]
    (tmp_path / "b.tsv").write_text("index\timage\tquestion\tanswer\n" + "".join(lines))
    (source,) = sources.open_sources([tmp_path / "b.tsv"], ReadOptions())
    with sources.SourceReader(source, ReadOptions()) as reader:
        places = [(str(record.origin), place) for record, place in reader.records()]
    rows = dict(zip(images, (origin for origin, _ in places), strict=True))
    assert [place for _, place in places[2:]] == [rows[index] for index in "13153"]


def test_a_list_of_images_in_a_cell(tmp_path: Path) -> None:
    cell = json.dumps([base64.b64encode(png(name)).decode() for name in ("red", "blue")])
    rows = f"index\timage\tquestion\tanswer\n0\t{cell.replace(chr(34), chr(39))}\tq\ta\n"
    (tmp_path / "b.tsv").write_text(rows)
    found = colours(imported(tmp_path, tmp_path / "b.tsv"))
    assert found == [[COLOURS["red"], COLOURS["blue"]]]


def test_comma_separated_values(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "x.csv").write_text('image,question,answer\nred.png,"q, with a comma",a\n')
    workspace = imported(tmp_path, tmp_path / "x.csv")
    assert next(iter(read_samples(workspace))).question == "q, with a comma"
    assert colours(workspace) == [[COLOURS["red"]]]


# ---- JSON -------------------------------------------------------------------------------------


def test_images_inside_json_records_are_read_from_the_workspace(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    chat = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]},
            {"role": "assistant", "content": "a"}]  # fmt: skip
    path = write_lines(tmp_path / "m.jsonl", [record(0, None), {"messages": chat, "ä/b": 1}])
    workspace = imported(tmp_path, path)
    path.unlink()
    assert colours(workspace) == [[], [COLOURS["blue"]]]
    assert workspace.settings.image_roots[-1] == "dataset"


@pytest.mark.parametrize("suffix", [".json.gz", ".jsonl.zst", ".json.zst"])
def test_compressed_json(tmp_path: Path, suffix: str) -> None:
    padding = {i: hashlib.sha256(str(i).encode()).hexdigest() for i in range(2000)}
    records = [{**record(i), "padding": padding[i]} for i in range(2000)]
    lines = "jsonl" in suffix
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
    path = tmp_path / f"x{suffix}"
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(text.encode())
    workspace = imported(tmp_path, path)
    samples = list(read_samples(workspace))
    assert answers(samples) == [f"a{i}" for i in range(2000)]
    assert samples[0].source == "x"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    other = tmp_path / "other"
    with pytest.raises(RecordError):
        imported(other, path)
    kept = list(read_samples(imported(other, path, keep_going=True)))
    assert 0 < len(kept) < 2000
    assert kept[-1].status is Status.BAD_RECORD


def test_packed_lists_of_records(tmp_path: Path) -> None:
    packed = [[record(0), record(1)], [record(2)]]
    (tmp_path / "p.json").write_text(json.dumps(packed))
    samples = list(read_samples(imported(tmp_path, tmp_path / "p.json")))
    assert answers(samples) == ["a0", "a1", "a2"]
    assert json.loads(samples[1].original) == record(1)


def test_an_object_of_records_cut_off_in_mid_string_yields_the_complete_ones(
    tmp_path: Path,
) -> None:
    problems = {
        str(i): {"question": "q", "choices": ["no", "yes"], "answer": 1, "split": "train",
                 "image": "image.png" if i % 2 else None}
        for i in range(1, 101)
    }  # fmt: skip
    text = json.dumps(problems, indent=2)
    path = tmp_path / "problems.json"
    path.write_text(text[: text.index('"60"') + 40])
    with pytest.raises(RecordError, match=r"line \d+, column \d+: Unterminated string"):
        imported(tmp_path, path)
    samples = list(read_samples(imported(tmp_path, path, keep_going=True)))
    assert len(samples) == 60
    assert [sample.id for sample in samples[:2]] == ["1", "2"]
    assert samples[0].images == ("train/1/image.png",)
    assert samples[0].answer == "B"
    assert [sample.status for sample in samples].count(Status.BAD_RECORD) == 1
    assert str(samples[-1].reason).startswith("line 594, column 5: Unterminated")


def test_records_under_a_key(tmp_path: Path) -> None:
    data = {f"D3_{i}": {"instruction": "q", "answer": f"a{i}", "image_ids": [f"I{i}"]}
            for i in range(3)}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"meta": {"version": 1}, "data": data}))
    samples = list(read_samples(imported(tmp_path, tmp_path / "a.json")))
    assert [(sample.id, sample.answer) for sample in samples] == [
        ("D3_0", "a0"), ("D3_1", "a1"), ("D3_2", "a2"),
    ]  # fmt: skip
    listed = {"version": "1", "annotations": [record(0), record(1)]}
    (tmp_path / "b.json").write_text(json.dumps(listed))
    assert answers(list(read_samples(imported(tmp_path / "b", tmp_path / "b.json")))) == [
        "a0",
        "a1",
    ]


def test_a_meta_file_names_datasets_with_their_roots(tmp_path: Path) -> None:
    (tmp_path / "img" / "coco").mkdir(parents=True)
    (tmp_path / "img" / "coco" / "red.png").write_bytes(png("red"))
    for name in ("one", "two"):
        write_lines(tmp_path / f"{name}.jsonl", [record(0)])
    meta = {
        name: {"root": "img/coco/", "annotation": f"{name}.jsonl", "repeat_time": 1}
        for name in ("one", "two")
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    workspace = imported(tmp_path, tmp_path / "meta.json")
    samples = list(read_samples(workspace))
    assert [(sample.source, sample.images) for sample in samples] == [
        (name, ("img/coco/red.png",)) for name in ("one", "two")
    ]
    assert colours(workspace) == [[COLOURS["red"]]] * 2
    meta["one"]["annotation"] = "/etc/hostname"
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(
        InputError,
        match="gives '/etc/hostname' as the file of 'one', but there is no such file below",
    ):
        find_inputs([tmp_path / "meta.json"])


def test_keep_going_counts_what_cannot_be_read(tmp_path: Path) -> None:
    texts = [json.dumps(record(i)) for i in range(6)]
    texts[2] = texts[2].replace('"image":', '"image"')
    (tmp_path / "x.json").write_text("[" + ",\n".join(texts) + "]")
    with pytest.raises(RecordError, match=r"line 3, column 21: Expecting ':' delimiter, found"):
        imported(tmp_path, tmp_path / "x.json")
    samples = list(read_samples(imported(tmp_path, tmp_path / "x.json", keep_going=True)))
    assert answers(samples) == ["a0", "a1", "", "a3", "a4", "a5"]
    assert samples[2].original.decode() == texts[2]
    assert str(samples[2].reason).startswith("line 3, column 21: Expecting ':' delimiter, found")


@pytest.mark.parametrize(
    ("published", "place"),
    [
        ('[{"id": "1", "image": "a.png", "conversations": [],}]', "line 1, column 52"),
        ('[{"id": "1", "conversations": [...]}]', "line 1, column 32"),
        ("[{'id': '1', 'conversations': []}]", "line 1, column 3"),
        ('[{"id": "1" "conversations": []}]', "line 1, column 13"),
        ('[{"id": "1", "value": "a "b" c"}]', "line 1, column 27"),
    ],
)
def test_published_examples_with_invalid_json_are_reported_with_position(
    tmp_path: Path, published: str, place: str
) -> None:
    (tmp_path / "x.json").write_text(published)
    with pytest.raises(RecordError, match=f"{place}: .+, found"):
        imported(tmp_path, tmp_path / "x.json")


# ---- which files ------------------------------------------------------------------------------


def test_folders_and_patterns_are_sorted_by_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "d" / "sub"
    folder.mkdir(parents=True)
    write_lines(tmp_path / "d" / "b.jsonl", [record(1)])
    write_lines(tmp_path / "d" / "B.jsonl", [record(0)])
    write_lines(folder / "c.json", [record(2)])
    (tmp_path / "d" / ".hidden.json").write_text("no")
    (tmp_path / "d" / "dataset_info.json").write_text("{}")
    (tmp_path / "secret.json").write_text("[]")
    (tmp_path / "d" / "link.json").symlink_to(tmp_path / "secret.json")
    found = find_inputs([tmp_path / "d"])
    assert [one.name for one in found] == ["B.jsonl", "b.jsonl", "sub/c.json"]
    assert [one.name for one in find_inputs([f"{tmp_path}/d/*.jsonl"])] == ["B.jsonl", "b.jsonl"]
    assert answers(list(read_samples(imported(tmp_path, tmp_path / "d")))) == ["a0", "a1", "a2"]
    (tmp_path / "d" / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"several kinds of files \(3 json, 1 parquet\)"):
        find_inputs([tmp_path / "d"])
    with pytest.raises(InputError, match="No file matches"):
        find_inputs([f"{tmp_path}/*.nothing"])


def test_parquet_files_with_the_same_name_are_distinguished(tmp_path: Path) -> None:
    for folder, name in (("a", "red"), ("b", "blue"), (".", "lime")):
        (tmp_path / "d" / folder).mkdir(parents=True, exist_ok=True)
        table = pa.table({"image": [{"bytes": png(name), "path": None}], "text": [name]})
        pq.write_table(table, tmp_path / "d" / folder / "0.parquet")
    workspace = imported(tmp_path, tmp_path / "d")
    samples = list(read_samples(workspace))
    expected = [[COLOURS[sample.answer]] for sample in samples]
    assert colours(workspace) == expected


def cached(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """A snapshot as the hub's client caches it: links to blobs, named by their digest."""
    home = tmp_path / "hub" / "datasets--owner--name"
    snapshot = home / "snapshots" / "0123abcd"
    for name, content in files.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_the_root_in_a_meta_file_is_relative_to_where_the_annotation_was_found(
    tmp_path: Path,
) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "red.png").write_bytes(png("red"))
    (tmp_path / "lists" / "deep").mkdir(parents=True)
    write_lines(tmp_path / "lists" / "deep" / "one.jsonl", [record(0)])
    one = {"root": "img/", "annotation": "lists/deep/one.jsonl", "repeat_time": 2.5}
    (tmp_path / "lists" / "meta.json").write_text(json.dumps({"one": one}))
    workspace = imported(tmp_path, tmp_path / "lists" / "meta.json")
    assert colours(workspace) == [[COLOURS["red"]]]
    assert workspace.image_roots == (tmp_path.resolve(),)
    (file,) = read_dataset_info(workspace).files
    assert "repeat_time 2.5 is ignored, every record is imported once" in file.why


def test_a_folder_of_the_hubs_cache_is_read(tmp_path: Path) -> None:
    lines = json.dumps(record(1, "images/red.png")).encode()
    snapshot = cached(tmp_path, {"data/train.jsonl": lines, "images/red.png": png("red")})
    (tmp_path / "secret.jsonl").write_bytes(lines)
    (snapshot / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    workspace = imported(tmp_path, snapshot)
    assert colours(workspace) == [[COLOURS["red"]]]
    assert [file.name for file in find_inputs([snapshot])] == ["train.jsonl"]


def test_images_inside_a_cached_file_are_found_by_the_name_of_the_link(tmp_path: Path) -> None:
    table, sink = pa.table({"image": [png("lime")], "text": ["lime"]}), io.BytesIO()
    pq.write_table(table, sink)
    snapshot = cached(tmp_path, {"data/train-0.parquet": sink.getvalue()})
    assert colours(imported(tmp_path, snapshot)) == [[COLOURS["lime"]]]


def test_a_preview_reports_the_format_and_images(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "red.png").write_bytes(png("red"))
    write_lines(tmp_path / "ann" / "x.jsonl", [record(0), record(1, "gone.png")])
    (preview,) = preview_dataset([tmp_path / "ann" / "x.jsonl"])
    assert preview.source.format.why == (
        "each line is an object; the turns of 'conversations' have 'from'"
    )
    assert preview.sample is not None and preview.sample.answer == "a0"
    assert preview.detection.candidates == (str(tmp_path / "ann"), str(tmp_path))
    assert (preview.detection.n_found, preview.detection.n_tried, preview.detection.best_index) == (
        (0, 1),
        2,
        1,
    )
    assert [path.name for path in tmp_path.iterdir()].count("ws") == 0


def test_relative_paths_may_use_parents_inside_a_declared_root(tmp_path: Path) -> None:
    (tmp_path / "repo" / "demos" / "data").mkdir(parents=True)
    (tmp_path / "repo" / "t").mkdir()
    (tmp_path / "repo" / "t" / "1.png").write_bytes(png("red"))
    path = tmp_path / "repo" / "demos" / "data" / "x.jsonl"
    write_lines(path, [{"images": ["../../t/1.png"], "text": "<__dj__image> bed"}])
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [path], [tmp_path / "repo"])
    assert colours(open_workspace(workspace.root)) == [[COLOURS["red"]]]
    alone = create_workspace(tmp_path / "alone")
    import_dataset(alone, [path])
    with pytest.raises(ImageProblem) as problem:
        colours(open_workspace(alone.root))
    assert problem.value.status is Status.REFUSED_PATH


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "is a pickle. Loading one can run arbitrary code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"\x93NUMPY\x01", "is a NumPy array"),
        (b"hello", "starts with b'hello'"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(RecordError, match=message):
        imported(tmp_path, tmp_path / "x.json")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../x.json", "[]")
    with pytest.raises(RecordError, match="is a ZIP archive"):
        imported(tmp_path, tmp_path / "x.zip")
    plain = write_tar(tmp_path / "s.tar", [("1.txt", b"text"), ("1.png", png("red"))])
    (tmp_path / "s.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(RecordError, match="is a compressed webdataset file"):
        imported(tmp_path, tmp_path / "s.tar.gz")


# ---- references -------------------------------------------------------------------------------


def test_references_reach_declared_files_only(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": png("red"), "path": None}]})
    for name in ("declared", "secret"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    roots = [tmp_path / "declared.parquet"]
    good = "declared.parquet#row=0&at=/image/bytes"
    assert open_reference(good, roots).getpixel((0, 0)) == COLOURS["red"]
    for bad in (
        "secret.parquet#row=0&at=/image/bytes",
        f"{tmp_path}/secret.parquet#row=0&at=/image",
        "../declared.parquet#row=0&at=/image/bytes",
        "original#row=0&at=/x",
    ):
        with pytest.raises(ImageProblem) as problem:
            open_reference(bad, roots)
        assert problem.value.status in (Status.MISSING_IMAGE, Status.REFUSED_PATH)


@pytest.mark.parametrize(
    "member",
    ["row=9&at=/image/bytes", "row=0&at=/nothing", "row=0&at=/image/path", "row=0&at=/image/0",
     "offset=0&bytes=99999999999&member=x", "offset=999999&bytes=5&member=x", "offset=5&at=/x"],
)  # fmt: skip
def test_a_position_without_an_image_is_a_bad_image(tmp_path: Path, member: str) -> None:
    table = pa.table({"image": [{"bytes": b"no image", "path": None}]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ImageProblem) as problem:
        open_reference(f"x.parquet#{member}", [tmp_path / "x.parquet"])
    assert problem.value.status is Status.BAD_IMAGE


def test_a_box_is_cropped(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 80), "red")
    image.paste((0, 0, 255), (50, 0, 100, 80))
    image.save(tmp_path / "a.png")
    found = open_reference("a.png###[60, 10, 300, 40]", [tmp_path])
    assert (found.size, found.getpixel((0, 0))) == ((40, 30), (0, 0, 255))
    with pytest.raises(ImageProblem, match=r"is outside a\.png"):
        open_reference("a.png###[90, 10, 20, 40]", [tmp_path])
    assert resolve_image("a.png", [tmp_path]).box is None


def test_few_files_are_kept_open(tmp_path: Path) -> None:
    for number in range(10):
        table = pa.table({"image": [png("red")]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        containers.read_embedded(tmp_path / f"{number}.parquet", "row=0&at=/image")
    assert containers.open_rows.cache_info().currsize == 8
