"""Rows of a recording's tables that belong to a part of it."""

import pandas as pd

from organoid.recording.ticks import to_ticks


def rows_between(table: pd.DataFrame, start: float, stop: float, tick_rate: float) -> pd.DataFrame:
    """Return the rows of a table whose ``time_s`` lies in ``[start, stop)``, s, compared in ticks; numbered from 0."""
    begin, end = to_ticks([start, stop], tick_rate)
    ticks = to_ticks(table["time_s"].to_numpy(dtype=float), tick_rate)
    return pd.DataFrame(table[(ticks >= begin) & (ticks < end)].reset_index(drop=True))


def stimuli_of_well(stimuli: pd.DataFrame, electrodes: pd.DataFrame, well: str | None) -> pd.DataFrame:
    """Return the stimuli without those known to lie in another well; all of them where no well is named."""
    if well is None:
        return stimuli
    here = (electrodes["well"] == well).to_numpy(dtype=bool)
    for column in ("electrode", "channel"):
        numbers = electrodes[column]
        elsewhere = stimuli[column].isin(numbers[~here].dropna()) & ~stimuli[column].isin(numbers[here])
        stimuli = stimuli[~elsewhere.to_numpy(dtype=bool)]
    return stimuli
