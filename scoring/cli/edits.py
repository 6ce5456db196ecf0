"""The commands edit and edits."""

from __future__ import annotations

import json as json_lib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scoring.cli import console
from scoring.cli.commands import JsonOption, RunOption, WorkspaceOption
from scoring.errors import InputError, WorkspaceError
from scoring.option_descriptions import Option
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.reviews.decision_log import DecisionEvent
    from scoring.reviews.edit_resolution import SampleEdit
    from scoring.reviews.edits import Operation
    from scoring.reviews.reviewer_state import DecisionState
    from scoring.samples import Sample

REVIEWER_VARIABLE = "VISNEC_REVIEWER"


@dataclass(frozen=True, slots=True)
class EditOptions:
    """What an edit changes. Questions, answers and images are numbered from 1."""

    answer: Annotated[str | None, Option("The new text of the answer of --turn.")] = None
    question: Annotated[
        str | None,
        Option("The new text of the question of --turn, with <image> where its images go."),
    ] = None
    turn: Annotated[int, Option("Number of the question and answer.", min=1)] = 1
    accept_prediction: Annotated[
        bool,
        Option(
            "Make the multimodal prediction of --run the answer of --turn.", "--accept-prediction"
        ),
    ] = False
    run_id: RunOption = None
    swap: Annotated[
        str | None, Option("Exchange the texts of two answers, such as 1,2.", metavar="A,B")
    ] = None
    drop: Annotated[
        tuple[int, ...], Option("Drop this answer with its question. Repeatable.", metavar="N")
    ] = ()
    remove_image: Annotated[
        int | None,
        Option("Remove this image placeholder, and its image if each has one.", min=1),
    ] = None
    move_image: Annotated[
        str | None,
        Option(
            "Move this image placeholder to the start of the question of another turn, such as "
            "1:2 for the first image to the second question.",
            metavar="IMAGE:TURN",
        ),
    ] = None
    operations: Annotated[
        str | None,
        Option("Operations as a JSON list, as visnec edits --json prints them.", metavar="JSON"),
    ] = None
    restore: Annotated[
        bool, Option("Leave the record as it was imported, against edits of others.", "--restore")
    ] = False


def edit(
    row: Annotated[int, Option("Row of the sample.", metavar="ROW", is_argument=True)],
    workspace: WorkspaceOption,
    options: EditOptions,
    reviewer: Annotated[
        str, Option("Whose edit it is.", envvar=REVIEWER_VARIABLE, metavar="NAME")
    ] = "",
    reason: Annotated[
        str,
        Option(
            "Why: wrong_answer, wrong_image, ambiguous, unsafe, formatting or other, unless "
            "workspace.json lists other edit_reasons."
        ),
    ] = "other",
    note: Annotated[str, Option("A note with the edit.")] = "",
    undo: Annotated[bool, Option("Undo your latest edit of the sample.", "--undo")] = False,
    json: JsonOption = False,
) -> None:
    """Correct a sample; exports apply the correction, and the record stays as it was imported."""
    from scoring.dataset.records import read_sample
    from scoring.exports import editing

    if not reviewer.strip():
        raise InputError(f"Name the reviewer with --reviewer, or in {REVIEWER_VARIABLE}.")
    opened = open_workspace(workspace)
    sample = read_sample(opened, row)
    if undo:
        event = editing.undo_edit(opened, row, reviewer=reviewer)
        console.show_message(f"Undone: the latest edit of row {row} by {event.reviewer}")
        return
    operations = list(editing.own_operations(opened, sample, reviewer))
    new = list(_read_operations(opened, sample, operations, options))
    if not new and not options.restore:
        raise InputError("Name a change, such as --answer TEXT, or --restore or --undo.")
    saved = editing.save_edit(
        opened,
        row,
        [] if options.restore else [*operations, *new],
        reviewer=reviewer,
        reason=reason,
        note=note,
    )
    console.show_message(f"Saved as an edit of row {row} by {saved.event.reviewer}")
    console.show_table(
        "Edited", ["turn", "before", "after"], _list_changes(saved.before, saved.event)
    )
    if saved.warning:
        console.show_warning(saved.warning)
    if json:
        console.print_json(_describe_event(saved.event))


def edits(
    workspace: WorkspaceOption,
    row: Annotated[int | None, Option("Only edits of this sample.", metavar="ROW")] = None,
    conflicts: Annotated[
        bool, Option("Only samples that reviewers edited differently.", "--conflicts")
    ] = False,
    history: Annotated[
        bool, Option("Also edits that were replaced or undone.", "--history")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List reviewers' edits of samples: the current ones, or all with --history."""
    from scoring.reviews.decisions import read_edits

    opened = open_workspace(workspace)
    current = read_edits(opened, None if row is None else [row])
    shown = [each for each in current if each.is_conflict or not conflicts]
    listed: list[dict[str, Any]] = []
    for each in shown:
        if history or conflicts:
            listed += _list_events(opened, each, only_current=not history)
        else:
            listed.append(_describe_event(each.event) | {"state": "current"})
    scores = _read_scores(opened, [each.row_idx for each in shown])
    listed = [each | {"scores": scores.get(each["event_id"], [])} for each in listed]
    rows = [
        (
            each["row_idx"],
            each["reviewer"],
            each["edited_at"][:16].replace("T", " "),
            each["reason"],
            ", ".join(operation["op"] for operation in each["operations"]) or "restored",
            each["state"],
            ", ".join(map(_describe_score, each["scores"])),
            each["note"],
        )
        for each in listed
    ]
    n_conflicts = sum(each.is_conflict for each in current)
    headers = ["row", "reviewer", "edited at (UTC)", "reason", "operations", "state", "score"]
    headers.append("note")
    if rows:
        console.show_table("Edits", headers, rows)
    else:
        console.show_message("No edits yet" if row is None and not conflicts else "No such edits")
    if n_conflicts and not conflicts:
        console.show_warning(
            f"Samples that reviewers edited differently: {n_conflicts:,}; the newest edit counts"
        )
    if json:
        console.print_json(listed)


def _read_scores(workspace: Workspace, rows: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of runs of edits by edit; none without a database."""
    from scoring.database.connection import Store
    from scoring.database.queries.edited_scores import read_edited_scores

    scores: dict[str, list[dict[str, Any]]] = {}
    with suppress(WorkspaceError):
        for score in read_edited_scores(Store(workspace), rows):
            values = asdict(score)
            del values["row_idx"]
            scores.setdefault(values.pop("event_id"), []).append(values)
    return scores


def _describe_score(score: dict[str, Any]) -> str:
    value = score["status"] if score["visnec"] is None else f"{score['visnec']:.3f}"
    return f"{value} ({score['run_id']}, {score['baseline']})"


def _read_operations(
    workspace: Workspace, sample: Sample, before: Sequence[Operation], options: EditOptions
) -> Iterator[Operation]:
    """Yield the operations that the options name, after those of the reviewer's earlier edit."""
    from scoring.exports import editing
    from scoring.reviews.edits import (
        DropTurn,
        MoveImage,
        RemoveImage,
        SetText,
        SwapAnswers,
        parse_operation,
    )

    if options.operations is not None:
        try:
            yield from map(parse_operation, json_lib.loads(options.operations))
        except (ValueError, TypeError) as problem:
            raise InputError(f"--operations is not a JSON list ({problem}).") from problem
    if options.accept_prediction:
        position = editing.answer_position(sample, options.turn)
        yield SetText(
            position,
            editing.read_prediction(workspace, sample.row_idx, options.turn, options.run_id),
        )
    if options.answer is not None:
        yield SetText(editing.answer_position(sample, options.turn), options.answer)
    if options.question is not None:
        position = editing.question_position(sample, options.turn)
        turns = editing.turns_now(sample, before)
        turn = turns.get(position, sample.turns[position])
        yield editing.set_text(position, turn, options.question)
    if options.swap is not None:
        first, second = _read_numbers("--swap", options.swap, ",")
        yield SwapAnswers(*(editing.answer_position(sample, n) for n in (first, second)))
    for number in options.drop:
        yield DropTurn(editing.answer_position(sample, number))
    if options.remove_image is not None:
        yield RemoveImage(options.remove_image - 1)
    if options.move_image is not None:
        image, turn_number = _read_numbers("--move-image", options.move_image, ":")
        yield MoveImage(image - 1, editing.question_position(sample, turn_number))


def _read_numbers(option: str, text: str, separator: str) -> tuple[int, int]:
    first, mark, second = text.partition(separator)
    if not (mark and first.strip().isdecimal() and second.strip().isdecimal()):
        raise InputError(f"{option} needs two numbers, such as 1{separator}2, not {text!r}.")
    return int(first), int(second)


def _list_changes(sample: Sample, event: DecisionEvent) -> list[tuple[str, str, str]]:
    """Return the turns that an edit changes: name, text before and after."""
    from scoring.exports.editing import name_turns
    from scoring.readers.conversation import insert_placeholders
    from scoring.reviews.edits import apply_edit, parse_edit

    after = apply_edit(sample, parse_edit(str(event.edit))).turns
    return [
        (
            name,
            insert_placeholders(turn),
            insert_placeholders(after[position]) if position in after else "(dropped)",
        )
        for (position, name), turn in zip(name_turns(sample).items(), sample.turns, strict=True)
        if after.get(position) != turn
    ]


def _list_events(
    workspace: Workspace, current: SampleEdit, *, only_current: bool
) -> list[dict[str, Any]]:
    """Return the edits of a sample by time and their state, or those current of each reviewer."""
    from scoring.reviews.decisions import decision_feed

    def list_history(state: DecisionState) -> list[tuple[DecisionEvent, bool]]:
        return state.list_history(current.row_idx)

    states = {event.event_id: "older" for event in current.others}
    states[current.event.event_id] = "current"
    listed = []
    for event, is_undone in decision_feed(workspace).query_state(list_history):
        state = states.get(event.event_id, "undone" if is_undone else "replaced")
        if event.edit is not None and (event.event_id in states or not only_current):
            listed.append(_describe_event(event) | {"state": state})
    return listed


def _describe_event(event: DecisionEvent) -> dict[str, Any]:
    """Return an edit as JSON values; one of a newer version without its operations."""
    from scoring.reviews.edits import parse_edit

    known = {
        "row_idx": event.row_idx,
        "event_id": event.event_id,
        "reviewer": event.reviewer,
        "machine": event.machine,
        "edited_at": event.decided_at,
    }
    try:
        edit = parse_edit(str(event.edit)).to_dict()
    except InputError as problem:
        edit = {"operations": [], "reason": "unreadable", "note": str(problem)}
    return known | {"note": ""} | edit
