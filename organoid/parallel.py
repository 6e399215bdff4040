"""Independent pieces of work on all cores, or on a cluster; results do not depend on how many workers there are.

`map` runs whole pieces of work (a fit, an analysis of one culture) in processes of their own, here or at the workers of
a Dask scheduler. `in_threads` runs small pieces that share memory (columns of one fit) in this process.
"""

import multiprocessing
import os
import pickle
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from organoid.errors import ParallelError

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S = 10  # s to wait for a scheduler to answer


def map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
    label: str = "working",
    each: Callable[[int, R], None] | None = None,
) -> list[R]:
    """Call a function with every item, several at a time, and return the results in the order of the items.

    Parameters
    ----------
    function : callable
        Of one argument; defined at the top level of a module, so that another process can import it.
    items : iterable
        What it is called with; items and results travel between processes (pickle).
    workers : int, optional
        Local processes. Default: one for each core, but no more than there are items. 1: in this process.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``. The work then runs on its workers, which need
        this package installed (extra ``cluster`` here, ``pip install "organoid[cluster]"``).
    progress : bool
        Show a progress bar.
    label : str
        What the bar says.
    each : callable, optional
        Called here with the place of an item and its result as soon as that is there, so that it can be kept.

    Returns
    -------
    list
        One result for each item, in order.

    Raises
    ------
    ParallelError
        If the function cannot be sent to another process, a worker process ends, or the scheduler does not answer.
    Exception
        Whatever the function raises; work that has not begun is then cancelled.

    Examples
    --------
    >>> from organoid import parallel
    >>> parallel.map(abs, [-1, 2, -3], workers=1)
    [1, 2, 3]
    """
    todo = list(items)
    if workers is not None and workers < 1:
        raise ParallelError(f"workers={workers}; expected 1 or more")
    n_workers = min(len(todo), workers or os.cpu_count() or 1)
    with tqdm(total=len(todo), desc=label, disable=not progress) as bar:

        def done(k: int, result: R) -> R:
            bar.update()
            if each is not None:
                each(k, result)
            return result

        if scheduler is None and n_workers <= 1:
            return [done(k, function(item)) for k, item in enumerate(todo)]
        _check_portable(function)
        if scheduler is not None:
            return _on_cluster(function, todo, scheduler, done)
        return _in_processes(function, todo, n_workers, done)


def _check_portable(function: Callable[..., Any]) -> None:
    """Reject a function that another process could not import."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ParallelError(
            f"{function!r} cannot be sent to another process ({error}); define it at the top level of a module, or "
            "give workers=1"
        ) from None


def _in_processes(
    function: Callable[[T], R], todo: Sequence[T], n_workers: int, done: Callable[[int, R], R]
) -> list[R]:
    """Run the work in fresh processes; a forked one would inherit locked thread pools."""
    with ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return _all(pool, function, todo, done)
        except BrokenProcessPool:
            raise ParallelError(
                "a worker process ended before its work was done: it was killed, out of memory perhaps, or this is a "
                "script without `if __name__ == '__main__':` around its work; workers=1 runs everything in this process"
            ) from None


def _on_cluster(function: Callable[[T], R], todo: Sequence[T], scheduler: str, done: Callable[[int, R], R]) -> list[R]:
    """Run the work on the workers of a Dask scheduler."""
    try:
        from distributed import Client
    except ImportError:
        raise ParallelError('scheduler= needs Dask; pip install "organoid[cluster]"') from None
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ParallelError(
            f"no Dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler` and give the "
            "address that it prints"
        ) from None
    with client, client.get_executor(pure=False) as pool:  # type: ignore[no-untyped-call]
        return _all(pool, function, todo, done)


def _all(pool: Executor, function: Callable[[T], R], todo: Sequence[T], done: Callable[[int, R], R]) -> list[R]:
    """Return all results in order; after a failure, work that has not begun is cancelled."""
    futures = [pool.submit(function, item) for item in todo]
    place = {future: k for k, future in enumerate(futures)}
    try:
        for future in as_completed(futures):
            done(place[future], future.result())
    finally:
        for future in futures:
            future.cancel()
    return [future.result() for future in futures]


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
    import torch  # only here: a worker process that needs no torch starts in a tenth of the time

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
