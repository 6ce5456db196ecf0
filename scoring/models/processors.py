"""Loads a processor: tokenizer, image processor and the class that combines them.

Many families' processors also require a video processor, and those need torchvision, a font or
num2words even if no video is ever shown. A placeholder replaces it on every machine, so packages
installed for videos have no influence on images.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin
from transformers.utils import PushToHubMixin

_LOADING = threading.Lock()


class _NoVideos(PushToHubMixin):  # type: ignore[misc] # makes a processor save it as a dict
    """Placeholder for a video processor; its settings read as absent, calling it is an error."""

    model_input_names = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return no settings."""
        return {}

    def __call__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("videos are not scored")


def load_processor(folder: Path, backend: str = "auto") -> Any:
    """Load the processor saved in ``folder``. Raises OSError or any exception of transformers.

    ``backend`` of the image processor: pil, torchvision, or auto for the default of transformers.
    """
    arguments = {} if backend == "auto" else {"backend": backend}
    with _LOADING, ExitStack() as stack:
        check = ProcessorMixin.check_argument_for_proper_class

        def accept_placeholder(self: Any, name: str, argument: object) -> Any:
            return _NoVideos if isinstance(argument, _NoVideos) else check(self, name, argument)

        replacements: list[tuple[Any, str, object]] = [
            (AutoVideoProcessor, "from_pretrained", staticmethod(lambda *_, **__: _NoVideos())),
            (ProcessorMixin, "check_argument_for_proper_class", accept_placeholder),
        ]
        if processing_smolvlm.num2words is None:  # it spells out the lengths of videos
            replacements.append((processing_smolvlm, "num2words", _NoVideos()))
        for owner, name, value in replacements:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, value)
        processor = transformers.AutoProcessor.from_pretrained(
            folder, local_files_only=True, **arguments
        )
    if isinstance(processor, _NoVideos):  # the fallback of transformers without anything better
        raise OSError(f"{folder} contains no processor")
    return processor


def image_processor_backend(processor: Any) -> str:
    """Return what resizes and normalises the images: pil or torchvision."""
    return str(getattr(processor.image_processor, "backend", "unknown"))
