"""Event-driven networks that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from event_networks import lively
from free_networks import DT, N

import organoid
from organoid import ModelError
from organoid.models import LIFParameters
from organoid.models.simulators.event_builder import event_lif, to_event_driven
from organoid.models.simulators.event_connections import Connections, random_connections
from organoid.models.simulators.event_driven import EventDrivenLIF

PAIR = ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        (Connections([0, 1], [1], 0.1), "pre and post"),
        (Connections([0, 9], [1, 0], 0.1), "pre runs from 0 to 9"),
        (Connections([0, 1], [1, -1], 0.1), "post runs from -1"),
        (Connections([0.5, 1.0], [1, 0], 0.1), "whole numbers"),
        (Connections(*PAIR, [0.1, np.nan]), "NaN"),
        (Connections(*PAIR, [0.1, 0.2, 0.3]), "weight has shape"),
        (Connections(*PAIR, 0.1, delay=-1.0), "delays"),
        (Connections(*PAIR, 0.1, delay=np.nan), "delays"),
        (Connections(*PAIR, 0.1, delay=1e6), "delays"),
        (Connections(*PAIR, 0.1, current=2), "current runs from 2"),
    ],
)
def test_impossible_connections(connections: Connections, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        event_lif(2, DT, connections)


@pytest.mark.parametrize(
    "options",
    [
        {"n_units": 0},
        {"dt": 0.0},
        {"bias": np.zeros(3)},
        {"bias": np.nan},
        {"rate_limit": 0.0},
        {"parameters": LIFParameters(noise_sd=-1.0)},
        {"parameters": LIFParameters(tau_syn=())},
    ],
)
def test_impossible_networks(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"n_units": 2, "dt": DT, "connections": Connections(*PAIR, 0.1), **options}
    if given["n_units"] == 0:
        given["connections"] = Connections([], [], 0.1)
    with pytest.raises(ModelError):
        event_lif(**given)


def test_rows_that_would_write_elsewhere_are_refused() -> None:
    network = lively()
    rows = network.rows
    for change in (
        {"target": np.full_like(rows.target, 2 * N)},
        {"start": rows.start[::-1].copy()},
        {"start": rows.start[1:]},
        {"delay": np.zeros(1, dtype=np.uint16)},
        {"target": rows.target.astype(np.int64)},
        {"weight": rows.weight.astype(np.float64)},
        {"weight": rows.weight[1:]},
    ):
        with pytest.raises(ModelError):
            EventDrivenLIF(network.parameters, rows._replace(**change))


def test_more_receivers_than_there_are() -> None:
    with pytest.raises(ModelError, match="fan_out 5"):
        random_connections(5, 5)


def test_models_of_other_kinds_have_no_event_form() -> None:
    with pytest.raises(ModelError, match="expected"):
        to_event_driven(organoid.models.AdEx(3, DT))  # type: ignore[attr-defined]
