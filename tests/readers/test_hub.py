"""Datasets on the hub: which files are read, and what is stored about them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import DatasetInfo, read_dataset_info, read_samples
from scoring.errors import InputError
from scoring.hub.choices import DataChoice, list_choices, name_source
from scoring.hub.repository import HubAddress, parse_address
from scoring.images.decode import open_reference
from scoring.readers.inputs import find_inputs
from scoring.readers.options import ReadOptions
from scoring.readers.sources import open_sources
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.hub import READER, Hub, running_hub, use_hub
from tests.readers.test_files import COLOURS, png, record


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        use_hub(running, tmp_path / "home", monkeypatch)
        yield running


def lines(*answers: int, image: str | None = None) -> bytes:
    return "".join(json.dumps(record(answer, image)) + "\n" for answer in answers).encode()


def table(*names: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [png(name) for name in names], "text": list(names)}), sink)
    return sink.getvalue()


def readme(configs: str) -> bytes:
    return f"---\nlicense: mit\nconfigs:\n{configs}---\n# Card\n".encode()


def imported(tmp_path: Path, *given: str, name: str = "ws", **options: object) -> Workspace:
    workspace = create_workspace(tmp_path / name)
    import_dataset(workspace, given, options=ReadOptions(**options))  # type: ignore[arg-type]
    return open_workspace(workspace.root)


def answers(workspace: Workspace) -> list[str]:
    return [sample.answer for sample in read_samples(workspace)]


def origins(info: DatasetInfo) -> list[tuple[str, str, str]]:
    return [(f.hub["path"], f.hub["config"], f.hub["split"]) for f in info.files]


def test_addresses() -> None:
    assert parse_address("hf:a/b") == HubAddress("a/b", "main", "")
    assert parse_address("hf://datasets/a/b-c.d@refs/pr/1#x y/train") == HubAddress(
        "a/b-c.d", "refs/pr/1", "x y/train"
    )
    assert parse_address("a/b") is None
    for wrong in ("hf:a", "hf:a/b/c", "hf:../b/c", "hf:a/b@"):
        with pytest.raises(InputError, match=r"Write it as hf:OWNER/NAME\[@REVISION\]"):
            parse_address(wrong)
    with pytest.raises(InputError, match=r"a/b does not exist\. For a dataset on the .*hf:a/b"):
        find_inputs(["a/b"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
             "data/odd-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "x.parquet"],
            {"train": [0, 1], "test": [3], "odd": [2]},
        ),
        (["train/a.jsonl", "eval-2/b.jsonl", "other/c.jsonl"], {"train": [0], "test": [1]}),
        (["my-train.jsonl", "dev.jsonl", "training.jsonl"], {"train": [0, 2], "validation": [1]}),
        (["trainer.json", "latest.json"], {"train": [0, 1]}),
    ],
)  # fmt: skip
def test_splits_by_file_names(names: list[str], expected: dict[str, list[int]]) -> None:
    choices = {choice.split: list(choice.files) for choice in list_choices(names)}
    assert choices == {split: [names[n] for n in numbers] for split, numbers in expected.items()}


def test_splits_by_file_names_are_those_of_datasets() -> None:
    data_files = pytest.importorskip("datasets.data_files")
    for names in (
        ["data/train-00000-of-00001.parquet", "data/val-00000-of-00001.parquet"],
        ["a/train/x.json", "a/validation_1/y.json", "b.json"],
        ["train.json", "x_test.json", "y.eval.json"],
        ["one.json", "two.json"],
        ["Train.json", "testing 2.json"],
    ):
        patterns = data_files._get_data_files_patterns(
            lambda pattern, names=names: [name for name in names if _glob_matches(pattern, name)]
        )
        expected = {
            str(split): [name for name in names if any(_glob_matches(p, name) for p in listed)]
            for split, listed in patterns.items()
        }
        assert {c.split: list(c.files) for c in list_choices(names)} == expected


def _glob_matches(pattern: str, name: str) -> bool:
    import re

    from fsspec.utils import glob_translate

    return re.fullmatch(glob_translate(pattern), name) is not None


def test_configs_in_a_readme() -> None:
    names = ["a/x.parquet", "a/y.parquet", "b/test/z.parquet", "deep/er/w.parquet", "c.parquet"]
    configs = [
        {"config_name": "one", "data_files": "a/*"},
        {"config_name": "two", "data_files": [
            {"split": "train", "path": "*.parquet"},
            {"split": "test", "path": ["b/**/*.parquet", "deep/**"]},
        ]},
        {"config_name": "three", "data_dir": "b"},
        {"config_name": "four", "data_files": {"dev": "**/w.parquet"}},
        {"config_name": "five", "data_files": ["a/y.parquet", "a/x.parquet"]},
        {"config_name": "six", "data_files": "none/*"},
    ]  # fmt: skip
    assert list_choices(names, configs) == [
        DataChoice("one", "train", ("a/x.parquet", "a/y.parquet")),
        DataChoice("two", "train", ("c.parquet",)),
        DataChoice("two", "test", ("b/test/z.parquet", "deep/er/w.parquet")),
        DataChoice("three", "test", ("b/test/z.parquet",)),
        DataChoice("four", "dev", ("deep/er/w.parquet",)),
        DataChoice("five", "train", ("a/y.parquet", "a/x.parquet")),
    ]
    assert list_choices(["train/x.arrow", "rest/x.arrow"], None, ["train", "rest"]) == [
        DataChoice("default", "train", ("train/x.arrow",)),
        DataChoice("default", "rest", ("rest/x.arrow",)),
    ]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("o/n/data/train-00000-of-00001.parquet", "n"),
        ("o/n/charts/test/0000.parquet", "charts"),
        ("o/n/charts-00000-of-00002.jsonl.gz", "charts"),
        ("o/n/data/train.jsonl", "train"),
        ("o/n/coco_2017.json", "coco_2017"),
        ("data/train-00000-of-00001.parquet", "train-00000-of-00001"),
    ],
)
def test_the_default_source(path: str, source: str) -> None:
    assert name_source(PurePosixPath(path)) == source


def test_one_split_is_imported_and_its_origin_is_stored(tmp_path: Path, hub: Hub) -> None:
    files = {"data/train-00000-of-00001.parquet": table("red", "blue"), "README.md": b"# none"}
    commit = hub.add("owner/words", files | {"big.bin": b"not asked for"})
    workspace = imported(tmp_path, "hf:owner/words")
    (file,) = read_dataset_info(workspace).files
    assert file.hub == {
        "repository": "owner/words",
        "revision": "main",
        "commit": commit,
        "path": "data/train-00000-of-00001.parquet",
        "config": "default",
        "split": "train",
    }
    assert f"of owner/words at commit {commit}, config default, split train" in file.why
    samples = list(read_samples(workspace))
    assert [sample.source for sample in samples] == ["words", "words"]
    pixels = [
        open_reference(sample.images[0], workspace.image_roots).getpixel((5, 5))
        for sample in samples
    ]
    assert pixels == [COLOURS["red"], COLOURS["blue"]]
    assert sorted(set(hub.downloads())) == ["README.md", "data/train-00000-of-00001.parquet"]


def test_splits_and_configs_are_never_mixed_silently(tmp_path: Path, hub: Hub) -> None:
    configs = "- config_name: charts\n  data_files: charts/*\n- config_name: maps\n"
    configs += "  data_files:\n  - {split: train, path: maps/a.jsonl}\n"
    configs += "  - {split: test, path: maps/b.jsonl}\n"
    files = {"charts/c.jsonl": lines(0), "maps/a.jsonl": lines(1), "maps/b.jsonl": lines(2)}
    hub.add("o/n", {**files, "README.md": readme(configs)})
    message = r"o/n has several configs: charts, maps\. Name one with --config, or all"
    with pytest.raises(InputError, match=message):
        find_inputs(["hf:o/n"])
    with pytest.raises(InputError, match=r"o/n has several splits: train, test\. Name one with"):
        find_inputs(["hf:o/n#maps"])
    with pytest.raises(InputError, match=r"no config 'tables'\. Choose one of: charts, maps\."):
        find_inputs(["hf:o/n#tables"])
    with pytest.raises(InputError, match=r"no split 'dev'\. Choose one of: train, test\."):
        find_inputs(["hf:o/n#maps/dev"])
    assert hub.downloads() == ["README.md"]
    one = imported(tmp_path, "hf:o/n#maps/test")
    assert answers(one) == ["a2"]
    assert [sample.source for sample in read_samples(one)] == ["maps"]
    same = imported(tmp_path, "hf:o/n", name="same", config="maps", split="test")
    assert read_dataset_info(same).fingerprint == read_dataset_info(one).fingerprint
    everything = imported(tmp_path, "hf:o/n", name="all", config="*", split="*")
    assert origins(read_dataset_info(everything)) == [
        ("charts/c.jsonl", "charts", "train"),
        ("maps/a.jsonl", "maps", "train"),
        ("maps/b.jsonl", "maps", "test"),
    ]
    both = imported(tmp_path, "hf:o/n#charts", "hf:o/n#maps/train", name="both")
    assert answers(both) == ["a0", "a1"]


def test_files_are_chosen_by_name_and_revision(tmp_path: Path, hub: Hub) -> None:
    first = hub.add("o/n", {"a.json": b"[%s]" % lines(0).strip(), "b.jsonl": lines(1)})
    hub.add("o/n", {"a.json": b"[%s]" % lines(5).strip(), "t.parquet": table("red")})
    with pytest.raises(InputError, match=r"several kinds of files \(json, parquet\)\. Name the"):
        find_inputs(["hf:o/n"])
    assert answers(imported(tmp_path, "hf:o/n#a.json")) == ["a5"]
    old = imported(tmp_path, f"hf:o/n@{first}#*.json*", name="old")
    assert answers(old) == ["a0", "a1"]
    assert [sample.source for sample in read_samples(old)] == ["a", "b"]
    with pytest.raises(InputError, match=r"o/n has no file 'c\.json'"):
        find_inputs(["hf:o/n#c.json"])
    with pytest.raises(InputError, match="has no such revision"):
        find_inputs(["hf:o/n@gone"])


def test_images_that_are_files_are_downloaded(tmp_path: Path, hub: Hub) -> None:
    hub.add("o/n", {"data/x.jsonl": lines(0, image="images/r.png"), "images/r.png": png("red")})
    workspace = imported(tmp_path, "hf:o/n")
    (sample,) = read_samples(workspace)
    pixel = open_reference(sample.images[0], workspace.image_roots).getpixel((5, 5))
    assert pixel == COLOURS["red"]


def test_a_limit_downloads_only_what_it_needs(tmp_path: Path, hub: Hub) -> None:
    names = [f"data/train-0000{n}-of-00003.jsonl" for n in range(3)]
    hub.add("o/n", {name: lines(2 * n, 2 * n + 1) for n, name in enumerate(names)})
    workspace = imported(tmp_path, "hf:o/n", limit=3)
    assert answers(workspace) == ["a0", "a1", "a2"]
    assert [f.is_partial for f in read_dataset_info(workspace).files] == [False, True]
    assert names[2] not in hub.downloads()
    two, four = (imported(tmp_path, "hf:o/n", name=f"l{n}", limit=n) for n in (2, 4))
    assert not any(f.is_partial for w in (two, four) for f in read_dataset_info(w).files)
    assert len({read_dataset_info(w).fingerprint for w in (workspace, two, four)}) == 3
    whole = imported(tmp_path, "hf:o/n", name="whole")
    more = imported(tmp_path, "hf:o/n", name="more", limit=100)
    assert read_dataset_info(more).fingerprint == read_dataset_info(whole).fingerprint
    assert import_dataset(workspace, ["hf:o/n"], options=ReadOptions(limit=3)).n_samples == 3
    import_dataset(workspace, ["hf:o/n#data/train-00002*.jsonl"], append=True,
                   options=ReadOptions(limit=1))  # fmt: skip
    assert answers(open_workspace(workspace.root)) == ["a0", "a1", "a2", "a4"]


def big_table(n_groups: int = 12, group_rows: int = 20, image_bytes: int = 100_000) -> bytes:
    """Return a Parquet file whose rows have an image and many random bytes."""
    sink, values = io.BytesIO(), np.random.default_rng(0)
    pixels = [png(name) for name in ("red", "lime", "blue")]
    with pq.ParquetWriter(sink, pa.schema([("image", pa.binary()), ("text", pa.string())])) as out:
        for start in range(0, n_groups * group_rows, group_rows):
            rows = range(start, start + group_rows)
            images = [pixels[row % 3] + values.bytes(image_bytes) for row in rows]
            out.write(pa.table({"image": images, "text": [f"a{row}" for row in rows]}))
    return sink.getvalue()


def test_a_limit_reads_only_the_rows_that_it_needs(tmp_path: Path, hub: Hub) -> None:
    path, content = "data/train-00000-of-00002.parquet", big_table()
    commit = hub.add("o/n", {path: content, path.replace("00000", "00001", 1): content})
    workspace = imported(tmp_path, "hf:o/n", limit=25)
    assert answers(workspace) == [f"a{row}" for row in range(25)]
    (file,) = read_dataset_info(workspace).files
    assert file.is_partial and file.hub["commit"] == commit and file.hub["path"] == path
    assert file.name == path.rpartition("/")[2] and file.bytes < len(content) / 5
    assert list(hub.sent) == [path]
    assert hub.sent[path] < len(content) / 3
    pixels = [
        open_reference(sample.images[0], workspace.image_roots).getpixel((5, 5))
        for sample in read_samples(workspace)
    ]
    assert pixels[:4] == [COLOURS[name] for name in ("red", "lime", "blue", "red")]
    sent = hub.sent[path]
    again = imported(tmp_path, "hf:o/n", name="again", limit=25)
    assert hub.sent[path] == sent
    assert read_dataset_info(again).fingerprint == read_dataset_info(workspace).fingerprint
    whole = imported(tmp_path, "hf:o/n", name="whole", limit=300)
    assert [f.is_partial for f in read_dataset_info(whole).files] == [False, True]
    assert answers(whole)[239:242] == ["a239", "a0", "a1"]
    sent = hub.sent[path]
    local = imported(tmp_path, "hf:o/n", name="local", limit=30)  # from the downloaded file
    assert hub.sent[path] == sent
    assert answers(local) == [f"a{row}" for row in range(30)]


@pytest.mark.parametrize("kind", ["lines", "array", "gzip"])
def test_a_limit_reads_only_the_start_of_a_json_file(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("scoring.readers.first_records._WHOLE_BYTES", 1 << 18)
    monkeypatch.setattr("scoring.hub.repository._BLOCK_BYTES", 1 << 18)
    noise = np.random.default_rng(0).bytes(1_000)
    records = [record(n, None) | {"noise": noise.hex()} for n in range(1_000)]
    texts = [json.dumps(value).encode() for value in records]
    content = b"[" + b",\n".join(texts) + b"]" if kind == "array" else b"\n".join(texts)
    content = gzip.compress(content, 0) if kind == "gzip" else content
    name = {"lines": "x.jsonl", "array": "x.json", "gzip": "x.jsonl.gz"}[kind]
    hub.add("o/n", {name: content})
    workspace = imported(tmp_path, "hf:o/n", limit=100)
    assert answers(workspace) == [f"a{n}" for n in range(100)]
    assert hub.sent[name] == 1 << 18 < len(content) / 5
    (file,) = read_dataset_info(workspace).files
    assert file.is_partial and file.bytes == 1 << 18
    originals = [sample.original for sample in read_samples(workspace)]
    assert originals == texts[:100]
    more = imported(tmp_path, "hf:o/n", name="more", limit=200)
    assert hub.sent[name] == 3 << 18 and read_dataset_info(more).n_samples == 200
    most = imported(tmp_path, "hf:o/n", name="most", limit=999)
    assert read_dataset_info(most).files[0].bytes == len(content)


def test_a_limit_downloads_only_the_images_that_are_named(tmp_path: Path, hub: Hub) -> None:
    files = {f"images/{n}/r.png": png("red") + bytes([n]) for n in range(5)}
    rows = [record(n, f"{n}/r.png") for n in range(5)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    hub.add("o/n", {"data/x.jsonl": text.encode(), **files})
    workspace = imported(tmp_path, "hf:o/n", limit=2)
    assert {name for name in hub.sent if name in files} == {"images/0/r.png", "images/1/r.png"}
    for sample in read_samples(workspace):
        assert open_reference(sample.images[0], workspace.image_roots).size


def test_a_dataset_is_imported_again_without_a_network(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"data/train-0000{n}-of-00002.parquet" for n in range(2)]
    commit = hub.add("o/n", {names[0]: big_table(), names[1]: table("red"), "README.md": b"# x"})
    hub.add("o/whole", {"x.jsonl": lines(0, image="r.png"), "r.png": png("red")})
    online = [imported(tmp_path, "hf:o/n", name="a", limit=5), imported(tmp_path, "hf:o/whole")]
    hub.add("o/n", {"other.jsonl": lines(7)})
    gone = "http://127.0.0.1:9"
    addresses = {"ENDPOINT": gone, "HUGGINGFACE_CO_URL_TEMPLATE": gone + "/{repo_id}/{filename}"}
    for number, values in enumerate(({"HF_HUB_OFFLINE": True}, addresses)):
        for name, value in values.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        some = imported(tmp_path, "hf:o/n", name=f"some{number}", limit=5)
        whole = imported(tmp_path, "hf:o/whole", name=f"whole{number}")
        for before, after in zip(online, (some, whole), strict=True):
            first, second = read_dataset_info(before), read_dataset_info(after)
            assert first.fingerprint == second.fingerprint
            assert "from the cache, because the hub cannot be reached" in second.files[0].why
            assert first.files[0].hub == second.files[0].hub
        assert read_dataset_info(some).files[0].hub["commit"] == commit
        if number == 0:  # without HF_HUB_OFFLINE a download is tried several times
            with pytest.raises(InputError, match=r"'o/n' on the hub: the hub cannot be reached"):
                imported(tmp_path, "hf:o/n", name="none")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_a_limit_of_local_files(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(0, 1, 2))
    result = CliRunner().invoke(
        cli.app, ["import", str(path), "-w", str(tmp_path / "w"), "--limit", "2", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert answers(open_workspace(tmp_path / "w")) == ["a0", "a1"]
    with pytest.raises(InputError, match="--config and --split choose from a dataset on the hub"):
        find_inputs([path], ReadOptions(split="train"))


def test_problems_are_explained(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'o/gone' on the hub: there is no such repository, or"):
        find_inputs(["hf:o/gone"])
    hub.add("o/empty", {"x.txt": b"text"})
    with pytest.raises(InputError, match="contains no data file"):
        find_inputs(["hf:o/empty"])
    hub.add("o/bad", {"README.md": readme("- [:\n"), "a.jsonl": lines(0)})
    with pytest.raises(InputError, match=r"README.md of o/bad cannot be read.*hf:o/bad#FILE"):
        find_inputs(["hf:o/bad"])
    hub.add("o/rows", {"a.arrow": b"", "state.json": b'{"_indices_data_files": [{}]}'})
    with pytest.raises(InputError, match="flatten_indices"):
        find_inputs(["hf:o/rows"])
    hub.add("o/gated", {"a.jsonl": lines(0)}, gated=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(InputError, match=r"it is gated\. Accept its terms"):
        open_sources(["hf:o/gated"], ReadOptions())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        find_inputs(["hf:o/unknown"])
