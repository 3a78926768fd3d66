"""Make the golden files: what earlier versions wrote, by their own schema, and a small model.

    python tests/golden/make.py VERSION

Never run it for a version that was released: its files are what people have. Packed, since SQLite
gives every table a page.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

POSTS = [  # post, person, microseconds, tags, photos as path and digest
    ("p1", "ana", 1_772_366_400_000_000, ["sea", "日没"], [("/photos/1.jpg", "a" * 64)]),
    ("p2", "ana", 1_772_370_000_500_000, ["sea", "🌅sunset"], [("/photos/2.jpg", "b" * 64)]),
    ("p3", "ben", 1_772_373_600_000_000, ["café"], [("/photos/1.jpg", "a" * 64)]),
    ("p4", None, None, ["sea"], [("/photos/3.jpg", "")]),
    ("p5", "ben", 1_772_380_800_000_000, [], []),
]
VECTOR = bytes.fromhex("003c0040004200bc")  # 1, 2, 3, -1 as fp16


def make(version: int, path: Path, *, copies: int = 1) -> None:
    """Write a store as a version of Pixtag did; `copies` of each post, for long migrations."""
    from pixtag.store.schema import APPLICATION_ID, MIGRATIONS

    with sqlite3.connect(path) as db:
        db.execute("PRAGMA page_size = 8192")
        db.execute("PRAGMA journal_mode = WAL")
        columns = "version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL"
        db.execute(f"CREATE TABLE schema_version ({columns})")
        for number in range(1, version + 1):
            db.executescript(MIGRATIONS[number - 1])
            db.execute("INSERT INTO schema_version VALUES (?, '2026-01-01')", (number,))
        names = ("identity", "golden"), ("secret", "00" * 32)
        db.executemany("INSERT INTO meta VALUES (?, ?)", names[: 2 if version > 2 else 1])
        db.execute("UPDATE meta SET value = 7 WHERE name = 'revision'")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("INSERT INTO encoders VALUES (1, ?, 4)", ("e" * 64,))
        db.execute("INSERT INTO embeddings VALUES (1, 1, ?, ?)", ("a" * 64, VECTOR))
        db.execute("INSERT INTO failures VALUES ('/photos/3.jpg', 'missing', 'no photo there')")
        db.execute("INSERT INTO bundles VALUES (1, '/models/m', 'd', 1772366400000000)")
        db.execute("INSERT INTO bundle_users VALUES (1, 'ana')")
        users = ((i, name) for i, name in enumerate(("ana", "ben"), 1))
        db.executemany("INSERT INTO users VALUES (?, ?)", users)
        tags = {tag: i for i, tag in enumerate(dict.fromkeys(t for p in POSTS for t in p[3]), 1)}
        db.executemany("INSERT INTO tags VALUES (?, ?)", ((i, tag) for tag, i in tags.items()))
        for copy in range(copies):
            for place, (name, user, at_us, own, photos) in enumerate(POSTS, 1):
                row = copy * len(POSTS) + place
                name = f"{name}-{copy}" if copy else name
                whose = None if user is None else 1 + (user == "ben")
                query = "INSERT INTO posts (id, post_id, user, posted_at_us) VALUES (?, ?, ?, ?)"
                db.execute(query, (row, name, whose, at_us))
                uses = ((row, i, tags[tag]) for i, tag in enumerate(own))
                db.executemany("INSERT INTO tag_uses VALUES (?, ?, ?)", uses)
                shown = ((row, i, path, digest) for i, (path, digest) in enumerate(photos))
                db.executemany("INSERT INTO photos VALUES (?, ?, ?, ?)", shown)
        if version > 1:
            db.execute("UPDATE posts SET changed = 7")
        if version > 2:
            db.execute("INSERT INTO lists VALUES (1, 'ana', 'deny', 'tbt')")
            db.execute("INSERT INTO sets VALUES (1, 'ana', 'beach', '[\"sea\"]')")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def main() -> None:
    """Write the file of one version, and for the present one the model beside it."""
    version = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.sqlite"
        make(version, path)
        (HERE / f"version-{version}.sqlite.gz").write_bytes(
            gzip.compress(path.read_bytes(), mtime=0)
        )
    if version == 3:
        import handmade

        handmade.bundle_file(HERE / "model.safetensors")
    print(json.dumps({one.name: one.stat().st_size for one in sorted(HERE.iterdir())}))


if __name__ == "__main__":
    main()
