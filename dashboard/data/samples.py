"""Samples: pages of them, single ones in full, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from dashboard.data.cache import REFERENCES
from dashboard.data.cards import Card, build_card, build_tile
from dashboard.data.context import Context, cached_query, query_arguments
from dashboard.view.state import View
from scoring.database.queries.browse import fetch_page, read_rows
from scoring.database.queries.detail import (
    sample_detail,
    sample_details,
    token_scores,
    token_scores_of,
)
from scoring.database.queries.overview import sample_count, score_noise
from scoring.database.queries.search import FirstHits, first_hits, is_large, is_searched
from scoring.database.values import Cursor, Page, SampleDetail, Sort
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import InputError
from scoring.images.decode import ImageLocation, ImageProblem, open_image, resolve_image
from scoring.images.thumbnails import encode_image, load_thumbnail
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

IMAGE_SIZE: Final = 2048


def count_samples(context: Context) -> int:
    """How many samples meet the filter."""
    return cached_query(
        context, "count", lambda: sample_count(*query_arguments(context), context.bands)
    )


def read_page(context: Context, view: View) -> Page:
    """The view's page of samples."""
    return read_page_at(context, view.sort, view.page, view.size)


def read_page_at(context: Context, sort: Sort, cursor: Cursor | None, limit: int) -> Page:
    """At most ``limit`` samples at a place of an order."""
    return cached_query(
        context,
        "page",
        lambda: fetch_page(*query_arguments(context), sort, cursor, limit, context.bands),
        sort,
        cursor,
        limit,
    )


def read_first_hits(context: Context, limit: int) -> FirstHits | None:
    """Some samples with the filter's text, at once; None where all of them are known as soon."""
    store, scope, which = query_arguments(context)
    if is_searched(store, which) or not is_large(store):
        return None
    return first_hits(store, scope, which, limit, bands=context.bands)


def read_tiles(context: Context, page: Page | FirstHits) -> list[Card]:
    """What the gallery shows of a page."""
    for row in page.records:
        _remember_images(context, row["row_idx"], tuple(row["images"]))
    return [build_tile(row, context.bands, context.edition) for row in page.records]


def _remember_images(context: Context, row_idx: int, images: tuple[str, ...]) -> None:
    key = (context.workspace.root, "images", context.edition, row_idx)
    REFERENCES.get(key, lambda: images)


def read_card(context: Context, row_idx: int) -> Card:
    """One sample in full, with the losses of its answer tokens where the run keeps them.

    Raises InputError where the dataset has no such row.
    """
    tokens = cached_query(
        context,
        "tokens",
        lambda: token_scores(context.store, context.scope, row_idx),
        row_idx,
        decisions=False,
    )
    sample, detail = read_record(context.workspace, row_idx), read_detail(context, row_idx)
    noise = score_noise(context.store, context.scope)
    return build_card(
        sample, detail, context.scope.baseline, context.bands, context.edition, tokens, noise
    )


def read_cards(context: Context, rows: Sequence[int]) -> list[Card]:
    """Samples in full, in the order of ``rows``. Raises InputError for a row that is not there."""
    details = sample_details(context.store, context.scope, rows)
    samples = {one.row_idx: one for one in read_samples(context.workspace, sorted(set(rows)))}
    tokens = token_scores_of(context.store, context.scope, rows)
    noise = score_noise(context.store, context.scope)
    return [
        build_card(
            samples[row],
            details[row],
            context.scope.baseline,
            context.bands,
            context.edition,
            tokens.get(row),
            noise,
        )
        for row in rows
    ]


def read_detail(context: Context, row_idx: int) -> SampleDetail:
    """What the database knows about one sample."""
    return cached_query(
        context,
        "detail",
        lambda: sample_detail(context.store, context.scope, row_idx),
        row_idx,
    )


def read_record(workspace: Workspace, row_idx: int) -> Sample:
    """One sample of the dataset with its original bytes. Raises InputError."""
    for sample in read_samples(workspace, [row_idx]):
        return sample
    raise InputError(f"the dataset has no row {row_idx}")


def read_row_tiles(context: Context, rows: Sequence[int]) -> list[Card]:
    """What a gallery shows of these rows, in their order."""
    wanted = list(rows)
    records = cached_query(
        context,
        "rows",
        lambda: read_rows(context.store, context.scope, wanted),
        tuple(wanted),
    )
    return [build_tile(row, context.bands, context.edition) for row in records]


def read_thumbnail(workspace: Workspace, row_idx: int) -> bytes:
    """The small picture of a sample's first image, as JPEG. Raises ImageProblem."""
    return load_thumbnail(workspace, _reference(workspace, row_idx, 0))


def read_image(workspace: Workspace, row_idx: int, position: int = 0) -> bytes:
    """A sample's image, as PNG or JPEG, at most IMAGE_SIZE wide or high. Raises ImageProblem.

    Encoded anew from its pixels: no byte of a dataset file reaches a browser as it came.
    """
    place = resolve_image(_reference(workspace, row_idx, position), workspace.image_roots)
    return _encoded(place, place.cache_key())


def _reference(workspace: Workspace, row_idx: int, position: int) -> str:
    """The image path that a row names; looked up once, because pages ask for many at a time."""
    fingerprint = read_dataset_info(workspace).fingerprint
    key = (workspace.root, "images", fingerprint, row_idx)
    images = REFERENCES.get(key, lambda: read_record(workspace, row_idx).images)
    if position >= len(images):
        raise ImageProblem(Status.TEXT_ONLY, "this sample names no such image")
    return images[position]


@lru_cache(maxsize=64)
def _encoded(place: ImageLocation, identity: str) -> bytes:  # noqa: ARG001 - part of the key
    return encode_image(open_image(place, IMAGE_SIZE), IMAGE_SIZE)
