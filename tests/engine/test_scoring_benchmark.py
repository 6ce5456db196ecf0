"""The benchmark of scoring runs: the same code as on a GPU, on a model that takes a second."""

from __future__ import annotations

import pytest
import torch

from benchmarks import scoring


def test_a_small_shape_goes_all_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--shape", "tiny", "--samples", "6", "--per-image", "1", "3", "--repeat", "1"]
    scoring.main([*options, "--as-a-run"])
    said = capsys.readouterr().out
    assert "1 (6 on 6)" in said
    assert "3 (6 on 2)" in said
    assert (
        "batched, maskless, feature_cache, tree, causal_beginning, split_head, short_last_layer"
        in said
    )
    assert "ms per sample" in said


def test_other_scores_end_it_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "engine_scores", lambda _, samples: [(1.0, 1.0)] * len(samples))
    with pytest.raises(SystemExit, match="The scores differ by"):
        scoring.main(["--shape", "tiny", "--samples", "2", "--per-image", "1", "--repeat", "1"])


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scoring.main(["--device", "cuda"])
    assert capsys.readouterr().out.startswith("No CUDA device here")


def test_a_missing_score_is_no_agreement() -> None:
    assert scoring.difference([(1.0, 2.0)], [(1.0, float("nan"))]) == float("inf")
    assert scoring.difference([(1.0, 2.0)], [(1.5, 2.0)]) == 0.5


@pytest.mark.parametrize(
    ("wall", "cpu", "said"),
    [
        (3.0, 3.0, "3: FLOP reached, clock reached, CPU reached"),
        (2.0, 3.0, "3: FLOP reached, clock MISSED, CPU reached"),
        (3.0, 2.0, "3: FLOP reached, clock reached, CPU MISSED"),
    ],
)
def test_each_bar_is_judged_by_itself(wall: float, cpu: float, said: str) -> None:
    # Three repetitions against an engine of one second: the median decides.
    pairs = [
        (scoring.Timing(wall * noise, cpu), scoring.Timing(1.0, 1.0)) for noise in (1.0, 0.1, 9.0)
    ]
    result = scoring.Result(2.67, 16, 6, pairs, 0.0, 3.0, 1.0, 1.0)
    assert scoring.verdict(result, "mid") == said
    assert scoring.verdict(result, "tiny") == "none set"
