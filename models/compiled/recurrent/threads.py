"""Parts of the compiled network's work on several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

_SMALL = 50_000  # copies x steps x units below which a second thread costs more than it saves

_pool: list[ThreadPoolExecutor] = []
# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pool.clear)

Parts = list[list[tuple[int, int]]]


def parts_of(n: int, smallest: int, largest: int, size: int) -> Parts:
    """Return the bounds of the parts of ``range(n)`` that each thread works on; as many threads as torch may use.

    Parameters
    ----------
    n : int
        How much there is to do.
    smallest, largest : int
        Fewest to give a thread, most to do at once.
    size : int
        Copies times steps times units: whether threads are worth while.
    """
    n_threads = max(1, min(torch.get_num_threads(), n // smallest)) if size >= _SMALL else 1
    edges = [n * k // n_threads for k in range(n_threads + 1)]
    return [[(a, min(a + largest, last)) for a in range(first, last, largest)] for first, last in pairwise(edges)]


def in_parallel(work: Callable[[int, int], object], parts: Parts) -> None:
    """Call ``work(first, last)`` on parts that do not depend on each other, those of each list on a thread."""

    def one_by_one(some: list[tuple[int, int]]) -> None:
        for first, last in some:
            work(first, last)

    if len(parts) > 1 and not _pool:
        _pool.append(ThreadPoolExecutor(os.cpu_count(), "organoid"))
    rest = [_pool[0].submit(one_by_one, some) for some in parts[1:]]
    one_by_one(parts[0])
    for part in rest:
        part.result()


def side_by_side(work: Callable[[int], object], n_threads: int, stop: Callable[[], object]) -> None:
    """Call ``work(0)``, ``work(1)`` and so on at once, each on a thread of its own, as they may wait for each other.

    ``stop`` is called where one of them raises, an interrupt for instance, so that no other waits for it.

    Raises
    ------
    BaseException
        What one of the calls raised.
    """
    raised: list[BaseException] = []

    def guarded(part: int) -> None:
        try:
            work(part)
        except BaseException as error:
            raised.append(error)
            stop()

    # A pool would not do: a call that waits for one still in the queue waits forever.
    others = [threading.Thread(target=guarded, args=(part,), daemon=True) for part in range(1, n_threads)]
    try:
        for thread in others:
            thread.start()
        guarded(0)
        for thread in others:
            thread.join()
    except BaseException:
        stop()
        raise
    if raised:
        raise raised[0]
