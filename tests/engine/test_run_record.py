"""A run's record, and which changes are refused or make another run.

The bundled model is scored for real; a changed model is a copy of its folder with one file edited.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from scoring import cli
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.errors import InputError, RunConflictError
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.runs.record import list_runs, read_run
from scoring.workspace import Workspace, create_workspace, open_workspace

TEMPLATE = (
    "Read this.{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def written(folder: Path, answers: str = "red blue green") -> Path:
    """A file of records, one per answer, about one image."""
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "a.png")
    records = []
    for row, answer in enumerate(answers.split()):
        human = {"from": "human", "value": "<image>\nWhat colour is it?"}
        turns = [human, {"from": "gpt", "value": answer}]
        records.append({"id": str(row), "image": "a.png", "conversations": turns})
    (folder / "data.json").write_text(json.dumps(records))
    return folder / "data.json"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = create_workspace(tmp_path / "ws")
    import_dataset(place, [written(tmp_path)])
    return open_workspace(tmp_path / "ws")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model that a test may change."""
    return Path(shutil.copytree(bundled_folder(BUNDLED_MODEL), tmp_path / "model"))


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")


def loaded(folder: Path, template: str | None = None) -> HfModel:
    return load_model(str(folder), template=template, device="cpu")


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_the_record_contains_the_deciding_settings(workspace: Workspace, model: HfModel) -> None:
    run = score_dataset(workspace, model, run_id="mine").run_id
    record = read_run(workspace, run)
    assert (record.model, record.model_family) == (BUNDLED_MODEL, "llava")
    assert (record.dtype, record.device, record.device_name is not None) == ("float32", "cpu", True)
    assert (record.template, record.score_eos, record.truncate) == ("own", True, False)
    assert record.baselines == ("none",)
    weights = hashlib.sha256(
        (bundled_folder(BUNDLED_MODEL) / "model.safetensors").read_bytes()
    ).hexdigest()
    assert record.model_fingerprint == hashlib.sha256(weights.encode()).hexdigest()
    assert record.dataset_fingerprint == read_dataset_info(workspace).origin
    assert record.processor is not None
    assert record.processor.startswith("LlavaProcessor, CLIPImageProcessor")
    assert record.model_files is not None
    assert record.model_files == {
        name: hashlib.sha256((bundled_folder(BUNDLED_MODEL) / name).read_bytes()).hexdigest()[:12]
        for name in (
            "config.json",
            "processor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        )
    }
    assert record.template_digest is not None
    assert record.shortcuts == model.capabilities.names != ()
    for package in ("torch", "transformers", "tokenizers", "pillow", "numpy", "visnec-studio"):
        assert record.versions[package] == version(package)


def change_template(folder: Path) -> None:
    edited(folder / "chat_template.jinja", "'<user>'", "'user: '")


def change_pixels(folder: Path) -> None:
    edited(folder / "processor_config.json", '"do_rescale": true', '"do_rescale": false')


def change_configuration(folder: Path) -> None:
    edited(folder / "config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-03')


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_template, "template_digest: '.{12}' then, '.{12}' now"),
        (change_pixels, "model_files processor_config.json: '.{12}' then, '.{12}' now"),
        (change_configuration, "model_files config.json: '.{12}' then, '.{12}' now"),
    ],
)
def test_a_model_with_changed_files_is_refused_under_the_same_name(
    workspace: Workspace, folder: Path, change: Callable[[Path], None], named: str
) -> None:
    before = loaded(folder)
    score_dataset(workspace, before, run_id="mine", limit=1)
    change(folder)
    after = loaded(folder)
    assert after.info.fingerprint == before.info.fingerprint  # the weights are the same
    with pytest.raises(RunConflictError, match=rf"other settings \({named}\)"):
        score_dataset(workspace, after, run_id="mine")
    with pytest.raises(RunConflictError, match=rf"was scored with other settings \({named}\)\. "):
        predict_dataset(workspace, after, "mine")


def test_a_model_with_changed_files_makes_another_run_by_default(
    workspace: Workspace, folder: Path
) -> None:
    first = score_dataset(workspace, loaded(folder)).run_id
    change_template(folder)
    second = score_dataset(workspace, loaded(folder)).run_id
    assert {first, second} == {run.run_id for run in list_runs(workspace)}
    assert first != second


def test_irrelevant_files_change_nothing(workspace: Workspace, folder: Path) -> None:
    run = score_dataset(workspace, loaded(folder)).run_id
    (folder / "README.md").write_text("Another day.")
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    again = score_dataset(workspace, loaded(folder))
    assert (again.run_id, again.done_before) == (run, 3)


def test_a_run_of_another_scoring_version_is_refused(workspace: Workspace, model: HfModel) -> None:
    """Its record has no files, no template text and no version of the computation."""
    run = score_dataset(workspace, model, run_id="mine", limit=2).run_id
    path = workspace.run_dir(run) / "run.json"
    raw = json.loads(path.read_text())
    late = ("template_digest", "model_files", "image_processor", "scoring_version")
    path.write_text(json.dumps({name: raw[name] for name in raw if name not in late}))
    with pytest.raises(RunConflictError, match=r"scoring_version: None then, 2 now, as this "):
        score_dataset(workspace, model, run_id="mine")
    assert predict_dataset(workspace, model, run).done == 2
    assert score_dataset(workspace, model).run_id != run


def test_another_dataset_under_the_same_run_is_refused(tmp_path: Path, model: HfModel) -> None:
    for name, answers in (("one", "red"), ("two", "blue")):
        (tmp_path / name).mkdir()
        place = create_workspace(tmp_path / name / "ws")
        import_dataset(place, [written(tmp_path / name, answers)])
    first, second = (open_workspace(tmp_path / name / "ws") for name in ("one", "two"))
    score_dataset(first, model, run_id="mine")
    shutil.copytree(first.run_dir("mine"), second.run_dir("mine"))
    with pytest.raises(RunConflictError, match=r"\(dataset_fingerprint: '\w+' then, '\w+' now\)"):
        score_dataset(second, model, run_id="mine")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "mine.jinja").write_text(TEMPLATE)
    return tmp_path / "mine.jinja"


def losses(workspace: Workspace, run: str) -> list[float]:
    """Multimodal losses of the run's samples, in nats per answer token, by row."""
    (part,) = (workspace.run_dir(run) / "scores").glob("part-*.parquet")
    rows = sorted(pq.read_table(part).to_pylist(), key=lambda row: row["row_idx"])
    turns = [row["turns"][0] for row in rows]
    return [turn["loss_multimodal_sum"] / turn["n_answer_tokens"] for turn in turns]


def plain_loss(answer: str) -> float:
    """The prompt of TEMPLATE written out; batch 1, full logits, log-softmax."""
    processor = AutoProcessor.from_pretrained(bundled_folder(BUNDLED_MODEL))
    network = AutoModelForImageTextToText.from_pretrained(
        bundled_folder(BUNDLED_MODEL), dtype=torch.float32
    )
    begin = "Read this.user: <image>\nWhat colour is it?assistant: "
    text = f"{begin}{answer}{processor.tokenizer.eos_token}"
    picture = Image.new("RGB", (64, 64), (200, 30, 30))
    inputs = processor(text=[text], images=[[picture]], return_tensors="pt")
    ids = inputs["input_ids"][0]
    wanted = processor.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
    places = range(len(ids) - len(wanted) - 1, len(ids))
    assert ids[places[0] : places[-1]].tolist() == wanted
    with torch.inference_mode():
        logp = torch.log_softmax(network(**inputs).logits[0].double(), dim=-1)
    return float(np.mean([-logp[place - 1, ids[place]].item() for place in places]))


def test_scoring_with_a_template_file(workspace: Workspace, template: Path) -> None:
    model = loaded(bundled_folder(BUNDLED_MODEL), str(template))
    assert model.info.template == f"file:{hashlib.sha256(TEMPLATE.encode()).hexdigest()[:12]}"
    run = score_dataset(workspace, model).run_id
    expected = [plain_loss(answer) for answer in ("red", "blue", "green")]
    np.testing.assert_allclose(losses(workspace, run), expected, atol=1e-5)


def test_predictions_need_the_template_of_the_scores(
    workspace: Workspace, template: Path, model: HfModel
) -> None:
    score_dataset(workspace, loaded(bundled_folder(BUNDLED_MODEL), str(template)), run_id="mine")
    with pytest.raises(RunConflictError, match=r"template: 'file:.*' then, 'own' now"):
        predict_dataset(workspace, model, "mine")
    half = load_model(
        str(bundled_folder(BUNDLED_MODEL)), template=str(template), dtype="bfloat16", device="cpu"
    )
    with pytest.raises(RunConflictError, match="dtype: 'float32' then, 'bfloat16' now"):
        predict_dataset(workspace, half, "mine")
    asked = ("predict", "-w", str(workspace.root))
    result = CliRunner().invoke(cli.app, asked)
    assert isinstance(result.exception, InputError)
    assert "scored with a template file (file:" in str(result.exception)
    assert "--template" in str(result.exception)
    result = CliRunner().invoke(cli.app, [*asked, "--template", str(template)])
    assert result.exit_code == 0, result.output
    predictions = workspace.run_dir("mine") / "predictions"
    assert sum(len(pq.read_table(part)) for part in predictions.glob("part-*.parquet")) == 3
