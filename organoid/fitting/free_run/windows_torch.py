"""Free windows as one batch in torch: (window, unit) states stepped in time, on any device.

The same network, started from the same recorded states, as in `organoid.fitting.free_run.windows`; the
random numbers are torch's, so spikes differ, their distribution does not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.free_run.window_states import RecordedStates, Response, Windows
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.population import LOG_GAIN, PopulationFields

_MAX_WINDOWS = 2048  # run at a time
_NOTHING = 1e-30  # traces below become 0: denormal numbers are slow


def run_batch(
    parameters: SpikeResponseParameters,
    states: RecordedStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    seed: int,
    device: str,
    response: Response | None = None,
) -> Windows:
    """Run a window of `n_steps` bins from each chosen state; see `compare_windows`."""
    network = _Batch.of(parameters, torch.device(device))
    generator = torch.Generator(device=network.bias.device).manual_seed(seed)
    parts = [
        network.run(
            states.traces[part],
            states.population[part],
            states.allowed[:n_steps],
            generator,
            _Pulses(response, states.bins[part]),
        )
        for part in np.array_split(chosen, -(-chosen.size // _MAX_WINDOWS))
    ]
    sums = np.sum([part.sums for part in parts], axis=0)
    return Windows(sums, sum(part.n_bins for part in parts), sum(part.n_given_up for part in parts))


@dataclass(frozen=True)
class _Pulses:
    """What recorded pulses add to the potentials of windows that start in given bins."""

    response: Response | None
    starts: NDArray[np.int64]

    def push(self, v: Tensor, step: int) -> Tensor:
        """Return the potentials in a step, shape (window, unit)."""
        if self.response is None:
            return v
        drive = self.response.stimulus.drive_at(self.response.track, self.starts + step)
        return v + torch.tensor(drive, dtype=v.dtype, device=v.device)


@dataclass(frozen=True)
class _Batch:
    """Parameters of a network as tensors; single precision, moments in double."""

    decay: Tensor
    saturation: float
    weights: Tensor  # (n_tau * n_pre, n_post)
    bias: Tensor
    capacity: Tensor
    low: Tensor
    high: Tensor
    ceiling: Tensor
    field_weights: Tensor
    fields: dict[str, Tensor]
    enters: Tensor  # (n_units, n_fields)

    @classmethod
    def of(cls, p: SpikeResponseParameters, device: torch.device) -> "_Batch":
        def tensor(values: NDArray[np.generic]) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

        n = p.bias.size
        return cls(
            decay=tensor(np.exp(-p.dt / p.tau))[:, None],
            saturation=float(p.saturation),
            weights=tensor(p.weights.reshape(-1, n)),
            bias=tensor(p.bias),
            capacity=tensor(p.capacity),
            low=tensor(p.drive_low),
            high=tensor(p.drive_high),
            ceiling=tensor(p.ceiling),
            field_weights=tensor(p.field_weights),
            fields={name: tensor(value) for name, value in p.fields._asdict().items()},
            enters=tensor(_spikes_that_enter(p.fields, n)),
        )

    def features(self, population: Tensor) -> Tensor:
        """Return fields and products, shape (window, n_features)."""
        f = self.fields
        z = (torch.log1p(LOG_GAIN * population / f["mean"]) - f["shift"]) / f["scale"]
        z = torch.minimum(torch.maximum(z, f["low"]), f["high"])
        n_products, n_whole = f["product_shift"].numel(), f["decay"].numel() - f["region"].numel()
        if n_products == 0:
            return z
        a, b = torch.triu_indices(*2 * (int(np.sqrt(2.0 * n_products)),), device=z.device)
        products = (z[:, a] * z[:, b] - f["product_shift"]) / f["product_scale"]
        return torch.cat([z[:, :n_whole], products, z[:, n_whole:]], dim=1)

    def potential(self, traces: Tensor, features: Tensor) -> Tensor:
        """Return ``V``, shape (window, unit)."""
        drive = traces.flatten(1) @ self.weights
        drive = torch.minimum(torch.maximum(drive, self.low), self.high)
        return torch.minimum(self.bias + drive + features @ self.field_weights, self.ceiling)

    def draw(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """Return spike counts, shape (window, unit)."""
        p = torch.sigmoid(v)
        if bool((self.capacity == 1).all()):
            return (torch.rand(p.shape, generator=generator, device=p.device) < p).to(p.dtype)
        return torch.binomial(self.capacity.expand_as(p).contiguous(), p, generator=generator)

    def grow(self, traces: Tensor, counts: Tensor) -> Tensor:
        """Return traces after the spikes of a step; several of one unit in closed form."""
        s = self.saturation
        if np.isinf(s):
            return traces + counts[:, None]
        left = torch.pow(1.0 - 1.0 / s, counts)
        return s - (s - traces) * left[:, None]

    def run(
        self,
        traces: NDArray[np.float32],
        population: NDArray[np.float32],
        allowed: NDArray[np.float64],
        generator: torch.Generator,
        pulses: _Pulses,
    ) -> Windows:
        """Run one batch of windows; one with more spikes than allowed is given up (its later bins do not count)."""
        device, n = self.bias.device, self.bias.numel()
        s, q = torch.tensor(traces, device=device), torch.tensor(population, device=device)
        width = s[0].numel() + self.field_weights.shape[0] + 1
        sums = torch.zeros(width, n, dtype=torch.float64, device=device)
        going = torch.ones(len(s), 1, device=device)
        total, n_bins = torch.zeros(len(s), 1, device=device), torch.zeros((), dtype=torch.float64, device=device)
        for step, most in enumerate(allowed.tolist()):
            g = self.features(q)
            counts = self.draw(pulses.push(self.potential(s, g), step), generator) * going
            x = torch.cat([s.flatten(1), g, torch.ones(len(s), 1, device=device)], dim=1)
            sums += (x.T @ counts).double()
            n_bins += going.sum()
            own = counts.sum(1, keepdim=True)
            s = self.grow(torch.nn.functional.threshold(s * self.decay, _NOTHING, 0.0), counts)
            q = q * self.fields["decay"] + counts @ self.enters
            total += own
            going = going * (total <= most)
        return Windows(sums.T.cpu().numpy(), int(n_bins), int((going == 0).sum()))


def _spikes_that_enter(fields: PopulationFields, n_units: int) -> NDArray[np.bool_]:
    """Return whose spikes enter each field, shape (n_units, n_fields)."""
    everyones = np.ones((n_units, fields.n_whole), dtype=bool)
    if not fields.region.size:
        return everyones
    return np.concatenate([everyones, fields.home[:, None] == fields.region], axis=1)
