"""How well a matrix of signed scores finds the true connections; excitation and inhibition apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def average_precision(score: Array, positive: Flags) -> float:
    """Return the mean precision at every true connection, in falling order of score (NaN without any)."""
    if not positive.any():
        return float("nan")
    hit = positive[np.argsort(-score, kind="stable")]
    precision = np.cumsum(hit) / np.arange(1, hit.size + 1)
    return float(precision[hit].mean())


def auroc(score: Array, positive: Flags) -> float:
    """Return the chance that a true connection scores above another pair (ties count half)."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    if n in (0, positive.size):
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (positive.size - n)))


def ranking(score: Array, truth: Array) -> dict[str, float]:
    """Score a signed matrix, shape (pre, post): excitation high, inhibition low.

    Each kind is ranked among all ordered pairs, those of the other kind included as negatives.
    """
    pairs = ~np.eye(len(truth), dtype=bool)
    score, truth = np.nan_to_num(score[pairs]), truth[pairs]
    return {
        "ap_exc": average_precision(score, truth > 0),
        "ap_inh": average_precision(-score, truth < 0),
        "auroc_exc": auroc(score, truth > 0),
        "auroc_inh": auroc(-score, truth < 0),
    }


def cut(sign: NDArray[np.int64], truth: Array) -> dict[str, float]:
    """Score a label-free decision (+1, -1, 0 a pair): a connection found with the wrong sign is a false discovery."""
    pairs = ~np.eye(len(truth), dtype=bool)
    found, real = sign[pairs], np.sign(truth[pairs])
    right = (found != 0) & (found == real)
    tp, fp = int(right.sum()), int((found != 0).sum() - right.sum())
    fn = int((real != 0).sum() - right.sum())
    tn = int(found.size - tp - fp - fn)
    below = np.sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "n_found": tp + fp,
        "fdr": fp / max(tp + fp, 1),
        "recall": tp / max(tp + fn, 1),
        "mcc": (tp * tn - fp * fn) / below if below > 0 else 0.0,
    }
