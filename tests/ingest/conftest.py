from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from archives import Importer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    (tmp_path / "store").mkdir()
    return Importer(tmp_path / "store" / "s.sqlite")
