"""Write demo/posts.jsonl: an invented person, Ana, her invented friends, and a spring.

Nothing in it comes from anybody's account. Posts have tags and times and no photos. Run it again
after a change here; the same seed writes the same file.

    python demo/invent.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

SEED = 7
START = datetime(2026, 1, 5, tzinfo=UTC)
N_DAYS = 146

THEMES: dict[str, list[str]] = {
    "coffee": ["coffee", "latteart", "coffeetime", "coffeelover", "cafe", "espresso", "morning"],
    "cats": ["cat", "catsofinstagram", "kitty", "meow", "catlover", "cute", "pet"],
    "flowers": ["flowers", "garden", "nature", "flower", "bloom", "plants", "macro"],
    "travel": ["travel", "architecture", "temple", "wanderlust", "city", "culture", "trip"],
    "food": ["food", "foodie", "yummy", "dinner", "homemade", "delicious", "cooking"],
    "space": ["space", "rocket", "science", "astronomy", "launch", "nasa", "engineering"],
}
GENERIC = ["photooftheday", "love", "picoftheday", "instagood", "weekend"]

ANA = {"coffee": 5, "cats": 4, "flowers": 1}
ANAS_OWN = {"coffee": "anasmornings", "cats": "misterwhiskers"}

# A few days in April when trees bloom and everyone shows them, and a launch in May.
EVENTS = [
    ("cherryblossom", "flowers", datetime(2026, 4, 3, tzinfo=UTC), 4),
    ("spacex", "space", datetime(2026, 5, 12, tzinfo=UTC), 3),
]


def main() -> None:
    """Write the file beside this script."""
    rng = np.random.default_rng(SEED)
    people = {"ana": ANA}
    themes = list(THEMES)
    for number in range(1, 41):
        liked = rng.choice(len(themes), size=2, replace=False)
        people[f"friend{number:02d}"] = {themes[liked[0]]: 3, themes[liked[1]]: 1}
    posts = [
        post
        for user, taste in people.items()
        for post in posts_of(user, taste, 70 if user == "ana" else int(rng.integers(8, 22)), rng)
    ]
    posts.sort(key=lambda post: (post["posted_at"], post["user_id"]))
    lines = [json.dumps({"post_id": f"demo{i:04d}", **post}) for i, post in enumerate(posts)]
    out = Path(__file__).with_name("posts.jsonl")
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(posts)} posts of {len(people)} people: {out}")


def posts_of(
    user: str, taste: dict[str, int], n_posts: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Invent the posts of one person.

    Args:
        user: Their name.
        taste: Weight of each theme that they like.
        n_posts: How many, about evenly over the days; events add some.
        rng: Source of chance.
    """
    names = list(taste)
    weights = np.array([taste[name] for name in names], float)
    days = list(rng.uniform(0, N_DAYS, n_posts))
    for _, theme, begins_at, n_days in EVENTS:
        if theme in taste or rng.random() < 0.4:
            begin = (begins_at - START).days
            days += list(begin + rng.uniform(0, n_days, 1))
    made: list[dict[str, object]] = []
    for day in days:
        at = START + timedelta(days=float(day))
        theme = names[rng.choice(len(names), p=weights / weights.sum())]
        event = next((e for e in EVENTS if e[2] <= at < e[2] + timedelta(days=e[3])), None)
        if event is not None:
            theme = event[1]
        # People like the front of a theme's list most.
        words = THEMES[theme]
        liking = 1.0 / np.arange(2, len(words) + 2)
        n_tags = int(rng.integers(2, 5))
        picked = rng.choice(len(words), size=n_tags, replace=False, p=liking / liking.sum())
        tags = [words[i] for i in sorted(picked)]
        if user == "ana" and theme in ANAS_OWN and rng.random() < 0.8:
            tags.append(ANAS_OWN[theme])
        if event is not None:
            tags.insert(0, event[0])
        if rng.random() < 0.4:
            tags.append(GENERIC[int(rng.integers(len(GENERIC)))])
        made.append(
            {
                "user_id": user,
                "posted_at": at.isoformat(timespec="seconds"),
                "image": "",
                "tags": tags,
            }
        )
    return made


if __name__ == "__main__":
    main()
