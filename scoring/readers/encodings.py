"""Text in encodings other than UTF-8: detected, guessed for error messages, and transcoded.

Nothing is decoded with replacement characters: a record that is not UTF-8 is refused, with its
position, and ``--encoding`` reads the file as ``iconv`` would convert it.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO

from scoring.errors import InputError, RecordError

NOT_UTF8 = "is not UTF-8"
"""Phrase in the problems for which ``advise_encoding`` gives a remedy."""
_ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, after surrogateescape
_COMMON = ("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1251")
_STEP_BYTES = 1 << 16
_READ_BYTES = 64 << 20  # of a file at most, to collect text for the guess
_GUESS_BYTES = 16 << 10
_SHOWN_CHARACTERS = 30
_BETWEEN_TEXTS = re.compile(rb'["\n\r\t]+')


def check_encoding(name: str) -> str:
    """Return the canonical name of an encoding; "" is UTF-8. Raises InputError if unknown."""
    if not name:
        return ""
    try:
        with suppress(UnicodeError):
            b"ab".decode(name)  # rejects codecs that are not text encodings
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise InputError(
            f"Unknown text encoding {name!r}. Common ones: {', '.join(_COMMON)}, utf-16"
        ) from None


def find_undecoded(text: str, start: int, end: int) -> int | None:
    """Return the position of the first byte in ``text`` that was not UTF-8."""
    match = None if text.isascii() else _ESCAPED.search(text, start, end)
    return match.start() if match else None


def describe_bad_byte(escaped: str) -> str:
    """Return the problem text for an escaped byte that was not UTF-8."""
    return f"byte 0x{ord(escaped) - 0xDC00:02X} {NOT_UTF8}"


def decode_text(content: bytes, encoding: str) -> str:
    """Decode a whole text. Raises ValueError naming the byte that is not in that encoding."""
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{content[error.start]:02X} {NOT_UTF8}") from None


def advise_encoding(chunks: Iterable[bytes], *, has_option: bool = True) -> str:
    """Return the remedy for a file that is not UTF-8, with its likeliest encoding.

    ``chunks`` are its content, consumed only as far as needed; ``has_option`` is whether the
    command that reads it has ``--encoding``.
    """
    guess, example = _guess_encoding(chunks)
    name = guess.upper().replace("_", "-") or "ENCODING"
    finding = f"The text may be {name} ({example!r})" if guess else "The encoding was not detected"
    remedy = f"Pass --encoding {guess or name}, or convert" if has_option else "Convert"
    return f"{finding}. {remedy} the file: iconv -f {name} -t UTF-8 FILE > NEW"


def _guess_encoding(chunks: Iterable[bytes]) -> tuple[str, str]:
    """Return the likeliest encoding and an example decoded with it; "" if none is likely."""
    from charset_normalizer import from_bytes

    sample = b""
    n_read = 0
    for chunk in chunks:
        n_read += len(chunk)
        for text in _BETWEEN_TEXTS.split(chunk)[1:-1]:  # the outer ones may be incomplete
            if not text.isascii() and len(sample) < _GUESS_BYTES:
                sample += text + b"\n"
        if n_read >= _READ_BYTES or len(sample) >= _GUESS_BYTES:
            break
    guesses = list(from_bytes(sample, cp_isolation=list(_COMMON))) if sample else []
    if not guesses:
        return "", ""
    top = (guesses[0].chaos, guesses[0].coherence)
    tied = [guess for guess in guesses if (guess.chaos, guess.coherence) == top]
    best = min(tied, key=lambda guess: _COMMON.index(guess.encoding))
    return best.encoding, str(best).split("\n", 1)[0][:_SHOWN_CHARACTERS]


class PieceReader(io.RawIOBase):
    """A stream of what ``read_piece`` returns for a number of bytes; b"" is the end."""

    def __init__(self, read_piece: Callable[[int], bytes]) -> None:
        super().__init__()
        self._read_piece, self._ready = read_piece, b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into ``buffer``; what does not fit is kept for the next call."""
        content = self._ready or self._read_piece(len(buffer))
        count = min(len(buffer), len(content))
        buffer[:count] = content[:count]
        self._ready = content[count:]
        return count


def open_transcoded(file: IO[bytes], encoding: str, name: str) -> IO[bytes]:
    """Open the content of a file in UTF-8; bytes that are invalid in its encoding are kept."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")

    def read_piece(_: int) -> bytes:
        while True:
            data = file.read(_STEP_BYTES)
            try:
                text = decoder.decode(data, final=not data)
                content = text.encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise RecordError(f"{name} is not {encoding}: {error}") from error
            if content or not data:  # a step may be part of a character
                return content

    return io.BufferedReader(PieceReader(read_piece), 1 << 18)
