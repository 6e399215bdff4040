"""Losses by name; adding one is its own file and its line here. The tests run over this table."""

from __future__ import annotations

from collections.abc import Callable

from organoid.losses.base import SpikeLoss
from organoid.losses.likelihood import Likelihood
from organoid.losses.rate import Rate
from organoid.losses.van_rossum import VanRossum

LOSSES: dict[str, Callable[..., SpikeLoss]] = {
    "van_rossum": VanRossum,
    "rate": Rate,
    "likelihood": Likelihood,
}
