"""Knobs of fine-tuning."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FinetuneConfig(BaseModel):
    """Knobs of `pixtag finetune`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Passes over the photos."""

    batch: Annotated[int, Field(ge=2, le=8192)] = 64
    """Photos a step."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    """Peak of the encoder's learning rate; the layer of tags on top learns 20 times faster."""

    vocabulary: Annotated[int, Field(ge=1, le=65536)] = 2048
    """Most tags that the encoder learns to tell apart."""

    checkpoint_minutes: Annotated[float, Field(ge=0, le=1440)] = 10.0
    """Minutes after which what was learned is written again: what a power cut can lose."""

    seed: int = 0
    """Same seed, same posts, same machine: same encoder."""
