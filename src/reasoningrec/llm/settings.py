"""What of a model's configuration can change its answers; part of the fingerprints of the stages it writes."""

from __future__ import annotations

from typing import Final

from reasoningrec.config import ModelConfig
from reasoningrec.rows import Json

ANSWERING: Final = {"model", "temperature", "top_p", "max_new_tokens", "answer_form", "leave_out", "extra"}


def answering(config: ModelConfig) -> dict[str, Json]:
    """The settings that can change an answer; the server without a slash at its end."""
    return {"endpoint": config.endpoint.rstrip("/"), **config.model_dump(mode="json", include=ANSWERING)}
