"""Train the model of a trial on one arm with one seed, and restore it afterwards.

``transformers.Trainer`` trains on the batches of ``TrainingCollator``: the answer tokens that were
scored are the labels. The vision tower is frozen; the language model and the projector are trained,
all their weights or a LoRA adapter next to their linear layers.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils.data import RandomSampler
from transformers.trainer_callback import PrinterCallback

from scoring.errors import InputError, VisnecError
from scoring.models.hf import HfModel
from scoring.training.collator import IGNORED, TrainingCollator
from scoring.training.samples import WorkspaceSamples
from scoring.training.weights import weighted_sampler
from scoring.trials.plan import TrainingSettings

_WARMUP = 0.03  # share of the steps, as LLaVA-1.5 was trained
_ALPHA_PER_RANK = 2  # of LoRA, as there
_PROJECTORS = ("merger", "deepstack_merger_list")  # inside the vision tower (Qwen-VL, GLM-4V)

OnStep = Callable[[int, int], None]
"""Called after each step with its number and the number of all."""


class UnitStoppedError(Exception):
    """The training or measuring of a unit was stopped on request."""


class TrainingError(VisnecError):
    """A unit that cannot be trained: it diverged, or does not fit the device."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedUnit:
    """A trained model in memory: ``network`` with its weights or its adapter."""

    network: Any
    n_steps: int
    n_answer_tokens: int  # that were trained on, in all steps together
    loss: float  # mean of the last tenth of the steps, nats per answer token
    seconds: float


class UnitTrainer:
    """Trains units one after the other with one loaded model; each starts from its weights."""

    def __init__(
        self, model: HfModel, settings: TrainingSettings, collator: TrainingCollator
    ) -> None:
        check_training_packages(settings)
        self._model, self._settings, self._collator = model, settings, collator
        self._device = training_device(model.info.device)
        size = settings.batch_size if model.capabilities.batched else 1
        divisors = [n for n in range(size, 0, -1) if settings.batch_size % n == 0]
        self._micro_batches = divisors  # the first that fit the device

    @contextmanager
    def train(
        self,
        samples: WorkspaceSamples,
        seed: int,
        weights: Sequence[float] | None = None,
        *,
        on_step: OnStep = lambda *_: None,
        stop: threading.Event | None = None,
    ) -> Iterator[TrainedUnit]:
        """Train within the context: in it the model has the trained weights, after it its own.

        ``seed`` decides the order, and the first weights of an adapter. Samples are drawn in
        proportion to ``weights``, each once per epoch without. A batch that does not fit the device
        is accumulated from smaller ones, which gives the same gradients. Raises UnitStoppedError
        within a step after ``stop`` is set, TrainingError, and InputError for a sample that cannot
        be trained on.
        """
        stop = stop or threading.Event()
        while True:
            with _trainable(self._model.network, self._settings, seed) as network:
                try:
                    trained = self._run_trainer(network, samples, seed, weights, on_step, stop)
                except torch.OutOfMemoryError as error:
                    if len(self._micro_batches) == 1:
                        raise TrainingError(
                            "Not even one sample at a time fits the memory of the device. Plan "
                            "the trial with --adapter lora, --dtype bfloat16 or a smaller model."
                        ) from error
                else:
                    yield trained
                    return
            self._micro_batches.pop(0)
            torch.cuda.empty_cache()

    def _run_trainer(
        self,
        network: Any,
        samples: WorkspaceSamples,
        seed: int,
        weights: Sequence[float] | None,
        on_step: OnStep,
        stop: threading.Event,
    ) -> TrainedUnit:
        start = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="visnec-trial-") as folder,
            _keep_config(self._model.network.config),
        ):
            arguments = self._training_arguments(folder, seed)
            trainer = _Trainer(network, arguments, self._collator, samples, weights)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(_StepCallback(on_step, stop))
            trainer.train()
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        if stop.is_set():
            raise UnitStoppedError
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        loss = fmean(losses[-math.ceil(len(losses) / 10) :])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training diverged: its loss became {loss}. Plan a trial with a lower "
                f"--learning-rate than {self._settings.learning_rate:g}."
            )
        seconds = time.monotonic() - start
        steps = trainer.state.global_step
        return TrainedUnit(network, steps, trainer.n_answer_tokens, loss, seconds)

    def _training_arguments(self, folder: str, seed: int) -> Any:
        settings, micro_batch = self._settings, self._micro_batches[0]
        arguments = transformers.TrainingArguments(
            folder,
            num_train_epochs=settings.epochs or 1.0,
            max_steps=settings.steps or -1,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=settings.batch_size // micro_batch,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=_WARMUP,
            optim="adamw_torch",
            bf16=settings.dtype == "bfloat16",
            seed=seed,
            data_seed=seed,
            use_cpu=self._device == "cpu",
            dataloader_pin_memory=self._device != "cpu",
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # else all GPUs would share each batch
        return arguments


class _Trainer(transformers.Trainer):  # type: ignore[misc]
    """Draws samples by seed and weight, and counts the answer tokens of the steps."""

    def __init__(
        self,
        network: Any,
        arguments: Any,
        collator: TrainingCollator,
        samples: WorkspaceSamples,
        weights: Sequence[float] | None,
    ) -> None:
        super().__init__(network, arguments, collator, samples)
        self._weights = weights
        self.n_answer_tokens = 0

    def _get_train_sampler(self, *_: Any) -> Any:
        seed = self.args.seed
        if self._weights is not None:
            return weighted_sampler(self._weights, seed=seed)
        return RandomSampler(self.train_dataset, generator=torch.Generator().manual_seed(seed))

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        self.n_answer_tokens += int((inputs["labels"] != IGNORED).sum())
        return super().compute_loss(model, inputs, *arguments, **options)


class _StepCallback(transformers.TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_step: OnStep, stop: threading.Event) -> None:
        self._on_step, self._stop = on_step, stop

    def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
        self._on_step(state.global_step, state.max_steps)
        control.should_training_stop |= self._stop.is_set()


def check_training_packages(settings: TrainingSettings) -> None:
    """Raise InputError if a package of the extra [trial] is missing."""
    needed = ["accelerate", *(["peft"] if settings.adapter else [])]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise InputError(
            f"Trials need {' and '.join(missing)}, which is not installed: "
            "pip install 'visnec-studio[trial]'"
        )


def loading_dtype(settings: TrainingSettings) -> str:
    """Return the dtype to load the model in.

    Weights that are trained stay in float32, as small steps are rounded away in bfloat16; their
    matrix products are then computed in the dtype of the plan.
    """
    return settings.dtype if settings.adapter else "float32"


def training_device(device: str) -> str:
    """Return ``cpu`` or ``cuda``. Raises InputError for a GPU that the trainer would not use."""
    name, _, number = device.partition(":")
    if name not in ("cpu", "cuda") or number not in ("", "0"):
        raise InputError(
            f"Cannot train on the device {device!r}: the trainer uses the first visible GPU. "
            f"Choose another with CUDA_VISIBLE_DEVICES={number or 0} and --device cuda."
        )
    return name


def save_trained(trained: TrainedUnit, model: HfModel, folder: Path) -> None:
    """Write the adapter, or the weights with the processor, so that ``score`` can load them."""
    trained.network.save_pretrained(folder)
    if trained.network is model.network:
        model.processor.save_pretrained(folder)


def find_frozen(network: Any) -> set[str]:
    """Return the names of the modules of the towers that are not trained.

    A projector inside the vision tower is not among them. Raises InputError if the model has no
    tower of its own.
    """
    names = {module: name for name, module in network.named_modules()}
    towers = [names.get(network.get_encoder(modality=kind), "") for kind in ("image", "audio")]
    if towers[0] in ("", names[network.base_model]):
        raise InputError(
            f"Models of the family {network.config.model_type!r} cannot be trained here: they have "
            "no vision tower that could be frozen."
        )
    return {
        name
        for tower in towers
        for name in names.values()
        if tower not in ("", names[network.base_model])
        and f"{name}.".startswith(f"{tower}.")
        and name.removeprefix(f"{tower}.").partition(".")[0] not in _PROJECTORS
    }


def linear_layers(network: Any) -> list[str]:
    """Return the names of the linear layers of the language model and of the projector."""
    excluded = find_frozen(network)
    for name, module in network.named_modules():
        if module is network.get_output_embeddings():
            excluded.add(name)
        elif isinstance(module, nn.MultiheadAttention):
            excluded.add(f"{name}.out_proj")  # which never calls it: an adapter has no effect
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name not in excluded
    ]


@contextmanager
def _trainable(network: Any, settings: TrainingSettings, seed: int) -> Iterator[Any]:
    """Yield what the trainer trains; afterwards ``network`` has its weights and settings back."""
    frozen = find_frozen(network)
    parameters = dict(network.named_parameters())
    flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        is_frozen = settings.adapter is not None or name.rpartition(".")[0] in frozen
        parameter.requires_grad_(not is_frozen and parameter.is_floating_point())
    tensors = {name: value for name, value in parameters.items() if value.requires_grad}
    tensors |= dict(network.named_buffers())
    before = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
    transformers.set_seed(seed)
    trained = _add_adapter(network, settings) if settings.adapter else network
    try:
        yield trained
    finally:
        if trained is not network:
            trained.unload()
            vars(network).pop("peft_config", None)  # some versions of PEFT leave it behind
        with torch.no_grad():
            for name, value in before.items():
                tensors[name].copy_(value)
        for name, parameter in parameters.items():
            parameter.requires_grad_(flags[name])
            parameter.grad = None
        network.eval()


@contextmanager
def _keep_config(config: Any) -> Iterator[None]:
    """Undo what the trainer changes in a model's configuration: it switches the cache off."""
    before = dict(vars(config))
    try:
        yield
    finally:
        vars(config).clear()
        vars(config).update(before)


def _add_adapter(network: Any, settings: TrainingSettings) -> Any:
    import peft

    if settings.adapter != "lora":
        raise InputError(f"Unknown adapter {settings.adapter!r}. Choose lora.")
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=_ALPHA_PER_RANK * settings.lora_rank,
        target_modules=linear_layers(network),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT's, about names in transformers
        return peft.get_peft_model(network, config)
