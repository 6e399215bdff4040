r"""The game of Pong a culture plays, for one culture or many at once: plain arrays in, plain arrays out.

The field is the unit square. The ball bounces off the upper, lower and right walls; the paddle moves along the left.

.. math:: x' = x + v_x\,dt, \qquad y' = y + v_y\,dt, \qquad p' = \mathrm{clip}(p + u\,s\,dt,\ h/2,\ 1 - h/2)

with :math:`u \in [-1, 1]` what the motor regions say, :math:`s` the paddle's speed and :math:`h` its height.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEEPEST = 0.35  # of a serve, as a fraction of pi


class Game(NamedTuple):
    """State of some games, every array of shape (n,).

    Parameters
    ----------
    x, y, vx, vy : ndarray
        The ball.
    paddle : ndarray
        Middle of the paddle.
    rally : ndarray of int64
        Hits since the last serve.
    hits, misses, aces, long_rallies, longest : ndarray of int64
        Totals: an ace is a miss without a hit before it, a long rally has more than three hits.
    """

    x: Array
    y: Array
    vx: Array
    vy: Array
    paddle: Array
    rally: NDArray[np.int64]
    hits: NDArray[np.int64]
    misses: NDArray[np.int64]
    aces: NDArray[np.int64]
    long_rallies: NDArray[np.int64]
    longest: NDArray[np.int64]


LONG_RALLY = 3


def new_games(u: Array, ball_speed: float) -> Game:
    """Return games at their first serve; `u` in [0, 1), shape (n, 2), chooses height and direction."""
    n = len(u)
    zeros = np.zeros(n, dtype=np.int64)
    empty = np.zeros(n)
    game = Game(empty, empty, empty, empty, np.full(n, 0.5), *(zeros.copy() for _ in range(6)))
    return serve(game, np.ones(n, dtype=bool), u, ball_speed)


def serve(game: Game, which: NDArray[np.bool_], u: Array, ball_speed: float) -> Game:
    """Return the games with a new ball where `which`: from the right wall, at a random height and angle."""
    angle = (2.0 * u[:, 1] - 1.0) * _STEEPEST * np.pi
    return game._replace(
        x=np.where(which, 1.0, game.x),
        y=np.where(which, u[:, 0], game.y),
        vx=np.where(which, -ball_speed * np.cos(angle), game.vx),
        vy=np.where(which, ball_speed * np.sin(angle), game.vy),
        rally=np.where(which, 0, game.rally),
    )


def step(
    game: Game, action: Array, dt: float, speed: float, height: float, playing: NDArray[np.bool_]
) -> tuple[Game, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the games a time `dt` later where `playing`, and where the ball was hit or missed.

    Parameters
    ----------
    action : ndarray, shape (n,)
        ``u``, in [-1, 1]; up is positive.
    speed, height : float
        Of the paddle: field heights per second, and fraction of the field.
    playing : ndarray of bool, shape (n,)
        Games that pause stand still, ball and paddle.
    """
    paddle = np.clip(game.paddle + action * speed * dt, height / 2, 1 - height / 2)
    x, y = game.x + game.vx * dt, game.y + game.vy * dt
    vy = np.where((y < 0) | (y > 1), -game.vy, game.vy)
    y = np.where(y < 0, -y, np.where(y > 1, 2 - y, y))
    vx = np.where(x > 1, -game.vx, game.vx)
    x = np.where(x > 1, 2 - x, x)
    arrived = playing & (x <= 0)
    hit = arrived & (np.abs(y - paddle) <= height / 2)
    miss = arrived & ~hit
    moved = game._replace(
        x=np.where(playing, np.where(arrived, np.abs(x), x), game.x),
        y=np.where(playing, y, game.y),
        vx=np.where(playing, np.where(arrived, np.abs(vx), vx), game.vx),
        vy=np.where(playing, vy, game.vy),
        paddle=np.where(playing, paddle, game.paddle),
    )
    return _counted(moved, hit, miss), hit, miss


def _counted(game: Game, hit: NDArray[np.bool_], miss: NDArray[np.bool_]) -> Game:
    rally = game.rally + hit
    return game._replace(
        rally=np.where(miss, 0, rally),
        hits=game.hits + hit,
        misses=game.misses + miss,
        aces=game.aces + (miss & (game.rally == 0)),
        long_rallies=game.long_rallies + (hit & (rally == LONG_RALLY + 1)),
        longest=np.maximum(game.longest, rally),
    )


def oracle(game: Game, dt: float, speed: float) -> Array:
    """Return the action of a player who follows the ball."""
    return np.clip((game.y - game.paddle) / (speed * dt), -1.0, 1.0)
