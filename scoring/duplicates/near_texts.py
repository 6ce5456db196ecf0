"""Near-duplicate texts: MinHash bands propose pairs, the exact Jaccard similarity decides.

MinHash signatures come from rensa. The number of bands is such that of the pairs exactly at the
threshold at least 99 % are expected to be compared, and more above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import metadata

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scoring.duplicates.texts import Hashes, Ints, ShingleSets, expand_ranges, measure_jaccard
from scoring.errors import InputError

DEFAULT_THRESHOLD = 0.8
_PERMUTATIONS = 120
_FOUND = 0.99  # of the pairs at the threshold
_SEED = 1
_CONNECTED_PAIRS = 1 << 20  # at a time
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15 * (2 * i + 1) % 2**64 | 1 for i in range(120)], np.uint64
)

Bands = NDArray[np.uint32]
Pairs = NDArray[np.int64]


def describe_method(threshold: float) -> dict[str, object]:
    """Return what determines near-duplicate texts, for the record of a column."""
    library = f"rensa {metadata.version('rensa')}"
    return {"jaccard": threshold, "library": library, "bands": count_bands(threshold)}


def check_threshold(threshold: float) -> None:
    """Raise InputError unless a threshold of similarity can be searched by bands."""
    if not 0.3 <= threshold <= 1:
        raise InputError(f"--threshold is a Jaccard similarity from 0.3 to 1, got {threshold}")


def count_bands(threshold: float) -> int:
    """Return the number of bands: the fewest that find 99 % of the pairs at the threshold."""
    for rows in (12, 10, 8, 6, 5, 4, 3, 2):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _FOUND:
            return bands
    return _PERMUTATIONS


def hash_bands(sets: ShingleSets, n_bands: int) -> Bands:
    """Return 32 bits per text and band of its MinHash signature, shape (n, bands)."""
    from rensa import RMinHash

    signatures = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(sets.hashes), sets.ends.astype(np.uint64), _PERMUTATIONS, _SEED
    )
    rows = np.array(signatures.to_rows(), np.uint64).reshape(
        len(sets), n_bands, _PERMUTATIONS // n_bands
    )
    mixed = (rows * _MULTIPLIERS[: rows.shape[2]]).sum(2, dtype=np.uint64)
    bands: Bands = (mixed >> np.uint64(32)).astype(np.uint32)
    return bands


def group_texts(
    sets: ShingleSets,
    bands: Bands,
    threshold: float,
    kinds: Hashes,
    on_progress: Callable[[int, int], None] | None = None,
) -> Ints:
    """Return the group of each text, equal for texts that verified pairs connect, shape (n,).

    Only texts of the same kind (n,) with an equal band are compared, and of these not those that
    are connected already.
    """
    n, n_bands = bands.shape
    labels = np.arange(n)
    for band in range(n_bands):
        keys = bands[:, band] ^ (kinds >> np.uint64(32)).astype(np.uint32)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        after = np.searchsorted(keys, keys, "right") - np.arange(n) - 1
        for first, second in expand_ranges(np.arange(1, n + 1), after):
            i, j = order[first], order[second]
            is_open = (labels[i] != labels[j]) & (kinds[i] == kinds[j])
            labels = _connect_similar(labels, sets, i[is_open], j[is_open], threshold)
        if on_progress:
            on_progress(band + 1, n_bands)
    return labels


def _connect_similar(labels: Ints, sets: ShingleSets, i: Ints, j: Ints, threshold: float) -> Ints:
    """Return the groups after the similar ones of these pairs were connected."""
    sizes = np.diff(sets.ends)
    smaller, larger = np.minimum(sizes[i], sizes[j]), np.maximum(sizes[i], sizes[j])
    is_close = smaller >= threshold * larger
    i, j = i[is_close], j[is_close]
    is_similar = measure_jaccard(sets, i, sets, j) >= threshold
    if not is_similar.any():
        return labels
    return connect_pairs(labels, i[is_similar], j[is_similar])


def connect_pairs(labels: Ints, i: Ints, j: Ints) -> Ints:
    """Return groups in which the groups of each pair are the same."""
    n = len(labels)
    edges = coo_array((np.ones(len(i), np.int8), (labels[i], labels[j])), shape=(n, n))
    components: Ints = connected_components(edges, directed=False)[1].astype(np.int64)
    return components[labels]


def group_connected(n: int, pairs: Iterable[tuple[Ints, Ints]]) -> Ints:
    """Return groups of n things, equal for those that pairs connect, shape (n,)."""
    labels = np.arange(n)
    waiting = [np.empty((2, 0), np.int64)]
    n_waiting = 0
    for i, j in pairs:
        is_open = labels[i] != labels[j]
        waiting.append(np.stack((i[is_open], j[is_open])))
        n_waiting += waiting[-1].shape[1]
        if n_waiting > _CONNECTED_PAIRS:
            labels = connect_pairs(labels, *np.concatenate(waiting, axis=1))
            waiting, n_waiting = [np.empty((2, 0), np.int64)], 0
    return connect_pairs(labels, *np.concatenate(waiting, axis=1)) if n_waiting else labels


def find_similar(
    ours: ShingleSets, our_bands: Bands, theirs: ShingleSets, their_bands: Bands, threshold: float
) -> Pairs:
    """Return pairs (position in ours, position in theirs) of similar texts, shape (pairs, 2)."""
    pairs = [np.empty((0, 2), np.int64)]
    for band in range(our_bands.shape[1]):
        order = np.argsort(their_bands[:, band], kind="stable")
        keys = their_bands[order, band]
        starts = np.searchsorted(keys, our_bands[:, band], "left")
        counts = np.searchsorted(keys, our_bands[:, band], "right") - starts
        for i, position in expand_ranges(starts, counts):
            j = order[position]
            is_similar = measure_jaccard(ours, i, theirs, j) >= threshold
            pairs.append(np.stack((i[is_similar], j[is_similar]), 1))
    return np.unique(np.concatenate(pairs), axis=0)
