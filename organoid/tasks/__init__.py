"""Tasks speak gymnasium, both ways: a culture plays an environment, and a culture is an environment.

gymnasium is an optional package (``pip install 'organoid[gym]'``) and is imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from organoid.tasks.cartpole import CartPole
    from organoid.tasks.culture_env import CultureEnv
    from organoid.tasks.feedback import EventFeedback, NoFeedback
    from organoid.tasks.gym_protocol import GymProtocol

__all__ = ["CartPole", "CultureEnv", "EventFeedback", "GymProtocol", "NoFeedback"]

_HOME = {
    "CartPole": "cartpole",
    "CultureEnv": "culture_env",
    "EventFeedback": "feedback",
    "GymProtocol": "gym_protocol",
    "NoFeedback": "feedback",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'organoid.tasks' has no attribute {name!r}")
    return getattr(import_module(f"organoid.tasks.{_HOME[name]}"), name)
