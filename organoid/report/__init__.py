"""One self-contained HTML page on a recording, a fit, a simulation, a training run or a session."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from organoid._version import __version__
from organoid.errors import RecordingError
from organoid.hdf5.atomic import replace_file
from organoid.recording import SpikeRecording
from organoid.report.analysis import write_analysis_pages, write_script
from organoid.report.page import page, read_panels
from organoid.report.recorded import method_section
from organoid.report.sections import lead, notes, sections
from organoid.statistics import CultureAnalysis, analyze_culture

__all__ = ["panel_data", "report_page", "write_analysis_pages", "write_report", "write_script"]


def write_report(
    path: str | os.PathLike[str],
    *,
    recording: SpikeRecording | None = None,
    fit: Any = None,
    simulated: SpikeRecording | None = None,
    gradient: Any = None,
    session: Any = None,
    title: str | None = None,
    analysis: CultureAnalysis | None = None,
    methods: str = "",
    tables: Sequence[str] = (),
    script: str | None = None,
    home: str | None = None,
) -> Path:
    """Write a report: notes first, then a summary, then a section for everything given.

    The page holds everything it needs and opens without a network. It is written under a temporary name
    and renamed, so an earlier report stays whole until the new one is.

    Parameters
    ----------
    path : path
        The HTML file; an existing one is replaced.
    recording : SpikeRecording, optional
    fit : FitResult, optional
    simulated : SpikeRecording, optional
        A free run of the fit, compared with `recording` where that is given.
    gradient : GradientFit, optional
    session : Session, optional
    title : str, optional
    analysis : CultureAnalysis, optional
        What `organoid.statistics.analyze_culture` returned for `recording`. Default: computed here.
    methods : str
        A methods paragraph.
    tables : sequence of str
        Files beside the page, to link to.
    script : str, optional
        Where plotly.js is, relative to the page. Default: in the page.
    home : str, optional
        A page above this one, to link to.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    RecordingError
        If there is nothing to report on.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, organoid
    >>> recording = organoid.simulate(organoid.preset("bursting_culture"), 20.0, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     organoid.write_report(f"{folder}/report.html", recording=recording).name
    'report.html'
    """
    given = {"recording": recording, "fit": fit, "simulated": simulated, "gradient": gradient, "session": session}
    more: dict[str, Any] = {"methods": methods, "tables": tables, "script": script, "home": home}
    return replace_file(path, report_page(**given, title=title, analysis=analysis, **more).encode("utf-8"))


def report_page(
    *,
    recording: SpikeRecording | None = None,
    fit: Any = None,
    simulated: SpikeRecording | None = None,
    gradient: Any = None,
    session: Any = None,
    title: str | None = None,
    analysis: CultureAnalysis | None = None,
    methods: str = "",
    tables: Sequence[str] = (),
    script: str | None = None,
    home: str | None = None,
) -> str:
    """Return the page that `write_report` writes, as text; parameters and errors are the same."""
    from plotly.offline import get_plotlyjs

    given = {"recording": recording, "fit": fit, "simulated": simulated, "gradient": gradient, "session": session}
    if all(value is None for value in given.values()):
        raise RecordingError("nothing to report on; give a recording, fit, simulated, gradient or session")
    known = analysis
    if known is None and recording is not None and len(recording.wells) < 2:
        known = analyze_culture(recording)
    parts = sections(**given, analysis=known)
    if known is not None:
        parts.append(method_section(known, methods, list(tables)))
    return page(
        title or "Report on a culture",
        lead(**given),
        notes(**given, analysis=known),
        parts,
        None if script else get_plotlyjs(),
        f"Written by organoid {__version__}. Figures can be zoomed; a double click resets them; the camera saves SVG.",
        script=script,
        home=home,
    )


def panel_data(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Read back what the panels of a report show.

    Parameters
    ----------
    path : path
        A page `write_report` wrote.

    Returns
    -------
    dict
        Panel name to its figure, ``{"data": [traces], "layout": {...}}``, arrays as ndarrays.
    """
    return read_panels(Path(path).read_text(encoding="utf-8"))
