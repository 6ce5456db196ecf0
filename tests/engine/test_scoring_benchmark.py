"""The scoring benchmark runs: the same code as on a GPU, on a model that needs a second."""

from __future__ import annotations

import pytest
import torch

from benchmarks import scoring


@pytest.mark.parametrize("how", ["--as-a-run", "--embedded"])
def test_a_small_shape_runs_to_the_end(capsys: pytest.CaptureFixture[str], how: str) -> None:
    options = ["--shape", "tiny", "--samples", "6", "--per-image", "1", "3", "--repeat", "1"]
    scoring.main([*options, how])
    output = capsys.readouterr().out
    assert "1 (6 on 6)" in output
    assert "3 (6 on 2)" in output
    assert (
        "batched, maskless, feature_cache, tree, causal_beginning, split_head, short_last_layer"
        in output
    )
    assert "ms per sample" in output


def test_different_scores_exit_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "score_engine", lambda _, samples: [(1.0, 1.0)] * len(samples))
    with pytest.raises(SystemExit, match="The scores differ by"):
        scoring.main(["--shape", "tiny", "--samples", "2", "--per-image", "1", "--repeat", "1"])


def test_a_missing_gpu_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scoring.main(["--device", "cuda"])
    assert capsys.readouterr().out.startswith("No CUDA device here")


def test_a_missing_score_is_a_difference() -> None:
    assert scoring.largest_difference([(1.0, 2.0)], [(1.0, float("nan"))]) == float("inf")
    assert scoring.largest_difference([(1.0, 2.0)], [(1.5, 2.0)]) == 0.5


@pytest.mark.parametrize(
    ("wall", "cpu", "said"),
    [
        (3.0, 3.0, "3: FLOP reached, clock reached, CPU reached"),
        (2.0, 3.0, "3: FLOP reached, clock MISSED, CPU reached"),
        (3.0, 2.0, "3: FLOP reached, clock reached, CPU MISSED"),
    ],
)
def test_each_bar_is_judged_separately(wall: float, cpu: float, said: str) -> None:
    # Three repetitions against an engine of one second: the median decides.
    pairs = [
        (scoring.Timing(wall * noise, cpu), scoring.Timing(1.0, 1.0)) for noise in (1.0, 0.1, 9.0)
    ]
    result = scoring.Result(2.67, 16, 6, pairs, 0.0, 3.0, 1.0, 1.0)
    assert scoring.judge_bars(result, "mid") == said
    assert scoring.judge_bars(result, "tiny") == "none set"
