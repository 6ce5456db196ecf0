"""Token budgets for batches, and detection of out-of-memory errors.

A GPU's budget is derived from the memory of a small batch; a CPU's from the work that hides
Python's overhead per batch, since a CPU gains nothing from larger ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scoring.models.base import OutOfMemoryError

_GPU_SHARE = 0.8  # of the free memory: the rest is for fragmentation and other processes
LEAST_GPU_TOKENS = 1024
_MOST_GPU_TOKENS = 65536  # nothing is gained beyond this
_CPU_TOKENS = (128, 1024)  # above the upper limit, intermediate results no longer fit the caches
# Messages of torch and the CUDA libraries where they raise no specific exception.
_MESSAGES = re.compile("allocate memory|enough memory|out of memory|STATUS_ALLOC_FAILED", re.I)
_CPU_WORK = 6e8  # parameters x tokens of a batch that hide Python's overhead


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Raise OutOfMemoryError for any exception by which torch reports exhausted memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_specific = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not is_specific and _MESSAGES.search(str(error)) is None:
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemoryError(str(error)) from error


def cpu_token_budget(model: Any) -> int:
    """Return the padded tokens per batch on a CPU: just enough to hide Python's overhead."""
    text = model.config.get_text_config()
    parameters = 12 * text.num_hidden_layers * text.hidden_size**2
    least, most = _CPU_TOKENS
    return int(min(max(_CPU_WORK / parameters, least), most))


def gpu_token_budget(device: torch.device, tokens: int, run: Callable[[], object]) -> int:
    """Return the padded tokens per batch on a GPU, from the memory of ``run`` on ``tokens``."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    used = max(torch.cuda.max_memory_allocated(device) - before, 1)
    free, _ = torch.cuda.mem_get_info(device)
    fitting = _GPU_SHARE * free / (used / tokens)
    return int(min(max(fitting, LEAST_GPU_TOKENS), _MOST_GPU_TOKENS))
