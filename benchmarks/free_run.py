"""How fitted networks live when left alone, against the bars of acceptance.

``python -m benchmarks.free_run [FILE...] [--json] [--stability] [--keep DIR]``: every recording is fitted with the
defaults, the network runs freely five times 600 s, and medians are held against the bars; beside each score stands
what the recording's two halves agree to. ``--stability`` adds 20 ten-minute runs (and 10 of one hour of the first
file). With ``--keep DIR`` every fit and result is kept there and found again, so that an interrupted run goes on.

`measure` takes any fitted network with its recording; other ways to fit are judged by the same bars with it.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import organoid
from benchmarks.results import store
from organoid.fitting.free_run.comparison import SCORE_NAMES, free_run_scores, split_half, summarise, summarize_activity
from organoid.models.free_running import FreeRunningNetwork

RECORDINGS = Path(__file__).resolve().parent.parent.parent / "shared" / "recordings" / "carmen"
BURSTING = tuple(f"C57_CTX_G2CEPHYS3_TC21_DIV{day}_D.h5" for day in (21, 14, 17))
ASYNCHRONOUS = (
    "hiPSN_tc146_d13_spikes6sd.h5",
    "hiPSN_tc146_d21_spikes6sd.h5",
    "Torborg2004_2001-10-22-0.h5",
    "Demas2006_p21nobdr1.h5",
)
N_RUNS, DURATION = 5, 600.0
STABILITY_RUNS, HOURS = 20, 10
NOTES = (
    "Default fits; medians of five free runs of 600 s, simulated / recorded; in brackets the second half of the "
    "recording against the first.",
    "Loss: of held-out bits/spike, against the same kind of network before its correction in free run.",
)
BURSTS_A_MINUTE = 5.0  # recordings with fewer are held against the bars for asynchronous ones


@dataclass(frozen=True)
class Bar:
    """One bar of acceptance: the score has to lie between two values."""

    score: str
    low: float
    high: float


BURSTING_BARS = (
    Bar("rate_ratio", 0.85, 1.15),
    Bar("rate_correlation", 0.99, 1.0),
    Bar("burst_rate_ratio", 0.75, 1.3),
    Bar("burst_duration_ratio", 0.75, 1.3),
    Bar("ibi_cv_ratio", 0.8, 1.2),
    Bar("fraction_off", 0.0, 0.08),
    Bar("isi_cv_ratio", 0.8, 1.2),
    Bar("sttc_correlation", 0.95, 1.0),
    Bar("held_out_loss", -1.0, 0.04),
)
ASYNCHRONOUS_BARS = (
    Bar("extra_bursts_per_minute", -1000.0, 0.5),
    Bar("rate_ratio", 0.9, 1.1),
    Bar("held_out_loss", -1.0, 0.02),
)


def measure(
    network: FreeRunningNetwork, rec: organoid.SpikeRecording, bits: tuple[float, float] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Score any network against the recording it was fitted to; thresholds and bars come from the recording.

    Parameters
    ----------
    network : FreeRunningNetwork
    rec : SpikeRecording
        One culture.
    bits : tuple of float, optional
        Held-out bits/spike of the network, and of the same kind of network before it was corrected in free run.
    seed : int

    Returns
    -------
    dict
        scores, ranges, split_half, bars (name to whether it is met), passes, kind.
    """
    recorded = summarize_activity(rec)
    runs = free_run_scores(network, recorded, seed=seed, n_runs=N_RUNS, duration=DURATION)
    summary = summarise(runs)
    scores = {name: summary[name] for name in SCORE_NAMES} | {"runaway": summary["runaway"]}
    scores["fraction_off"] = float(abs(runs["fraction_in_bursts"].median() - recorded.fraction_in_bursts))
    if bits is not None:
        scores |= {"held_out_bits": bits[0], "held_out_loss": 1 - bits[0] / bits[1]}
    per_minute = 60 * recorded.burst_rate
    kind, bars = ("bursting", BURSTING_BARS) if per_minute >= BURSTS_A_MINUTE else ("asynchronous", ASYNCHRONOUS_BARS)
    met = {bar.score: _meets(scores.get(bar.score), bar) for bar in bars}
    return {
        "kind": kind,
        "scores": scores,
        "ranges": {name: summary[f"{name}_range"] for name in SCORE_NAMES},
        "split_half": {name: value if value == value else None for name, value in split_half(rec, recorded).items()},
        "bars": met,
        "passes": all(met.values()) and not summary["runaway"],
    }


def _meets(value: float | None, bar: Bar) -> bool:
    return value is not None and bool(bar.low <= value <= bar.high)


def stability(network: FreeRunningNetwork, rec: organoid.SpikeRecording, n_runs: int, duration: float) -> pd.DataFrame:
    """Return many free runs, one a row."""
    return free_run_scores(network, summarize_activity(rec), seed=10_000, n_runs=n_runs, duration=duration)


def _stable(runs: pd.DataFrame) -> dict[str, Any]:
    rate = runs["rate_ratio"]
    return {
        "runs": len(runs),
        "runaway": int(runs["runaway"].sum()),
        "rate_ratio": [float(rate.min()), float(rate.median()), float(rate.max())],
    }


def _bits(scores: "pd.Series[Any]") -> tuple[float, float]:
    """Return held-out bits/spike of the network for simulation, and of the same kind before its correction."""
    before = scores.get("heldout_bits_per_spike_culture_lif", scores["heldout_bits_per_spike"])
    return scores["heldout_bits_per_spike_free"], before


def row(found: dict[str, Any]) -> dict[str, Any]:
    """Return one recording's outcome as a row of the stored table, halves of the recording in brackets."""

    def beside(name: str) -> str:
        value, half = found["scores"].get(name), found["split_half"].get(name)
        texts = ["-" if v is None else f"{v:.3f}" for v in (value, half)]
        return f"{texts[0]} ({texts[1]})"

    names = {"rate": "rate_ratio", "rate r": "rate_correlation", "bursts": "burst_rate_ratio"}
    names |= {"duration": "burst_duration_ratio", "IBI CV": "ibi_cv_ratio", "ISI CV": "isi_cv_ratio"}
    names |= {"STTC r": "sttc_correlation"}
    names |= {f"{part} error": f"{part}_error" for part in ("magnitude", "spatial", "temporal")}
    return {
        "recording": found["file"].removesuffix(".h5"),
        "weights": found["weights"],
        "forced, bits/spike": found["held_out_bits_forced"],
        "loss": f"{100 * found['scores']['held_out_loss']:.1f} %",
        **{name: beside(score) for name, score in names.items()},
        "20 runs, highest rate": found.get("stability", {}).get("rate_ratio", [None])[-1],
        "CPU s": round(found["cpu_seconds"]),
    }


def examine(path: Path, keep: Path | None, *, stable: bool, hours: bool) -> dict[str, Any]:
    """Fit and score one recording, or take up what is kept of it."""
    kept = None if keep is None else keep / f"{path.stem}.json"
    if kept is not None and kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
    else:
        found = {}
    rec = organoid.read_recording(path).culture()
    fit = None if keep is None else keep / f"{path.stem}.fit.h5"
    if "scores" not in found:
        began, used = time.perf_counter(), time.process_time()
        result = organoid.fit(rec)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        if fit is not None:
            result.save(fit)
        found = {
            "file": path.name,
            "seconds": seconds,
            "peak_rss_mb": result.scores["peak_rss_mb"],
            "weights": result.settings["free_run_weights"],
            "passed": result.free_run["passed"],
            "reasons": result.free_run["reasons"],
            "held_out_bits_forced": result.scores["heldout_bits_per_spike"],
            "cpu_seconds": cpu,
            **measure(result.network, rec, _bits(result.scores)),
        }
    else:
        assert fit is not None
        result = organoid.load_fit(fit)
    wanted = {"stability": (stable, STABILITY_RUNS, DURATION), "hours": (hours, HOURS, 3600.0)}
    for name, (asked, n_runs, duration) in wanted.items():
        if asked and name not in found:
            found[name] = _stable(stability(result.network, rec, n_runs, duration))
    if kept is not None:
        kept.write_text(json.dumps(found, indent=1))
    return found


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield one recording's outcome for reading."""
    head = f"{found['file']}: {found['kind']}, weights {found['weights']}, {found['seconds']:.0f} s"
    yield f"{head}, {found['peak_rss_mb']:.0f} MB: {'passes' if found['passes'] else 'FAILS'}"
    for name, met in found["bars"].items():
        value, half = found["scores"].get(name), found["split_half"].get(name)
        beside = "" if half is None else f"   halves {half:.3f}"
        yield f"  {'  ' if met else '! '}{name:26} {'undefined' if value is None else format(value, '.3f')}{beside}"
    for name in ("stability", "hours"):
        if name in found:
            yield f"  {name}: {found[name]['runaway']} of {found[name]['runs']} runs ran away"


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description="Free runs of fitted networks against bars.")
    parser.add_argument("files", nargs="*", type=Path, help="recordings of one culture each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stability", action="store_true", help="20 ten-minute runs; 10 hours of the first file")
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    parser.add_argument("--keep", type=Path, help="folder for fits and results; found again on the next run")
    parsed = parser.parse_args(arguments)
    if parsed.keep is not None:
        parsed.keep.mkdir(parents=True, exist_ok=True)
    files = parsed.files or [RECORDINGS / name for name in (*BURSTING, *ASYNCHRONOUS)]
    results = []
    for k, path in enumerate(files):
        if not path.is_file():
            print(f"{path} is not here: not run", file=sys.stderr)
            continue
        results.append(examine(path, parsed.keep, stable=parsed.stability, hours=parsed.stability and k == 0))
        print("\n".join(lines(results[-1])), file=sys.stderr if parsed.json else sys.stdout, flush=True)
    if parsed.store:
        command = "python -m benchmarks.free_run --stability --store"
        store("free_run", [row(each) for each in results], title="Free run of fits", command=command, notes=NOTES)
    if parsed.json:
        print(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
