"""Out-of-memory errors are distinguished from others, with the exceptions actually raised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from scoring.models.base import OutOfMemoryError
from scoring.models.memory import translate_out_of_memory

MANY = 1 << 58  # more numbers than any machine holds


def raising(error: Exception) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.empty(MANY, dtype=torch.uint8),
        lambda: np.zeros(MANY, dtype=np.uint8),
        lambda: bytearray(MANY),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        raising(RuntimeError("CUDA error: out of memory")),
        raising(RuntimeError(CUBLAS)),
        raising(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
    ],
    ids=["torch", "numpy", "python", "cuda", "driver", "cublas", "cudnn"],
)
def test_out_of_memory_is_translated(work: Callable[[], object]) -> None:
    with pytest.raises(OutOfMemoryError), translate_out_of_memory():
        work()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        KeyError("memory"),
    ],
)
def test_other_errors_are_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translate_out_of_memory():
        raise error
    assert raised.value is error
