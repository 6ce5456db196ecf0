"""Problems found while importing a file: counted by kind, with a few examples of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

_MAX_EXAMPLES = 5


@dataclass(slots=True)
class ImportIssues:
    """Number of problems by kind, with the first examples of each kind."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, n: int, examples: Iterable[str] = ()) -> None:
        """Count ``n`` more of ``kind``. Draws no more examples than it keeps."""
        if not n:
            return
        self.counts[kind] = self.counts.get(kind, 0) + n
        kept = self.examples.setdefault(kind, [])
        kept.extend(islice(examples, _MAX_EXAMPLES - len(kept)))

    def in_words(self) -> str:
        """Return all kinds with their numbers and an example, to append to a message."""
        texts = [
            f"{kind}: {n:,}" + (f" (such as {examples[0]})" if examples else "")
            for kind, n in self.counts.items()
            for examples in [self.examples.get(kind)]
        ]
        return f": {'; '.join(texts)}" if texts else ""

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row per kind, for a table or for JSON: what, n, examples."""
        return [
            {"what": kind, "n": n, "examples": self.examples.get(kind, [])}
            for kind, n in self.counts.items()
        ]
