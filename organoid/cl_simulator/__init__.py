"""A culture of ours inside the Cortical Labs simulator: an unmodified CL application meets a culture that answers.

`use_culture` puts it there; ``python -m organoid.cl_simulator --culture FIT.h5 APP.py`` does so and runs an app. The
vendor's package is not part of this project; it is imported when it is used. The culture runs in a process of its own:
the simulator gives its data source 15 s to start and 0.1 s for a read, which loading and compiling may exceed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from organoid.cl_simulator.channels import ChannelMap, channel_map
    from organoid.cl_simulator.culture_feed import CultureFeed, Stim
    from organoid.cl_simulator.source import culture_source, use_culture

__all__ = ["ChannelMap", "CultureFeed", "Stim", "channel_map", "culture_source", "use_culture"]

_HOME = {
    "ChannelMap": "channels",
    "channel_map": "channels",
    "CultureFeed": "culture_feed",
    "Stim": "culture_feed",
    "culture_source": "source",
    "use_culture": "source",
}


def __getattr__(name: str) -> Any:  # imported when used: the simulator's process loads no more than it needs
    if name not in _HOME:
        raise AttributeError(f"module 'organoid.cl_simulator' has no attribute {name!r}")
    return getattr(import_module(f"organoid.cl_simulator.{_HOME[name]}"), name)
