"""The way from hidden states to logits, the same for every architecture: all of it happens in the output layer.

Some architectures change their logits after the output layer: Gemma 2 caps them, Cohere and Granite scale them. Whoever
asks the layer alone, for the few places that matter, would miss it; so it is moved into the layer. Logits leave it in
float32 whatever the weights are kept in: two decisions that differ by less than a step of bfloat16 still differ.
"""

# Names end in their axes: H hidden, V vocabulary; "..." whatever stands before.
# ruff: noqa: N806

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from reasoningrec.errors import StudentError

AGREE: Final = 1e-3
"""Most that the two ways to the logits may differ, as a share of the largest of them."""


@dataclass(frozen=True, slots=True)
class _Finish:
    """What an architecture does to its logits, by a setting of its configuration; `off` = not to do it."""

    apply: Callable[[torch.Tensor, float], torch.Tensor]
    off: float | None


FINISHES: Final[Mapping[str, _Finish]] = {
    "final_logit_softcapping": _Finish(lambda logits, most: most * torch.tanh(logits / most), None),
    "logits_scaling": _Finish(lambda logits, factor: logits / factor, 1.0),
    "logit_scale": _Finish(lambda logits, factor: logits * factor, 1.0),
}


class Head(torch.nn.Linear):
    """An output layer that does all that comes after it, too."""

    def __init__(self, inner: torch.nn.Linear, finishes: Mapping[str, float]) -> None:
        """Take the place of `inner`, with its very weights."""
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.weight, self.bias = inner.weight, inner.bias
        self.finishes = dict(finishes)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., H) -> (..., V), in float32."""
        if torch.is_grad_enabled():
            logits = super().forward(hidden.to(self.weight.dtype)).float()
        else:
            bias = None if self.bias is None else self.bias.float()
            with torch.autocast(hidden.device.type, enabled=False):
                logits = torch.nn.functional.linear(hidden.float(), self.weight.float(), bias)
        for name, value in self.finishes.items():
            logits = FINISHES[name].apply(logits, value)
        return logits


def settle(model: Any) -> Any:
    """`model` with all of the way to its logits in its output layer; its weights keep their names.

    Raises:
        StudentError: the architecture has another way to its logits than these.
    """
    shape, layer = model.config.get_text_config(decoder=True), model.get_output_embeddings()
    settings = {name: getattr(shape, name, None) for name in FINISHES}
    finishes = {name: float(value) for name, value in settings.items() if value not in (None, FINISHES[name].off)}
    if finishes or getattr(layer, "weight", torch.empty(0)).dtype != torch.float32:
        if not isinstance(layer, torch.nn.Linear):
            raise _unknown(model)
        model.set_output_embeddings(Head(layer, finishes))
        for name in finishes:
            setattr(shape, name, FINISHES[name].off)
            if hasattr(model, name):
                setattr(model, name, FINISHES[name].off)
    _check(model)
    return model


def native(model: Any) -> Any:
    """The model's configuration as it came, before `settle`."""
    config, layer = copy.deepcopy(model.config), model.get_output_embeddings()
    for name, value in (layer.finishes if isinstance(layer, Head) else {}).items():
        setattr(config.get_text_config(decoder=True), name, value)
    return config


@torch.inference_mode()
def _check(model: Any) -> None:
    """Raises StudentError where the layer's logits are not the model's."""
    size = model.get_input_embeddings().num_embeddings
    tokens_BT = torch.arange(8, device=model.device)[None] * 37 % size
    try:
        hidden_BTH = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        found_BTV = model.get_output_embeddings()(hidden_BTH).float()
    except (AttributeError, TypeError, RuntimeError) as error:
        raise _unknown(model) from error
    wanted_BTV = model(input_ids=tokens_BT, use_cache=False).logits.float()
    if (found_BTV - wanted_BTV).abs().max() > AGREE * wanted_BTV.abs().max():
        raise _unknown(model)


def _unknown(model: Any) -> StudentError:
    return StudentError(
        f"{type(model).__name__} makes its logits in a way that is not known here",
        hint="Name another base; Llama, Qwen, Mistral, Gemma and Phi are among those that work.",
    )
