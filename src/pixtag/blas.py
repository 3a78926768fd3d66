"""Matrix products on one thread: small ones gain little from more and lose much on a busy machine.

A thread of the BLAS library spins for a while after each product, and the product waits for its
slowest thread: with others at work on the same cores one of .3 ms takes 50. The number of threads
also decides the last bits of a product.
"""

from __future__ import annotations

from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def limit_blas() -> None:
    """Let the matrix products of this process run on one thread, from the first call on.

    For the whole process and for good: OpenBLAS ignores a limit that one thread sets after another
    has lifted its own. Any thread may call it, as often as it likes. Libraries that are loaded
    later keep their number of threads.
    """
    ThreadpoolController().select(user_api="blas").limit(limits=1)
