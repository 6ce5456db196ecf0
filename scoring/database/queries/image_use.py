"""Whether a run uses the images at all: the alarm for a model that ignores them.

Two comparisons show it. Under a blind baseline that ignored images cannot influence, both losses
are the same. Under baseline none they are not: image tokens that carry nothing still take
attention. But then the loss with the image depends on the text alone, so samples with the same
question and answer have the same loss with any image.

A healthy model may be equally sure with and without the image, so losses near 0 are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from scoring.database.connection import Snapshot, Store
from scoring.precision import UNKNOWN, Noise

MIN_COMPARED: Final = 20  # with fewer comparisons the run is not judged
_EQUAL_SHARE: Final = 0.9  # the band of the noise contains about 95 % of the errors
_LEAST_LOSS: Final = 10  # times that band: lower losses are equal in healthy models too
_N_BLOCKS: Final = 10  # evenly spaced in the dataset, searched for the same question and answer
_BLOCK_ROWS: Final = 10_000
_WITHOUT_IMAGE: Final = ("none", "reference")  # the baselines of the text-only predictions

_LOSSES = """
    SELECT baseline, count(*), count(*) FILTER (abs(visnec) <= $noise)
    FROM scores
    WHERE run_id = $run_id AND greatest(loss_text, loss_multimodal) >= $least_loss
    GROUP BY baseline
"""
_PREDICTIONS = """
    SELECT count(*), count(*) FILTER (trim(prediction_text) = trim(prediction_multimodal))
    FROM predictions
    WHERE run_id = $run_id AND prediction_text IS NOT NULL AND prediction_multimodal IS NOT NULL
"""
# One loss of the first answer for each image and text, against the mean over all images.
_SAME_TEXT = """
    WITH texts AS (
        SELECT p.row_idx, p.n_turns, hash(p.question, p.answer) AS text,
            coalesce(c.image_key, md5_number_lower(p.images[1])) AS image_key
        FROM samples p
        LEFT JOIN image_copies c ON c.path_key = md5_number_lower(p.images[1])
        WHERE p.n_images = 1
            AND p.row_idx % (SELECT greatest(n_samples // $n_blocks, $block_rows) FROM build_info)
                < $block_rows
    ),
    first_losses AS (
        SELECT t.text, t.image_key, s.loss_multimodal AS loss
        FROM texts t JOIN scores s ON s.row_idx = t.row_idx
        WHERE s.run_id = $run_id AND s.baseline = $baseline AND t.n_turns = 1
        UNION ALL
        SELECT t.text, t.image_key, s.loss_multimodal
        FROM texts t JOIN turn_scores s ON s.row_idx = t.row_idx
        WHERE s.run_id = $run_id AND s.baseline = $baseline AND s.turn = 0 AND t.n_turns > 1
    ),
    by_image AS (
        SELECT text, avg(loss) AS loss FROM first_losses
        WHERE loss IS NOT NULL GROUP BY text, image_key
    ),
    compared AS (
        SELECT loss, avg(loss) OVER (PARTITION BY text) AS mean_loss FROM by_image
        QUALIFY count(*) OVER (PARTITION BY text) > 1
            AND max(loss) OVER (PARTITION BY text) >= $least_loss
    )
    SELECT count(*), count(*) FILTER (abs(loss - mean_loss) <= $noise) FROM compared
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """``n_equal`` of ``n`` comparisons came out equal."""

    n: int = 0
    n_equal: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether enough comparisons were made and nearly all came out equal."""
        return self.n >= MIN_COMPARED and self.n_equal >= _EQUAL_SHARE * self.n

    def __str__(self) -> str:
        return f"{self.n_equal:,} of {self.n:,}"


@dataclass(frozen=True, slots=True)
class ImageUse:
    """What a run shows about the influence of the images, within the ``noise`` of its dtype.

    ``baselines``: samples whose loss with the image equals that under a blind baseline.
    ``same_text``: of the samples with the same first question and answer and other images, those
    whose loss with the image is the same. ``predictions``: those that are the same with the image
    and without it, compared only where the losses are.
    """

    run_id: str
    noise: Noise | None
    baselines: Mapping[str, Compared]
    same_text: Compared
    predictions: Compared


def read_image_use(store: Store, run_id: str) -> ImageUse:
    """Compare the losses and predictions of a run; nothing is compared where the noise is
    unknown."""
    snapshot = store.snapshot()
    names = [baseline for run, baseline in snapshot.scopes if run == run_id]
    noise = snapshot.noises[run_id, names[0]] if names else None
    if noise is None:
        return ImageUse(run_id, None, {}, Compared(), Compared())
    return snapshot.cache.get_or_compute(
        ("image use", run_id),
        lambda: _compare_losses(snapshot, run_id, names, noise),
        lambda _: 500,
    )


def _compare_losses(
    snapshot: Snapshot, run_id: str, baselines: list[str], noise: Noise
) -> ImageUse:
    values: dict[str, Any] = {"run_id": run_id, "baseline": baselines[0], "n_blocks": _N_BLOCKS}
    values |= {"block_rows": _BLOCK_ROWS}
    values |= {"noise": noise.band, "least_loss": _LEAST_LOSS * noise.band}
    counts = {name: Compared(*rest) for name, *rest in snapshot.fetch_rows(_LOSSES, values)}
    predictions = Compared()
    if any(counts[name].is_equal for name in _WITHOUT_IMAGE if name in counts):
        predictions = Compared(*snapshot.fetch_rows(_PREDICTIONS, values)[0])
    return ImageUse(
        run_id,
        noise,
        {name: counts.get(name, Compared()) for name in baselines},
        same_text=Compared(*snapshot.fetch_rows(_SAME_TEXT, values)[0]),
        predictions=predictions,
    )


def find_image_problem(use: ImageUse, names: Mapping[str, str] | None = None) -> str | None:
    """Return why the run seems to ignore the images and what may cause it, or None.

    ``names`` are those of the baselines, by default their own.
    """
    fact = _find_equal_baseline(use, names or {}) or _find_equal_images(use)
    if fact is None:
        return None
    return (
        f"This run seems to ignore the image: {fact}, within the noise ({use.noise}). Usual "
        "causes: the chat template lacks the image placeholder, the processor is that of another "
        "model, the images are blank or all the same, or the projector was not trained or not "
        "loaded. Do not select by its scores."
    )


def _find_equal_baseline(use: ImageUse, names: Mapping[str, str]) -> str | None:
    for baseline, losses in use.baselines.items():
        is_blind = baseline in _WITHOUT_IMAGE and use.predictions.n >= MIN_COMPARED
        if not losses.is_equal or (is_blind and not use.predictions.is_equal):
            continue
        name = names.get(baseline, baseline)
        fact = f"{losses} losses are the same with the image and under baseline {name}"
        if is_blind:
            fact += f", and {use.predictions} predictions with it and without it"
        return fact
    return None


def _find_equal_images(use: ImageUse) -> str | None:
    if not use.same_text.is_equal:
        return None
    return (
        f"{use.same_text} samples with the same question and answer have the same loss with any "
        "image"
    )


def describe_image_use(use: ImageUse, names: Mapping[str, str] | None = None) -> str:
    """Return how often the images changed a loss, or why that was not checked.

    ``names`` are those of the baselines, by default their own.
    """
    names = names or {}
    title = "Use of the images"
    if use.noise is None:
        return f"{title}: not checked, as the noise is {UNKNOWN}"
    most = max(compared.n for compared in (*use.baselines.values(), use.same_text))
    if most < MIN_COMPARED:
        return (
            f"{title}: not checked, as {most} losses can be compared and {MIN_COMPARED} are needed"
        )
    parts = [
        f"{losses.n - losses.n_equal:,} of {losses.n:,} losses differ from baseline "
        + names.get(baseline, baseline)
        for baseline, losses in use.baselines.items()
    ]
    same = use.same_text
    if same.n >= MIN_COMPARED:
        parts.append(
            f"{same.n - same.n_equal:,} of {same.n:,} losses of the same question and answer "
            "differ between images"
        )
    elif set(use.baselines) <= set(_WITHOUT_IMAGE):
        parts.append(
            "too few samples share question and answer to compare images; a run with --baseline "
            "gray compares all"
        )
    return f"{title}: {'; '.join(parts)}"


def image_use_values(use: ImageUse) -> dict[str, Any]:
    """Return the comparisons as JSON values, with the text and the problem, if any."""
    values = asdict(use) | {"noise": use.noise and use.noise.band}
    return values | {"text": describe_image_use(use), "problem": find_image_problem(use)}
