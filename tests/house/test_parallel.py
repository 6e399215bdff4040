"""`organoid.parallel.map`: order, errors, local processes, and a real Dask scheduler."""

from __future__ import annotations

import os
import socket

import pytest

from organoid import parallel
from organoid.errors import ParallelError


def squared(x: int) -> int:
    if x < 0:
        raise ArithmeticError(f"{x} is negative")
    return x * x


def process_id(_: int) -> int:
    return os.getpid()


def killed(_: int) -> None:
    os._exit(1)


def test_one_worker_is_this_process() -> None:
    assert parallel.map(process_id, range(2), workers=1) == [os.getpid()] * 2
    assert parallel.map(squared, []) == []
    assert parallel.map(lambda x: x + 1, [1, 2], workers=1) == [2, 3]


def test_several_workers_are_other_processes_and_keep_the_order() -> None:
    assert parallel.map(squared, range(7), workers=2) == [squared(x) for x in range(7)]
    assert os.getpid() not in parallel.map(process_id, range(2), workers=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_the_work_come_out(workers: int) -> None:
    with pytest.raises(ArithmeticError, match="-1 is negative"):
        parallel.map(squared, [1, -1, 2], workers=workers)


def test_what_cannot_travel_is_rejected() -> None:
    with pytest.raises(ParallelError, match="top level of a module"):
        parallel.map(lambda x: x, [1, 2], workers=2)
    with pytest.raises(ParallelError, match="workers=0"):
        parallel.map(squared, [1, 2], workers=0)


def test_a_worker_that_dies_is_told_from_a_bug() -> None:
    with pytest.raises(ParallelError, match="a worker process ended"):
        parallel.map(killed, [1, 2], workers=2)


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    with socket.socket() as taken:  # bound, not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(parallel, "_CONNECT_S", 1)
        with pytest.raises(ParallelError, match="no Dask scheduler answers"):
            parallel.map(squared, [1], scheduler=f"tcp://127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.slow
def test_a_dask_scheduler_with_two_workers() -> None:
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", **settings) as cluster:
        address = cluster.scheduler_address
        assert parallel.map(squared, range(7), scheduler=address) == [squared(x) for x in range(7)]
        with pytest.raises(ArithmeticError, match="-1 is negative"):
            parallel.map(squared, [1, -1, 2], scheduler=address)
        ids = parallel.map(process_id, range(8), scheduler=address)
        assert os.getpid() not in ids
