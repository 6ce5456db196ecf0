"""Loads a processor: tokenizer, image processor and what joins them.

Many families' processors also want a video processor, and those need torchvision, a font or
num2words even where no video is ever shown. A placeholder takes its place on every machine, so
that what is installed for videos decides nothing about images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin
from transformers.utils import PushToHubMixin

_LOADING = threading.Lock()


class _NoVideos(PushToHubMixin):  # type: ignore[misc] # which makes a processor write it as a dict
    """Takes the place of a video processor; its settings read as absent, its use is an error."""

    model_input_names = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)

    def to_dict(self) -> dict[str, Any]:
        """Nothing worth saving."""
        return {}

    def __call__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("videos are not scored")


def load_processor(folder: Path, backend: str = "auto") -> Any:
    """The processor saved in ``folder``. Raises what transformers raises, or OSError.

    ``backend`` of the image processor: pil, torchvision, or auto for what transformers prefers.
    """
    asked = {} if backend == "auto" else {"backend": backend}
    with _without_videos():
        processor = transformers.AutoProcessor.from_pretrained(
            folder, local_files_only=True, **asked
        )
    if isinstance(processor, _NoVideos):  # what it falls back on where it finds nothing better
        raise OSError(f"{folder} holds no processor")
    return processor


def image_processor_backend(processor: Any) -> str:
    """What resizes and normalises the images: pil or torchvision."""
    return str(getattr(processor.image_processor, "backend", "unknown"))


@contextmanager
def _without_videos() -> Iterator[None]:
    """Load processors without what only videos need."""
    loader = staticmethod(lambda *_, **__: _NoVideos())
    with _LOADING, ExitStack() as replaced:
        check = _lenient(ProcessorMixin.check_argument_for_proper_class)
        replaced.enter_context(_replaced(AutoVideoProcessor, "from_pretrained", loader))
        replaced.enter_context(_replaced(ProcessorMixin, "check_argument_for_proper_class", check))
        if processing_smolvlm.num2words is None:  # it puts the lengths of videos into words
            replaced.enter_context(_replaced(processing_smolvlm, "num2words", _NoVideos()))
        yield


def _lenient(check: Callable[..., Any]) -> Callable[..., Any]:
    def accept(self: Any, name: str, argument: object) -> Any:
        return _NoVideos if isinstance(argument, _NoVideos) else check(self, name, argument)

    return accept


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
