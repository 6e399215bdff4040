"""What a fit by gradient says first where it falls short: of each unit's own history, or in free run."""

from collections.abc import Iterator, Mapping
from typing import Any

SILENT, LOCKED = 0.5, 2.0  # times the recorded mean rate, of the median run
_BRAKE = "nothing in such a network ends a burst before it has spread to all units"
_ELSEWHERE = "for simulation use organoid.fit(rec), the default model and loss"


def shortfalls(bits: float, own_history: float, free_run: Mapping[str, Any]) -> Iterator[str]:
    """Yield plain warnings; nothing where the fit predicts better than own history and passes in free run.

    Parameters
    ----------
    bits : float
        Held-out bits/spike of the fit; NaN where undefined.
    own_history : float
        The same of each unit's own history.
    free_run : mapping
        Of `organoid.fitting.free_run.comparison.evaluate_free_runs`, or empty.

    Examples
    --------
    >>> list(shortfalls(1.5, 1.2, {"passed": True}))
    []
    """
    if bits < own_history:
        yield (
            f"predicts worse than each unit's own history ({bits:.2f} of {own_history:.2f} bits/spike): what it "
            "learned of the other units is worth less than the history that its cells forget; for prediction use "
            "organoid.fit(rec), the default model and loss"
        )
    if not free_run or free_run["passed"]:
        return
    rate = free_run["rate_ratio"]
    times = "an undefined number of times" if rate is None else f"{rate:.2f} times"
    if free_run["runaway"]:
        yield f"do not simulate with it: in free run it runs away ({times} the recorded rate); {_BRAKE}; {_ELSEWHERE}"
    elif rate is not None and rate > LOCKED:
        yield f"do not simulate with it: in free run it locks at {times} the recorded rate; {_BRAKE}; {_ELSEWHERE}"
    elif rate is None or rate < SILENT:
        yield (
            f"do not simulate with it: in free run it is all but silent ({times} the recorded rate): trained on "
            f"recorded input, it does not start bursts without it; {_ELSEWHERE}"
        )
    else:
        yield f"does not meet the free-run criteria, for the reasons below; {_ELSEWHERE}"
