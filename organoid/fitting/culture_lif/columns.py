"""What the weights of a culture LIF network multiply: constants, standardisation, priors and bounds of the columns.

Columns of a unit: traces (type by type, unit by unit), population features, 1 (bias), all behind the unit's membrane;
then -1 (threshold) and minus its threshold traces.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.design import highest_rate, spikes_in_a_bin
from organoid.fitting.teacher_forced.features import choose_control_bins
from organoid.fitting.teacher_forced.population import fit_fields
from organoid.models.culture_lif.forced_pass import collect_forced
from organoid.models.culture_lif.network import CultureLIFParameters
from organoid.models.spike_response.terms.population import FIELD_TAUS
from organoid.statistics.runaway import RUNAWAY_FACTOR

Array = NDArray[np.float64]

TAU_MEM = 0.005  # s
SYNAPSES = ((0.003, 0.0, 1.0), (0.010, 0.3, 0.5), (0.040, 0.5, 0.8))  # tau (s), use, recovery (s)
THRESHOLD_TAUS = (0.1, 0.3, 1.0, 4.0)  # s
PRODUCTS = 4
SLOW = 0.9  # s: population traces from here on may only inhibit, and are not clipped above
N_ROWS = 20_000
COUPLING_RIDGE, OWN_RIDGE, FIELD_RIDGE, CONSTANT_RIDGE = 300.0, 3.0, 3.0, 1e-3


@dataclass(frozen=True)
class Columns:
    """Constants of a culture LIF network, and how its weights are standardised.

    Parameters
    ----------
    template : CultureLIFParameters
        The network with all weights zero.
    scale : ndarray, shape (n_columns,)
        What each column is divided by; weights of the fit are multiplied by it.
    bins : ndarray of int64, shape (n_rows,)
        Bins that stand for all observed ones in the integral of the likelihood.
    bin_weights : ndarray, shape (n_rows,)
    """

    template: CultureLIFParameters
    scale: Array
    bins: NDArray[np.int64]
    bin_weights: Array

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.template.bias.size)

    @property
    def n_couplings(self) -> int:
        """Number of columns that are traces of units."""
        return int(self.template.tau.size * self.n_units)

    @property
    def fields(self) -> slice:
        """The columns of population features."""
        return slice(self.n_couplings, self.n_couplings + self.template.fields.n_features)

    @property
    def bias(self) -> int:
        """The column of the constant current."""
        return int(self.fields.stop)

    @property
    def threshold(self) -> int:
        """The column of the threshold."""
        return int(self.fields.stop) + 1

    @property
    def n_columns(self) -> int:
        """Number of columns of a unit."""
        return int(self.threshold + 1 + self.template.threshold_tau.size)

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which weights are a unit's own history, shape (n_columns, n_units)."""
        own = np.zeros((self.n_columns, self.n_units), dtype=bool)
        units = np.arange(self.n_units)
        for k in range(self.template.tau.size):
            own[k * self.n_units + units, units] = True
        own[self.threshold + 1 :] = True
        return own

    def ridge(self) -> Array:
        """Return the prior precision of every weight, shape (n_columns, n_units)."""
        ridge = np.full((self.n_columns, self.n_units), COUPLING_RIDGE)
        ridge[self.fields] = FIELD_RIDGE
        ridge[self.own] = OWN_RIDGE
        ridge[self.bias] = FIELD_RIDGE
        ridge[self.threshold] = CONSTANT_RIDGE
        return ridge

    def bounds(self, signs: NDArray[np.int64] | None = None) -> tuple[Array, Array]:
        """Return lowest and highest values of every weight, shape (n_columns, n_units).

        Thresholds only rise with spikes, and slow population features only inhibit.

        Parameters
        ----------
        signs : ndarray of int64, shape (n_units,), optional
            Dale's law: 1 for units that only excite others, -1 for those that only inhibit.
        """
        low = np.full((self.n_columns, self.n_units), -np.inf)
        high = -low
        low[self.threshold + 1 :] = 0.0
        slow = np.flatnonzero(np.isinf(self.template.fields.high))
        high[self.n_couplings + slow] = 0.0
        if signs is not None:
            of_unit = np.tile(signs, self.template.tau.size)
            others = ~self.own[: self.n_couplings]
            low[: self.n_couplings] = np.where(others & (of_unit[:, None] > 0), 0.0, -np.inf)
            high[: self.n_couplings] = np.where(others & (of_unit[:, None] < 0), 0.0, np.inf)
        return low, high

    def parameters(self, theta: Array) -> CultureLIFParameters:
        """Return the network of standardised weights; nothing is clipped."""
        raw, n = theta / self.scale[:, None], self.n_units
        return self.template._replace(
            weights=np.ascontiguousarray(raw[: self.n_couplings]).reshape(-1, n, n),
            field_weights=np.ascontiguousarray(raw[self.fields]),
            bias=raw[self.bias].copy(),
            threshold=raw[self.threshold].copy(),
            threshold_steps=np.ascontiguousarray(raw[self.threshold + 1 :]),
        )


def make_columns(training: History, rng: np.random.Generator) -> Columns:
    """Standardise the columns of a culture LIF network on the training part.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the bins that stand for all.
    """
    taus = np.array(FIELD_TAUS)
    fields = fit_fields(training, taus, products=PRODUCTS)
    fields = fields._replace(high=np.where(taus < SLOW, fields.high, np.inf))
    n, (tau, use, recovery) = training.n_units, (np.array(values) for values in zip(*SYNAPSES))
    endless = np.full(n, np.inf)
    template = CultureLIFParameters(
        dt=training.bin_width,
        tau=tau,
        use=use,
        recovery=recovery,
        saturation=np.inf,
        weights=np.zeros((tau.size, n, n)),
        bias=np.zeros(n),
        fields=fields,
        field_weights=np.zeros((fields.n_features, n)),
        drive_low=-endless,
        drive_high=endless,
        membrane_decay=float(np.exp(-training.bin_width / TAU_MEM)),
        hard_reset=True,
        threshold=np.zeros(n),
        threshold_tau=np.array(THRESHOLD_TAUS),
        threshold_steps=np.zeros((len(THRESHOLD_TAUS), n)),
        ceiling=endless.copy(),
        capacity=spikes_in_a_bin(training),
        rate_limit=RUNAWAY_FACTOR * highest_rate(training),
    )
    bins, weights = choose_control_bins(training, N_ROWS, rng)
    return Columns(template, _scale(training, template, bins, weights), bins, weights)


def _scale(training: History, template: CultureLIFParameters, bins: NDArray[np.int64], weights: Array) -> Array:
    """Return the standard deviation of every trace over the bins, of threshold traces over units too; 1 for others."""
    n, n_couplings = training.n_units, template.tau.size * training.n_units
    x = np.empty((bins.size, n_couplings + template.fields.n_features + 1), dtype=np.float32)
    raised = np.empty((bins.size, template.threshold_tau.size, n), dtype=np.float32)
    no_state, no_population = np.empty((0, 1, 1), dtype=np.float32), np.empty((0, 1), dtype=np.float32)
    spikes = training.bins, training.units, training.n_bins
    collect_forced(template, *spikes, bins, no_state, no_state, raised, no_population, x)
    share = weights / weights.sum()
    scale = np.ones(x.shape[1] + 1 + template.threshold_tau.size)
    for p in range(n_couplings):
        scale[p] = _deviation(x[:, p], share)
    each = np.tile(share[:, None] / n, (1, n)).ravel()
    for c in range(template.threshold_tau.size):
        scale[x.shape[1] + 1 + c] = _deviation(raised[:, c].ravel(), each)
    return scale


def _deviation(values: NDArray[np.float32], share: Array) -> float:
    wide = values.astype(np.float64)
    # not `@`: a dot product on several threads adds up in another order, and the fit would depend on their number
    first, second = np.einsum("t,t->", share, wide), np.einsum("t,t,t->", share, wide, wide)
    deviation = float(np.sqrt(max(second - first * first, 0.0)))
    return deviation if deviation > 1e-6 else 1.0
