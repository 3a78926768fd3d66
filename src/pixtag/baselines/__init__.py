"""Reference methods, and the door through which a researcher's own method enters.

A method is one function from what was known and a question to scores:

    >>> from pixtag.baselines import Past, Query, pointwise
    >>> from pixtag.types import Post, PostLog
    >>> def latest_first(past: Past, query: Query) -> dict[str, float]:
    ...     # A later use of the same tag overwrites the earlier one.
    ...     return {tag: used_at for tag, used_at in past.uses(query.user)}
    >>> log = PostLog.of([
    ...     Post("a", "ana", 10.0, ("sea", "sun")),
    ...     Post("b", "ana", 20.0, ("sun",)),
    ...     Post("c", "ana", 30.0, ("snow",)),
    ... ])
    >>> rankings = pointwise(latest_first)(log, 2, 3, 10)
    >>> [log.tags[t] for t in rankings.tag_ids[0] if t < len(log.tags)]
    ['sun', 'sea']

`Past` shows only what was published before the time of the query, so such a method cannot leak.
The methods below that are written on arrays keep to the same rule, and the leak check runs over
them.

Shapes:
    B: posts ranked. K: ranks. T: tags. H: uses in a history. D: embedding.
"""

from pixtag.baselines.company import co_occurrence
from pixtag.baselines.past import Past, PastPost, PointMethod, Query, Ranker, pointwise
from pixtag.baselines.people import (
    DAY_S,
    WEEK_S,
    base_level,
    by_history,
    most_recent,
    most_used,
    popularity,
    popularity_within,
    random_tags,
)
from pixtag.baselines.pixels import image_neighbours, linear_probe

__all__ = [
    "DAY_S",
    "WEEK_S",
    "Past",
    "PastPost",
    "PointMethod",
    "Query",
    "Ranker",
    "base_level",
    "by_history",
    "co_occurrence",
    "image_neighbours",
    "linear_probe",
    "most_recent",
    "most_used",
    "pointwise",
    "popularity",
    "popularity_within",
    "random_tags",
]
