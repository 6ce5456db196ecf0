"""Exports for trainers: what each gets, and what is refused because it would ignore or misread it.

The table of ``scoring.exports.trainers`` was measured with the loading code of each trainer; these
tests hold the files that it then writes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from scoring import import_dataset
from scoring.cli import app
from scoring.database.connection import Store
from scoring.errors import InputError, RecordError, RuleError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.push import push
from scoring.exports.trainers import TRAINERS, start_command
from scoring.exports.verify import verify_manifest
from scoring.hub.upload import PushTarget
from scoring.rules import TopShare, Weights
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import Workspace, create_workspace
from tests.exports.conftest import RUN_ID, golden_workspace
from tests.exports.test_export_images import make, picture, record, score

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")
FILES = {"a/1.png": picture(size=9), "b.png": picture(size=10)}
MESSAGES = {
    "images": ["b.png"],
    "messages": [
        {"role": "user", "content": "<image>What?"},
        {"role": "assistant", "content": "That."},
    ],
}
LLAVA = [name for name in TRAINERS if TRAINERS[name].formats[0] in ("llava", "jsonl")]


def mixed(root: Path, *more: dict[str, Any]) -> Workspace:
    """One image, none, and records that no LLaVA trainer reads as they are."""
    records = [record("a/1.png", id=7), record(id="t"), MESSAGES | {"id": "m"}, *more]
    return make(root, records, FILES, {1: Status.TEXT_ONLY})


def export(workspace: Workspace, definition: Any = ALL, **options: Any) -> Path:
    chosen = ExportOptions(**options)
    return export_subset(
        workspace, Store(workspace), definition, format=chosen, overwrite=True
    ).folder


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return read_file(folder / read_manifest(folder).options.data_file)


def read_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".json":
        return list(json.loads(path.read_bytes()))
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_export_for_every_trainer_verifies(tmp_path: Path, trainer: str) -> None:
    workspace = mixed(tmp_path)
    folder = export(workspace, trainer=trainer)
    assert len(read_rows(folder)) == 3
    assert verify_manifest(folder).n_samples == 3
    manifest = read_manifest(folder)
    assert manifest.options.format == TRAINERS[trainer].formats[0]
    outputs = [output.name for output in manifest.outputs]
    assert (TRAINERS[trainer].side_file or outputs[0]) in outputs
    command = start_command(manifest.options, "all", str(folder))
    template = start_command(manifest.options, "all", "FOLDER")
    assert f"## Train on it\n\nReplace the words in capitals:\n\n    {template}\n" in (
        folder / "README.md"
    ).read_text("utf-8")
    named = [word for word in command.replace("=", " ").split() if word.startswith(str(folder))]
    assert all(Path(path).exists() for path in named)
    assert named


@pytest.mark.parametrize("trainer", LLAVA)
def test_records_that_the_trainer_misreads_are_rewritten(tmp_path: Path, trainer: str) -> None:
    plain = record("a/1.png", id=7)
    bare = {"id": "b", "image": "b.png", "conversations": record()["conversations"]}
    workspace = mixed(tmp_path, bare)
    folder = export(workspace, trainer=trainer)
    rows = read_rows(folder)
    assert rows[0] == plain
    assert "image" not in rows[1]
    turns = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "That."}]
    assert rows[2] == {"id": "m", "image": "b.png", "conversations": turns}
    assert rows[3]["conversations"][0]["value"] == "<image>\nq"  # the image had no position
    manifest = read_manifest(folder)
    assert manifest.counts["written"]["records_rewritten_for_trainer"] == 2
    assert manifest.derived == ("records",)


def test_llava_records_stay_byte_for_byte(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    plain = export(workspace, format="jsonl")
    before = (plain / "samples.jsonl").read_bytes()
    folder = export(workspace, trainer="swift", images="none")
    assert (folder / "samples.jsonl").read_bytes() == before
    assert read_manifest(folder).derived == ()


def test_members_of_an_object_become_a_list(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(picture())
    members = {"k": record("b.png"), "l": record("b.png", id=3)}
    (tmp_path / "data.json").write_text(json.dumps(members))
    workspace = create_workspace(tmp_path / "ws")
    info = import_dataset(workspace, [tmp_path / "data.json"], [tmp_path])
    workspace = score(workspace, 2, info.fingerprint, {})
    folder = export(workspace, format="llava", images="copy")
    assert json.loads((folder / "samples.json").read_bytes()) == members
    assert read_rows(export(workspace, trainer="llava")) == list(members.values())


@pytest.mark.parametrize("trainer", LLAVA)
def test_a_literal_placeholder_is_refused(tmp_path: Path, trainer: str) -> None:
    literal = {
        "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}]
    }
    workspace = make(tmp_path, [literal], FILES, {0: Status.TEXT_ONLY})
    with pytest.raises(RecordError, match=r"Row 0 has 0 image.s. and 1 times the text <image>"):
        export(workspace, trainer=trainer)


@pytest.mark.parametrize("trainer", ["llava", "xtuner"])
def test_several_images_are_refused_where_one_is_read(tmp_path: Path, trainer: str) -> None:
    workspace = make(tmp_path, [record(["a/1.png", "b.png"])], FILES)
    title = TRAINERS[trainer].title
    with pytest.raises(RecordError, match=f"Row 0 has 2 images, and {title} reads one"):
        export(workspace, trainer=trainer)
    assert len(read_rows(export(workspace, trainer="internvl"))) == 1


@pytest.mark.parametrize("trainer", ["llava", "llava-next", "xtuner"])
def test_a_system_turn_is_refused_where_it_stops_the_trainer(tmp_path: Path, trainer: str) -> None:
    turns = [{"from": "system", "value": "s"}, *record("b.png")["conversations"]]
    workspace = make(tmp_path, [{"image": "b.png", "conversations": turns}], FILES)
    with pytest.raises(RecordError, match="Row 0 has a system turn"):
        export(workspace, trainer=trainer)
    assert len(read_rows(export(workspace, trainer="swift"))) == 1


def test_an_image_in_a_later_turn_is_refused_for_internvl(tmp_path: Path) -> None:
    turns = [*record()["conversations"], *record("b.png")["conversations"]]
    workspace = make(tmp_path, [{"image": "b.png", "conversations": turns}], FILES)
    with pytest.raises(RecordError, match="Row 0 has its image in a later turn, and InternVL adds"):
        export(workspace, trainer="internvl")
    assert len(read_rows(export(workspace, trainer="llava"))) == 1


def test_xtuner_gets_an_id(tmp_path: Path) -> None:
    workspace = make(tmp_path, [record("b.png")], FILES)
    assert read_rows(export(workspace, trainer="xtuner"))[0]["id"] == "0"


def test_the_entry_of_llamafactory_describes_its_table(tmp_path: Path) -> None:
    folder = export(mixed(tmp_path), trainer="llamafactory")
    entry = json.loads((folder / "dataset_info.json").read_text())["all"]
    rows = read_rows(folder)
    assert entry["file_name"] == "samples.parquet"
    assert {entry["formatting"], *entry["columns"].values()} == {
        "sharegpt",
        "conversations",
        "images",
    }
    assert [len(row["images"]) for row in rows] == [1, 0, 1]
    assert all(Path(path).is_file() for row in rows for path in row["images"])
    again = create_workspace(tmp_path / "again")
    assert import_dataset(again, [f"{folder}/dataset_info.json#all"]).n_samples == 3


def test_the_meta_file_of_internvl_counts_the_records(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    weighted = SubsetDefinition("weighted", Weights(), RUN_ID)
    (tmp_path / "a").mkdir()
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/6.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture())
    folder = export(workspace, weighted, trainer="internvl", weights="repeat", epoch_size=9)
    entry = json.loads((folder / "internvl_meta.json").read_text())["weighted"]
    assert entry["length"] == len(read_rows(folder)) == 9
    assert (entry["repeat_time"], entry["data_augment"]) == (1, False)
    assert Path(entry["annotation"]) == folder / "samples.jsonl"
    assert (Path(entry["root"]) / "a/1.png").is_file()
    verify_manifest(folder)


def test_the_yaml_of_llava_next_names_the_records(tmp_path: Path) -> None:
    folder = export(mixed(tmp_path), trainer="llava-next")
    [entry] = yaml.safe_load((folder / "llava_next.yaml").read_text("utf-8"))["datasets"]
    assert entry == {"json_path": str(folder / "samples.json"), "sampling_strategy": "all"}


def test_axolotl_takes_paths_from_the_parts(tmp_path: Path) -> None:
    rows = read_rows(export(mixed(tmp_path), trainer="axolotl"))
    parts = [part for row in rows for message in row["messages"] for part in message["content"]]
    paths = [part["path"] for part in parts if part["type"] == "image"]
    assert [Path(path).read_bytes() for path in paths] == [FILES["a/1.png"], FILES["b.png"]]
    assert all("images" not in row for row in rows)


def test_the_lines_for_axolotl_name_the_records(tmp_path: Path) -> None:
    folder = export(mixed(tmp_path), trainer="axolotl", image_prefix="/data")
    values = yaml.safe_load((folder / "axolotl.yaml").read_text("utf-8"))
    [entry] = values.pop("datasets")
    assert entry["path"] == str(folder / "samples.jsonl")
    assert entry["type"] == "chat_template"
    assert not values["sample_packing"] and values["skip_prepare_dataset"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_masks_are_refused_where_they_are_ignored(trainer: str) -> None:
    choice = {"trainer": trainer, "turns": "mask", "turn_min": 0.0}
    if trainer == "swift":
        assert ExportOptions(**choice).mask_key == "loss"
        with pytest.raises(InputError, match="ms-swift reads masks from the key 'loss'"):
            ExportOptions(**choice, mask_key="train")
        return
    with pytest.raises(
        InputError, match=rf"{TRAINERS[trainer].title} .*ignores masks. Use --turns"
    ):
        ExportOptions(**choice)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_weights_of_samples_are_refused_and_repeats_proposed(tmp_path: Path, trainer: str) -> None:
    title = TRAINERS[trainer].title
    with pytest.raises(InputError, match=f"{title} reads no weights .* Use --weights repeat"):
        ExportOptions(trainer=trainer, weights="column")
    if trainer == "llamafactory":  # a table would have them without being asked
        weighted = SubsetDefinition("weighted", Weights(), RUN_ID)
        with pytest.raises(RuleError, match="This subset has weights"):
            export(golden_workspace(tmp_path), weighted, trainer=trainer, images="none")


WEIGHTED = SubsetDefinition("weighted", Weights(), RUN_ID)


def weighted_sources(root: Path, second: float = math.log(3)) -> Workspace:
    """Two samples of one source, and one of another whose weight is three times theirs."""
    (root / "b.png").write_bytes(FILES["b.png"])
    sources = ("a", "b, c", "a")
    records = [record("b.png", id=str(n), source=name) for n, name in enumerate(sources)]
    return golden_workspace(root, [json.dumps(r).encode() for r in records], [0.0, second, 0.0])


@pytest.mark.parametrize(
    ("trainer", "settings"),
    [
        ("llamafactory", [0.4, 0.6]),
        ("llava-next", ["random:1", "all"]),
        ("internvl", [1, 3]),
    ],
)
def test_sources_have_files_with_their_weights(
    tmp_path: Path, trainer: str, settings: list[Any]
) -> None:
    workspace = weighted_sources(tmp_path)
    folder = export(workspace, WEIGHTED, trainer=trainer, weights="source", card=True)
    manifest = read_manifest(folder)
    first, second = manifest.source_files
    assert [file["samples"] for file in (first, second)] == [2, 1]
    assert [file["source"] for file in (first, second)] == ["a", "b, c"]
    ids = [[row["id"] for row in read_file(folder / file["file"])] for file in (first, second)]
    assert ids == [["0", "2"], ["1"]]
    assert [file["setting"] for file in (first, second)] == settings
    assert verify_manifest(folder).n_samples == 3
    again = create_workspace(tmp_path / "again")
    assert import_dataset(again, [folder], []).n_samples == 3
    check_side_file(folder, trainer, settings)
    readme = (folder / "README.md").read_text("utf-8")
    assert f'data_files: ["{first["file"]}", "{second["file"]}"]' in readme
    assert manifest.start_command("FOLDER") in readme


def check_side_file(folder: Path, trainer: str, settings: list[Any]) -> None:
    text = (folder / str(TRAINERS[trainer].side_file)).read_text("utf-8")
    entries = {"weighted-000-a", "weighted-001-b-c"}
    match trainer:
        case "llamafactory":
            files = [entry["file_name"] for entry in json.loads(text).values()]
            command = read_manifest(folder).start_command(str(folder))
            assert f"--dataset {','.join(sorted(entries))} " in command
            assert command.endswith(" --mix_strategy interleave_over --interleave_probs 0.4,0.6")
        case "internvl":
            values = json.loads(text)
            assert values.keys() == entries
            files = [Path(entry["annotation"]).name for entry in values.values()]
            assert [entry["repeat_time"] for entry in values.values()] == settings
            assert [entry["length"] for entry in values.values()] == [2, 1]
        case _:
            values = yaml.safe_load(text)["datasets"]
            files = [Path(entry["json_path"]).name for entry in values]
            assert [entry["sampling_strategy"] for entry in values] == settings
    assert [(folder / name).is_file() for name in files] == [True, True]


def test_a_rounded_weight_of_a_source_is_printed(tmp_path: Path) -> None:
    workspace = weighted_sources(tmp_path, math.log(2.4))
    save_subset(workspace, WEIGHTED)
    command = ["export", "weighted", "-w", str(workspace.root), "--weights", "source"]
    result = CliRunner().invoke(app, [*command, "--for", "internvl"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "samples-001.jsonl: 1 samples of 'b, c', mean weight 1.636, repeat_time 2 (rou" in said
    result = CliRunner().invoke(app, [*command, "--for", "llava"])
    assert "LLaVA gets no weights of sources" in str(result.exception)


@pytest.mark.parametrize("trainer", ["llamafactory", "internvl"])
def test_an_export_that_names_its_folder_is_not_pushed(tmp_path: Path, trainer: str) -> None:
    workspace = mixed(tmp_path)
    export(workspace, trainer=trainer)
    with pytest.raises(InputError, match="name that folder, which is not on the hub"):
        push(workspace, "all", PushTarget("me/all"))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"trainer": "nano"}, "Unknown trainer 'nano'. Choose one of: trl, llamafactory"),
        ({"trainer": "llava", "format": "jsonl"}, "LLaVA reads llava, not jsonl"),
        ({"weights": "source"}, "needs a trainer that weighs sources"),
        ({"trainer": "trl", "format": "jsonl"}, "TRL reads messages, not jsonl"),
        ({"trainer": "llava", "weight_key": "w"}, "LLaVA reads no weights .* Leave --weight-key"),
        ({"trainer": "swift", "mask_key": "m"}, "--mask-key has no effect without --turns mask"),
        ({"trainer": "llamafactory", "columns": "source"}, "reads the understood columns"),
        ({"trainer": "axolotl", "images": "embed"}, "axolotl reads images from files"),
        ({"trainer": "internvl", "images": "none"}, "InternVL needs its image folder"),
    ],
)
def test_what_a_trainer_does_not_read_is_refused(choice: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ExportOptions(**choice)


def test_options_for_trainers_round_trip() -> None:
    for trainer in TRAINERS:
        options = ExportOptions(trainer=trainer)
        assert ExportOptions(**json.loads(json.dumps(options.to_dict()))) == options


def test_the_command_prints_how_to_start(tmp_path: Path) -> None:
    workspace = mixed(tmp_path)
    save_subset(workspace, ALL)
    to = tmp_path / "my data"
    result = CliRunner().invoke(
        app, ["export", "all", "-w", str(workspace.root), "--for", "llava", "--to", str(to)]
    )
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "Train with LLaVA (replace the words in capitals):" in said
    assert f"--data_path '{to}/samples.json' --image_folder '{to}/images'" in said
    assert "1 records are not LLaVA records" in said
    refused = ["--for", "llava", "--turns", "mask", "--turn-min", "0"]
    result = CliRunner().invoke(app, ["export", "all", "-w", str(workspace.root), *refused])
    assert "Use --turns drop" in str(result.exception)


@pytest.mark.parametrize(
    ("trainer", "images", "is_fixed", "needs_marks"),
    [
        ("internvl", "copy", True, False),
        ("llamafactory", "copy", True, False),
        ("trl", "copy", True, True),
        ("trl", "embed", False, True),
        ("swift", "copy", False, False),
    ],
)
def test_the_command_prints_the_limits_of_an_export(
    tmp_path: Path, trainer: str, images: str, is_fixed: bool, needs_marks: bool
) -> None:
    workspace = mixed(tmp_path)
    save_subset(workspace, ALL)
    command = ["export", "all", "-w", str(workspace.root), "--for", trainer, "--images", images]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert ("in its folder, so it cannot be moved" in said) is is_fixed
    assert ("TRL needs a chat template with {% generation %} marks" in said) is needs_marks
    assert "images differ" not in said
    if trainer == "llamafactory":
        assert "image paths differ from the import" in said


def test_the_command_prints_the_lines_of_axolotl_and_json(tmp_path: Path) -> None:
    workspace = mixed(tmp_path)
    save_subset(workspace, ALL)
    command = ["export", "all", "-w", str(workspace.root), "--for", "axolotl", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    folder = workspace.exports_dir / "all"
    lines = (folder / "axolotl.yaml").read_text("utf-8")
    assert " ".join(lines.split()) in " ".join(result.stderr.split())
    values = json.loads(result.stdout)
    assert values["folder"] == str(folder)
    assert values["start_command"].startswith(f"axolotl train {folder}/axolotl.yaml --base-model")
    assert {"options", "counts", "outputs"} < values.keys()


def test_the_command_counts_samples_that_repeats_leave_out(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    save_subset(workspace, SubsetDefinition("weighted", Weights(), RUN_ID))
    command = ["export", "weighted", "-w", str(workspace.root), "--weights", "repeat"]
    result = CliRunner().invoke(app, [*command, "--epoch-size", "2"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    repeats = read_manifest(workspace.exports_dir / "weighted").counts["written"]["repeats"]
    n_absent = 5 - repeats["samples"]
    assert n_absent >= 3
    assert f"; {n_absent} samples whose weight is less than one record are in none" in said
