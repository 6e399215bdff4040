"""Everything a lab tabulates of one culture, each statistic computed once."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.bursts import bursts_max_interval
from organoid.statistics.evoked import psth, response_latency
from organoid.statistics.intervals import cv, cv2, lv, lvr
from organoid.statistics.network import network_burst_evidence, network_bursts
from organoid.statistics.participation import participation
from organoid.statistics.rates import fano, firing_rates
from organoid.statistics.summary import ACTIVE_RATE, MAX_UNITS_FOR_PAIRS, remarks, summary
from organoid.statistics.tiling import sttc
from organoid.statistics.trains import intervals, ratio, trains, unit_mean

_SHORT_ISI = 1e-3  # s
_TYPES: dict[str, Any] = {"int": int, "float": float}


@dataclass(frozen=True)
class AnalysisSettings:
    """Parameters of an analysis; times in s, rates in Hz.

    Parameters
    ----------
    active_rate : float, Hz
        Units that fire at least this often count as active.
    sttc_dt : float, s
    burst_max_start, burst_max_end, burst_min_interval, burst_min_duration : float, s
    burst_min_spikes : int
        Of `bursts_max_interval`.
    network_min_units, network_min_fraction, network_max_interval, network_min_spikes, network_max_gap,
    network_max_chance
        Of `network_bursts`.
    n_shifts, seed : int
        Of the circular shifts that network bursts are compared with.
    participation_min_spikes : int
    backbone : float
        Of `participation`.
    psth_before, psth_after, psth_bin : float, s
        Window around stimuli, and its bins.
    response_window : float, s
        After a stimulus, for latencies and response probabilities.
    """

    active_rate: float = ACTIVE_RATE
    sttc_dt: float = 0.05
    burst_max_start: float = 0.17
    burst_max_end: float = 0.3
    burst_min_interval: float = 0.2
    burst_min_duration: float = 0.01
    burst_min_spikes: int = 3
    network_min_units: int = 3
    network_min_fraction: float = 0.25
    network_max_interval: float = 0.1
    network_min_spikes: int = 3
    network_max_gap: float = 0.3
    network_max_chance: float = 0.05
    n_shifts: int = 20
    seed: int = 0
    participation_min_spikes: int = 2
    backbone: float = 0.8
    psth_before: float = 0.1
    psth_after: float = 0.5
    psth_bin: float = 0.005
    response_window: float = 0.1

    @classmethod
    def of(cls, values: dict[str, Any]) -> "AnalysisSettings":
        """Return settings from a mapping, such as the ``parameters.json`` of an earlier analysis.

        Raises
        ------
        RecordingError
            If a name is unknown or a value is no number.
        """
        known = {each.name: str(each.type).removeprefix("<class '").removesuffix("'>") for each in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise RecordingError(f"there is no parameter {name!r}; known are {', '.join(known)}")
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise RecordingError(f"parameter {name} is {value!r}; expected a number")
        return cls(**{name: _TYPES[known[name]](value) for name, value in values.items()})

    def as_mapping(self) -> dict[str, float]:
        """Return names and values."""
        return asdict(self)

    @property
    def burst_parameters(self) -> tuple[float, float, float, float, int]:
        """Of `bursts_max_interval`, in its order."""
        return (
            self.burst_max_start,
            self.burst_max_end,
            self.burst_min_interval,
            self.burst_min_duration,
            self.burst_min_spikes,
        )


@dataclass(frozen=True)
class CultureAnalysis:
    """The tables of one culture.

    Parameters
    ----------
    settings : AnalysisSettings
    summary : dict
        Headline numbers, see `summary`.
    remarks : tuple of str
        What to know before using them.
    units : DataFrame
        One row per unit: who it is, its rate, intervals, bursts and part in network bursts.
    bursts : DataFrame
        Bursts of single units, with their names.
    network_bursts : DataFrame
    evidence : DataFrame
        See `network_burst_evidence`.
    sttc : ndarray, shape (n_units, n_units), or None
        None above 2000 units.
    responses : DataFrame
        One row per stimulated electrode and unit: response probability, latency, rates before and after. Empty without
        stimuli.
    psth : DataFrame
        Mean rate per unit around the stimuli of each electrode: electrode, time_s, one column per unit. Empty without
        stimuli.
    """

    settings: AnalysisSettings
    summary: dict[str, Any]
    remarks: tuple[str, ...]
    units: pd.DataFrame
    bursts: pd.DataFrame
    network_bursts: pd.DataFrame
    evidence: pd.DataFrame
    sttc: NDArray[np.float64] | None
    responses: pd.DataFrame
    psth: pd.DataFrame


def analyze_culture(rec: SpikeRecording, settings: AnalysisSettings | None = None) -> CultureAnalysis:
    """Compute the tables of one culture.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    settings : AnalysisSettings, optional

    Returns
    -------
    CultureAnalysis

    Raises
    ------
    RecordingError
        If the recording holds several wells, or a parameter makes no sense.

    Examples
    --------
    >>> found = analyze_culture(SpikeRecording([0.1, 0.4, 0.2], [0, 0, 1], t_stop=1.0))
    >>> found.units["rate_hz"].tolist()
    [2.0, 1.0]
    """
    use = settings or AnalysisSettings()
    culture = rec.culture()
    network = network_bursts(
        culture,
        min_units=use.network_min_units,
        min_fraction=use.network_min_fraction,
        max_interval=use.network_max_interval,
        min_spikes=use.network_min_spikes,
        max_gap=use.network_max_gap,
        max_chance=use.network_max_chance,
        n_shifts=use.n_shifts,
        seed=use.seed,
    )
    bursts = bursts_max_interval(culture, *use.burst_parameters)
    tiling = sttc(culture, use.sttc_dt) if culture.n_units <= MAX_UNITS_FOR_PAIRS else None
    numbers = summary(culture, active_rate=use.active_rate, bursts=network, unit_bursts=bursts, tiling=tiling)
    responses, rates = _evoked(culture, use)
    return CultureAnalysis(
        settings=use,
        summary={str(name): value for name, value in numbers.items()},
        remarks=tuple(remarks(culture, network)),
        units=_unit_table(culture, bursts, network, use),
        bursts=bursts.assign(name=culture.units["name"].to_numpy()[bursts["unit"]])[
            ["unit", "name", *bursts.columns[1:]]
        ],
        network_bursts=network,
        evidence=network_burst_evidence(culture, network, n_shifts=use.n_shifts, seed=use.seed),
        sttc=tiling,
        responses=responses,
        psth=rates,
    )


def _unit_table(
    rec: SpikeRecording, bursts: pd.DataFrame, network: pd.DataFrame, use: AnalysisSettings
) -> pd.DataFrame:
    rates = firing_rates(rec)
    isi = intervals(rec)
    taking_part = participation(rec, network, min_spikes=use.participation_min_spikes, backbone=use.backbone)
    measured = {
        "rate_hz": rates,
        "active": rates >= use.active_rate,
        "n_spikes": trains(rec).n_spikes,
        "cv": cv(rec),
        "cv2": cv2(rec),
        "lv": lv(rec),
        "lvr": lvr(rec),
        "fano": fano(rec),
        "isi_below_1ms": unit_mean((isi.durations < _SHORT_ISI).astype(float), isi.units, rec.n_units),
        **_unit_bursts(rec, bursts),
        "participation": taking_part["fraction"].to_numpy(),
        "participation_latency_s": taking_part["latency_s"].to_numpy(),
        "backbone": taking_part["backbone"].to_numpy(),
    }
    return rec.units.assign(**measured)


def _unit_bursts(rec: SpikeRecording, bursts: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return what each unit's bursts are like."""
    unit = bursts["unit"].to_numpy(dtype=np.int64)
    n = np.bincount(unit, minlength=rec.n_units)
    spikes = np.bincount(unit, weights=bursts["n_spikes"], minlength=rec.n_units)
    durations = (bursts["stop_s"] - bursts["start_s"]).to_numpy()
    between = np.diff(bursts["start_s"].to_numpy())
    same = np.diff(unit) == 0
    mean = unit_mean(between[same], unit[1:][same], rec.n_units)
    spread = np.sqrt(unit_mean((between[same] - mean[unit[1:][same]]) ** 2, unit[1:][same], rec.n_units))
    several = n > 2
    return {
        "bursts_per_minute": ratio(n, rec.observed_duration / 60),
        "burst_duration_s": unit_mean(durations, unit, rec.n_units),
        "burst_spikes": ratio(spikes, n),
        "burst_isi_s": ratio(np.bincount(unit, weights=durations, minlength=rec.n_units), spikes - n),
        "burst_interval_cv": np.where(several, ratio(spread, mean), np.nan),
        "fraction_in_bursts": ratio(spikes, trains(rec).n_spikes),
    }


def _evoked(rec: SpikeRecording, use: AnalysisSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of stimuli: response of every unit to every electrode, and rates around the stimuli."""
    responses, rates = [], []
    for electrode, times in stimuli_by_electrode(rec).items():
        after = psth(rec, times, (-use.psth_before, use.psth_after), use.psth_bin)
        before, answer = after[after.index < 0].mean(), after[after.index >= 0]
        window = answer[answer.index < use.response_window]
        table = response_latency(rec, times, use.response_window)
        table.insert(0, "electrode", electrode)
        table.insert(2, "name", rec.units["name"].to_numpy())
        table["rate_before_hz"] = before.to_numpy()
        table["rate_after_hz"] = window.mean().to_numpy()
        table["extra_spikes"] = (window - before).sum(min_count=1).to_numpy() * use.psth_bin
        responses.append(table)
        named = after.reset_index()
        named.insert(0, "electrode", electrode)
        rates.append(named)
    if not responses:
        return pd.DataFrame(), pd.DataFrame()
    return pd.concat(responses, ignore_index=True), pd.concat(rates, ignore_index=True)


def stimuli_by_electrode(rec: SpikeRecording) -> dict[str, NDArray[np.float64]]:
    """Return the times of stimuli, s, by the electrode (else channel) that gave them; "unknown" where none is named.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    dict
        Name of an electrode to sorted times of its stimuli.
    """
    table = rec.stimuli
    names = table["electrode"].astype("string").fillna(table["channel"].astype("string")).fillna("unknown")
    return {
        str(name): np.unique(group["time_s"].to_numpy(dtype=float)) for name, group in table.groupby(names, sort=False)
    }
