"""A methods paragraph from the parameters that were used."""

from organoid._version import __version__
from organoid.statistics.culture import AnalysisSettings


def methods_paragraph(settings: AnalysisSettings, *, stimulated: bool = False) -> str:
    """Return how an analysis was done, in the words of a methods section.

    Parameters
    ----------
    settings : AnalysisSettings
    stimulated : bool
        Whether any recording holds stimuli.

    Returns
    -------
    str

    Examples
    --------
    >>> methods_paragraph(AnalysisSettings()).startswith("Spike trains were analysed with organoid")
    True
    """
    s = settings
    text = (
        f"Spike trains were analysed with organoid {__version__}. Rates are spikes per observed time; units that fired "
        f"at {60 * s.active_rate:.3g}/min or more were active. Bursts of single units were found by the "
        f"maximum-interval method (Cotterill et al., 2016): start at an interval below {_ms(s.burst_max_start)}, end "
        f"at "
        f"one above {_ms(s.burst_max_end)}, bursts less than {_ms(s.burst_min_interval)} apart merged, at least "
        f"{_ms(s.burst_min_duration)} and {s.burst_min_spikes} spikes. For network bursts a unit counted as bursting "
        f"while spikes followed each other by less than {_ms(s.network_max_interval)}, stretches less than "
        f"{_ms(s.network_max_gap)} apart merged, {s.network_min_spikes} or more spikes in all. A network "
        f"burst was an interval in which at least {s.network_min_units} units, and {s.network_min_fraction:.0%} of "
        f"those that "
        "fired, burst at once above the lower quartile of their number over time, bounded by where fewer than half "
        "as many did; intervals "
        f"closer than {_ms(s.network_max_gap)} were joined. The number of units was raised until recordings in which "
        f"every "
        f"unit was shifted circularly by a random time ({s.n_shifts} shifts) met it at most "
        f"{s.network_max_chance:.0%} as often as the "
        f"recording; the number expected after shifts is reported beside the number found. Units with "
        f"{s.participation_min_spikes} spikes or "
        f"more in at least {s.backbone:.0%} of network bursts form the backbone. Synchrony is the spike time tiling "
        f"coefficient (Cutts and "
        f"Eglen, 2014) with a window of {_ms(s.sttc_dt)}."
    )
    if stimulated:
        text += (
            f" Rates around stimuli were taken in bins of {_ms(s.psth_bin)} from {_ms(s.psth_before)} before to "
            f"{_ms(s.psth_after)} after; response probability and latency are those of the first spike within "
            f"{_ms(s.response_window)}."
        )
    return text


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"
