"""What the store held is known for a while when it cannot be read."""

from __future__ import annotations

import pytest

from pixtag.errors import StoreError
from pixtag.web import service
from pixtag.web.service import LastKnown


class Source:
    """A store that may be away."""

    def __init__(self) -> None:
        self.is_away, self.values = False, {"ana": 1, "bo": 2, "nobody": None}

    def read(self, name: str) -> int | None:
        if self.is_away:
            raise StoreError("away", hint="wait")
        return self.values[name]


def test_the_last_value_stands_in_while_the_store_is_away() -> None:
    source = Source()
    read = LastKnown(source.read)
    assert [read("ana"), read("nobody")] == [1, None]
    source.is_away = True
    assert read("ana") == 1
    for unknown in ("bo", "nobody"):
        with pytest.raises(StoreError):
            read(unknown)
    read.drop("ana")
    with pytest.raises(StoreError):
        read("ana")


def test_old_values_do_not_stand_in_and_few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    stale, read = LastKnown(source.read, stale_s=-1.0), LastKnown(source.read)
    monkeypatch.setattr(service, "MOST_KNOWN", 1)
    assert [stale("ana"), read("ana"), read("bo"), source.values["ana"]] == [1, 1, 2, 1]
    source.is_away = True
    with pytest.raises(StoreError):
        stale("ana")
    assert read("bo") == 2
    with pytest.raises(StoreError):
        read("ana")
