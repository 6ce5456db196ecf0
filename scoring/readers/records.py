"""Conversion of one record into one sample: detect the family, parse, and set the status.

A record that cannot be parsed becomes a ``bad_record`` sample with a reason and keeps its row, so
counts in equal counts out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from scoring.image_references import RECORDS_ROOT, explain_refused_url, is_fetchable, is_remote
from scoring.readers import families, values
from scoring.readers.conversation import BadRecord, Message, ParsedRecord, assemble_turns
from scoring.readers.families import parse_plain_record
from scoring.readers.json_stream import RawRecord
from scoring.readers.options import ReadOptions
from scoring.readers.values import Images, InlineReference, as_list, is_image_like
from scoring.samples import Sample, Status
from scoring.unicode_text import replace_surrogates

_READERS: Mapping[str, Callable[[Mapping[str, object]], tuple[list[Message], Images]]] = {
    "llava": families.read_llava,
    "messages": families.read_messages,
    "qa": families.read_qa,
    "caption": families.read_caption,
}
_IDS = ("id", "question_id", "sample_id", "index", "uid", "__key__", "uuid")
_SOURCES = ("source", "data_source", "dataset")
_SHOWN_KEY_CHARACTERS = 100
_MENTIONS_IMAGES = re.compile("image|img|picture|photo", re.IGNORECASE).search
_IS_URL = re.compile("https?:", re.IGNORECASE).match
_DEFAULTS = ReadOptions()
_LISTS = frozenset(("messages", *families.PAIR_LISTS))
_QUESTION_KEYS = _LISTS | frozenset(families.QUESTIONS)
_ANSWER_KEYS = _LISTS | frozenset((*families.ANSWERS, families.LABEL))
_REPLACED_KEYS: Mapping[str, frozenset[str]] = {
    "image": frozenset((*values.IMAGE_KEYS, "image_bytes")),
    "conversations": _QUESTION_KEYS | _ANSWER_KEYS | frozenset(families.CAPTIONS),
    "question": _QUESTION_KEYS,
    "answer": _ANSWER_KEYS,
    "caption": _QUESTION_KEYS | _ANSWER_KEYS | frozenset(families.CAPTIONS),
    "system": frozenset(values.SYSTEM_KEYS),
}
"""Usual keys that a column named by the user replaces."""
_TEXTS = ("conversations", "question", "answer", "caption")
KNOWN_KEYS = values.USUAL_KEYS.union(
    _QUESTION_KEYS, _ANSWER_KEYS, families.CAPTIONS, _IDS, _SOURCES
)


class FamilyGuess(NamedTuple):
    """The likely family of a record, and the evidence."""

    family: str
    why: str


def guess_family(value: object) -> list[FamilyGuess]:
    """Return the possible families of ``value``, likeliest first; a single one is certain."""
    if isinstance(value, list):
        return _guess_by_turns("the record", value)
    if not isinstance(value, dict):
        return []
    for key in ("messages", "conversations", "conversation", "texts"):
        if guesses := _guess_by_turns(repr(key), as_list(value.get(key)) or []):
            return guesses
    prompt = as_list(value.get("prompt"))
    if prompt and isinstance(prompt[0], dict):
        return [FamilyGuess("messages", "'prompt' is a list of messages")]
    question, answer = families.question_key(value), families.answer_key(value)
    if question and answer and question != answer:
        return [FamilyGuess("qa", f"{question!r} and {answer!r} are a question and its answer")]
    caption = families.text_key(value, families.CAPTIONS)
    if values.has_image(value) and (guesses := _guess_by_image(value, question, caption)):
        return guesses
    if "conversations" in value or "video" in value:
        return [FamilyGuess("llava", "the record has 'conversations'")]
    guesses = []
    if question or answer:
        guesses.append(FamilyGuess("qa", f"only {question or answer!r} of a question and answer"))
    if caption:
        guesses.append(FamilyGuess("caption", f"{caption!r} without an image"))
    return guesses if len(guesses) != 1 else [*guesses, FamilyGuess("llava", "no evidence")]


def _guess_by_image(
    value: Mapping[str, object], question: str | None, caption: str | None
) -> list[FamilyGuess]:
    """Guess the family of a record with an image and no answer.

    A text with a numeric label may or may not be a question and its answer.
    """
    if question == "prompt" or (question and "question_id" in value):
        return [FamilyGuess("qa", f"{question!r} is a question without an answer")]
    if caption and value.get(families.LABEL) is not None:
        why = f"{caption!r} has a {families.LABEL!r}"
        return [FamilyGuess("qa", why), FamilyGuess("caption", why)]
    return [FamilyGuess("caption", f"an image and {caption!r}, no question")] if caption else []


def _guess_by_turns(where: str, turns: list[object]) -> list[FamilyGuess]:
    first = turns[0] if turns else None
    if not isinstance(first, dict):
        return []
    if "from" in first:
        return [FamilyGuess("llava", f"the turns of {where} have 'from'")]
    if "role" in first:
        return [FamilyGuess("messages", f"the messages of {where} have 'role'")]
    if "assistant" in first and ("human" in first or "user" in first):
        return [FamilyGuess("qa", f"the turns of {where} are question/answer pairs")]
    return []


def to_sample(
    row_idx: int,
    record: RawRecord,
    file_stem: str,
    options: ReadOptions = _DEFAULTS,
    *,
    container: str | None = None,
    default_family: str = "llava",
) -> Sample:
    """Convert one record.

    ``file_stem`` is the source of a record with neither a source key nor an image in a folder;
    ``default_family`` is for records whose own family is ambiguous. ``container`` is the prefix of
    references to images inside the record (``train.parquet#row=7``); None for a JSON record, which
    is referred to by its position in the dataset.
    """
    column = options.columns.get("image")
    image_key = column.rpartition(".")[2] if column else None
    value = apply_columns(_replace_images(record, row_idx, container, image_key), options)
    try:
        if record.problem:
            raise BadRecord(record.problem)
        parsed = _parse_record(value, options, default_family)
    except BadRecord as problem:
        parsed = ParsedRecord(status=Status.BAD_RECORD, reason=replace_surrogates(str(problem)))
    parsed = _refuse_remote(parsed, options.allow_remote)
    keys: Mapping[str, object] = value if isinstance(value, dict) else {}
    ids = (keys[name] for name in _IDS if isinstance(keys.get(name), str | int | float))
    record_id = next(ids, record.key)
    return Sample(
        row_idx=row_idx,
        id=None if record_id is None else replace_surrogates(str(record_id)),
        source=_find_source(keys, parsed.images, file_stem),
        images=parsed.images,
        turns=parsed.turns,
        original=record.original,
        status=parsed.status,
        reason=parsed.reason,
        origin=record.origin,
    )


def _replace_images(
    record: RawRecord, row_idx: int, container: str | None, image_key: str | None
) -> object:
    """Return the value of a record with references in place of the images inside it."""
    value: object = record.value
    if container is None and values.may_contain_image(record.original):
        container = f"{RECORDS_ROOT}#row={row_idx}"
    if container is not None:
        value = values.replace_inline_images(value, container, image_key=image_key)
    if record.key and isinstance(value, dict) and value.get("image") == "image.png":
        value = {**value, "image": f"{value.get('split', '')}/{record.key}/image.png"}  # ScienceQA
    if isinstance(value, list) and guess_family(value):
        return {"conversations": value}
    return value


def _parse_record(value: object, options: ReadOptions, default_family: str) -> ParsedRecord:
    if not isinstance(value, dict):
        raise BadRecord(f"a record must be an object, not {type(value).__name__}")
    family = options.family
    if family in (None, "llava") and not options.roles and (plain := parse_plain_record(value)):
        return plain
    if family is None:
        guesses = guess_family(value)
        family = guesses[0].family if len(guesses) == 1 else default_family
    try:
        messages, (images, named) = _READERS[family](value)
        prompts = (value.get(key) for key in values.SYSTEM_KEYS)
        system = next((text for text in prompts if isinstance(text, str) and text), None)
        parsed = assemble_turns(messages, images, named=named, roles=options.roles, system=system)
        reason = values.unsupported_media_reason(value)
    except RecursionError as error:
        raise BadRecord("the record is nested too deeply") from error
    return parsed if reason is None else replace(parsed, status=Status.VIDEO, reason=reason)


def apply_columns(value: object, options: ReadOptions) -> object:
    """Return the record with usual keys in place of the columns and turn keys of ``options``.

    A named column replaces the usual keys with the same meaning; all others are kept.
    """
    if options.columns and isinstance(value, dict):
        named = {role: _look_up(value, name) for role, name in options.columns.items()}
        if not options.only_columns:
            replaced = {options.columns[role] for role in _TEXTS if role in options.columns}
            replaced = replaced.union(*(_REPLACED_KEYS.get(r, ()) for r in options.columns))
            named = {**{key: v for key, v in value.items() if key not in replaced}, **named}
        value = named
    if options.turn_keys and isinstance(value, dict):
        turns = as_list(value.get("conversations")) or []
        keys = options.turn_keys
        value = {**value, "conversations": [_rename_turn_keys(turn, keys) for turn in turns]}
    return value


def unread_columns(value: object, sample: Sample, options: ReadOptions) -> list[str]:
    """Return the keys that seem to contain an image which the sample does not have.

    If it has others, URLs and keys that do not mention images are skipped, because many records
    name the origin of their image.
    """
    if not isinstance(value, dict) or KNOWN_KEYS.issuperset(value):
        return []
    known = KNOWN_KEYS.union(name.split(".")[0] for name in options.columns.values())
    keys = [key for key, inner in value.items() if key not in known and is_image_like(inner)]
    if keys and not any(value.get(key) for key in values.IMAGE_KEYS):
        keys = [key for key in keys if not values.is_numbered(key)]  # those are read
    if sample.images:
        keys = [key for key in keys if _MENTIONS_IMAGES(key) and not _IS_URL(str(value[key]))]
    return [replace_surrogates(key)[:_SHOWN_KEY_CHARACTERS] for key in keys]


def _rename_turn_keys(turn: object, keys: tuple[str, str]) -> object:
    if not isinstance(turn, dict):
        return turn
    rest = {key: inner for key, inner in turn.items() if key not in keys}
    return {"role": turn.get(keys[0]), "content": turn.get(keys[1]), **rest}


def _look_up(value: object, name: str) -> object:
    if isinstance(value, dict) and name in value:
        return value[name]
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _refuse_remote(parsed: ParsedRecord, allow_remote: bool) -> ParsedRecord:
    for image in parsed.images if parsed.status is Status.PENDING else ():
        if is_remote(image) and not (allow_remote and is_fetchable(image)):
            why = explain_refused_url(image)
        elif image.lower().startswith("file:"):
            why = "is a URL; only paths inside the image folders are read"
        else:
            continue
        return replace(parsed, status=Status.REFUSED_PATH, reason=f"{image[:200]!r} {why}")
    return parsed


def _find_source(keys: Mapping[str, object], images: tuple[str, ...], file_stem: str) -> str:
    """Return the record's source key, else the first folder of its image path, else the file."""
    is_benchmark = "question" in keys and "category" in keys
    for name in (*_SOURCES, "category") if is_benchmark else _SOURCES:
        source = keys.get(name)
        if isinstance(source, str) and source.strip():
            return replace_surrogates(source.strip())
    plain = images[0] if images and not isinstance(images[0], InlineReference) else ""
    if plain and not is_remote(plain):
        for folder in plain.split("/")[:-1]:
            if folder not in ("", ".", ".."):
                return folder
    return replace_surrogates(file_stem)
