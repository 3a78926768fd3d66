"""The limit on BLAS threads."""

from __future__ import annotations

import pytest
from threadpoolctl import ThreadpoolController

from pixtag.blas import one_blas_thread


def _n_threads() -> list[int]:
    return [row["num_threads"] for row in ThreadpoolController().select(user_api="blas").info()]


def test_limit_holds_inside_and_is_lifted_by_the_last_to_leave() -> None:
    before = _n_threads()
    first, second = one_blas_thread(), one_blas_thread()
    with first:
        second.__enter__()
        assert set(_n_threads()) == {1}
    assert set(_n_threads()) == {1}
    second.__exit__(None, None, None)
    assert _n_threads() == before


def test_limit_is_lifted_after_an_error() -> None:
    before = _n_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        _ = 1 / 0
    assert _n_threads() == before
