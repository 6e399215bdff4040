"""Independent pieces of work on all processors, with results that do not depend on how many there are."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Do pieces of work, each on one thread (torch and compiled loops let go of the interpreter).

    Parameters
    ----------
    work : callable
    items : iterable
        What it is called with.

    Yields
    ------
    Any
        Results, in the order of `items`.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(work, items)
