"""Pong with its controls: ``python -m benchmarks.pong NAME=CULTURE... --out FOLDER [--store]``.

Every culture (a fit's file or ``preset:NAME``) plays with 20 seeds, and so does every control, in the same pairs.
Results of finished sessions are kept in the folder, so that a run that was stopped goes on.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.results import store
from organoid.experiments import ExperimentResult, run_experiment

CONTROLS = ("silent", "yoked", "frozen", "no_feedback", "random_policy", "oracle_policy")
NOTES = [
    "Mean rally: hits per serve that ended; mean over the seeds with its 95 % interval. Difference: closed loop minus "
    "control, in pairs of the same seed; p of the paired permutation test, two-sided, not corrected for six controls.",
    "First, last: mean rally length under way in the first and the last quarter of a session; learning p: of their "
    "paired difference over the seeds.",
    "Nothing in a simulated culture changes with experience, so no culture can learn: the table shows what decoder, "
    "geometry and the response to pulses give.",
]


def play(name: str, culture: str, out: Path, seeds: int, duration: float, workers: int) -> ExperimentResult:
    """Run one culture with all controls."""
    plan = {
        "experiment": {
            "name": f"pong {name}",
            "duration": duration,
            "seeds": seeds,
            "outcome": "mean_rally",
            "curve": "rally",
            "blocks": 4,
            "controls": list(CONTROLS),
        },
        "cultures": {name: culture},
        "protocol": {"name": "pong"},
    }
    return run_experiment(plan, out / name, workers=workers)


def rows(result: ExperimentResult) -> list[dict[str, Any]]:
    """Return the table of one culture."""
    found = []
    for row in result.summary().to_dict("records"):
        compared = row["arm"] != result.plan.first
        found.append(
            {
                "culture": row["culture"],
                "arm": row["arm"],
                "seeds": row["n"],
                "mean rally": f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
                "difference": f"{row['difference']:+.3f}" if compared else "",
                "p": f"{row['p']:.3f}" if compared else "",
                "first, last": f"{row['first']:.3f}, {row['last']:.3f}",
                "learning p": f"{row['learning_p']:.3f}",
            }
        )
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cultures", nargs="+", metavar="NAME=CULTURE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--duration", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args(arguments)
    table, findings = [], []
    for entry in options.cultures:
        name, _, culture = entry.partition("=")
        result = play(name, culture, options.out, options.seeds, options.duration, options.workers)
        table += rows(result)
        findings += result.findings()
        print(*map(str, rows(result)), *result.findings(), sep="\n", flush=True)
    if options.store:
        title = f"Pong and its controls: {options.seeds} seeds, sessions of {options.duration:g} s"
        command = "python -m benchmarks.pong NAME=CULTURE... --out FOLDER --store"
        store("pong", table, title=title, command=command, notes=[*NOTES, *findings])


if __name__ == "__main__":
    main()
