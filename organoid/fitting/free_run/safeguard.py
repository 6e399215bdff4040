"""What keeps a correction in free run from destroying what the forced fit knows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.teacher_forced.estimate import Design, ForcedFit, negative_log_likelihood
from organoid.fitting.teacher_forced.model_selection import constant_rates

Array = NDArray[np.float64]

SHORTENINGS = 4
WORSE_RATE = 0.25  # log units that windows of one length may get further from the recorded rate
LEAST_TRUST = 1 / 16


class LikelihoodLoss:
    """The share of the forced fit's gain over constant rates that other weights give up, on the training part."""

    def __init__(self, design: Design, forced: ForcedFit) -> None:
        self.design = design
        self.best = negative_log_likelihood(design, forced.theta)
        constant = negative_log_likelihood(design, constant_rates(design, design.sample))
        self.gain = max(constant - self.best, 1e-12)

    def __call__(self, theta: Array) -> float:
        """Return the share given up by standardised weights."""
        return float((negative_log_likelihood(self.design, theta) - self.best) / self.gain)


class Safeguard:
    """Takes no step that makes likelihood and rate worse, and none that leaves a budget of likelihood.

    Where a network is far too quiet, windows hold next to no simulated spikes: the difference of moments then is the
    recorded moment itself, which says "more", not where. Followed for many steps it costs more likelihood than the
    recording can pay for, and the network is no nearer. So weights beyond the budget are drawn back towards the forced
    optimum (the loss is convex and least there), and a step after which windows as long are further from the recorded
    rate, at a greater loss, is undone and the next ones are shorter.

    Parameters
    ----------
    forced : ndarray, shape (n_features, n_units)
        Standardised weights of the forced fit.
    loss : callable
        Of standardised weights: the share of likelihood given up.
    budget : float
        Largest share.
    """

    def __init__(self, forced: Array, loss: Callable[[Array], float], budget: float) -> None:
        self.forced, self.loss, self.budget = forced, loss, budget
        self.trust = 1.0  # of the step's trust region
        self.n_undone = 0
        self._before: tuple[Array, float, float, int] | None = None
        self._known = forced, 0.0

    def within(self, theta: Array) -> Array:
        """Return the weights, drawn back towards the forced optimum as far as the budget demands."""
        if not np.all(np.isfinite(theta)):
            return self.forced.copy()
        for _ in range(SHORTENINGS):
            loss = self._loss(theta)
            if loss <= self.budget:
                break
            theta = self.forced + 0.98 * np.sqrt(self.budget / loss) * (theta - self.forced)
        return theta

    def _loss(self, theta: Array) -> float:
        if self._known[0] is not theta:
            self._known = theta, self.loss(theta)
        return self._known[1]

    def accept(self, theta: Array, rate_ratio: float, n_steps: int) -> Array:
        """Return the weights that a step may start from: `theta`, or those before it where it made all worse.

        Parameters
        ----------
        theta : ndarray
            The weights whose windows were just run.
        rate_ratio : float
            Simulated over recorded spikes of these windows.
        n_steps : int
            Bins of a window: only windows of one length are compared.
        """
        off, loss = float(abs(np.log(max(rate_ratio, 1e-6)))), self._loss(theta)
        if self._before is not None and self._before[3] == n_steps:
            earlier, off_before, loss_before, _ = self._before
            if off > off_before + WORSE_RATE and loss > loss_before:
                self.trust, self.n_undone = max(self.trust / 2, LEAST_TRUST), self.n_undone + 1
                return earlier
        self._before = theta, off, loss, n_steps
        return theta
