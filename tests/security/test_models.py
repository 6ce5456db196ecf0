"""Model folders from others: weights that contain code are refused, and no code is run."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.errors import ModelError
from scoring.models.loading import TemplateRenderer, load_model_and_processor
from scoring.models.options import resolve_model_folder
from scoring.models.processors import load_processor

SOURCES = sorted(Path(__file__).parents[2].glob("scoring/**/*.py"))
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(bundled_folder(BUNDLED_MODEL), folder)
    return folder


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"]
)
def test_only_safetensors_weights_are_loaded(model: Path, name: str) -> None:
    for weights in model.glob("*.safetensors"):
        weights.rename(model / name)
    with pytest.raises(ModelError, match=r"contains no \*\.safetensors"):
        resolve_model_folder(str(model), None)


def test_only_files_without_code_are_downloaded_from_the_hub() -> None:
    from scoring.models import options

    assert set(options._WANTED_FILES) == {"*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"}


def test_code_of_a_model_folder_is_not_run(model: Path) -> None:
    import torch

    ran = model / "ran"
    code = f"open({str(ran)!r}, 'w')\nclass Evil: pass\n"
    (model / "evil.py").write_text(code)
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = model / name
        settings = json.loads(path.read_text()) if path.is_file() else {}
        kinds = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor")
        evil = dict.fromkeys(kinds, "evil.Evil")
        settings["auto_map"] = {**evil, "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
        path.write_text(json.dumps(settings))
    try:
        load_model_and_processor(model, "evil", torch.float32, "cpu")
    except ModelError as error:
        assert str(error)
    assert not ran.exists()


def test_no_module_trusts_remote_code() -> None:
    """Neither by ``trust_remote_code`` nor by functions that load pickles."""
    trusting = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            trusts = isinstance(node, ast.keyword) and node.arg == "trust_remote_code"
            if trusts and not (isinstance(node.value, ast.Constant) and node.value.value is False):
                trusting.append(path.name)
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if named and (node.value.id, node.attr) in (("torch", "load"), ("pickle", "loads")):
                trusting.append(path.name)
            if isinstance(node, ast.Import) and any(one.name == "pickle" for one in node.names):
                trusting.append(path.name)
    assert trusting == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('/etc/hostname').read() }}",
        "{{ strftime_now.__globals__ }}",
        "{% include '/etc/hostname' %}",
        "{% import '/etc/hostname' as x %}",
        "{{ open('/etc/hostname').read() }}",
        "{{ messages.append(1) }}{{ messages|length }}",
        "{{ ('%s' % lipsum.__globals__) }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
    ],
)
def test_a_chat_template_can_access_only_its_messages(template: str) -> None:
    processor = load_processor(bundled_folder(BUNDLED_MODEL))
    try:
        text = TemplateRenderer(processor, template)(MESSAGES)
    except (TemplateError, TypeError, AttributeError, ValueError):
        text = ""  # the sandbox refuses
    assert text == ""  # or renders undefined values as nothing
    assert len(MESSAGES) == 1
