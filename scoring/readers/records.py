"""One record -> one sample: which family it is of, what it says, and what becomes of it.

A record that is not understood becomes a ``bad_record`` sample with its reason: it keeps its
place, so that counts in equal counts out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from scoring.image_references import RECORDS_ROOT, is_fetchable
from scoring.readers import llava, messages, pairs
from scoring.readers.conversation import BadRecord, ParsedRecord
from scoring.readers.json_stream import RawRecord
from scoring.readers.llava import parse_plain_record
from scoring.readers.options import ReadOptions
from scoring.readers.values import (
    IMAGE_KEYS,
    MEDIA_KEYS,
    MESSAGE_KEYS,
    SYSTEM_KEYS,
    InlineReference,
    as_list,
    has_image,
    inline_images,
    may_hold_image,
    unread_images,
    unsupported_media_reason,
)
from scoring.samples import Sample, Status
from scoring.unicode_text import replace_surrogates

_READERS: Mapping[str, Callable[[Mapping[str, object], ReadOptions], ParsedRecord]] = {
    "llava": llava.parse_record,
    "messages": messages.parse_record,
    "qa": pairs.parse_qa_record,
    "caption": pairs.parse_caption_record,
}
_REMOTE = re.compile(r"^(?:https?|ftp|s3|gs|hf)://", re.IGNORECASE)
_IDS = ("id", "question_id", "sample_id", "index", "uid", "__key__", "uuid")
_SOURCES = ("source", "data_source", "dataset")
_LONGEST_KEY = 100  # characters that a message shows
_DEFAULTS = ReadOptions()
_LISTS = frozenset(("messages", *pairs.PAIR_LISTS))
_QUESTION_KEYS = _LISTS | frozenset(pairs.QUESTIONS)
_ANSWER_KEYS = _LISTS | frozenset((*pairs.ANSWERS, pairs.LABEL))
_IN_PLACE_OF: Mapping[str, frozenset[str]] = {
    "image": frozenset((*IMAGE_KEYS, "image_bytes")),
    "conversations": _QUESTION_KEYS | _ANSWER_KEYS | frozenset(pairs.CAPTIONS),
    "question": _QUESTION_KEYS,
    "answer": _ANSWER_KEYS,
    "caption": _QUESTION_KEYS | _ANSWER_KEYS | frozenset(pairs.CAPTIONS),
    "system": frozenset(SYSTEM_KEYS),
}
"""Usual keys that a column named by the user stands in place of."""
_TEXTS = ("conversations", "question", "answer", "caption")
KNOWN_KEYS = frozenset((
    *IMAGE_KEYS, "image_bytes", *MEDIA_KEYS, *MESSAGE_KEYS, *_QUESTION_KEYS, *_ANSWER_KEYS,
    *pairs.CAPTIONS, *SYSTEM_KEYS, *_IDS, *_SOURCES,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class FamilyGuess:
    """The family a record seems to be of, and what says so."""

    family: str
    why: str


def guess_family(value: object) -> list[FamilyGuess]:
    """Families that ``value`` may be of, the likeliest first; one means that it is certain."""
    if isinstance(value, list):
        return _of_conversation("the record", value)
    if not isinstance(value, dict):
        return []
    for key in ("messages", "conversations", "conversation", "texts"):
        if guesses := _of_conversation(repr(key), as_list(value.get(key)) or []):
            return guesses
    prompt = as_list(value.get("prompt"))
    if prompt and isinstance(prompt[0], dict):
        return [FamilyGuess("messages", "'prompt' is a list of messages")]
    question, answer = pairs.question_key(value), pairs.answer_key(value)
    if question and answer and question != answer:
        return [FamilyGuess("qa", f"{question!r} and {answer!r} are a question and its answer")]
    caption = pairs.caption_key(value)
    if has_image(value) and (guesses := _of_image(value, question, caption)):
        return guesses
    if "conversations" in value or "video" in value:
        return [FamilyGuess("llava", "the record has 'conversations'")]
    guesses = []
    if question or answer:
        guesses.append(FamilyGuess("qa", f"{question or answer!r} without its other half"))
    if caption:
        guesses.append(FamilyGuess("caption", f"{caption!r} without an image"))
    return guesses if len(guesses) != 1 else [*guesses, FamilyGuess("llava", "nothing says so")]


def _of_image(
    value: Mapping[str, object], question: str | None, caption: str | None
) -> list[FamilyGuess]:
    """Families of a record that has an image and no answer; of a text and a number as its label
    nobody knows whether they are a question and its answer.
    """
    if question == "prompt" or (question and "question_id" in value):
        return [FamilyGuess("qa", f"{question!r} is a question; the record has no answer")]
    if caption and value.get(pairs.LABEL) is not None:
        beside = f"{caption!r} has a {pairs.LABEL!r} beside it"
        return [FamilyGuess("qa", beside), FamilyGuess("caption", beside)]
    return [FamilyGuess("caption", f"an image and {caption!r}, no question")] if caption else []


def _of_conversation(where: str, listed: list[object]) -> list[FamilyGuess]:
    first = listed[0] if listed else None
    if not isinstance(first, dict):
        return []
    if "from" in first:
        return [FamilyGuess("llava", f"the turns of {where} have 'from'")]
    if "role" in first:
        return [FamilyGuess("messages", f"the messages of {where} have 'role'")]
    if "assistant" in first and ("human" in first or "user" in first):
        return [FamilyGuess("qa", f"the turns of {where} are pairs of a question and its answer")]
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
    """Understands one record.

    ``source`` is the record's own key, else the first folder of its image path, else the name of
    the file it came from (``file_stem``). ``container``: prefix of references to images that lie
    inside the record (``train.parquet#row=7``); for a JSON record its place in the dataset.
    """
    column = options.columns.get("image")
    value = _named(record, row_idx, container, column.rpartition(".")[2] if column else None)
    value = apply_columns(value, options)
    try:
        if record.problem:
            raise BadRecord(record.problem)
        found = _understand(value, options, default_family)
    except BadRecord as problem:
        found = ParsedRecord(status=Status.BAD_RECORD, reason=replace_surrogates(str(problem)))
    found = _refuse_remote(found, options.allow_remote)
    keys: Mapping[str, object] = value if isinstance(value, dict) else {}
    return Sample(
        row_idx=row_idx,
        id=_identifier(record, keys),
        source=_source(keys, found.images, file_stem),
        images=found.images,
        turns=found.turns,
        original=record.original,
        status=found.status,
        reason=found.reason,
        origin=record.origin,
    )


def _named(
    record: RawRecord, row_idx: int, container: str | None, image_column: str | None
) -> object:
    """The value with references in place of the images that lie inside it."""
    value: object = record.value
    place = container
    if container is None and may_hold_image(record.original):
        place = f"{RECORDS_ROOT}#row={row_idx}"
    if place is not None:
        value = inline_images(value, place, named=image_column)
    if record.key and isinstance(value, dict) and value.get("image") == "image.png":
        value = {**value, "image": f"{value.get('split', '')}/{record.key}/image.png"}  # ScienceQA
    if isinstance(value, list) and guess_family(value):
        return {"conversations": value}
    return value


def _understand(value: object, options: ReadOptions, default_family: str) -> ParsedRecord:
    if not isinstance(value, dict):
        raise BadRecord(f"a record is an object, this is a {type(value).__name__}")
    family = options.family
    if family in (None, "llava") and not options.roles and (found := parse_plain_record(value)):
        return found
    if family is None:
        guesses = guess_family(value)
        family = guesses[0].family if len(guesses) == 1 else default_family
    try:
        found = _READERS[family](value, options)
        reason = unsupported_media_reason(value)
    except RecursionError as error:
        raise BadRecord("the record is nested too deeply") from error
    return found if reason is None else replace(found, status=Status.VIDEO, reason=reason)


def apply_columns(value: object, options: ReadOptions) -> object:
    """The record as the user's words about its columns and turns make it; as it is without.

    A named column replaces the usual keys for the same thing; all others keep their meaning.
    """
    if options.columns and isinstance(value, dict):
        named = {role: _look_up(value, name) for role, name in options.columns.items()}
        value = named if options.only_columns else {**_others(value, options.columns), **named}
    if options.turn_keys and isinstance(value, dict):
        turns = as_list(value.get("conversations")) or []
        value = {**value, "conversations": [_usual(turn, options.turn_keys) for turn in turns]}
    return value


def _others(value: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """What a record holds beside the columns that the user named."""
    gone = {columns[role] for role in _TEXTS if role in columns}
    for role in columns:
        gone |= _IN_PLACE_OF.get(role, frozenset())
    return {key: inner for key, inner in value.items() if key not in gone}


def unread_columns(value: object, sample: Sample, options: ReadOptions) -> list[str]:
    """Return the keys of a record that seem to hold an image which its sample does not have."""
    if not isinstance(value, dict) or KNOWN_KEYS.issuperset(value):
        return []
    named = {name.split(".")[0] for name in options.columns.values()}
    found = unread_images(value, KNOWN_KEYS | named, bool(sample.images))
    return [replace_surrogates(key)[:_LONGEST_KEY] for key in found]


def _usual(turn: object, keys: tuple[str, str]) -> object:
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


def _refuse_remote(found: ParsedRecord, allow_remote: bool) -> ParsedRecord:
    if found.status is not Status.PENDING:
        return found
    for image in found.images:
        if allow_remote and is_fetchable(image):
            continue
        if _REMOTE.match(image):
            reason = f"{image[:200]!r} lies on another machine; remote images are not fetched"
            return replace(found, status=Status.REFUSED_PATH, reason=reason)
        if image.lower().startswith("file:"):
            reason = f"{image[:200]!r} is an address; only paths inside the image folders are read"
            return replace(found, status=Status.REFUSED_PATH, reason=reason)
    return found


def _identifier(record: RawRecord, keys: Mapping[str, object]) -> str | None:
    for name in _IDS:
        value = keys.get(name)
        if isinstance(value, str | int | float):
            return replace_surrogates(str(value))
    return None if record.key is None else replace_surrogates(record.key)


def _source(keys: Mapping[str, object], images: tuple[str, ...], file_stem: str) -> str:
    of_benchmark = "question" in keys and "category" in keys
    for name in (*_SOURCES, "category") if of_benchmark else _SOURCES:
        named = keys.get(name)
        if isinstance(named, str) and named.strip():
            return replace_surrogates(named.strip())
    plain = images[0] if images and not isinstance(images[0], InlineReference) else ""
    if plain and not _REMOTE.match(plain):
        for folder in plain.split("/")[:-1]:
            if folder not in ("", ".", ".."):
                return folder
    return replace_surrogates(file_stem)
