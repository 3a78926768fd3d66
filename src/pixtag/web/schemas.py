"""What the API takes and gives, as pydantic models.

The OpenAPI document is made of them, and `pixtag.client` gives them to its callers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

MOST_TAGS = 200
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_POST: JsonDict = {
    "post_id": "beach-1",
    "user": "ana",
    "tags": ["sunset", "beach"],
    "posted_at": "2026-05-01T18:30:00+00:00",
}
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _can_be_asked_for(value: str) -> str:
    if value in {".", ".."} or not re.fullmatch(_NO_CONTROLS[1:-1], value):
        raise ValueError("a name holds no control characters and is neither . nor ..")
    return value


KnownName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
"""One that may be in the store already."""
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": _NO_CONTROLS}),
    AfterValidator(_can_be_asked_for),
]
"""One that paths can hold: no line break, nor what clients fold away."""
Tag = Annotated[str, Field(max_length=5000)]


def _in_range(value: datetime) -> datetime:
    if not _FIRST <= value <= _LAST:
        raise ValueError("the time must lie between 1900 and 2200")
    return value


Instant = Annotated[AwareDatetime, AfterValidator(_in_range)]
Embedding = Annotated[list[float], Field(max_length=8192)]
_SPLIT = "In a query or a form each text is split: `#a #b`, `a,b`, `a b` or a JSON list."
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS)]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True)


class Wanted(_Taken):
    """What is wanted of the suggestions for a photo."""

    user: Name | None = Field(None, description="Whose photo it is; nobody known is a stranger.")
    history: Tags = Field(
        [], description=f"Further tags that the person uses, repeated if often. {_SPLIT}"
    )
    accepted: Tags = Field(
        [], description=f"Chosen already; they draw in what goes with them. {_SPLIT}"
    )
    refused: Tags = Field([], description=f"Not wanted. {_SPLIT}")
    k: int = Field(
        5, ge=1, le=100,
        description="How many in all: the answer holds so many fewer as were accepted.",
    )  # fmt: skip
    platform: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Where it will be posted; its cap on tags holds."
    )
    at: Instant | None = Field(None, description="The time to suggest for, with a zone.")
    with_embedding: bool = Field(default=False, description="Give the photo's embedding too.")


class SuggestIn(Wanted):
    """A question. The photo comes as the body, as a part of a form, or by one of these."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"post_id": "beach-1", "user": "ana", "k": 5}}
    )

    embedding: Embedding | None = Field(
        None, description="Of the photo, as this server gave it with `with_embedding`."
    )
    post_id: Name | None = Field(
        None, description="A post of the store with a photo; judged as of when it was posted."
    )


class ReasonOut(_Given):
    """One piece of evidence."""

    source: str = Field(description="pixels, history, trend, general, or lists")
    text: str
    weight: float = Field(description="What it added to the score, natural log units.")


class SuggestionOut(_Given):
    """A hashtag, its calibrated chance of being used, and why; the strongest reason first."""

    tag: str
    prob: float
    reasons: tuple[ReasonOut, ...]


class SuggestOut(_Given):
    """Suggestions, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "dJ1cWq1yY0x3mZkQ",
                "at": "2026-05-01T18:30:00+00:00",
                "user": "ana",
                "suggestions": [
                    {
                        "tag": "sunset",
                        "prob": 0.61,
                        "reasons": [{"source": "pixels", "text": "in the picture", "weight": 2.1}],
                    }
                ],
                "unsure": False,
                "model": "0a1b",
                "revision": 42,
            }
        }
    )

    id: str = Field(description="What feedback names.")
    at: datetime
    user: str | None
    suggestions: tuple[SuggestionOut, ...]
    unsure: bool = Field(description="Not sure what the photo shows: strangers get few then.")
    model: str = Field(description="Digest of the model.")
    revision: int = Field(description="Last change of the store that the answer knows.")
    embedding: tuple[float, ...] | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The hashtags alone."""
        return tuple(one.tag for one in self.suggestions)


class PostIn(_Taken):
    """A post: tags, a caption whose hashtags count too, a time; photos come as parts of a form."""

    model_config = ConfigDict(json_schema_extra={"example": {**_POST}})

    post_id: Name | None = Field(
        None, description="Yours for it; a known one is replaced. Made up when missing."
    )
    user: Name | None = None
    tags: Tags = Field([], description=_SPLIT)
    caption: str = Field("", max_length=20_000)
    posted_at: Instant | None = Field(None, description="Now when missing.")
    keep_photos: bool = Field(
        default=False, description="Keep copies of the photos, not only what they look like."
    )
    embedding: Embedding | None = Field(
        None, description="Of its only photo, where that was looked at before."
    )


class PostOut(_Given):
    """A post as it is kept."""

    model_config = ConfigDict(json_schema_extra={"example": {**_POST, "n_photos": 1}})

    post_id: str
    user: str | None
    tags: tuple[str, ...]
    posted_at: datetime | None
    n_photos: int


class FeedbackIn(_Taken):
    """What became of tags that were suggested, or of others for the same photo."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "dJ1cWq1yY0x3mZkQ", "accepted": ["sunset"], "refused": ["love"]}
        }
    )

    id: Annotated[str, Field(max_length=100)]
    accepted: Tags = []
    refused: Tags = []
    added: Tags = Field([], description="Added by the person, without having been suggested.")


class FeedbackOut(_Given):
    """How many verdicts were kept."""

    n_kept: int


class TagUseOut(_Given):
    """A tag of a person's."""

    tag: str
    n_uses: int
    first_at: datetime | None
    last_at: datetime | None


class HistoryOut(_Given):
    """What a person uses, most used first."""

    user: str
    n_posts: int
    tags: tuple[TagUseOut, ...]


class ForgetOut(_Given):
    """That nothing of a person is left."""

    user: str
    is_forgotten: Literal[True] = True


class RisingOut(_Given):
    """A tag that more people use than usual."""

    tag: str
    times_usual: float
    n_people: int
    window_hours: float
    source: str  # the server that says so; empty for the store


class TrendingOut(_Given):
    """What rises, the surest first."""

    at: datetime
    tags: tuple[RisingOut, ...]


class TagOut(_Given):
    """How a tag is used by everybody: told only of tags that three people or more have used."""

    tag: str
    n_people: int
    n_posts: int
    first_at: datetime | None
    people_by_hours: dict[str, int] = Field(description="Distinct people in the last hours.")
    goes_with: tuple[str, ...] = Field(description="Public tags most often beside it lately.")


class HealthOut(_Given):
    """Whether it runs, or is ready and why not."""

    status: str
    reasons: list[str] = []


class ProblemOut(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    kind: str
    hint: str = ""
    instance: str = ""
    errors: list[dict[str, Any]] = []
