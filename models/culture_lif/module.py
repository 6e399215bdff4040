r"""The culture LIF network in plain torch: readable, the oracle of the compiled loops, and what gradients train.

The equations are those of `organoid.models.culture_lif.network`, one step at a time. Any constant named in
``trainable`` is a parameter: time constants of membrane, synapses, recovery and thresholds as logarithms, the use of
resources as log-odds. A delay is a number of steps and has no gradient; here it is one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.contracts import Trajectory
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.models.neurons.escape_noise_lif import draw_spikes, uniforms
from organoid.models.recurrent import check_size
from organoid.models.spike_response.terms.population import FIELD_TAUS, LOG_GAIN, PopulationFields
from organoid.models.surrogate import Sigmoid, SpikeFunction, Surrogate
from organoid.models.teacher_forcing.voltages import ForcedVoltages, check_recorded
from organoid.models.trainable import check_trainable

TRAINABLE = ("tau_mem", "tau_synapse", "use", "recovery", "tau_threshold")
RESETS = ("hard", "none")
USUAL_RATE = 1.0  # Hz per unit, that population features are standardised for where no recording is known
THRESHOLD = 4.0  # logit, of an untrained network


@dataclass(frozen=True)
class CultureLIFConstants:
    """Fixed properties of a `CultureLIF`.

    Parameters
    ----------
    tau_mem : float
        Membrane time constant, s; 0 for none.
    reset : str
        "hard" (to 0 at a spike) or "none".
    tau_synapse, use, recovery : tuple of float
        Of every synapse type: time constant (s), share of resources used by a spike, time constant of recovery (s).
    saturation : float
        Largest synaptic trace.
    tau_threshold : tuple of float
        Time constants of the threshold traces, s.
    tau_population : tuple of float
        Time constants of the population features, s.
    products : int
        How many of them, the first ones, have products that are features too.
    shift, scale, low, high, mean, product_shift, product_scale : tuple of float
        Standardisation of the population features (`organoid.models.spike_response.terms.population`); empty: that of
        independent units of 1 Hz.
    trainable : tuple of str
        Constants that are parameters: any of "tau_mem", "tau_synapse", "use", "recovery", "tau_threshold".
    """

    tau_mem: float = 0.005
    reset: str = "hard"
    tau_synapse: tuple[float, ...] = (0.003, 0.010, 0.040)
    use: tuple[float, ...] = (0.0, 0.3, 0.5)
    recovery: tuple[float, ...] = (1.0, 0.5, 0.8)
    saturation: float = math.inf
    tau_threshold: tuple[float, ...] = (0.1, 0.3, 1.0, 4.0)
    tau_population: tuple[float, ...] = FIELD_TAUS
    products: int = 4
    mean: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    product_shift: tuple[float, ...] = ()
    product_scale: tuple[float, ...] = ()
    trainable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trainable(self.trainable, TRAINABLE, "CultureLIF")
        n = len(self.tau_synapse)
        if len(self.use) != n or len(self.recovery) != n:
            raise ModelError(f"tau_synapse, use and recovery need one value for each synapse type: {self}")
        if self.reset not in RESETS:
            raise ModelError(f"reset must be one of {RESETS}, got {self.reset!r}")
        if self.tau_mem < 0 or not all(t > 0 for t in (*self.tau_synapse, *self.recovery, *self.tau_threshold)):
            raise ModelError(f"time constants must be positive (tau_mem may be 0), s: {self}")

    def fields(self, n_units: int, dt: float) -> PopulationFields:
        """Return the constants of the population features."""
        decay = np.exp(-dt / np.array(self.tau_population))
        n, n_products = decay.size, self.products * (self.products + 1) // 2
        usual = {
            "mean": n_units * USUAL_RATE * dt / (1 - decay),
            "shift": np.full(n, math.log1p(LOG_GAIN)),
            "scale": np.ones(n),
            "low": np.full(n, -math.log1p(LOG_GAIN)),
            "high": np.where(np.array(self.tau_population) < SLOW, 4.0, np.inf),
            "product_shift": np.zeros(n_products),
            "product_scale": np.ones(n_products),
        }
        known = {name: getattr(self, name) for name in usual}
        return PopulationFields(
            decay=decay, **{name: np.asarray(known[name]) if known[name] else value for name, value in usual.items()}
        )


SLOW = 0.9  # s, from which population features may only inhibit and are not clipped above


class CultureLIFTorchState(NamedTuple):
    """State of a `CultureLIF`, batch first, and of its draws (stream and step, int64, shape (batch, 2))."""

    voltage: Tensor
    traces: Tensor
    depleted: Tensor
    raised: Tensor
    population: Tensor
    stream: Tensor


class CultureLIF(nn.Module):
    """Culture LIF network in plain torch; see `organoid.models.culture_lif.network` for the equation.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : CultureLIFConstants
        Fixed properties.
    spike : SpikeFunction
        Probability of a spike as a function of the log-odds: the logistic if not given.
    seed : int
        Seed of the initial weights.
    """

    field_mean: Tensor
    field_decay: Tensor

    def __init__(
        self,
        n_units: int,
        dt: float,
        parameters: CultureLIFConstants | None = None,
        *,
        spike: SpikeFunction | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_size(n_units, dt)
        c = parameters or CultureLIFConstants()
        self.n_units, self.dt, self.fixed = int(n_units), float(dt), c
        self.spike: SpikeFunction = spike or Sigmoid(1.0)
        fields = c.fields(n_units, dt)
        for name in PopulationFields._fields[:8]:
            self.register_buffer(f"field_{name}", torch.as_tensor(getattr(fields, name), dtype=torch.float32))
        n_types, generator = len(c.tau_synapse), torch.Generator().manual_seed(seed)
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.threshold = nn.Parameter(torch.full((n_units,), THRESHOLD))
        scale = 1 / math.sqrt(n_units)
        self.weights = nn.Parameter(scale * torch.randn(n_types, n_units, n_units, generator=generator))
        self.field_weights = nn.Parameter(torch.zeros(fields.n_features, n_units))
        self.threshold_steps = nn.Parameter(torch.full((len(c.tau_threshold), n_units), 0.3))
        self._log_tau_mem = self._trained("tau_mem", (c.tau_mem,), torch.log)
        self._log_tau_synapse = self._trained("tau_synapse", c.tau_synapse, torch.log)
        self._logit_use = self._trained("use", c.use, torch.logit)
        self._log_recovery = self._trained("recovery", c.recovery, torch.log)
        self._log_tau_threshold = self._trained("tau_threshold", c.tau_threshold, torch.log)

    def _trained(self, name: str, values: tuple[float, ...], to_real: Any) -> nn.Parameter | None:
        if name not in self.fixed.trainable:
            return None
        real = to_real(torch.tensor(values, dtype=torch.float64))
        if not bool(torch.isfinite(real).all()):
            raise ModelError(f"{name}={values} cannot be trained from there: it lies on the border of its range")
        return nn.Parameter(real.to(torch.float32))

    def _value(self, real: nn.Parameter | None, values: tuple[float, ...], back: Any = torch.exp) -> Tensor:
        return torch.tensor(values).to(self.bias) if real is None else back(real)

    def constants(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return beta, what is left of synaptic traces, use, what is left of depletion, what of threshold traces."""
        c = self.fixed
        tau_mem = self._value(self._log_tau_mem, (c.tau_mem,))
        beta = torch.exp(-self.dt / tau_mem) if c.tau_mem > 0 else torch.zeros_like(tau_mem)
        use = self._value(self._logit_use, c.use, torch.sigmoid)
        taus = (
            self._value(self._log_tau_synapse, c.tau_synapse),
            self._value(self._log_recovery, c.recovery),
            self._value(self._log_tau_threshold, c.tau_threshold),
        )
        decay, refill, relax = (torch.exp(-self.dt / tau) for tau in taus)
        return beta, decay, use, refill, relax

    def initial_state(self, batch: int = 1) -> CultureLIFTorchState:
        """Return networks at rest, each copy with draws of its own."""
        c, n = self.fixed, self.n_units
        new, stream = self.bias.new_zeros, torch.arange(batch, device=self.bias.device)
        return CultureLIFTorchState(
            voltage=new(batch, n),
            traces=new(batch, len(c.tau_synapse), n),
            depleted=new(batch, len(c.tau_synapse), n),
            raised=new(batch, len(c.tau_threshold), n),
            population=self.field_mean.to(self.bias).expand(batch, -1),
            stream=torch.stack([stream, torch.zeros_like(stream)], 1),
        )

    def seeded_state(self, batch: int, generator: torch.Generator) -> CultureLIFTorchState:
        """Return the state at rest with streams of draws taken from a generator."""
        keys = torch.randint(2**62, (batch,), generator=generator).to(self.bias.device)
        return self.initial_state(batch)._replace(stream=torch.stack([keys, torch.zeros_like(keys)], 1))

    def noise(self, batch: int, n_steps: int, generator: torch.Generator) -> Tensor:
        """Return no background input, shape (batch, time, unit): the spikes themselves are drawn."""
        return self.bias.new_zeros(batch, n_steps, self.n_units)

    def step(self, x: Tensor, state: CultureLIFTorchState) -> tuple[Tensor, CultureLIFTorchState]:
        """Advance one step under the external current ``x``, shape (batch, unit), logit."""
        spikes, _, state = self._advance(x, state, self.constants())
        return spikes, state

    def run(self, x: Tensor, state: CultureLIFTorchState | None = None) -> tuple[Tensor, CultureLIFTorchState]:
        """Advance over the external current ``x``, shape (batch, time, unit)."""
        out = self.trajectory(x, state)
        return out.spikes, out.state

    def trajectory(
        self, x: Tensor, state: CultureLIFTorchState | None = None, *, forced: Tensor | None = None
    ) -> Trajectory:
        """Run with everything visible; see `organoid.models.contracts.TrainableModel`."""
        state = self.initial_state(x.shape[0]) if state is None else state
        constants, spikes, logits = self.constants(), [], []
        for t in range(x.shape[1]):
            sent = None if forced is None else forced[:, t]
            own, log_odds, state = self._advance(x[:, t], state, constants, sent)
            spikes.append(own)
            logits.append(log_odds)
        return Trajectory(torch.stack(spikes, 1), torch.stack(logits, 1), state)

    def forced_voltages(
        self, spikes: Tensor, x: Tensor | None = None, state: CultureLIFTorchState | None = None
    ) -> ForcedVoltages:
        """Potentials of all units, with recorded spikes as the network's whole history.

        Parameters
        ----------
        spikes : Tensor, shape (batch, time, n_units)
            Recorded spikes, 0 or 1.
        x : Tensor, shape (batch, time, n_units), optional
            External current, logit.
        state : CultureLIFTorchState, optional
            Where to start; at rest if not given.
        """
        check_recorded(spikes)
        spikes = spikes.to(self.bias.dtype)
        x = torch.zeros_like(spikes) if x is None else x
        state = self.initial_state(x.shape[0]) if state is None else state
        constants, voltages, logits = self.constants(), [], []
        for t in range(x.shape[1]):
            voltage, log_odds = self._potential(x[:, t], state, constants[0])
            state = self._after(voltage, spikes[:, t], spikes[:, t], state, constants)
            voltages.append(voltage)
            logits.append(log_odds)
        return ForcedVoltages(torch.stack(voltages, 1), torch.stack(logits, 1), state)

    def population_features(self, population: Tensor) -> Tensor:
        """Return the standardised population features, shape (batch, n_features)."""
        f: Any = {name: getattr(self, f"field_{name}").to(population) for name in PopulationFields._fields[:8]}
        z = (torch.log1p(LOG_GAIN * population / f["mean"]) - f["shift"]) / f["scale"]
        z = torch.minimum(torch.maximum(z, f["low"]), f["high"])
        a, b = torch.triu_indices(self.fixed.products, self.fixed.products)
        return torch.cat([z, (z[:, a] * z[:, b] - f["product_shift"]) / f["product_scale"]], 1)

    def _potential(self, x: Tensor, state: CultureLIFTorchState, beta: Tensor) -> tuple[Tensor, Tensor]:
        current = self.bias + x + torch.einsum("bkj,kji->bi", state.traces, self.weights)
        current = current + self.population_features(state.population) @ self.field_weights
        voltage = beta * state.voltage + (1 - beta) * current
        return voltage, voltage - self.threshold - (self.threshold_steps * state.raised).sum(1)

    def _after(
        self, voltage: Tensor, own: Tensor, sent: Tensor, state: CultureLIFTorchState, constants: tuple[Tensor, ...]
    ) -> CultureLIFTorchState:
        """Return the state after a step in which units spiked (`own`) and others' spikes travelled (`sent`)."""
        _, decay, use, refill, relax = constants
        traces, depleted = decay[:, None] * state.traces, refill[:, None] * state.depleted
        release = sent[:, None] * (1 - depleted) * (1 - traces / self.fixed.saturation)
        return CultureLIFTorchState(
            voltage=voltage * (1 - own) if self.fixed.reset == "hard" else voltage,
            traces=traces + release,
            depleted=depleted + use[:, None] * sent[:, None] * (1 - depleted),
            raised=relax[:, None] * state.raised + own[:, None],
            population=self.field_decay.to(voltage) * state.population + sent.sum(1, keepdim=True),
            stream=state.stream + state.stream.new_tensor([0, 1]),
        )

    def _advance(
        self, x: Tensor, state: CultureLIFTorchState, constants: tuple[Tensor, ...], sent: Tensor | None = None
    ) -> tuple[Tensor, Tensor, CultureLIFTorchState]:
        voltage, log_odds = self._potential(x, state, constants[0])
        if isinstance(self.spike, Surrogate):
            own = draw_spikes(self.spike.smooth(log_odds), 1 - uniforms(state.stream, self.n_units))
        else:  # taken as the mean of the spikes, and nothing is drawn
            own = self.spike(log_odds)
        return own, log_odds, self._after(voltage, own, own if sent is None else sent, state, constants)

    def free_running(self, rate_limit: float = math.inf) -> CultureLIFNetwork:
        """Return the compiled form that runs freely."""
        return CultureLIFNetwork(self.network_parameters(rate_limit))

    def network_parameters(self, rate_limit: float = math.inf) -> CultureLIFParameters:
        """Return the parameters of the compiled form; nothing is clipped."""
        c, n = self.fixed, self.n_units
        tau_mem = float(self._value(self._log_tau_mem, (c.tau_mem,)).detach())
        fields = {name: _numbers(getattr(self, f"field_{name}")) for name in PopulationFields._fields[:8]}
        endless = np.full(n, np.inf)
        return CultureLIFParameters(
            dt=self.dt,
            tau=_numbers(self._value(self._log_tau_synapse, c.tau_synapse)),
            use=_numbers(self._value(self._logit_use, c.use, torch.sigmoid)),
            recovery=_numbers(self._value(self._log_recovery, c.recovery)),
            saturation=c.saturation,
            weights=_numbers(self.weights),
            bias=_numbers(self.bias),
            fields=PopulationFields(**fields),
            field_weights=_numbers(self.field_weights),
            drive_low=-endless,
            drive_high=endless,
            membrane_decay=math.exp(-self.dt / tau_mem) if tau_mem > 0 else 0.0,
            hard_reset=c.reset == "hard",
            threshold=_numbers(self.threshold),
            threshold_tau=_numbers(self._value(self._log_tau_threshold, c.tau_threshold)),
            threshold_steps=_numbers(self.threshold_steps),
            ceiling=endless.copy(),
            capacity=np.ones(n, dtype=np.int64),
            rate_limit=rate_limit,
        )


def _numbers(tensor: Any) -> Any:
    return tensor.detach().double().numpy().copy()
