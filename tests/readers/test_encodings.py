"""Text that is not UTF-8: refused with its place, read as its encoding where that is named."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.engine.pipeline import score_dataset
from scoring.errors import RecordError
from scoring.exports.export import export_subset
from scoring.exports.verify import verify_manifest
from scoring.images.decode import open_reference
from scoring.readers.options import ReadOptions
from scoring.rules import TopShare
from scoring.samples import Sample
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel
from tests.readers.test_files import png, write_tar

CHINESE = "请描述一下这张图片中的主要物体，它们分别是什么颜色？"
JAPANESE = "この写真に写っているものを説明してください。ソース表"  # its bytes hold backslashes
FRENCH = "Où est la voiture ? Près de l’hôtel à côté d’un café « fermé »"


def record(text: str, image: str | None = None) -> str:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": text}]
    named = {"image": image} if image else {}
    return json.dumps({"id": "1", **named, "conversations": turns}, ensure_ascii=False)


def array(text: str) -> str:
    return f"[\n{record('plain')},\n{record(text)}\n]"


def lines(text: str) -> str:
    return f"{record('plain')}\n{record(text)}\n"


def table(text: str, mark: str) -> str:
    return f"id{mark}question{mark}answer\n0{mark}q{mark}plain\n1{mark}q{mark}{text}\n"


def written(tmp_path: Path, name: str, text: str, encoding: str) -> Path:
    kinds = {"json": array, "jsonl": lines, "tsv": lambda one: table(one, "\t"),
             "csv": lambda one: table(one, ",")}  # fmt: skip
    path = tmp_path / name
    path.write_bytes(kinds[name.split(".")[1]](text).encode(encoding))
    return path


def imported(tmp_path: Path, path: Path, keep_going: bool = False, encoding: str = "") -> Workspace:
    workspace = create_workspace(tmp_path / f"ws-{encoding}-{keep_going}")
    options = ReadOptions(keep_going=keep_going, encoding=encoding)
    import_dataset(workspace, [path], options=options)
    return open_workspace(workspace.root)


def samples(workspace: Workspace) -> list[Sample]:
    return list(read_samples(workspace))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.tsv", "a.csv"])
@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [(CHINESE, "gbk", "gb18030"), (JAPANESE, "cp932", "cp932"), (FRENCH, "cp1252", "cp1252")],
)
def test_another_encoding_is_refused_guessed_and_read_with_the_option(
    tmp_path: Path, name: str, text: str, encoding: str, guess: str
) -> None:
    path = written(tmp_path, name, text, encoding)
    byte = f"0x{next(b for b in path.read_bytes() if b >= 0x80):02X}"
    with pytest.raises(RecordError) as error:
        imported(tmp_path, path)
    assert f"byte {byte} is not UTF-8" in str(error.value)
    assert ("line " in str(error.value)) or ("row 2, at byte " in str(error.value))
    assert f"Pass --encoding {guess}, or convert the file: iconv -f" in str(error.value)
    kept = samples(imported(tmp_path, path, keep_going=True))
    assert [one.status for one in kept] == ["text_only", "bad_record"]
    assert f"byte {byte} is not UTF-8" in str(kept[1].reason)
    workspace = imported(tmp_path, path, encoding=guess)
    assert [one.answer for one in samples(workspace)] == ["plain", text.strip()]
    (file,) = read_dataset_info(workspace).files
    assert file.encoding == guess


def test_the_position_is_that_of_the_first_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(record("plain").encode() + b"\n" + record("x").encode().replace(b"x", b"\xe9"))
    with pytest.raises(RecordError, match=r"line 2, column 90: byte 0xE9 is not UTF-8.* cp1252,"):
        imported(tmp_path, path)
    path.write_bytes(b"[" + path.read_bytes().replace(b"\n", b",\n") + b"]")
    with pytest.raises(RecordError, match=r"line 2, column 90: byte 0xE9 is not UTF-8"):
        imported(tmp_path, path)


def test_records_in_utf8_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(record("a \ufffd and a ? " + CHINESE) + "\n", "utf-8")
    (sample,) = samples(imported(tmp_path, path))
    assert sample.answer == "a \ufffd and a ? " + CHINESE
    assert sample.original == path.read_bytes().strip()


def test_a_bad_byte_names_the_given_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(record(CHINESE).encode("gbk") + b"\n" + record("xyz").encode() + b"\n")
    path.write_bytes(path.read_bytes().replace(b"xyz", b"x\xffz"))
    with pytest.raises(RecordError, match=r"line 2, column 91: byte 0xFF is not gb18030"):
        imported(tmp_path, path, encoding="gb18030")
    kept = samples(imported(tmp_path, path, keep_going=True, encoding="gb18030"))
    assert [one.status for one in kept] == ["text_only", "bad_record"]


def test_compressed_files_and_utf16(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines(CHINESE).encode("gbk")))
    with pytest.raises(RecordError, match="Pass --encoding gb18030"):
        imported(tmp_path, path)
    assert samples(imported(tmp_path, path, encoding="gbk"))[1].answer == CHINESE
    path = tmp_path / "b.json"
    path.write_bytes(array(CHINESE).encode("utf-16"))
    with pytest.raises(RecordError, match=r"is UTF-16 text\. Pass --encoding utf-16"):
        imported(tmp_path, path)
    assert samples(imported(tmp_path, path, encoding="utf-16"))[1].answer == CHINESE
    path = tmp_path / "c.tsv"
    path.write_bytes(table(CHINESE, "\t").encode("utf-16"))
    with pytest.raises(
        RecordError, match="is a table in utf-16, an encoding in which rows cannot be located"
    ):
        imported(tmp_path, path, encoding="utf-16")


def test_texts_inside_a_tar(tmp_path: Path) -> None:
    turns = json.dumps(json.loads(record(CHINESE))["conversations"], ensure_ascii=False)
    members = [("0.png", png("red")), ("0.json", turns.encode("gbk"))]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(RecordError, match=r"the member '0\.json': byte 0xC7 is not UTF-8"):
        imported(tmp_path, path)
    (kept,) = samples(imported(tmp_path, path, keep_going=True))
    assert kept.status == "bad_record"
    (sample,) = samples(imported(tmp_path, path, encoding="gbk"))
    assert (sample.answer, sample.status) == (CHINESE, "pending")


def test_images_of_a_table_in_another_encoding_are_found(tmp_path: Path) -> None:
    cell = base64.b64encode(png("red")).decode()
    path = tmp_path / "a.tsv"
    text = f"index\timage\tquestion\tanswer\n1\t{cell}\t{CHINESE}\ta\n2\t{cell}\tq\t{CHINESE}\n"
    path.write_bytes(text.encode("gbk"))
    workspace = imported(tmp_path, path, encoding="gbk")
    found = samples(workspace)
    assert found[0].question == CHINESE
    for sample in found:
        image = open_reference(sample.images[0], workspace.image_roots)
        assert image.getpixel((5, 5)) == (255, 0, 0)


def test_an_export_equals_the_output_of_iconv(tmp_path: Path) -> None:
    (tmp_path / "r.png").write_bytes(png("red"))
    path = tmp_path / "a.jsonl"
    text = "".join(f"{record(one, 'r.png')}\n" for one in (CHINESE, "plain"))
    path.write_bytes(text.encode("gbk"))
    workspace = imported(tmp_path, path, encoding="gbk")
    score_dataset(workspace, FakeModel(), run_id="run")
    build_database(workspace)
    done = export_subset(
        workspace, Store(workspace), SubsetDefinition("all", TopShare(1.0), "run"), format="jsonl"
    )
    (out,) = done.folder.glob("*.jsonl")
    assert out.read_bytes() == text.encode("utf-8")
    manifest = json.loads((done.folder / "manifest.json").read_text("utf-8"))
    assert manifest["derived"] == ["encoding"]
    assert manifest["inputs"]["dataset"]["files"][0]["encoding"] == "gbk"
    verify_manifest(done.folder / "manifest.json", workspace)
