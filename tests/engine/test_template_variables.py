"""The variables of a chat template, and its treatment of thoughts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from scoring import cli
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, read_run_summary, score_dataset
from scoring.errors import InputError, ModelError, RunConflictError
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.models.prompting import to_messages
from scoring.runs.record import read_run
from scoring.samples import Role, Turn
from scoring.workspace import Workspace, create_workspace, open_workspace

# As in templates of reasoning models: thoughts of earlier turns are dropped, and the next answer
# starts with one unless that is switched off. Some write the date.
TEMPLATE = (
    "{{ bos_token }}{{ strftime_now('%d %b %Y') }}{% for m in messages %}"
    "{% if m.role == 'user' %}<user>{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "{% else %}<assistant> {{ (m.content[0].text.split('</think>') | last).lstrip('\n') }}"
    "{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is not defined or"
    " enable_thinking %}{{ ' <think>\n' }}{% endif %}{% endif %}"
)
NO_THOUGHTS = '{"enable_thinking": false}'
ASKED = "<image>\nWhat colour is it?"


def make_workspace(folder: Path, talks: list[tuple[str, str]]) -> Workspace:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "a.png")
    records = [
        {
            "id": str(row),
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ],
        }
        for row, (question, answer) in enumerate(talks)
    ]
    (folder / "data.json").write_text(json.dumps(records))
    place = create_workspace(folder / "ws")
    import_dataset(place, [folder / "data.json"])
    return open_workspace(folder / "ws")


@pytest.fixture
def template(tmp_path: Path) -> str:
    (tmp_path / "thinking.jinja").write_text(TEMPLATE)
    return str(tmp_path / "thinking.jinja")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path, [(ASKED, "red"), (ASKED, "blue")])


def loaded(template: str, **variables: Any) -> HfModel:
    return load_model(
        str(bundled_folder(BUNDLED_MODEL)),
        template=template,
        device="cpu",
        chat_template_kwargs=variables,
    )


def command(verb: str, workspace: Workspace, *more: str) -> Result:
    return CliRunner().invoke(cli.app, [verb, "-w", str(workspace.root), *more])


def parts(workspace: Workspace, run: str, kind: str) -> list[dict[str, Any]]:
    files = sorted((workspace.run_dir(run) / kind).glob("part-*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: row["row_idx"])


def test_a_prediction_that_ends_inside_a_thought_is_empty_and_warned_about(
    workspace: Workspace, template: str
) -> None:
    asked = ("--model", "tiny-vlm", "--template", template, "--predict", "--max-new-tokens", "4")
    result = command("score", workspace, *asked, "--run", "thinking")
    assert result.exit_code == 0, result.output
    assert "2 samples have a prediction that ends inside a thought" in result.output
    assert "--max-new-tokens" in result.output
    for row in parts(workspace, "thinking", "predictions"):
        assert row["prediction_text"].startswith("<think>")
        assert (row["exact_text"], row["f1_text"], row["thoughts_unfinished"]) == (False, 0.0, 2)
    with duckdb.connect(workspace.database, read_only=True) as database:
        found = database.execute("SELECT thoughts_unfinished FROM predictions").fetchall()
    assert found == [(2,), (2,)]
    calm = (*asked, "--chat-template-kwargs", NO_THOUGHTS, "--run", "calm")
    result = command("score", workspace, *calm)
    assert result.exit_code == 0, result.output
    assert "inside a thought" not in result.output
    assert read_run(workspace, "calm").chat_template_kwargs == {"enable_thinking": False}
    assert [row["thoughts_unfinished"] for row in parts(workspace, "calm", "predictions")] == [0, 0]


def test_a_run_keeps_its_template_variables(workspace: Workspace, template: str) -> None:
    calm, thinking = loaded(template, enable_thinking=False), loaded(template)
    run = score_dataset(workspace, calm).run_id
    assert score_dataset(workspace, thinking).run_id != run
    message = "chat_template_kwargs enable_thinking: False then, None now"
    with pytest.raises(RunConflictError, match=message):
        score_dataset(workspace, thinking, run_id=run)


def test_predictions_keep_their_template_variables(workspace: Workspace, template: str) -> None:
    """They may differ from those of the scores, which have no generation prompt."""
    score_dataset(workspace, loaded(template), run_id="one")
    asked = ("--run", "one", "--template", template, "--max-new-tokens", "4")
    result = command("predict", workspace, *asked, "--chat-template-kwargs", NO_THOUGHTS)
    assert result.exit_code == 0, result.output
    settings = json.loads((workspace.run_dir("one") / "predictions.json").read_text())
    assert settings["chat_template_kwargs"] == {"enable_thinking": False}
    assert command("predict", workspace, *asked).exit_code == 0  # as they started
    with pytest.raises(RunConflictError, match=r"began with --chat-template-kwargs '.*false"):
        predict_dataset(workspace, loaded(template), "one")


@pytest.mark.parametrize(
    ("given", "message"), [("{enable", "is not valid JSON"), ("[1]", "takes a JSON object")]
)
def test_invalid_template_variables_are_reported(
    workspace: Workspace, given: str, message: str
) -> None:
    result = command("score", workspace, "--model", "tiny-vlm", "--chat-template-kwargs", given)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


@pytest.mark.parametrize("name", ["enable_thought", "messages"])
def test_a_variable_that_the_template_does_not_use_is_refused(template: str, name: str) -> None:
    with pytest.raises(ModelError, match=f"variable '{name}'"):
        loaded(template, **{name: False})


def test_thoughts_that_the_template_drops_are_counted_and_not_scored(
    tmp_path: Path, template: str
) -> None:
    thoughtful = "<think>The square is\nof one colour.</think>\n\nred"
    workspace = make_workspace(tmp_path, [(ASKED, thoughtful), (ASKED, "red")])
    result = command(
        "score", workspace, "--model", "tiny-vlm", "--template", template, "--run", "one"
    )
    assert result.exit_code == 0, result.output
    assert "1 samples contain thoughts that the chat template drops" in result.output
    with_thought, plain = parts(workspace, "one", "scores")
    assert with_thought["turns"] == plain["turns"]
    assert [one["thoughts_dropped"] for one in (with_thought, plain)] == [1, 0]
    assert read_run_summary(workspace, "one").n_thoughts_dropped == 1


def test_kept_thoughts_have_their_own_sums(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, [(ASKED, "<think>two red</think>\n\nred")])
    model = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    run = score_dataset(workspace, model, tokens=True).run_id
    (row,) = parts(workspace, run, "scores")
    (turn,) = row["turns"]
    thought = turn["n_thought_tokens"]
    assert "".join(row["token_texts"][:thought]).strip() == "<think>two red</think>"
    assert "".join(row["token_texts"][thought:]) == "red</s>"
    total = np.sum(row["token_loss_text"][:thought], dtype=np.float64)
    np.testing.assert_allclose(turn["thought_loss_text_sum"], total, rtol=1e-6)


def test_altered_texts_are_counted(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, [(ASKED + "</s>", "red"), (ASKED, "red")])
    result = command("score", workspace, "--model", "tiny-vlm", "--run", "one")
    assert "1 samples contain control tokens of the model in their text" in result.output
    assert [row["text_altered"] for row in parts(workspace, "one", "scores")] == [True, False]


def test_parts_of_earlier_versions_are_counted_too(workspace: Workspace) -> None:
    run = score_dataset(
        workspace, load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    ).run_id
    (part,) = (workspace.run_dir(run) / "scores").glob("part-*.parquet")
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["text_altered", "thoughts_dropped"]), part)
    summary = read_run_summary(workspace, run)
    assert (summary.done, summary.n_text_altered, summary.n_thoughts_dropped) == (2, 0, 0)


def test_a_resumed_run_renders_the_date_of_its_start(workspace: Workspace, template: str) -> None:
    model = loaded(template)
    score_dataset(workspace, model, run_id="one", limit=1)
    path = workspace.run_dir("one") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created_at": "2020-02-03T23:00Z"}))
    score_dataset(workspace, model, run_id="one")
    text = model._encoder.render(to_messages([Turn(Role.HUMAN, "What?")]))
    assert text == "<s>03 Feb 2020<user>What?"
    model = loaded(template)
    predict_dataset(workspace, model, "one", max_new_tokens=1)
    assert "03 Feb 2020" in model._encoder.render(to_messages([Turn(Role.HUMAN, "What?")]))
