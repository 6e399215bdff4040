r"""Free-running windows of the escape-noise network that can be differentiated.

The equations are those of `organoid.models.spike_response.network`, and so are the spikes, bit for bit. On the way
back every count stands for its expectation given the state before it (a straight-through gradient):

.. math::

    y = y^{sampled} + K(p - p^{const}), \qquad
    s' = s d + c\,(1 - s d / S), \quad c = S\big(1 - (1 - 1/S)^{y}\big) \;\to\;
    \mathrm{E}[c] = S\big(1 - (1 - p/S)^K\big)

Both expectations are exact for ``y ~ Binomial(K, p)``. Run on expected instead of sampled counts, the network is
deterministic and its gradient exact. The adjoint is written out by hand (`free_gradient_kernels`); the gradients of
all weights are three matrix products over its tape.

References
----------
Bengio, Leonard and Courville (2013), Estimating or propagating gradients through stochastic neurons for
conditional computation, arXiv:1308.3432.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.free_run.bptt_compiled import Tape, blank_tape, run_window, walk_back
from organoid.models.rng import stream_key
from organoid.models.spike_response.network import SpikeResponseParameters


class Weights(NamedTuple):
    """What is learned; raw (not standardised), as in `SpikeResponseParameters`.

    Parameters
    ----------
    couplings : Tensor, shape (n_tau * n_units, n_units)
    fields : Tensor, shape (n_features, n_units)
    bias : Tensor, shape (n_units,)
    """

    couplings: Tensor
    fields: Tensor
    bias: Tensor


@dataclass(frozen=True)
class WindowPlan:
    """Where windows start and how they run.

    Parameters
    ----------
    traces : ndarray, shape (n_windows, n_tau, n_units)
    population : ndarray, shape (n_windows, n_fields)
    n_steps : int
    seed : int or None
        Of the spikes; None runs the network on expected counts.
    memory : int, optional
        Steps over which the gradient is carried back at most; default: all. Where activity ignites, every spike calls
        forth several, and a gradient without a limit explodes.
    """

    traces: NDArray[Any]
    population: NDArray[Any]
    n_steps: int
    seed: int | None
    memory: int | None = None


def run_windows(weights: Weights, parameters: SpikeResponseParameters, plan: WindowPlan) -> Tensor:
    """Run windows freely and return their spikes, differentiable with respect to the weights.

    Parameters
    ----------
    weights : Weights
        Their type (float32 or float64) is that of the tape and of the result.
    parameters : SpikeResponseParameters
        Everything else about the network; its own weights are not used.
    plan : WindowPlan

    Returns
    -------
    Tensor, shape (n_windows, n_steps, n_units)
        Spikes per bin.
    """
    return _Unrolled.apply(*weights, parameters, plan)  # type: ignore[no-any-return, no-untyped-call]


class _Unrolled(torch.autograd.Function):
    """Forward: the network. Backward: its adjoint."""

    @staticmethod
    def forward(
        ctx: Any, couplings: Tensor, fields: Tensor, bias: Tensor, parameters: SpikeResponseParameters, plan: WindowPlan
    ) -> Tensor:
        used = with_weights(parameters, Weights(couplings, fields, bias))
        tape = blank_tape(len(plan.traces), plan.n_steps, used, couplings.detach().numpy().dtype)

        def run(window: int) -> None:
            traces = plan.traces[window].astype(np.float64)
            drive = np.stack([traces[k] @ used.weights[k] for k in range(used.tau.size)])
            population = plan.population[window].astype(np.float64)
            key = stream_key(plan.seed or 0, window)
            run_window(used, traces, drive, population, key, plan.seed is None, window, tape)

        _in_threads(run, len(plan.traces))
        ctx.tape, ctx.parameters, ctx.plan = tape, used, plan
        return torch.from_numpy(tape.counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tape: Tape = ctx.tape
        par: SpikeResponseParameters = ctx.parameters
        by_count = np.ascontiguousarray(gradient.numpy())
        by_drive, by_potential = np.empty_like(by_count), np.empty_like(by_count)
        back = np.ascontiguousarray(par.weights.transpose(0, 2, 1)), np.ascontiguousarray(par.field_weights.T)
        memory = ctx.plan.memory or ctx.plan.n_steps

        def run(window: int) -> None:
            walk_back(par, *back, tape, ctx.plan.seed is None, memory, window, by_count, by_drive, by_potential)

        _in_threads(run, len(by_count))
        traces, features, by_d, by_v = (
            torch.from_numpy(x).flatten(0, 1) for x in (tape.traces, tape.features, by_drive, by_potential)
        )
        return traces.T @ by_d, features.T @ by_v, by_v.sum(0), None, None


def with_weights(parameters: SpikeResponseParameters, weights: Weights) -> SpikeResponseParameters:
    """Return the network with other weights."""
    couplings, fields, bias = (w.detach().numpy().astype(np.float64) for w in weights)
    shape = parameters.weights.shape
    return parameters._replace(weights=couplings.reshape(shape), field_weights=fields, bias=bias)


def _in_threads(run: Callable[[int], None], n: int) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(run, range(n)))
