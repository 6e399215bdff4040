"""`CartPole`: `GymProtocol` with gymnasium's cart and pole, and parameters chosen for it."""

from organoid.tasks.gym_protocol import GymParameters, GymProtocol


class CartPoleParameters(GymParameters):
    """Parameters of `CartPole`: those of `GymProtocol`, with two numbers observed.

    Both are the pole's angle, up to 0.2095 rad either way, where an episode ends: one site is told how far the pole
    leans to the right, the other how far to the left.
    """

    env: str = "CartPole-v1"
    observed: tuple[tuple[int, float, float], ...] | None = ((2, 0.0, 0.2095), (2, 0.0, -0.2095))


class CartPole(GymProtocol):
    """A culture balances a pole on a cart (Barto, Sutton & Anderson 1983, as gymnasium's CartPole-v1 has it).

    The lean of the pole sets the pulse rates of two electrodes; spikes of the left half of the array push the cart to
    the left, those of the right half to the right. A fallen pole is followed by unpredictable pulses. With
    ``ticks_per_step=1`` the pole moves in its own time (0.02 s a step); by default it is five times slower.

    Examples
    --------
    >>> CartPole(feedback="none").describe()["parameters"]["feedback"]
    {'kind': 'none', 'rest': 0.0}
    """

    name = "cartpole"
    Parameters = CartPoleParameters
    parameters: CartPoleParameters


PROTOCOL = CartPole
