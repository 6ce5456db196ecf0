"""The trainers that an export can be written for: what each reads, and how to start it.

A trainer that ignores something does so silently: it trains on masked answers and counts every
sample once. Options that it would ignore are therefore refused by name.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scoring.errors import InputError, RecordError
from scoring.exports.files import BytesFile, OutputFile
from scoring.exports.source_weights import SourceFile, mixing_options

if TYPE_CHECKING:
    from scoring.exports.export_plan import ExportPlan
    from scoring.exports.options import ExportOptions

_PLACEHOLDER = "<image>"
_UNWEIGHED: Mapping[str | None, int | str] = {"llava-next": "all", "internvl": 1}
_AXOLOTL = """\
processor_type: AutoProcessor
skip_prepare_dataset: true
remove_unused_columns: false
sample_packing: false
datasets:
  - path: {path}
    ds_type: json
    split: train
    type: chat_template
"""


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a trainer reads, and how it is started.

    Attributes:
        formats: Formats that it reads; the first is the default.
        images: Default of the option images.
        command: The command to start with. ``{folder}`` is the export, ``{data}`` its records,
            ``{images}`` the image folder and ``{name}`` the name of the dataset.
        weights: What it weighs instead of samples.
        weighs_sources: Whether the export can give it a weight for each source.
        mask_key: Key by which it leaves a turn out of the loss.
        side_file: File that describes the data to it.
        absolute_images: Whether it looks for images in the current folder.
        names_folder: Whether the side file gives absolute paths.
        parts_name_images: Whether each image part has a path, and no list of images exists.
        single_images: Whether it reads at most one image of a sample.
        reads_system: Whether it accepts a system turn.
        needs_id: Whether it stops at a record without ``id``.
        image_first: Whether it adds a placeholder where the first turn has none for the only image.
    """

    title: str
    formats: tuple[str, ...]
    images: Literal["copy", "embed"]
    command: str
    weights: str
    weighs_sources: bool = False
    mask_key: str | None = None
    side_file: str | None = None
    absolute_images: bool = False
    names_folder: bool = False
    parts_name_images: bool = False
    single_images: bool = False
    reads_system: bool = True
    needs_id: bool = False
    image_first: bool = False


TRAINERS: Mapping[str, Trainer] = {
    "trl": Trainer(
        "TRL",
        ("messages",),
        "embed",
        "trl sft --model_name_or_path MODEL --dataset_name {folder} --assistant_only_loss true "
        "--output_dir OUTPUT",
        "nothing",
        absolute_images=True,
    ),
    "llamafactory": Trainer(
        "LLaMA-Factory",
        ("parquet",),
        "copy",
        "llamafactory-cli train --stage sft --do_train true --model_name_or_path MODEL "
        "--template TEMPLATE --dataset_dir {folder} --dataset {name} --output_dir OUTPUT",
        "whole datasets (interleave_probs)",
        weighs_sources=True,
        side_file="dataset_info.json",
        absolute_images=True,
    ),
    "swift": Trainer(
        "ms-swift",
        ("jsonl", "llava"),
        "copy",
        "ROOT_IMAGE_DIR={images} swift sft --model MODEL --dataset {data} --output_dir OUTPUT",
        "whole datasets (interleave_prob)",
        mask_key="loss",
    ),
    "llava": Trainer(
        "LLaVA",
        ("llava",),
        "copy",
        "deepspeed llava/train/train_mem.py --model_name_or_path MODEL --data_path {data} "
        "--image_folder {images} --output_dir OUTPUT",
        "nothing",
        single_images=True,
        reads_system=False,
    ),
    "llava-next": Trainer(
        "LLaVA-NeXT",
        ("llava", "jsonl"),
        "copy",
        "deepspeed llava/train/train_mem.py --model_name_or_path MODEL "
        "--data_path {folder}/llava_next.yaml --image_folder {images} --output_dir OUTPUT",
        "whole datasets (sampling_strategy)",
        weighs_sources=True,
        side_file="llava_next.yaml",
        names_folder=True,
        reads_system=False,
    ),
    "internvl": Trainer(
        "InternVL",
        ("jsonl",),
        "copy",
        "LAUNCHER=pytorch torchrun --nproc_per_node=GPUS "
        "internvl/train/internvl_chat_finetune.py --model_name_or_path MODEL --conv_style STYLE "
        "--meta_path {folder}/internvl_meta.json --do_train true --output_dir OUTPUT",
        "whole datasets (repeat_time)",
        weighs_sources=True,
        side_file="internvl_meta.json",
        names_folder=True,
        image_first=True,
    ),
    "axolotl": Trainer(
        "axolotl",
        ("messages",),
        "copy",
        "axolotl train {folder}/axolotl.yaml --base-model MODEL --learning-rate RATE "
        "--sequence-len TOKENS --output-dir OUTPUT",
        "nothing",
        side_file="axolotl.yaml",
        absolute_images=True,
        names_folder=True,
        parts_name_images=True,
    ),
    "xtuner": Trainer(
        "XTuner",
        ("llava",),
        "copy",
        "xtuner train CONFIG --cfg-options train_dataloader.dataset.data_path={data} "
        "train_dataloader.dataset.image_folder={images}",
        "nothing",
        single_images=True,
        reads_system=False,
        needs_id=True,
    ),
}
"""Trainers by the name that ``--for`` takes."""


def check_options(trainer: Trainer, options: ExportOptions) -> None:
    """Raise InputError for options that the trainer does not read or would silently ignore."""
    title = trainer.title
    if options.format not in trainer.formats:
        raise InputError(
            f"{title} reads {' or '.join(trainer.formats)}, not {options.format}. Leave --format "
            "out, or choose that."
        )
    if options.turns == "mask" and trainer.mask_key is None:
        raise InputError(
            f"{title} trains on every answer and ignores masks. Use --turns drop, which removes "
            "the answers and their questions."
        )
    if options.turns == "mask" and options.mask_key != trainer.mask_key:
        raise InputError(f"{title} reads masks from the key {trainer.mask_key!r}. Use that key.")
    if options.turns != "mask" and options.mask_key != "loss":
        raise InputError("--mask-key has no effect without --turns mask. Leave it out.")
    if options.weights == "column":
        raise InputError(
            f"{title} reads no weights of samples; it weighs {trainer.weights}. Use --weights "
            "repeat, which writes each sample as often as it counts."
        )
    if options.weights == "source" and not trainer.weighs_sources:
        raise InputError(
            f"{title} gets no weights of sources from an export. Use --weights repeat, which "
            "writes each sample as often as it counts."
        )
    if options.weight_key != "weight":
        raise InputError(f"{title} reads no weights of samples. Leave --weight-key out.")
    if options.columns == "source":
        raise InputError(f"{title} reads the understood columns. Leave --columns out.")
    if options.images == "embed" and trainer.parts_name_images:
        raise InputError(f"{title} reads images from files. Use --images copy or link.")
    if options.images == "none" and options.trainer == "internvl":
        raise InputError(f"{title} needs its image folder in a file. Use --images copy or link.")


def check_conversation(
    trainer: Trainer, row_idx: int, turns: Sequence[Mapping[str, Any]], n_images: int
) -> None:
    """Raise RecordError if the trainer would misread or stop at this conversation."""
    n_placeholders = sum(str(turn["value"]).count(_PLACEHOLDER) for turn in turns)
    problem = None
    if n_placeholders != n_images:
        problem = (
            f"has {n_images} image(s) and {n_placeholders} times the text {_PLACEHOLDER}, which "
            f"{trainer.title} replaces by images"
        )
    elif trainer.single_images and n_images > 1:
        problem = f"has {n_images} images, and {trainer.title} reads one image of a sample"
    elif trainer.image_first and n_images == 1 and _PLACEHOLDER not in str(turns[0]["value"]):
        problem = f"has its image in a later turn, and {trainer.title} adds one to the first"
    elif not trainer.reads_system and turns and turns[0]["from"] == "system":
        problem = f"has a system turn, at which {trainer.title} stops"
    if problem:
        raise RecordError(f"Row {row_idx} {problem}. Drop the sample, or export without --for.")


def start_command(
    options: ExportOptions, name: str, folder: str, sources: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the command that trains on the export of the subset ``name`` in ``folder``.

    ``sources`` are the files of weighed sources, as in the manifest. Words in capitals are to be
    replaced. Empty if the export is not for a trainer.
    """
    trainer = options.trains_with
    if trainer is None:
        return ""
    values = {
        "folder": folder,
        "data": f"{folder}/{options.data_file}",
        "images": f"{folder}/images" if options.places_images else "IMAGES",
        "name": ",".join(source["entry"] for source in sources) or name,
    }
    command = trainer.command.format(**{key: shlex.quote(value) for key, value in values.items()})
    return command + mixing_options(options.trainer, sources)


def trainer_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return the side file of the trainer, if it has one."""
    options, trainer = plan.options, plan.options.trains_with
    if trainer is None or trainer.side_file is None:
        return []
    name = plan.outcome.definition.name
    files = plan.source_files or [
        SourceFile(
            "", name, options.data_file, plan.n_written, 1.0, _UNWEIGHED.get(options.trainer, 1)
        )
    ]
    match options.trainer:
        case "llava-next":
            text = "datasets:\n" + "".join(
                f"  - json_path: {_quote_path(options, file)}\n"
                f"    sampling_strategy: {file.setting}\n"
                for file in files
            )
        case "axolotl":
            text = _AXOLOTL.format(path=_quote_path(options, files[0]))
        case "internvl":
            text = _print_entries({file.entry: _internvl_entry(options, file) for file in files})
        case _:
            columns = {"messages": "conversations", "images": "images"}
            form = {"formatting": "sharegpt", "columns": columns}
            text = _print_entries({file.entry: {"file_name": file.file, **form} for file in files})
    return [BytesFile(trainer.side_file, [(None, text.encode())])]


def _quote_path(options: ExportOptions, file: SourceFile) -> str:
    """Return the path of a file as a JSON string, which is one of YAML too."""
    return json.dumps(f"{options.folder}/{file.file}", ensure_ascii=False)


def _internvl_entry(options: ExportOptions, file: SourceFile) -> dict[str, object]:
    return {
        "root": f"{options.folder}/images",
        "annotation": f"{options.folder}/{file.file}",
        "data_augment": False,
        "repeat_time": file.setting,
        "length": file.samples,
    }


def _print_entries(entries: Mapping[str, Mapping[str, object]]) -> str:
    return json.dumps(entries, ensure_ascii=False, indent=2) + "\n"
