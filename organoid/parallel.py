"""Independent pieces of work on all processors, with results that do not depend on how many there are."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

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


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread, so that results do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_rss_mb() -> float:
    """Return the largest memory this process has used so far, MB (NaN where the system does not say)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (1e6 if platform.system() == "Darwin" else 1e3))
