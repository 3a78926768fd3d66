"""The counts behind the calendar: habits of at least three people that hold from year to year."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parent.parent.parent


def test_only_what_three_people_do_year_after_year_is_kept(tmp_path):
    posts = []
    for i in range(3 * 365):
        day = date(2021, 1, 1) + timedelta(i)
        for user in range(4):
            tags = ["daily"]
            tags += ["junetag"] * (day.month == 6)
            tags += ["onceonly"] * (day.month == 6 and day.year == 2022)
            tags += ["ofonetag"] * (day.month == 6 and user == 0)
            tags += ["tuesdaytag"] * (day.weekday() == 1)
            tags += ["halloween"] * (day.month == 10)
            posts.append({"user_id": f"u{user}", "posted_at": f"{day}T10:00:00", "tags": tags})
    with gzip.open(tmp_path / "log.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(post) + "\n" for post in posts)
    out = tmp_path / "out.safetensors"
    subprocess.run(
        [
            sys.executable,
            ROOT / "tools" / "calendar_statistics.py",
            tmp_path / "log.jsonl.gz",
            "--out",
            out,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    found = load_file(out)
    names = found["names"].tobytes().decode().split()
    assert names == ["junetag", "tuesdaytag"]
    weeks, weekdays = found["weeks"][0], found["weekdays"][1]
    assert 21 <= int(weeks.argmax()) <= 26
    assert weeks[40] < 0 < weeks[24]
    assert (int(weekdays.argmax()), np.count_nonzero(weekdays > 0)) == (1, 1)
