"""The same recurrent network in several libraries: what `benchmarks.kernels` measures.

A side is made from a `Problem` and is a function without arguments that runs forward and backward and returns spikes
and gradients. All of them get the same drive of the potential, in thresholds, and the same recurrent weights: a
library whose input passes through the synapse (snnTorch, Norse) is given the input that makes that drive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from organoid.models import LIF, LIFParameters, Surrogate
from organoid.models.surrogate import FastSigmoid, Triangular

DT, TAU_MEM, TAU_SYN = 0.001, 0.02, 0.005
BETA, ALPHA = math.exp(-DT / TAU_MEM), math.exp(-DT / TAU_SYN)


@dataclass(frozen=True)
class Problem:
    """A network and its input.

    Parameters
    ----------
    n : int
        Units, all connected to all.
    mean, sd : float
        Mean of the drive, and the standard deviation it gives a free potential, thresholds.
    width : float
        Support of the triangular surrogate on either side of the threshold, thresholds; 0: a fast sigmoid, without end.
    scale : float
        Standard deviation of the summed weights onto a unit, thresholds.
    """

    n: int
    mean: float = 0.3
    sd: float = 0.35
    width: float = 0.2
    scale: float = 0.5
    n_steps: int = 1000
    batch: int = 4
    seed: int = 0

    def draw(self, *shape: int, part: int) -> Tensor:
        """Draw normal numbers; each part has its own."""
        generator = torch.Generator().manual_seed(1000 * self.seed + part)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    @property
    def drive(self) -> Tensor:
        """Drive in thresholds, shape (batch, time, unit)."""
        per_sd = math.sqrt((1 + BETA) / (1 - BETA))
        return (self.mean + self.sd * per_sd * self.draw(self.batch, self.n_steps, self.n, part=0)).float()

    @property
    def weight(self) -> Tensor:
        """Weights (pre, post), thresholds."""
        return (self.scale / math.sqrt(self.n) * self.draw(self.n, self.n, part=1)).float()

    @property
    def outside(self) -> Tensor:
        """Gradient of the loss with respect to the spikes, shape (batch, time, unit)."""
        return self.draw(self.batch, self.n_steps, self.n, part=2).float()

    @property
    def surrogate(self) -> Surrogate:
        """Surrogate of slope 1 / width at the threshold."""
        return Triangular(self.width, 1 / self.width) if self.width else FastSigmoid(25.0)


Side = Callable[[], dict[str, Tensor]]


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().contiguous().requires_grad_()


def network(p: Problem) -> LIF:
    """Return the network of this library."""
    fixed = LIFParameters(
        TAU_MEM, (TAU_SYN,), refractory=0.0, delay=DT, reset="subtract", detach_reset=True, weight_scale=p.scale
    )
    everybody = torch.ones(p.n, p.n, dtype=torch.bool)
    net = LIF(p.n, DT, fixed, spike=p.surrogate, mask=everybody)
    with torch.no_grad():
        net.synapses.weight.copy_(p.weight[None])
    return net


def organoid_side(p: Problem) -> Side:
    """`LIF` of this library; its input is the drive itself."""
    net = network(p)
    x, outside = leaf(p.drive), p.outside

    def run() -> dict[str, Tensor]:
        x.grad = net.synapses.weight.grad = net.bias.grad = None
        spikes, _ = net.run(x)
        (spikes * outside).sum().backward()
        return {"spikes": spikes.detach(), "x": x.grad, "weight": net.synapses.weight.grad[0]}

    return run


def through_synapse(drive: Tensor) -> Tensor:
    """Return the input whose filtered version drives the potential like ``drive``, time first."""
    current = (1 - BETA) * drive
    before = torch.cat([torch.zeros_like(current[:, :1]), current[:, :-1]], 1)
    return (current - ALPHA * before).transpose(0, 1)


def snntorch_side(p: Problem, *, same_reset: bool = False) -> Side:
    """`RSynaptic` of snnTorch as it comes.

    Its reset takes off a whole threshold one step later; ``same_reset`` takes off what is left of it by then, as
    if it had been taken off at once, so that both libraries compute the same network.
    """
    import snntorch

    class SameReset(snntorch.RSynaptic):  # type: ignore[misc, name-defined]
        def mem_reset(self, mem: Tensor) -> Tensor:
            return BETA * super().mem_reset(mem)

    def slope(v: Tensor, grad: Tensor, _: Tensor) -> Tensor:
        return grad * p.surrogate.derivative(v)

    make = SameReset if same_reset else snntorch.RSynaptic
    net = make(ALPHA, BETA, linear_features=p.n, spike_grad=snntorch.surrogate.custom_surrogate(slope))
    with torch.no_grad():
        net.recurrent.weight.copy_((1 - BETA) * p.weight.T)
        net.recurrent.bias.zero_()
    x, outside = leaf(through_synapse(p.drive)), p.outside.transpose(0, 1).contiguous()
    zeros = torch.zeros(p.batch, p.n)

    def run() -> dict[str, Tensor]:
        x.grad = net.recurrent.weight.grad = net.recurrent.bias.grad = None
        spikes, synapse, potential = zeros, zeros, zeros
        record = []
        for part in x:
            spikes, synapse, potential = net(part, spikes, synapse, potential)
            record.append(spikes)
        stacked = torch.stack(record)
        (stacked * outside).sum().backward()
        gradients = {"x": x.grad, "weight": net.recurrent.weight.grad}
        return {"spikes": stacked.detach().transpose(0, 1), **gradients}

    return run


def norse_side(p: Problem) -> Side:
    """`LIFCell` of Norse with a linear feedback; hard reset, its own triangle, which reaches 1 to either side.

    Its Euler steps are given the rates at which they decay as everybody's potential and current do. Its default slope,
    100 over that width, makes the gradient grow beyond single precision on the way back; 1 encloses the area of a step.
    """
    import norse.torch as norse

    triangle = norse.LIFParameters(
        tau_syn_inv=torch.tensor((1 - ALPHA) / DT),
        tau_mem_inv=torch.tensor((1 - BETA) / DT),
        method="triangle",
        alpha=torch.tensor(1.0),
    )
    cell = norse.LIFCell(triangle)
    weight, outside = leaf(p.weight.T), p.outside.transpose(0, 1).contiguous()
    x = leaf(through_synapse(p.drive) / (1 - BETA))

    def run() -> dict[str, Tensor]:
        x.grad = weight.grad = None
        spikes, state, record = torch.zeros(p.batch, p.n), None, []
        for part in x:
            spikes, state = cell(part + torch.nn.functional.linear(spikes, weight), state)
            record.append(spikes)
        stacked = torch.stack(record)
        (stacked * outside).sum().backward()
        return {"spikes": stacked.detach().transpose(0, 1), "x": x.grad, "weight": weight.grad}

    return run


def spikingjelly_side(p: Problem) -> Side:
    """`LIFNode` of SpikingJelly with a linear feedback; hard reset, no synaptic current: a simpler network."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    width = p.width or 1.0
    node = neuron.LIFNode(tau=TAU_MEM / DT, surrogate_function=surrogate.PiecewiseQuadratic(alpha=1 / width))
    weight, outside = leaf(p.weight.T), p.outside.transpose(0, 1).contiguous()
    x = leaf(p.drive.transpose(0, 1))

    def run() -> dict[str, Tensor]:
        x.grad = weight.grad = None
        functional.reset_net(node)
        spikes, record = torch.zeros(p.batch, p.n), []
        for part in x:
            spikes = node(part + torch.nn.functional.linear(spikes, weight))
            record.append(spikes)
        stacked = torch.stack(record)
        (stacked * outside).sum().backward()
        return {"spikes": stacked.detach().transpose(0, 1), "x": x.grad, "weight": weight.grad}

    return run


SIDES: dict[str, Callable[[Problem], Side]] = {
    "organoid": organoid_side,
    "snntorch": snntorch_side,
    "norse": norse_side,
    "spikingjelly": spikingjelly_side,
}


def rate(found: dict[str, Tensor]) -> float:
    """Return the mean rate, Hz."""
    return float(found["spikes"].mean()) / DT


def finite(found: dict[str, Tensor]) -> bool:
    """Tell whether all gradients are numbers."""
    return all(bool(found[name].isfinite().all()) for name in ("x", "weight"))


def agreement(n: int = 64, n_steps: int = 300) -> dict[str, float]:
    """Return the largest relative difference of gradients from snnTorch's, made to compute the same network."""
    p = Problem(n, n_steps=n_steps, batch=2, scale=2.0)
    ours, theirs = organoid_side(p)(), snntorch_side(p, same_reset=True)()
    late = torch.zeros_like(theirs["x"])
    late[:-1] = theirs["x"][1:]
    drive = ((1 - BETA) * (theirs["x"] - ALPHA * late)).transpose(0, 1)  # adjoint of `through_synapse`
    pairs = {"x": (ours["x"], drive), "weight": (ours["weight"], (1 - BETA) * theirs["weight"].T)}
    gaps = {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}
    differing = float((ours["spikes"] != theirs["spikes"]).sum())
    return {"differing_spikes": differing, "rate_hz": rate(ours), **gaps}
