"""Text in other encodings than UTF-8: recognised, guessed for a message, read where it is named.

Nothing is decoded with replacement characters: a record that is not UTF-8 is refused with its
place, and ``--encoding`` reads the file as ``iconv`` would convert it.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from scoring.errors import InputError, RecordError

NOT_UTF8 = "is not UTF-8"
"""Words of a problem that ``advise_encoding`` says what to do about."""
_ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that was no UTF-8, as surrogateescape keeps it
_COMMON = ("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1251")
_STEP_BYTES = 1 << 16
_READ_BYTES = 64 << 20  # of a file, to find text to guess by
_GUESS_BYTES = 16 << 10
_SHOWN_CHARACTERS = 30
_BETWEEN_TEXTS = re.compile(rb'["\n\r\t]+')


def check_encoding(name: str) -> str:
    """Return the canonical name of an encoding. Raises InputError for one that does not exist."""
    try:
        with suppress(UnicodeError):
            b"ab".decode(name)  # refuses codecs that are not of text
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise InputError(
            f"Unknown text encoding {name!r}. Common ones: {', '.join(_COMMON)}, utf-16"
        ) from None


def find_undecoded(text: str, start: int, end: int) -> int | None:
    """Return the place of the first byte in ``text`` that was no UTF-8."""
    if text.isascii():
        return None
    found = _ESCAPED.search(text, start, end)
    return found.start() if found else None


def describe_bad_byte(escaped: str) -> str:
    """Return the problem of a byte that was no UTF-8."""
    return f"byte 0x{ord(escaped) - 0xDC00:02X} {NOT_UTF8}"


def decode_text(content: bytes, encoding: str) -> str:
    """Decode a whole text. Raises ValueError naming the byte that is not in that encoding."""
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{content[error.start]:02X} {NOT_UTF8}") from None


def advise_encoding(chunks: Iterable[bytes], *, has_option: bool = True) -> str:
    """Return what to do about a file that is not UTF-8, with the encoding that it seems to have.

    Args:
        chunks: the file's content from its beginning, read only as far as it takes.
        has_option: whether the command that reads it has ``--encoding``.
    """
    guess, shown = guess_encoding(chunks)
    name = guess.upper().replace("_", "-") or "ENCODING"
    begun = f"The text may be {name} ({shown!r})" if guess else "It is not known what it is"
    named = f"read it with --encoding {guess or name}, or " if has_option else ""
    return f"{begun}: {named}convert it: iconv -f {name} -t UTF-8 FILE > NEW"


def guess_encoding(chunks: Iterable[bytes]) -> tuple[str, str]:
    """Return the likeliest encoding and a text decoded with it; "" where nothing is likely."""
    from charset_normalizer import from_bytes

    sample = b""
    n_read = 0
    for chunk in chunks:
        n_read += len(chunk)
        for text in _BETWEEN_TEXTS.split(chunk)[1:-1]:  # those at the ends may be cut
            if not text.isascii() and len(sample) < _GUESS_BYTES:
                sample += text + b"\n"
        if n_read >= _READ_BYTES or len(sample) >= _GUESS_BYTES:
            break
    found = list(from_bytes(sample, cp_isolation=list(_COMMON))) if sample else []
    if not found:
        return "", ""
    alike = [
        one for one in found if (one.chaos, one.coherence) == (found[0].chaos, found[0].coherence)
    ]
    best = min(alike, key=lambda one: _COMMON.index(one.encoding))
    first = str(best).split("\n", 1)[0]
    return best.encoding, first[:_SHOWN_CHARACTERS]


class Transcoded(io.RawIOBase):
    """The content of a file in UTF-8; bytes that are not in its encoding pass as they are."""

    def __init__(self, raw: IO[bytes], encoding: str, name: str) -> None:
        super().__init__()
        self._raw, self._encoding, self._name = raw, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into ``buffer``."""
        while not self._ready and not self._ended:
            data = self._raw.read(_STEP_BYTES)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
                self._ready = text.encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise RecordError(f"{self._name} is not {self._encoding}: {error}") from error
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
