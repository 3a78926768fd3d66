"""The knobs of training; free of JAX, so that settings can be explained without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pixtag.model import RankConfig


class TrainConfig(BaseModel):
    """How a model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size: Literal["tiny", "small", "base"] = "small"
    """Size dial: every width follows from it."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Same seed, same posts, same machine: same model."""

    folds: Annotated[int, Field(ge=2, le=20)] = 4
    """Heads fitted for out-of-fold scores."""

    head_epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    """Passes over the photos when a head is fitted."""

    topics: Annotated[int, Field(ge=0, le=2048)] = 96
    """Most topics found in pixels and tags together; a few more than the photos have kinds."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """Passes over the replayed posts when the network is fitted."""

    batch: Annotated[int, Field(ge=8, le=4096)] = 128
    """Posts a step."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 4e-3
    """Peak of the network's learning rate."""

    teachers: Annotated[int, Field(ge=0, le=20)] = 2
    """Networks whose mean judgement the network learns from, beside the posts themselves."""

    drop_sources: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of posts that training asks about once more without some of the sources, so that any
    may be missing."""

    new_subjects: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of posts that training asks about once more as if their person had posted nothing like
    their photo: new subjects are rare in a log, and matter most."""

    first_users: Annotated[int, Field(ge=0)] = 0
    """People who are also replayed as first users of a model that was made without them: for a
    model that will meet people with no store, or with a store of their own posts alone."""

    histories: Annotated[int, Field(ge=0)] = 0
    """Labelled photos of nobody that are also asked about by people made up for it, who tag seldom
    or never, only sign, or post about something else."""

    elsewhere: Annotated[int, Field(ge=0)] = 5_000
    """Most posts of each other log that the network also learns from, where others are given."""

    photoless: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the tags that training hides from the vocabulary, the share that also seem to be on no
    photo: for a model that will meet stores of posts without photos."""

    words: bool = True
    """Whether the words of a tag are compared with what a photo shows; needs photos that the
    shipped encoder, or one that brings words, looked at."""

    vocabulary: Annotated[int, Field(ge=1, le=65536)] = 4096
    """Most tags that the pixel head learns."""

    examples: Annotated[int, Field(ge=100)] = 20_000
    """Most posts that the network is fitted on; a larger log is sampled."""

    rank: RankConfig = RankConfig()
    """What is offered to the network."""

    @property
    def rank_to_fit(self) -> RankConfig:
        """Offers while the network is fitted: the tail of a long history teaches little."""
        return replace(self.rank, more_candidates=0)
