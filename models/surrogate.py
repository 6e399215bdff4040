"""Spike functions: a step forward, a smooth derivative backward.

A surrogate is a smooth function ``smooth(v)`` whose derivative stands in for that of the Heaviside step.
Called, it spikes: forward is ``1 if v >= 0 else 0``, backward is ``derivative(v)``. ``surrogate.relaxed``
has ``smooth`` in the forward pass too, so a network built on it is differentiable in the ordinary sense and
can be checked against finite differences. ``v`` is the distance to threshold, in thresholds (dimensionless).

Adding one: a frozen dataclass with ``smooth`` and ``derivative`` and its line in ``SURROGATES``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from organoid.errors import ModelError

SpikeFunction = Callable[[Tensor], Tensor]


class _Step(torch.autograd.Function):
    """Heaviside forward, the surrogate's derivative backward."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(v)
        ctx.surrogate = surrogate
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grad[0] * ctx.surrogate.derivative(v), None


class Surrogate(ABC):
    """A spike function with a surrogate gradient."""

    @abstractmethod
    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function whose derivative is used, same shape as ``v``."""

    @abstractmethod
    def derivative(self, v: Tensor) -> Tensor:
        """Return the derivative of `smooth`, same shape as ``v``."""

    def __call__(self, v: Tensor) -> Tensor:
        """Spikes (0 or 1) of the distance to threshold ``v``, same shape."""
        spikes: Tensor = _Step.apply(v, self)  # type: ignore[no-untyped-call]
        return spikes

    @property
    def support(self) -> float:
        """Distance from threshold, thresholds, from which on the derivative is exactly 0."""
        return math.inf

    @property
    def relaxed(self) -> SpikeFunction:
        """The smooth function itself as a spike function, for gradient checks."""
        return self.smooth


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ModelError(f"{name} must be a positive finite number, got {value!r}")


@dataclass(frozen=True)
class ArcTan(Surrogate):
    r"""Arctangent: :math:`\frac1\pi\arctan(\frac\pi2\alpha v)+\frac12`, slope :math:`\alpha/2` at threshold.

    References
    ----------
    Fang et al. (2021), Incorporating learnable membrane time constant to enhance learning of spiking neural
    networks, ICCV.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(alpha=self.alpha)

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return torch.atan(math.pi / 2 * self.alpha * v) / math.pi + 0.5

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * v) ** 2)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    r"""Normalised fast sigmoid: :math:`\frac12(1+\frac{kv}{1+k|v|})`, slope :math:`k/2` at threshold.

    It runs from 0 to 1 as the step does; `SuperSpike` has the same shape with slope 1 at threshold
    whatever its steepness.

    References
    ----------
    Neftci, Mostafa and Zenke (2019), Surrogate gradient learning in spiking neural networks, IEEE Signal
    Processing Magazine 36.
    """

    slope: float = 10.0

    def __post_init__(self) -> None:
        _positive(slope=self.slope)

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        scaled = self.slope * v
        return 0.5 * (1 + scaled / (1 + scaled.abs()))

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return 0.5 * self.slope / (1 + self.slope * v.abs()) ** 2


@dataclass(frozen=True)
class SuperSpike(Surrogate):
    r"""SuperSpike: :math:`\frac{v}{1+\beta|v|}`, derivative :math:`(1+\beta|v|)^{-2}`, slope 1 at threshold.

    References
    ----------
    Zenke and Ganguli (2018), SuperSpike: supervised learning in multilayer spiking neural networks, Neural
    Computation 30.
    """

    beta: float = 10.0

    def __post_init__(self) -> None:
        _positive(beta=self.beta)

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return v / (1 + self.beta * v.abs())

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return (1 + self.beta * v.abs()) ** -2


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r"""Logistic: :math:`\sigma(kv)`, derivative :math:`k\,\sigma(kv)(1-\sigma(kv))`.

    References
    ----------
    Zenke and Vogels (2021), The remarkable robustness of surrogate gradient learning, Neural Computation 33.
    """

    slope: float = 4.0

    def __post_init__(self) -> None:
        _positive(slope=self.slope)

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return torch.sigmoid(self.slope * v)

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        s = torch.sigmoid(self.slope * v)
        return self.slope * s * (1 - s)


@dataclass(frozen=True)
class Triangular(Surrogate):
    r"""Triangle: derivative :math:`\gamma\max(0, 1-|v|/w)`; it is exactly 0 beyond :math:`w` from threshold.

    References
    ----------
    Esser et al. (2016), Convolutional networks for fast, energy-efficient neuromorphic computing, PNAS 113.
    Bellec et al. (2018), Long short-term memory and learning-to-learn in networks of spiking
    neurons, NeurIPS.
    """

    width: float = 1.0
    gamma: float = 0.3

    def __post_init__(self) -> None:
        _positive(width=self.width, gamma=self.gamma)

    @property
    def support(self) -> float:
        """Distance from threshold from which on the derivative is exactly 0."""
        return self.width

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        u = (v / self.width).clamp(-1, 1)
        return self.gamma * self.width * (0.5 + u - 0.5 * u * u.abs())

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return self.gamma * (1 - (v / self.width).abs()).clamp(min=0)


@dataclass(frozen=True)
class Boxcar(Surrogate):
    r"""Rectangle: derivative :math:`1/w` for :math:`|v|<w/2`, else 0.

    References
    ----------
    Wu et al. (2018), Spatio-temporal backpropagation for training high-performance spiking neural networks,
    Frontiers in Neuroscience 12.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(width=self.width)

    @property
    def support(self) -> float:
        """Distance from threshold from which on the derivative is exactly 0."""
        return self.width / 2

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return (v / self.width + 0.5).clamp(0, 1)

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return (v.abs() < self.width / 2).to(v.dtype) / self.width


@dataclass(frozen=True)
class Gaussian(Surrogate):
    r"""Gaussian: derivative :math:`\mathcal N(v; 0, \sigma^2)`, smooth function its integral.

    References
    ----------
    Yin, Corradi and Bohte (2021), Accurate and efficient time-domain classification with adaptive spiking
    recurrent neural networks, Nature Machine Intelligence 3.
    """

    sigma: float = 0.5

    def __post_init__(self) -> None:
        _positive(sigma=self.sigma)

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return 0.5 * (1 + torch.erf(v / (self.sigma * math.sqrt(2))))

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return torch.exp(-0.5 * (v / self.sigma) ** 2) / (self.sigma * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    r"""Straight-through estimator: derivative 1 everywhere, smooth function :math:`v`.

    References
    ----------
    Bengio, Leonard and Courville (2013), Estimating or propagating gradients through stochastic neurons,
    arXiv:1308.3432.
    """

    def smooth(self, v: Tensor) -> Tensor:
        """Return the smooth function."""
        return v.clone()

    def derivative(self, v: Tensor) -> Tensor:
        """Return its derivative."""
        return torch.ones_like(v)


SURROGATES: dict[str, type[Surrogate]] = {
    "arctan": ArcTan,
    "fast_sigmoid": FastSigmoid,
    "sigmoid": Sigmoid,
    "triangular": Triangular,
    "boxcar": Boxcar,
    "gaussian": Gaussian,
    "straight_through": StraightThrough,
    "superspike": SuperSpike,
}
"""Every surrogate by name; each can be built without arguments."""
