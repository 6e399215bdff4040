"""Recorded spikes as the whole history of a culture LIF network; the door to its compiled loops.

`forced_log_odds` follows the potentials, `forced_ranges` the ranges they reach, `membrane_rows` and `collect_forced`
what the weights multiply, `run_window` a window that begins in a recorded state, and `membrane_adjoint` takes the
derivative of its likelihood back to the currents.
"""

from organoid.models.compiled.culture_lif.forced import (
    collect_forced,
    forced_log_odds,
    forced_ranges,
    membrane_adjoint,
    membrane_rows,
    run_window,
)

__all__ = ["collect_forced", "forced_log_odds", "forced_ranges", "membrane_adjoint", "membrane_rows", "run_window"]
