"""Damage as the world does it to bytes, texts and JSON, and how a case of fuzzing is counted."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pixtag.errors import PixtagError

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""Cases of all targets together; 0 for the short form, the same in every run."""
SHORT, WHOLE = 12, 150
"""Cases of a target of weight 1 in the short form; the weights of all targets."""
MOST_MEMORY = 1536 * 2**20
_HANGS_S = 120  # a case that takes this long is taken for one that never ends


def cases(weight: float) -> settings:
    """Settings of a target that gets its share of all cases."""
    n = max(1, round(CASES * weight / WHOLE)) if CASES else max(1, round(SHORT * weight))
    return settings(
        max_examples=n,
        derandomize=not CASES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass
class Tally:
    """What became of the cases of one target."""

    name: str
    n_cases: int = 0
    n_refused: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    n_slow: int = 0
    began_bytes: int = field(default_factory=lambda: peak_bytes())

    @contextmanager
    def case(self, what: object = "") -> Generator[None]:
        """One case: it ends well or in a `PixtagError`."""
        self.n_cases += 1
        started_s = time.perf_counter()
        before = signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(_HANGS_S)
        try:
            yield
        except PixtagError as error:
            assert error.message  # noqa: PT017 - one of many errors is fine
            self.n_refused += 1
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            took_s = time.perf_counter() - started_s
            self.n_slow += took_s > 1
            if took_s > self.slowest_s:
                self.slowest_s, self.slowest = took_s, repr(what)[:600]

    def close(self) -> None:
        """Print what came of it; what it took in memory is bounded."""
        more = peak_bytes() - self.began_bytes
        slow = f", {self.n_slow} over a second ({self.slowest})" if self.n_slow else ""
        print(
            f"fuzz {self.name}: {self.n_cases:,} cases, {self.n_refused:,} refused, slowest "
            f"{self.slowest_s:.2f} s, peak memory +{more / 2**20:.0f} MiB{slow}"
        )
        assert more < MOST_MEMORY


def _hangs(*_: object) -> None:
    raise AssertionError(f"no end after {_HANGS_S} s")


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# Bytes

_NUMBERS = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff")
_NUMBERS += (b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
_KINDS = ("flip", "write", "insert", "drop", "double", "cut", "swap", "splice")


def damaged(seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """One of the seeds after a few changes anywhere; `words` are put in as they are."""
    piece = st.one_of(st.sampled_from((*_NUMBERS, *words)), st.binary(max_size=6))
    edit = st.tuples(st.sampled_from(_KINDS), st.integers(0, 2**20), st.integers(0, 2**20), piece)
    return st.builds(
        _damaged, st.sampled_from(seeds), st.sampled_from(seeds), st.lists(edit, max_size=6)
    )


def _damaged(seed: bytes, other: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for kind, one, two, piece in edits:
        n = len(data)
        # Half of the changes fall on the first bytes, where headers are.
        at = one % (n + 1) if two % 2 else one % min(n + 1, 256)
        size = two % 64 + 1 if two % 3 else two % (n + 1)
        if kind == "flip" and at < n:
            data[at] ^= 1 << two % 8
        elif kind == "write":
            data[at : at + len(piece)] = piece
        elif kind == "insert":
            data[at:at] = piece * (1 + two % 9)
        elif kind == "drop":
            del data[at : at + size]
        elif kind == "double":
            data[at:at] = data[at : at + min(size, 4096)]
        elif kind == "cut" and two % 4 == 0:
            del data[at:]
        elif kind == "swap":
            data[at : at + 4] = data[at : at + 4][::-1]
        elif kind == "splice":
            data[at : at + size] = other[two % (len(other) + 1) :][: min(size, 4096)]
    return bytes(data)


# JSON

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, -1e308, float("nan"), float("inf"), 2**63, 2**70, -(2**70),
    0.5, 1e-320, 10**400, "", " ", "\ud800", "\0", "a\0b", "\u202e#rtl", "#" * 300, "#tag" * 60,
    "é" * 5000,
    "2024-13-45T99:99:99Z", "0001-01-01", "9999-12-31T23:59:59+14:00", "1e999", "NaN", "-0",
    "../../etc/passwd", "/dev/zero", "C:\\x", "http://[", "https://u:p@h:99999999/", "<script>",
    "&#55555;", "&#x110000;", [], {}, [[]], [None], {"": None}, [{}] * 3,
    "\u0663", "\uff11\uff12", b"\xff".decode("latin-1"),
)  # fmt: skip


def altered(document: Any) -> st.SearchStrategy[Any]:
    """A JSON document with some values replaced, dropped, doubled, wrapped or renamed."""
    change = st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(("replace", "replace", "drop", "double", "wrap", "rename", "deep")),
        st.one_of(st.sampled_from(ODD), st.text(max_size=8), st.integers(), st.floats()),
    )
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _altered(document, changes))


def _altered(document: Any, changes: list[tuple[int, str, Any]]) -> Any:
    top = [deepcopy(document)]
    for number, kind, value in changes:
        places = list(_places(top))
        holder, key = places[number % len(places)]
        old = holder[key]
        if kind == "replace":
            holder[key] = deepcopy(value)
        elif kind == "wrap":
            holder[key] = [old] if number % 2 else {str(value)[:9]: old}
        elif kind == "deep":
            for _ in range(40):
                old = [old]
            holder[key] = old
        elif holder is top:
            continue
        elif kind == "drop":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[str(value)[:20]] = holder.pop(key)
        elif kind == "double" and isinstance(holder, list):
            holder[key:key] = [deepcopy(old)] * (1 + number % 3)
    return top[0]


def _places(holder: Any) -> Generator[tuple[Any, Any]]:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def tallied(name: str, check: Callable[[Tally], None]) -> None:
    """Run a target and say what came of it."""
    tally = Tally(name)
    check(tally)
    tally.close()
