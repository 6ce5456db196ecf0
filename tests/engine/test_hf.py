"""The bundled model through the real loading code, against an independent plain loop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.errors import ModelError
from scoring.models import load_model
from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.samples import Role, Turn

RED = Image.new("RGB", (256, 256), (200, 30, 30))
TALKS = [
    (Turn(Role.HUMAN, "\nWhat colour is it?", (0,)), Turn(Role.ASSISTANT, "red")),
    (
        Turn(Role.HUMAN, "\nHow many?", (0,)),
        Turn(Role.ASSISTANT, "There are two shapes in the picture."),
        Turn(Role.HUMAN, "Sure?"),
        Turn(Role.ASSISTANT, "yes"),
    ),
    (Turn(Role.HUMAN, "Look.\n", (5,)), Turn(Role.ASSISTANT, "A much longer answer " * 12)),
]


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")


def plain_losses(turns: tuple[Turn, ...], image: Image.Image | None) -> list[float]:
    """Batch 1, full logits, log-softmax; answer tokens located by growing prefixes."""
    processor = AutoProcessor.from_pretrained(bundled_folder(BUNDLED_MODEL))
    network = AutoModelForImageTextToText.from_pretrained(
        bundled_folder(BUNDLED_MODEL), dtype=torch.float32
    )

    def ids_of(messages: list[dict[str, object]], prompt: bool = False) -> dict[str, torch.Tensor]:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        images = [[image]] if image else None
        return processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)

    messages: list[dict[str, object]] = []
    answers: list[int] = []
    for turn in turns:
        if turn.role is Role.ASSISTANT:
            start = ids_of(messages, prompt=True)["input_ids"].shape[1]
            content = [{"type": "text", "text": turn.text}]
            messages.append({"role": "assistant", "content": content})
            answers += range(start, ids_of(messages)["input_ids"].shape[1])
        else:
            at = turn.image_offsets[0] if turn.image_offsets else 0
            pieces = [turn.text[:at], turn.text[at:]]
            content = [{"type": "text", "text": piece} for piece in pieces]
            if image and turn.image_offsets:
                content.insert(1, {"type": "image"})
            messages.append({"role": "user", "content": content})
    inputs = ids_of(messages)
    with torch.inference_mode():
        logp = torch.log_softmax(network(**inputs).logits[0].double(), dim=-1)
    ids = inputs["input_ids"][0]
    return [-logp[place - 1, ids[place]].item() for place in answers]


@pytest.mark.parametrize("with_image", [True, False])
def test_batched_losses_equal_a_plain_loop(model: HfModel, with_image: bool) -> None:
    images = [RED] if with_image else []
    batched = model.answer_losses([model.encode(talk, images) for talk in TALKS])
    for talk, losses in zip(TALKS, batched, strict=True):
        expected = plain_losses(talk, RED if with_image else None)
        np.testing.assert_allclose(losses, expected, atol=1e-5)


def test_a_batch_may_mix_samples_with_and_without_images(model: HfModel) -> None:
    mixed = [model.encode(TALKS[0], [RED]), model.encode(TALKS[1], [])]
    for together, alone in zip(model.answer_losses(mixed), mixed, strict=True):
        np.testing.assert_allclose(together, model.answer_losses([alone])[0], atol=1e-5)


def test_both_passes_have_the_same_answer_tokens_and_end_with_the_end_token(
    model: HfModel,
) -> None:
    tokenizer = AutoProcessor.from_pretrained(bundled_folder(BUNDLED_MODEL)).tokenizer
    for talk in TALKS:
        with_image, without = model.encode(talk, [RED]), model.encode(talk, [])
        assert with_image.answer_ids == without.answer_ids
        assert with_image.answer_ids[-1] == tokenizer.eos_token_id
        assert len(with_image.input_ids) - len(without.input_ids) == 16  # the image's tokens


def test_the_end_token_is_excluded_on_request() -> None:
    with_end = load_model(str(bundled_folder(BUNDLED_MODEL))).encode(TALKS[0], [])
    without = load_model(str(bundled_folder(BUNDLED_MODEL)), score_eos=False).encode(TALKS[0], [])
    assert without.answer_ids == with_end.answer_ids[:-1]


def test_predictions_do_not_depend_on_their_batch(model: HfModel) -> None:
    prompts = [model.encode_prompt(talk[:1], images) for images in ([RED], []) for talk in TALKS]
    together = model.generate(prompts, 12)
    assert together == [model.generate([prompt], 12)[0] for prompt in prompts]


def test_the_bundled_model_has_its_info(model: HfModel) -> None:
    assert model.info.notice is not None
    assert model.info.template == "own"
    assert len(model.info.fingerprint) == 64


def test_reduced_precision_stays_close(model: HfModel) -> None:
    half = load_model(str(bundled_folder(BUNDLED_MODEL)), dtype="bfloat16", device="cpu")
    exact = model.answer_losses([model.encode(TALKS[1], [RED])])[0]
    rounded = half.answer_losses([half.encode(TALKS[1], [RED])])[0]
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded.mean(), exact.mean(), atol=0.1)


def test_llava_v1_is_the_reference_prompt() -> None:
    model = load_model(str(bundled_folder(BUNDLED_MODEL)), template="llava_v1")
    talk = (
        Turn(Role.HUMAN, "What is it?\n", (12,)),
        Turn(Role.ASSISTANT, "red"),
        Turn(Role.HUMAN, "Sure?"),
        Turn(Role.ASSISTANT, "yes"),
    )
    from scoring.models.prompting import to_messages

    text = model._encoder.render(to_messages(talk))
    assert text.endswith(
        "questions. USER: <image>\nWhat is it? ASSISTANT: red</s>USER: Sure? ASSISTANT: yes</s>"
    )
    assert model.info.template == "llava_v1"


def test_a_model_that_cannot_be_loaded_raises_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"contains no \*\.safetensors"):
        load_model(str(tmp_path / "empty"))
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"cannot be loaded|has no processor"):
        load_model(str(tmp_path))
    with pytest.raises(ModelError, match="Unknown dtype 'int3'"):
        load_model(str(bundled_folder(BUNDLED_MODEL)), dtype="int3")
    with pytest.raises(ModelError, match=r"Unknown template .nowhere\.jinja."):
        load_model(str(bundled_folder(BUNDLED_MODEL)), template="nowhere.jinja")


def greedy_loop(prompt: EncodedSample, n_tokens: int) -> list[int]:
    """The most likely token, one at a time, with full forward passes."""
    network = AutoModelForImageTextToText.from_pretrained(
        bundled_folder(BUNDLED_MODEL), dtype=torch.float32
    )
    ids = torch.tensor([prompt.input_ids])
    with torch.inference_mode():
        for _ in range(n_tokens):
            fed = {key: value for key, value in prompt.inputs.items() if key != "attention_mask"}
            best = network(input_ids=ids, **fed).logits[0, -1].argmax()
            ids = torch.cat([ids, best.view(1, 1)], dim=1)
    return ids[0, len(prompt.input_ids) :].tolist()


def test_predictions_are_greedy_for_any_published_settings(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundled_folder(BUNDLED_MODEL), tmp_path / "model"))
    path = folder / "generation_config.json"
    settings = {
        **json.loads(path.read_text()),
        "do_sample": True,
        "temperature": 0.1,
        "num_beams": 3,
        "repetition_penalty": 5.0,
        "no_repeat_ngram_size": 1,
        "suppress_tokens": list(range(3, 300)),
    }
    path.write_text(json.dumps(settings))
    model = load_model(str(folder), device="cpu")
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    asked = ("\nWhat colour is it?", "\nHow many?", "\nDescribe the picture.")
    prompts = [model.encode_prompt((Turn(Role.HUMAN, one, (0,)),), [RED]) for one in asked]
    expected = [tokenizer.decode(greedy_loop(prompt, 8)) for prompt in prompts]
    answers = [text.split("</s>")[0].strip() for text in expected]
    assert answers == ["red", "four", "A red triangle at the top left,"]
    assert model.generate(prompts, 8) == answers


def test_predictions_keep_content_tokens_and_end_at_the_first_end_token(model: HfModel) -> None:
    tokenizer = model._tokenizer
    prompt = model.encode_prompt((Turn(Role.HUMAN, "\nWhat?", (0,)),), [RED])
    (red,) = tokenizer.encode(" red", add_special_tokens=False)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert model._decode_answer(prompt, [image, red, end, red, pad]) == "red"
    assert model._decode_answer(prompt, [red, red]) == "red red"


@pytest.mark.parametrize(("prompt", "begin"), [("<think>\n", "<think>\n"), ("", "")])
def test_a_prediction_starts_with_the_thought_that_its_prompt_opens(
    tmp_path: Path, prompt: str, begin: str
) -> None:
    own = (bundled_folder(BUNDLED_MODEL) / "chat_template.jinja").read_text()
    template = tmp_path / "thinking.jinja"
    template.write_text(f"{own}{{% if add_generation_prompt %}}{{{{ {prompt!r} }}}}{{% endif %}}")
    thinking = load_model(str(bundled_folder(BUNDLED_MODEL)), template=str(template), device="cpu")
    question = thinking.encode_prompt((Turn(Role.HUMAN, "\nWhat?", (0,)),), [RED])
    (red,) = thinking._tokenizer.encode(" red", add_special_tokens=False)
    assert thinking._decode_answer(question, [red]).replace(" ", "") == begin + "red"
