"""How much of the device a batch may take, and how its running out is told.

A GPU's budget comes from what a small batch was seen to take; a processor's from the work that
hides what Python spends on a batch, since a processor gains nothing from larger ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scoring.models.base import OutOfMemoryError

_GPU_SHARE = 0.8  # of the free memory: the rest is for fragments and for what others take
LEAST_GPU_TOKENS = 1024
_MOST_GPU_TOKENS = 65536  # beyond which nothing is gained
_CPU_TOKENS = (128, 1024)  # beyond the most, what is computed leaves the caches
# What torch and CUDA's libraries say where they raise no error of its own kind for it.
_SAID = re.compile("allocate memory|enough memory|out of memory|STATUS_ALLOC_FAILED", re.I)
_CPU_WORK = 6e8  # parameters x tokens of a batch that hide what Python spends on it


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Turns what torch raises when memory runs out into OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemoryError(str(error)) from error


def _is_out_of_memory(error: Exception) -> bool:
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or _SAID.search(str(error)) is not None


def cpu_token_budget(model: Any) -> int:
    """Padded tokens of a batch on a processor: no more than hide Python's share, since

    padding costs there what it would on a GPU, and batches gain nothing.
    """
    text = model.config.get_text_config()
    parameters = 12 * text.num_hidden_layers * text.hidden_size**2
    least, most = _CPU_TOKENS
    return int(min(max(_CPU_WORK / parameters, least), most))


def gpu_token_budget(device: torch.device, tokens: int, run: Callable[[], object]) -> int:
    """Padded tokens of a batch on a GPU, judged by what ``run``, a batch of ``tokens``, takes."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    taken = max(torch.cuda.max_memory_allocated(device) - before, 1)
    free, _ = torch.cuda.mem_get_info(device)
    fitting = _GPU_SHARE * free / (taken / tokens)
    return int(min(max(fitting, LEAST_GPU_TOKENS), _MOST_GPU_TOKENS))
