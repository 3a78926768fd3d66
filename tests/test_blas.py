"""The limit on BLAS threads; in processes of their own, since it is never lifted."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

COMMON = """
    import threading
    import numpy as np
    from threadpoolctl import ThreadpoolController
    from pixtag.encoder import limit_blas

    def n_threads():
        return {row["num_threads"] for row in ThreadpoolController().select(user_api="blas").info()}

    def in_a_thread(work):
        found = []
        thread = threading.Thread(target=lambda: found.append(work()))
        thread.start()
        thread.join()
        return found[0]

    def product():
        limit_blas()
        left = np.random.default_rng(0).standard_normal((700, 700), np.float32)
        return n_threads(), (left @ left[:, :300]).tobytes()
"""


@pytest.mark.parametrize("first", ["product()", "in_a_thread(product)"])
def test_every_thread_is_limited_whoever_came_first(first: str) -> None:
    code = f"""
    first = {first}
    assert in_a_thread(n_threads) == {{1}}
    found = [first, product(), in_a_thread(product), in_a_thread(product)]
    assert [n for n, _ in found] == [{{1}}] * 4, found[0]
    assert len({{bits for _, bits in found}}) == 1
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(code)],
        capture_output=True,
        env={k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")},
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
