"""Writes a bundle's model card."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pixtag.artifact import Manifest


def write_card(manifest: Manifest, vocabulary: Sequence[str], *, title: str = "") -> str:
    """Say what a bundle is, what it was trained on and what it cannot do.

    Args:
        manifest: Of the bundle.
        vocabulary: Its tags.
        title: What the posts are, in a person's words.

    Returns:
        Markdown.
    """
    trained = manifest.trained
    return f"""# Model card

A Pixtag bundle of size `{manifest.size}`, written by Pixtag {manifest.pixtag}.

- **Trained on**: {trained.n_posts} posts{f" ({title})" if title else ""}, from \
{_day(trained.first_at)} to {_day(trained.until_at)}; calibrated on posts up to \
{_day(trained.calibrated_until)}. It has read nothing later.
- **Vocabulary**: {len(vocabulary)} tags that several people used; tags beyond it are suggested \
from a store's own evidence.
- **Holds**: weights, and anonymous posts (projected photo features and tags of the vocabulary; \
no names, times, texts or photos) for people who bring no history.

## Limits

- Probabilities are calibrated on the posts named above; elsewhere they are a rough guide.
- What the photos of the training posts never showed is recognised only as far as the encoder's \
ImageNet classes reach. It must not be used to identify people.
- Tags reflect the habits and biases of the people whose posts it learned from.
"""


def _day(at: float | None) -> str:
    return "an unknown day" if at is None else datetime.fromtimestamp(at, UTC).date().isoformat()
