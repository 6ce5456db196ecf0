"""Reads about samples: pages of them, single samples in full, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Final

from dashboard.data.cache import APP_CACHE
from dashboard.data.cards import Card, build_card, build_tile
from dashboard.data.context import Context, cached_query, cached_read
from dashboard.data.edits import read_card_edits
from dashboard.text import formatting
from dashboard.view.state import View
from scoring.database.filters import Range
from scoring.database.queries.browse import (
    FirstHits,
    fetch_first_pages,
    fetch_page,
    first_hits,
    is_slow_search,
    read_rows,
)
from scoring.database.queries.column_rows import sort_values
from scoring.database.queries.detail import sample_details, token_scores_of
from scoring.database.queries.overview import sample_count, score_noise
from scoring.database.values import ColumnSort, Cursor, Order, Page, Sort
from scoring.dataset.records import read_dataset_info, read_sample, read_samples
from scoring.duplicates.members import DuplicateGroup, read_groups
from scoring.errors import FilterError, InputError
from scoring.images.decode import ImageProblem, open_image, resolve_image
from scoring.images.thumbnails import encode_image, load_thumbnail
from scoring.samples import Status
from scoring.workspace import Workspace

IMAGE_SIZE: Final = 2048
MAX_DUPLICATES: Final = 8  # pictures of near-duplicates on a card


@cached_read()
def count_samples(context: Context) -> int:
    """Return the number of samples that match the filter."""
    return sample_count(context.selection)


def resolve_order(context: Context, view: View) -> tuple[View, str]:
    """Return the view in an order that the database has, and what is wrong with the view's own."""
    try:
        if isinstance(view.sort, ColumnSort):
            sort_values(context.store.snapshot(), view.sort.column)
    except FilterError as error:
        return replace(view, sort=View().sort), str(error)
    return view, ""


def read_page(context: Context, view: View) -> Page:
    """Return the view's page of samples."""
    return read_page_at(context, view.sort, view.page, view.size)


@cached_read()
def read_page_at(context: Context, sort: Order, cursor: Cursor | None, limit: int) -> Page:
    """Return at most ``limit`` samples from a position in an order."""
    return fetch_page(context.selection, sort, cursor, limit)


@cached_read()
def read_sides(context: Context, threshold: float, limit: int) -> tuple[Page | None, Page | None]:
    """Return the samples nearest to a threshold, dropped and kept.

    None is a side without a score that the filter allows.
    """
    limits = context.filter.visnec
    low, high = (limits.min, limits.max) if limits else (None, None)
    ranges = {  # the nearest to the threshold come first
        Sort.VISNEC_DESC: (low, threshold if high is None else min(high, threshold)),
        Sort.VISNEC_ASC: (threshold if low is None else max(low, threshold), high),
    }
    parts = {
        sort: replace(context.selection, where=replace(context.filter, visnec=Range(start, end)))
        for sort, (start, end) in ranges.items()
        if start is None or end is None or start < end
    }
    selections = [(selection, sort) for sort, selection in parts.items()]
    pages = dict(zip(parts, fetch_first_pages(selections, limit), strict=True))
    return pages.get(Sort.VISNEC_DESC), pages.get(Sort.VISNEC_ASC)


def read_first_hits(context: Context, limit: int) -> FirstHits | None:
    """Return some samples that contain the filter's text; None if the full answer is as quick."""
    if not is_slow_search(context.store, context.filter):
        return None
    return first_hits(context.selection, limit)


def read_tiles(context: Context, page: Page | FirstHits) -> list[Card]:
    """Return the gallery's tiles for a page."""
    for row in page.records:
        images = tuple(row["images"])
        key = (context.workspace.root, context.edition, row["row_idx"])
        APP_CACHE.image_paths.get(key, lambda images=images: images)  # type: ignore[misc]
    return [build_tile(row, context.bands, context.edition) for row in page.records]


def read_row_tiles(context: Context, rows: Sequence[int]) -> list[Card]:
    """Return the gallery's tiles for these rows, in their order."""
    wanted = list(rows)
    records = cached_query(
        context, "rows", lambda: read_rows(context.store, context.scope, wanted), tuple(wanted)
    )
    return [build_tile(row, context.bands, context.edition) for row in records]


def read_card(context: Context, row_idx: int) -> Card:
    """Return one sample in full, cached; see :func:`read_cards`."""
    return cached_query(
        context, "card", lambda: read_cards(context, [row_idx])[0], row_idx, context.edition
    )


def read_cards(context: Context, rows: Sequence[int]) -> list[Card]:
    """Return samples in full, in the order of ``rows``, with their groups of near-duplicates.

    Token losses are included if the run has them.

    Raises:
        InputError: If the dataset lacks one of the rows.
    """
    samples = {s.row_idx: s for s in read_samples(context.workspace, sorted(set(rows)))}
    if missing := set(rows) - samples.keys():
        raise InputError(f"the dataset has no row {min(missing)}")
    details = sample_details(context.store, context.scope, rows)
    tokens = token_scores_of(context.store, context.scope, rows)
    noise = score_noise(context.store, context.scope)
    shown = context.scope.baseline, context.bands, context.edition
    duplicates = _read_duplicates(context, rows)
    edits = read_card_edits(context.store, context.scope, list(samples.values()))
    return [
        build_card(samples[row], details[row], *shown, tokens.get(row), noise)
        | {"duplicates": duplicates.get(row, []), "edit": edits.get(row)}
        for row in rows
    ]


def _read_duplicates(context: Context, rows: Sequence[int]) -> dict[int, list[Card]]:
    """Return the groups of near-duplicates of each row, with the tiles of some others in it."""
    groups = read_groups(context.store, rows)
    pictured = {
        (row, group.kind): group.others_of(row)[:MAX_DUPLICATES]
        for row, of_row in groups.items()
        for group in of_row
    }
    rows_of_tiles = sorted(set(chain.from_iterable(pictured.values())))
    tiles = read_row_tiles(context, rows_of_tiles) if rows_of_tiles else []
    tile_of = {tile["row_idx"]: tile for tile in tiles}

    def describe(row: int, group: DuplicateGroup) -> Card:
        shown = [tile_of[other] for other in pictured[row, group.kind] if other in tile_of]
        return asdict(group) | {"name": formatting.DUPLICATE_KINDS[group.kind], "tiles": shown}

    return {row: [describe(row, group) for group in of_row] for row, of_row in groups.items()}


def read_thumbnail(workspace: Workspace, row_idx: int) -> bytes:
    """Return the thumbnail of a sample's first image as JPEG. Raises ImageProblem."""
    return load_thumbnail(workspace, _read_image_path(workspace, row_idx, 0))


def read_image(workspace: Workspace, row_idx: int, position: int = 0) -> bytes:
    """Return a sample's image as PNG or JPEG, at most IMAGE_SIZE wide or high.

    It is re-encoded from its decoded pixels: a browser never receives bytes of a dataset file.

    Raises:
        ImageProblem: If there is no such image or it cannot be decoded.
    """
    path = _read_image_path(workspace, row_idx, position)
    location = resolve_image(path, workspace.image_roots)
    return APP_CACHE.images.get(
        (location, location.cache_key()),
        lambda: encode_image(open_image(location, IMAGE_SIZE), IMAGE_SIZE),
    )


def _read_image_path(workspace: Workspace, row_idx: int, position: int) -> str:
    """Return an image path of a row; cached, because pages request many at a time."""
    key = (workspace.root, read_dataset_info(workspace).fingerprint, row_idx)
    paths = APP_CACHE.image_paths.get(key, lambda: read_sample(workspace, row_idx).images)
    if position >= len(paths):
        raise ImageProblem(Status.TEXT_ONLY, f"this sample has no image {position + 1}")
    return paths[position]
