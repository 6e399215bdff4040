"""Which basis, how strong a prior, and which units are coupled at all: blocked cross-validation.

The training part is cut into five blocks with gaps between them. A fold holds one block out, and leaves
out the gaps beside it; the rest is fitted. The search is greedy: first the basis (couplings; with
population fields; with their products), then, where there are pulses, a response to them, then one change
at a time (stronger priors, slow fields for a drifting baseline), then all changes that helped, together,
and last the winner without couplings or with a weaker prior on them. Units may follow a simpler model
than the winner: fields alone, own history alone or a constant rate, whichever predicts their held-out
blocks best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.fitting.teacher_forced.design import OWN_HISTORY, Candidate, Design
from organoid.fitting.teacher_forced.features import ForcedSample
from organoid.fitting.teacher_forced.solver import solve, solve_roughly
from organoid.parallel import in_threads

Array = NDArray[np.float64]

_MANY_FOLDS = 1e8  # rows x columns x units up to which every block is held out once, instead of two of them
_FEW_FOLDS = 3e9  # above this, one block only
_OTHERS = (1, 2, 0, 3)  # blocks held out beside the last, in this order
_MIN_SPIKES = 20  # a fit without a block has to have
_FEW_ROWS = 10_000
_PARTS = 8  # of the units, for threads
HELPS = (4.0, 0.5)  # nats, and nats a unit, a culture has to gain on the held-out blocks by couplings, or by a change
BASES = (
    Candidate("couplings", 300.0, "none"),
    Candidate("couplings and fields", 300.0, "linear"),
    Candidate("couplings, fields and products", 300.0, "products"),
)
LARGE_BASES = tuple(replace(basis, coupling_ridge=3000.0) for basis in BASES)  # many senders, a prior to match
ALONE = (
    Candidate("fields", None, "linear"),
    Candidate("fields and products", None, "products"),
)
LOCAL = "local fields"
STRONGER = 10.0  # times the prior on couplings
CHANGES: dict[str, dict[str, float | bool | None]] = {
    "strong prior on fields": {"field_ridge": 30.0},
    "slow drift": {"drift": True},
    LOCAL: {"local": True},
    "no couplings": {"coupling_ridge": None},
}
RESPONSES: dict[str, float] = {"response to pulses": 3.0, "weak response to pulses": 30.0}
FIRST_CHANGES = ("strong prior", "slow drift", "strong prior on fields")  # large problems try the first two only
_CHANGED = ("coupling_ridge", "field_ridge", "drift", "local")


@dataclass(frozen=True)
class Fold:
    """One block held out, and what is known of it.

    Parameters
    ----------
    inner, held : ForcedSample
        What is fitted (every second row is enough to compare choices), and what is predicted.
    own, constant : ndarray, shape (n_units,)
        Negative log-likelihood of own histories and of constant rates on the held-out block, nats.
    """

    inner: ForcedSample
    held: ForcedSample
    own: Array
    constant: Array


@dataclass
class Choice:
    """Outcome of the search.

    Parameters
    ----------
    best : Candidate
    tried : dict of Candidate
    gains : dict of ndarray, shape (n_units,)
        Nats every candidate gains over own history on the held-out blocks (see `steady`).
    constant_gain : ndarray, shape (n_units,)
        Nats a constant rate gains there over own history, likewise.
    n_spikes : float
        Spikes in the held-out blocks.
    start : Tensor or None
        Parameters of the best candidate on the first fold: a warm start.
    """

    best: Candidate
    tried: dict[str, Candidate]
    gains: dict[str, Array]
    constant_gain: Array
    n_spikes: float
    start: Tensor | None = field(default=None, repr=False)

    def alone(self) -> str | None:
        """Return the candidate tried that is the best one without its couplings, if any."""
        tried = self.tried.values()
        same = replace(self.best, coupling_ridge=None, name="")
        return next((c.name for c in tried if replace(c, name="") == same), None)

    def pooled(self, name: str) -> float:
        """Return the gain of a candidate, in nats; units it does not help count as 0, they keep their own history."""
        return float(np.maximum(self.gains[name], 0.0).sum())


def choose(design: Design) -> Choice:
    """Search for the candidate that predicts held-out blocks best.

    Parameters
    ----------
    design : Design

    Returns
    -------
    Choice
        Own history where no block can be held out (nearly all spikes lie in one).
    """
    if not held_blocks(design):
        nothing = np.zeros(design.n_units)
        return Choice(OWN_HISTORY, {}, {OWN_HISTORY.name: nothing}, nothing, 0.0)
    return _Search(design).run()


class _Search:
    """Tries candidates on all folds and remembers what they gained."""

    def __init__(self, design: Design) -> None:
        self.design, self.large = design, design.regions is not None
        self.folds = list(in_threads(lambda block: _fold(design, block), held_blocks(design)))
        self.tried: dict[str, Candidate] = {}
        self.by_fold: dict[str, list[Array]] = {}
        self.starts: dict[str, list[Tensor | None]] = {}

    def run(self) -> Choice:
        coupled = 1 < self.design.n_units <= MAX_COUPLED
        bases = (LARGE_BASES if self.large else BASES) if coupled else ALONE
        best = self._bases([basis for basis in bases if self._has(basis)])
        best = self._with_response(best)
        changed = [self._change(best, name) for name in self._first_changes() if self._sensible(best, name)]
        if changed:
            self._best(changed, best)
        helped = sorted((c for c in changed if self._gains(c, best)), key=self._total, reverse=True)
        winner = helped[0] if helped else best
        together = _together(best, helped)
        if together is not None:
            winner = self._best([winner, together], best)
        if winner.coupling_ridge is None:
            return self._choice(winner)
        last = [self._change(winner, "no couplings")]
        if (
            winner.coupling_ridge == best.coupling_ridge and not self.large
        ):  # a stronger prior on couplings did not help
            last.append(self._change(winner, "weak prior"))
        return self._choice(self._best([winner, *last], winner))

    def _gains(self, candidate: Candidate, over: Candidate) -> bool:
        """Return whether a candidate gains more than chance."""
        return self._total(candidate) > self._total(over) + HELPS[0] + HELPS[1] * self.design.n_units

    def _first_changes(self) -> Sequence[str]:
        """Large problems try less: there the prior on fields hardly matters."""
        local = (LOCAL,) if self.design.regions is not None else ()
        if len(self.folds) > 2:
            return local + FIRST_CHANGES
        return local + (FIRST_CHANGES[:2] if self.design.n_units <= MAX_COUPLED else ())

    def _has(self, basis: Candidate) -> bool:
        fields = self.design.basis.fields
        return {"none": True, "linear": fields.decay.size > 0, "products": fields.product_shift.size > 0}[basis.fields]

    def _sensible(self, best: Candidate, name: str) -> bool:
        if name == "slow drift":
            return self.design.n_drift > 0
        if name == "strong prior on fields":
            return best.fields != "none"
        return best.coupling_ridge is not None

    def _change(self, best: Candidate, name: str) -> Candidate:
        changes = CHANGES.get(name)
        if changes is None:
            assert best.coupling_ridge is not None
            changes = {"coupling_ridge": best.coupling_ridge * (STRONGER if name == "strong prior" else 1 / STRONGER)}
        return replace(best, name=f"{best.name}, {name}", **changes)  # type: ignore[arg-type]

    def _bases(self, bases: Sequence[Candidate]) -> Candidate:
        """Try bases from small to large, each from what the one before found."""
        warm = None
        for basis in bases:
            self._best([basis], warm)
            warm = basis
        return max(bases, key=self._total)

    def _with_response(self, best: Candidate) -> Candidate:
        """Return the candidate with a response to pulses, where there are any and it helps."""
        if self.design.pulses is None:
            return best
        tried = [replace(best, name=f"{best.name}, {name}", stimulus_ridge=r) for name, r in RESPONSES.items()]
        with_response = self._best(tried, best)
        return with_response if self._gains(with_response, best) else best

    def _best(self, candidates: Sequence[Candidate], warm: Candidate | None) -> Candidate:
        new = [c for c in candidates if c.name not in self.tried]
        jobs = [(c, k) for c in new for k in range(len(self.folds))]
        results = in_threads(lambda job: self._attempt(job[0], job[1], warm), jobs)
        self.tried |= {c.name: c for c in new}
        for (candidate, _), (gain, start) in zip(jobs, results):
            self.by_fold.setdefault(candidate.name, []).append(gain)
            self.starts.setdefault(candidate.name, []).append(start)
        return max(candidates, key=self._total)

    def _attempt(self, candidate: Candidate, k: int, warm: Candidate | None) -> tuple[Array, Tensor | None]:
        design, fold = self.design, self.folds[k]
        if candidate.coupling_ridge is None:
            alone = fit_alone(design, fold.inner, candidate)
            return fold.own - loss_alone(design, fold.held, candidate, alone), None
        start = None if warm is None else self._warm(warm, candidate, k)
        theta = solve_roughly(design.problem(fold.inner, candidate), start).theta
        loss = design.problem(fold.held, candidate).negative_log_likelihood(theta).numpy()
        return fold.own - loss, theta

    def _warm(self, known: Candidate, candidate: Candidate, k: int) -> Tensor | None:
        """Return what is known of a candidate with the same columns or fewer."""
        theta = self.starts[known.name][k]
        if theta is None:
            return None
        columns = self.design.columns(candidate)
        start = torch.zeros(columns.size, self.design.n_units)
        start[np.searchsorted(columns, self.design.columns(known))] = theta
        return start

    def _total(self, candidate: Candidate) -> float:
        return float(np.maximum(steady(self.by_fold[candidate.name]), 0.0).sum())

    def _choice(self, winner: Candidate) -> Choice:
        return Choice(
            winner,
            self.tried,
            {name: steady(gains) for name, gains in self.by_fold.items()},
            steady([fold.own - fold.constant for fold in self.folds]),
            float(sum(fold.held.spike_term[:, -1].sum() for fold in self.folds)),
            self.starts[winner.name][0],
        )


def steady(by_fold: Sequence[Array]) -> Array:
    """Sum gains over folds; a unit's gain counts only if it remains one without the fold that gained most.

    Of one or two folds that cannot be asked: there the sum counts.
    """
    gains = np.stack(by_fold)
    total = gains.sum(0)
    if len(gains) < 3:
        return np.asarray(total)
    rest = total - gains.max(0)
    return np.asarray(np.where((total > 0) & (rest <= 0), rest, total))


def _together(best: Candidate, helped: Sequence[Candidate]) -> Candidate | None:
    """Return `best` with all changes that helped, None for fewer than two."""
    if len(helped) < 2:
        return None
    combined = best
    for other in helped:
        changes = {key: getattr(other, key) for key in _CHANGED if getattr(other, key) != getattr(best, key)}
        combined = replace(combined, **changes)
    names = [other.name.removeprefix(f"{best.name}, ") for other in helped]
    return replace(combined, name=", ".join([best.name, *names]))


def held_blocks(design: Design) -> tuple[int, ...]:
    """Return the blocks to hold out, fewer for large problems; none where spikes lie in a single block."""
    work = float(len(design.sample.rows)) * design.scale.size * design.n_units
    spikes = design.sample.spike_term[::2, -1].sum(1)
    n = 5 if work < _MANY_FOLDS else 2 if work < _FEW_FOLDS else 1
    usable = {int(block) for block in np.flatnonzero((spikes > 0) & (spikes.sum() - spikes >= _MIN_SPIKES))}
    if len(usable) < 2:
        return ()
    order = (spikes.size - 1, *_OTHERS)  # the last block is most like what comes after
    return tuple(block for block in order if block in usable)[:n]


def _fold(design: Design, block: int) -> Fold:
    """Split the sample; blocks lie at even places, the gaps between them at odd ones."""
    places = np.arange(design.sample.spike_term.shape[0])
    inner = design.sample.part(np.abs(places - 2 * block) > 1, stride=2 if len(design.sample.rows) > _FEW_ROWS else 1)
    held = design.sample.part(places == 2 * block)
    own = loss_alone(design, held, OWN_HISTORY, fit_alone(design, inner, OWN_HISTORY))
    constant = loss_alone(design, held, OWN_HISTORY, constant_rates(design, inner))
    return Fold(inner, held, own, constant)


def constant_rates(design: Design, sample: ForcedSample) -> Array:
    """Return the parameters of constant rates, shape (n_features, n_units): only the bias is not 0."""
    theta = np.zeros((design.scale.size, design.n_units))
    spikes = np.maximum(sample.spike_term[:, -1].sum(0), 0.5)
    rate = np.minimum(spikes / (sample.weights.sum() * design.capacity), 1 - 1e-6)
    theta[-1] = np.log(rate / (1 - rate))
    return theta


def fit_alone(
    design: Design, sample: ForcedSample, candidate: Candidate, units: NDArray[np.int64] | None = None
) -> Array:
    """Fit units (all unless given) without couplings; shape (n_features, n_units), zero elsewhere."""
    theta = np.zeros((design.scale.size, design.n_units))
    wanted = np.arange(design.n_units) if units is None else units

    def fit_part(units: NDArray[np.int64]) -> None:
        for unit in units:
            problem, columns = design.unit_problem(sample, candidate, unit)
            theta[columns, unit] = solve(problem).theta[:, 0].numpy()

    list(in_threads(fit_part, np.array_split(wanted, _PARTS)))
    return theta


def loss_alone(design: Design, sample: ForcedSample, candidate: Candidate, theta: Array) -> Array:
    """Return the negative log-likelihood of every unit without couplings, nats."""
    loss = np.empty(design.n_units)
    for unit in range(design.n_units):
        problem, columns = design.unit_problem(sample, candidate, unit)
        loss[unit] = float(problem.negative_log_likelihood(torch.from_numpy(theta[columns, unit : unit + 1]).float()))
    return loss
