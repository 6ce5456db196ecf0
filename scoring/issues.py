"""What did not fit while a file was taken in: counted by kind, with a few examples in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_EXAMPLES = 5


@dataclass(slots=True)
class ImportIssues:
    """What did not fit, counted by kind, with the first few of each in words."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, n: int, examples: Iterable[str] = ()) -> None:
        """Counts ``n`` more of ``kind``; only as many examples are drawn as are kept."""
        if not n:
            return
        self.counts[kind] = self.counts.get(kind, 0) + n
        kept = self.examples.setdefault(kind, [])
        for example in examples:
            if len(kept) >= _EXAMPLES:
                break
            kept.append(example)

    def as_rows(self) -> list[dict[str, Any]]:
        """The findings as rows of a table or of JSON: what, n, examples."""
        return [
            {"what": kind, "n": n, "examples": self.examples.get(kind, [])}
            for kind, n in self.counts.items()
        ]
