"""Dose-response: a Hill curve fitted to responses at several doses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError


def dose_response(
    dose: NDArray[np.float64], response: NDArray[np.float64], *, n_bootstrap: int = 200, seed: int = 0
) -> dict[str, float]:
    """Fit a Hill curve to responses at several doses.

    ``y = bottom + (top - bottom) / (1 + (EC50 / dose)^h)``, with y = bottom at dose 0; intervals by resampling the
    residuals.

    Parameters
    ----------
    dose : ndarray, shape (n,)
        0 or more, in any unit.
    response : ndarray, shape (n,)
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ec50, ec50_low, ec50_high (95 %), hill, bottom, top, r2, n. NaN where there are fewer than 4 doses, the fit
        does not converge, or the curve explains nothing; the interval reaches to 0 or beyond the doses where data do
        not bound it.

    Raises
    ------
    RecordingError
        If a dose is negative.
    """
    x, y = np.asarray(dose, dtype=np.float64), np.asarray(response, dtype=np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if (x < 0).any():
        raise RecordingError(f"a dose is {x.min():g}; expected doses of 0 or more")
    names = ("ec50", "ec50_low", "ec50_high", "hill", "bottom", "top", "r2")
    found = {**dict.fromkeys(names, float("nan")), "n": float(x.size)}
    if np.unique(x).size < 4 or np.ptp(y) == 0:
        return found
    best = _hill_fit(x, y)
    if best is None:
        return found
    expected = _hill(x, *best)
    r2 = 1 - float(np.sum((y - expected) ** 2) / np.sum((y - y.mean()) ** 2))
    rng = np.random.default_rng(seed)
    residuals = (y - expected) * np.sqrt(x.size / max(x.size - 4, 1))
    again = [_hill_fit(x, expected + rng.choice(residuals, x.size), best) for _ in range(n_bootstrap)]
    ec50 = np.exp([fit[2] for fit in again if fit is not None])
    low, high = (np.quantile(ec50, [0.025, 0.975]).tolist()) if len(ec50) >= n_bootstrap / 2 else (np.nan, np.nan)
    bottom, top, log_ec50, hill = best
    values = (float(np.exp(log_ec50)), low, high, hill, bottom, top, r2)
    return {**dict(zip(names, values)), "n": float(x.size)}


def hill_curve(fit: dict[str, float], dose: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return doses and fitted values to draw; empty where there is no fit.

    Parameters
    ----------
    fit : dict
        As `dose_response` returns.
    dose : ndarray

    Returns
    -------
    x, y : ndarray
    """
    above = dose[dose > 0]
    if not np.isfinite(fit["ec50"]) or not above.size:
        return np.zeros(0), np.zeros(0)
    x = np.geomspace(above.min() / 10, above.max() * 1.5, 100)
    return x, _hill(x, fit["bottom"], fit["top"], float(np.log(fit["ec50"])), fit["hill"])


def _hill(x: NDArray[np.float64], bottom: float, top: float, log_ec50: float, hill: float) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", over="ignore"):
        out: NDArray[np.float64] = bottom + (top - bottom) / (1 + np.exp(-hill * (np.log(x) - log_ec50)))
    return out


def _hill_fit(x: NDArray[np.float64], y: NDArray[np.float64], start: Any = None) -> tuple[float, ...] | None:
    from scipy.optimize import curve_fit

    above = x[x > 0]
    low, high, room = np.log(above.min()), np.log(above.max()), 3 * np.ptp(y)
    bounds = ([y.min() - room, y.min() - room, low - 3, 0.2], [y.max() + room, y.max() + room, high + 3, 10.0])
    first, last = y[x == x.min()].mean(), y[x == x.max()].mean()
    begin = (first, last, float(np.median(np.log(above))), 1.5) if start is None else start
    try:
        values, _ = curve_fit(_hill, x, y, np.clip(begin, *bounds), bounds=bounds, max_nfev=2000)
    except RuntimeError:
        return None
    return tuple(float(value) for value in values)
