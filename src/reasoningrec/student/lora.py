"""Adapters: a base of any architecture with small trained parts (LoRA) in the form of peft, or trained as a whole.

peft is imported when an adapter is made, not with this module: that takes seconds, which nano need not wait for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from reasoningrec.config import TrainConfig
from reasoningrec.errors import ConfigError, MissingExtraError
from reasoningrec.llm import checkpoint
from reasoningrec.llm.checkpoint import Checkpoint
from reasoningrec.student import head
from reasoningrec.student.weights import write

WEIGHTS: Final = "adapter_model.safetensors"
SETTINGS: Final = "adapter_config.json"
PREFIX: Final = "base_model.model."
"""What peft puts before the names of a wrapped model's weights."""


def grow(found: Checkpoint, config: TrainConfig, seed: int) -> Any:
    """The base with its weights, ready to be trained as configured: frozen under a fresh adapter, or whole.

    Args:
        found: the base.
        config: rank (0 = whole), precision and the adapter's other settings.
        seed: of the adapter's first weights.

    Raises:
        ConfigError: the base has no layer of a name in `lora_targets`, its weights are damaged, or "4bit" has no GPU.
        StudentError: the architecture makes its logits in an unknown way.
        TeacherError: the weights cannot be fetched, or do not fit into memory.
    """
    device = _device()
    quantization = _quantization(device) if config.precision == "4bit" else None
    frozen = torch.float32 if config.precision == "float32" or not config.lora_rank else torch.bfloat16
    model = checkpoint.load(found, device, frozen, quantization)
    if config.lora_rank:
        model = _adapted(model, found, config, seed)
    model.requires_grad_(not config.lora_rank)
    for name, weight in model.named_parameters():
        if is_adapter(name):
            weight.data = weight.data.float()
            weight.requires_grad_(True)
    if config.gradient_checkpointing:
        # Its name before and after transformers 5.20 or so.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return head.settle(model).eval()


def check(found: Checkpoint, config: TrainConfig) -> None:
    """See that the base can be trained as configured, before anything is paid for; its weights are not read.

    Raises ConfigError where it has no layer of a name in `lora_targets`; ConfigError or MissingExtraError where this
    machine cannot train with the configured precision.
    """
    if config.precision == "4bit":
        _quantization(_device())
    if config.lora_rank:
        _check_targets(checkpoint.skeleton(found), found, config)


def placed(model: Any) -> Any:
    """The model on the GPU, where there is one."""
    return model.to(_device())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_adapter(name: str) -> bool:
    """Whether the weight of that name belongs to an adapter."""
    return ".lora_" in name


def save(model: Any, name: str, revision: str | None, folder: Path) -> None:
    """Write the adapter of `model`, whose base is called `name`, as peft stores it, without paths and in one order."""
    settings = model.peft_config["default"].to_dict()
    settings |= {"base_model_name_or_path": name, "revision": revision, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    weights = {_stored(key): weight.detach().contiguous() for key, weight in _weights(model).items()}
    write(weights, folder / WEIGHTS)
    text = json.dumps(plain, indent=2, sort_keys=True, default=lambda value: getattr(value, "value", str(value)))
    (folder / SETTINGS).write_text(text + "\n", "utf-8")


def read(model: Any, folder: Path) -> None:
    """Put the adapter's weights in `folder` into `model`. Raises ValueError, OSError or SafetensorError."""
    fill({_stored(key): weight for key, weight in _weights(model).items()}, folder / WEIGHTS)


def fill(named: Mapping[str, torch.Tensor], path: Path) -> None:
    """Read the weights of these names from a safetensors file into the tensors given.

    Raises ValueError where names or shapes are others, OSError or SafetensorError where the file cannot be read.
    """
    weights = load_file(path)
    if different := sorted(weights.keys() ^ named.keys()):
        raise ValueError(f"{path.name} and the model's configuration disagree on {different[0]}")
    with torch.no_grad():
        for name, weight in named.items():
            if weight.shape != weights[name].shape:
                raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, not {tuple(weight.shape)}")
            weight.copy_(weights[name])


def merged(found: Checkpoint, config: TrainConfig, model: Any) -> Any:
    """A model of plain transformers: the base with the adapter of `model` added to its weights.

    They are added in float32, then kept in the precision that the base was used in (bfloat16 where that was "4bit").
    Raises as `checkpoint.load` does.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    whole = checkpoint.load(found, torch.device("cpu"), torch.float32)
    fresh = _adapted(whole, found, config, seed=0)
    named = _weights(fresh)
    with torch.no_grad():
        for name, weight in _weights(model).items():
            named[name].copy_(weight)
    for name, layer in [(name, one) for name, one in fresh.named_modules() if isinstance(one, BaseTunerLayer)]:
        layer.merge(safe_merge=True)
        parent, _, last = name.rpartition(".")
        setattr(fresh.get_submodule(parent), last, layer.get_base_layer())
    del fresh.peft_config
    fresh._hf_peft_config_loaded = False
    return fresh.to(torch.float32 if config.precision == "float32" else torch.bfloat16)


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if is_adapter(name)}


def _stored(name: str) -> str:
    """A weight's name in peft's files: without the adapter's own, which is any."""
    whole = name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector")
    return PREFIX + whole.replace(".default.", ".")


def _adapted(model: Any, found: Checkpoint, config: TrainConfig, seed: int) -> Any:
    from peft import LoraConfig, inject_adapter_in_model

    _check_targets(model, found, config)
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets),
        use_rslora=config.rslora,
        use_dora=config.dora,
        fan_in_fan_out="Conv1D" in {type(module).__name__ for module in model.modules()},
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return inject_adapter_in_model(settings, model)


def _check_targets(model: Any, found: Checkpoint, config: TrainConfig) -> None:
    names = _linear_names(model)
    if unknown := [target for target in config.lora_targets if target not in names]:
        hint = f"Its linear maps are: {', '.join(sorted(names))}."
        raise ConfigError(f'train.lora_targets: {found.name} has no "{unknown[0]}"', hint=hint)


def _linear_names(model: Any) -> set[str]:
    """Last parts of the names of the linear maps within the model; the output layer is none of them."""
    kinds = ("Linear", "Conv1D", "Linear4bit")
    output = model.get_output_embeddings()
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if type(module).__name__ in kinds and module is not output
    }


def _quantization(device: torch.device) -> Any:
    if device.type != "cuda":
        hint = 'Set precision = "bfloat16", or train where there is one.'
        raise ConfigError('train.precision = "4bit": needs a GPU with CUDA, and there is none', hint=hint)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            'train.precision = "4bit": needs the package bitsandbytes', hint="pip install bitsandbytes"
        ) from None
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
