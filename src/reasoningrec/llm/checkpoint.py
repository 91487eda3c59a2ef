"""A causal LM of transformers in a folder or on a hub: its files told apart, its tokenizer read, its weights loaded.

Code that comes with a model is never run, and pickled weights are never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging
from transformers.utils.hub import cached_file

from reasoningrec.errors import ConfigError, ReasoningRecError, TeacherError
from reasoningrec.rows import Json
from reasoningrec.runs import fingerprint

WHOLE: Final = 4 << 20
"""Weight files up to so many bytes are hashed whole."""
BLOCK: Final = 16 << 10
BLOCKS: Final = 64
"""Of larger ones, so many blocks of BLOCK bytes, evenly spread from head to tail."""
SMALL_FILES: Final = frozenset((".json", ".jinja", ".model", ".txt", ".tiktoken"))
"""Endings of the files beside the weights that an answer may depend on: configuration, tokenizer, template."""
HUB_ID: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
WRITERS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the names of architectures end that write on from a text."""
CAUSES: Final = (
    OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError,
    StrictDataclassError,
)  # fmt: skip
"""What transformers raises where a file is missing, damaged, or not what it is taken for."""


_LOADER: Final[Any] = AutoModelForCausalLM
_SCREEN: Final[Any] = logging
"""Untyped, as transformers has them."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model on disk or on a hub; the weights are not loaded."""

    source: str
    """The folder or hub id."""
    name: str
    """The hub id, or the last part of the folder's path: no machine's paths."""
    revision: str | None
    """The commit on the hub; None for a folder."""
    digest: str
    """Of the files: see `digest_of`. On a hub, of id and commit, which name them."""
    shape: Any
    """Configuration of the model, as transformers has it."""
    tokenizer: Any
    field: str = "model"
    """Of the configuration, for messages."""

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; None = no limit is known."""
        return getattr(self.shape.get_text_config(decoder=True), "max_position_embeddings", None)


def find(model: str, field: str = "model") -> Checkpoint:
    """Read the configuration and tokenizer of `model`, a folder or hub id; messages call it `field`.

    Raises:
        ConfigError: there is no such folder, or it holds no causal LM with safetensors and a tokenizer that can be used
            without running code of its own.
        TeacherError: the hub does not answer, or has no such model.
    """
    return _find(model, _folder(model, field), field)


def identity(model: str, field: str = "model") -> tuple[str, str]:
    """(name, digest) of `model` as `find` tells them, reading no more than that takes. Raises as `find` does."""
    folder = _folder(model, field)
    if folder is not None:
        return folder.name, digest_of(folder)
    return model, _digest_on_hub(model, _commit(model, field))


def digest_of_weights(checkpoint: Checkpoint) -> str:
    """As `Checkpoint.digest`, of config.json and the weights alone."""
    if checkpoint.revision is not None:
        return checkpoint.digest
    return digest_of(Path(checkpoint.source), beside=frozenset(("config.json",)))


def _folder(model: str, field: str) -> Path | None:
    """The folder; None where it is an id on a hub. Raises ConfigError where it is neither."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not HUB_ID.fullmatch(model):
        raise ConfigError(f'{field} = "{model}": there is no such folder', hint="Name a folder with a config.json.")
    return None


def digest_of(folder: Path, beside: frozenset[str] | None = None) -> str:
    """A digest of a model's files that takes no time; `beside` names the files beside the weights, None = all.

    Over names, sizes and contents: configuration, tokenizer and templates whole, weights whole up to WHOLE bytes and
    else in BLOCKS samples from head to tail. So a change of a large file that keeps its size and touches none of the
    samples goes unseen; training changes nearly every weight, and does not.
    """
    found: dict[str, Json] = {}
    for file in sorted((*folder.glob("*"), *folder.glob("additional_chat_templates/*"))):
        weights = file.suffix == ".safetensors"
        small = file.suffix in SMALL_FILES if beside is None else file.name in beside
        if file.is_file() and (weights or small):
            sample = _sample(file) if weights else file.read_bytes()
            name = file.relative_to(folder).as_posix()
            found[name] = [file.stat().st_size, hashlib.sha256(sample).hexdigest()]
    return fingerprint(found)


def load(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, quantization: Any = None) -> Any:
    """The model in evaluation mode; `quantization` is a configuration of transformers, None = none.

    Raises:
        ConfigError: the weights are damaged, or lack some of the model's: it would answer with random ones.
        TeacherError: they cannot be fetched, or do not fit into the device's memory.
    """
    try:
        with quiet(), torch.random.fork_rng(devices=()):
            model, report = _LOADER.from_pretrained(
                checkpoint.source,
                config=checkpoint.shape,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # they are reported, and refused below
                output_loading_info=True,
                use_safetensors=True,
                **({"quantization_config": quantization} if quantization else {}),
                **_options(checkpoint.revision),
            )
        missing = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
        if not missing:
            # A quantized model is on the GPU as it is loaded.
            return (model if quantization else model.to(device)).eval()
    except torch.cuda.OutOfMemoryError:
        hint = "Name a smaller model, or serve it elsewhere and name its `endpoint`."
        raise TeacherError(f'{checkpoint.field} = "{checkpoint.source}": does not fit into memory', hint=hint) from None
    except CAUSES as error:
        where = f'{checkpoint.field} = "{checkpoint.source}"'
        raise _unusable(where, "its weights cannot be read", error, local=checkpoint.revision is None) from None
    hint = f"Is it a base model without a head, or a file short? {len(missing)} weights are missing."
    raise ConfigError(f'{checkpoint.field} = "{checkpoint.source}": has no fitting weights for {missing[0]}', hint=hint)


def skeleton(checkpoint: Checkpoint) -> Any:
    """The model without any weights: to look at its parts."""
    with quiet(), torch.device("meta"):
        return _LOADER.from_config(checkpoint.shape)


def _find(source: str, folder: Path | None, field: str) -> Checkpoint:
    where = f'{field} = "{source}"'
    place, revision = str(folder or source), None
    if folder is None:
        revision = _commit(source, field)
    try:
        shape = AutoConfig.from_pretrained(place, **_options(revision))
    except CAUSES as error:
        raise _unusable(where, "its config.json cannot be read", error, local=folder is not None) from None
    _check_kind(where, shape)
    if folder is not None and not any(folder.glob("*.safetensors")):
        hint = "Pickled weights are never read: store it with `save_pretrained` of transformers."
        raise ConfigError(f"{where}: holds no *.safetensors", hint=hint)
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        try:
            with safe_open(path, "pt"):
                pass  # reads the list of tensors, and that the file is as long as they are
        except CAUSES as error:
            raise _unusable(where, f"its weights cannot be read: {path.name}", error, local=True) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **_options(revision))
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception
        raise _unusable(where, "its tokenizer cannot be read", error, local=folder is not None) from None
    digest = digest_of(folder) if folder else _digest_on_hub(source, revision)
    return Checkpoint(place, folder.name if folder else source, revision, digest, shape, tokenizer, field)


def _commit(source: str, field: str) -> str:
    """The commit of a model on the hub: a download lies in a folder that has its name."""
    try:
        return Path(str(cached_file(source, "config.json"))).parent.name
    except CAUSES as error:
        where = f'{field} = "{source}"'
        raise _unusable(where, "its config.json cannot be read", error, local=False) from None


def _digest_on_hub(source: str, revision: str | None) -> str:
    return fingerprint({"hub": source, "commit": revision})


def _options(revision: str | None) -> dict[str, Any]:
    """What every call of `from_pretrained` is given; `revision` is None for a folder."""
    place = {"local_files_only": True} if revision is None else {"revision": revision}
    return {"trust_remote_code": False, **place}


def _check_kind(where: str, shape: Any) -> None:
    """Raises ConfigError where the configuration is none of a model that writes on from a text."""
    kinds = getattr(shape, "architectures", None) or []
    writes = not kinds or any(kind.endswith(WRITERS) for kind in kinds)
    if shape.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and writes and not shape.is_encoder_decoder:
        return
    hint = "Name one whose config.json has an architecture that ends in ForCausalLM."
    raise ConfigError(f"{where}: {', '.join(kinds) or shape.model_type} is no causal LM", hint=hint)


def _unusable(where: str, what: str, error: Exception, *, local: bool) -> ReasoningRecError:
    """The error to raise for a model in a folder, or on a hub."""
    said = " ".join(str(error).split())[:300]
    if "trust_remote_code" in said or "custom code" in said:
        hint = "Serve it with a program you trust to run it, and name its `endpoint`."
        return ConfigError(f"{where}: needs code of its own, which is never run here", hint=hint)
    if local:
        hint = "Is the folder whole, as `save_pretrained` of transformers writes it, and transformers new enough?"
        return ConfigError(f"{where}: {what}: {said}", hint=hint)
    hint = "There is no such folder here; for a hub id, be online or download it first, and see that it is spelt right."
    return TeacherError(f"{where}: {what}: {said}", hint=hint)


def _sample(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as handle:
        if size <= WHOLE:
            return handle.read()
        parts = []
        for block in range(BLOCKS):
            handle.seek((size - BLOCK) * block // (BLOCKS - 1))
            parts.append(handle.read(BLOCK))
    return b"".join(parts)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and reports of transformers: the screen is ours. Puts back what was set."""
    bars, level = _SCREEN.is_progress_bar_enabled(), _SCREEN.get_verbosity()
    _SCREEN.disable_progress_bar()
    _SCREEN.set_verbosity_error()
    try:
        yield
    finally:
        _SCREEN.set_verbosity(level)
        if bars:
            _SCREEN.enable_progress_bar()
