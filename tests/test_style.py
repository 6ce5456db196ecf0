"""Plain English: words and turns of phrase that this project does not use.

Covers docstrings, comments, messages, Markdown, JavaScript, CSS and the names of functions. It
catches relapses; it does not prove that a text reads well. To list what a path still contains:
``python -m tests.test_style scoring/engine README.md``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("scoring", "dashboard", "tests", "benchmarks", "docs")
SKIPPED = ("tests/golden", "tests/workspaces/version")

PHRASES = {
    r"tells?|told": "reports, prints, shows",
    r"says?|said": "reports, prints, shows",
    r"stands|stood": "is, is stored",
    r"lies": "is, is stored",
    r"what of": "X that failed to ...",
    r"what (?:it|they|one|he) holds?": "its contents",
    r"(?<!there )is no (?!longer\b|more\b|less\b|need\b)": "is not a ...",
    r"no matter of": "does not concern",
    r"whoever|whatever|nobody": "anyone who, no one",
    r"nothing of": "none of",
    r"anew|afresh": "again, from scratch",
    r"taken for|takes? for|took for": "treated as",
    r"taken in|takes? in|took in": "imported",
    r"takes? up|taken up|took up": "resumes",
    r"by hand": "manually",
    r"wish|wishes|wished": "request",
    r"heeds?|heeded": "handle",
    r"deeds?": "action",
    r"settles?|settled|settling": "resolve, decide",
    r"blames?|blamed": "attribute",
    r"at work": "running",
    r"at rest": "idle",
    r"so many|as many": "N samples, the same number",
    r"begins behind|left of|beside": "starts after, before, next to",
    r"stretch|stretches": "range",
    r"(?:the|a|each|this|that|of|no|one) cut|cuts": "threshold",
    r"verdicts?": "decision, match",
    r"rooms?|house|desks?|doors?": "package, module, page",
    r"the one decision behind": "(drop the formula)",
    r"in the midst": "during",
    r"goes on from there|go on from there": "resumes",
    r"to be had": "available",
    r"akin|astray|thereof|whereof": "similar, wrong, its",
    r"stumbles? over": "fails on",
    r"found out": "detected",
}
"""Pattern (whole words) to what we write instead."""

NAMES = {
    "told", "said", "says", "stands", "standing", "deed", "heed", "wish", "settle", "settled",
    "settling", "blame", "blamed", "verdict", "verdicts", "cut", "cuts", "stretch", "akin",
    "astray", "beside", "behind", "anew", "whoever",
}  # fmt: skip
"""Words that no function, class or module is named with."""

LOCALS = {"one", "found", "place", "which", "behind", "said"}
"""Names of variables that do not say what they hold."""

ALLOWED = {
    ("tests/test_style.py", ""),
    ("scoring/exports/card.py", "beside"),
    ("scoring/exports/card.py", "anew"),
    ("scoring/exports/card.py", "by hand"),
    ("scoring/models/probing.py", "stands"),
    ("tests/engine/test_families.py", "say"),
    ("tests/engine/test_image_removal.py", "tell"),
    ("tests/reviews/test_reviewer_state.py", "desk"),
    ("tests/reviews/test_reviews.py", "desk"),
    ("tests/synthetic.py", "say"),
}
"""(path, phrase) pairs that are meant: the phrase is what someone else's format or rule is called,
part of a conversation whose tokens are measured, or part of a file that is compared byte by byte.

An empty phrase allows all of a file.
"""

_PATTERN = re.compile(
    r"\b(?:" + "|".join(f"({phrase})" for phrase in PHRASES) + r")(?:\b|(?<=\s))", re.IGNORECASE
)


def source_files(*suffixes: str, folders: tuple[str, ...] = SOURCES) -> list[Path]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [*ROOT.glob("*.md"), ROOT / "data" / "README.md"]
    return sorted(
        path
        for path in files
        if path.suffix in suffixes
        and not path.relative_to(ROOT).as_posix().startswith(SKIPPED)
        and "node_modules" not in path.parts
    )


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """The prose of a file with its line numbers."""
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from python_texts(source)
    elif path.suffix == ".md":
        yield from markdown_texts(source)
    else:
        yield from script_texts(source)


def script_texts(source: str) -> Iterator[tuple[int, str]]:
    """Comments, and strings of several words, of JavaScript and CSS."""
    while (flat := re.sub(r"\$\{[^{}]*\}", "", source)) != source:
        source = flat  # a template without its expressions, innermost first
    for match in re.finditer(r"//.*|/\*(?:.|\n)*?\*/|`[^`\n]*`|\"[^\"\n]*\"", source):
        if " " in match[0].strip():
            yield source.count("\n", 0, match.start()) + 1, match[0]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Comments, and strings of several words; the pieces of one f-string are one text."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inside.update(id(value) for value in node.values)
            pieces = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            yield node.lineno, "".join(str(piece) for piece in pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_prose = id(node) not in inside and " " in node.value.strip()
            if is_prose:
                yield node.lineno, node.value


def markdown_texts(source: str) -> Iterator[tuple[int, str]]:
    """Paragraphs without code: neither blocks nor `spans`."""
    fenced = False
    for number, line in enumerate(source.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`", "", line)


def findings(path: Path) -> list[str]:
    """What of PHRASES a file contains: place, phrase, replacement."""
    name = path.relative_to(ROOT).as_posix()
    replacements = list(PHRASES.values())
    found = []
    for line, text in texts_of(path):
        for match in _PATTERN.finditer(" ".join(text.split())):
            phrase = match[0].lower().strip()
            if (name, "") not in ALLOWED and (name, phrase) not in ALLOWED:
                better = replacements[(match.lastindex or 1) - 1]
                found.append(f"{name}:{line}: {phrase!r}; write: {better}")
    return found


def function_names(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def odd_names(path: Path) -> list[str]:
    """Functions, classes and variables whose name is on a list above."""
    name = path.relative_to(ROOT).as_posix()
    found = []
    for line, defined in [(1, path.stem), *function_names(path)]:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", defined).lower().split("_")
        found += [f"{name}:{line}: {defined}" for word in NAMES.intersection(words)]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        bound = node.arg if isinstance(node, ast.arg) else None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound = node.id
        if bound in LOCALS:
            found.append(f"{name}:{getattr(node, 'lineno', 0)}: variable {bound!r}")
    return found


def test_texts_are_plain_english() -> None:
    files = source_files(".py", ".md", ".js", ".css")
    assert len(files) > 300
    assert [line for path in files for line in findings(path)] == []


def test_names_are_nouns_and_verbs_of_the_field() -> None:
    files = source_files(".py", folders=("scoring", "dashboard"))
    assert [line for path in files for line in odd_names(path)] == []


def test_lines_of_scripts_are_short() -> None:
    lines = [
        f"{path.name}:{number}"
        for path in source_files(".js", folders=("dashboard",))
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1)
        if len(line) > 120
    ]
    assert lines == []


def test_function_names_are_more_than_one_word() -> None:
    """Fewer than one in five: ``read_page`` says what ``read`` leaves open."""
    names = [
        name
        for path in source_files(".py", folders=("scoring", "dashboard"))
        for _, name in function_names(path)
        if not name.startswith("__") and name.lstrip("_")[:1].islower()
    ]
    single = [name for name in names if "_" not in name.strip("_")]
    assert len(single) / len(names) < 0.20


if __name__ == "__main__":
    for argument in sys.argv[1:] or SOURCES:
        start = (ROOT / argument).resolve()
        for path in source_files(".py", ".md", ".js", ".css"):
            if path == start or start in path.parents:
                lines = findings(path)
                if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (
                    "scoring",
                    "dashboard",
                ):
                    lines += odd_names(path)
                sys.stdout.writelines(f"{line}\n" for line in lines)
