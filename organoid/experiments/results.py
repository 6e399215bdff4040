"""What an experiment found: a row per session, a comparison per arm, learning curves, and sentences."""

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid.experiments.controls import CONTROLS
from organoid.experiments.plan import ExperimentPlan
from organoid.experiments.statistics import compare_paired, mean_interval

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """Results of an experiment.

    Parameters
    ----------
    plan : ExperimentPlan
    sessions : DataFrame
        One row per session: culture, arm, seed, outcome, n_spikes, n_pulses, n_rejected, and the protocol's numbers.
    curves : DataFrame
        One row per session and block: culture, arm, seed, block, value.
    """

    plan: ExperimentPlan
    sessions: pd.DataFrame
    curves: pd.DataFrame

    @classmethod
    def read(cls, folder: str | PathLike[str], plan: ExperimentPlan | None = None) -> "ExperimentResult":
        """Read the results in a folder, as many as there are."""
        base = Path(folder)
        if plan is None:
            plan = ExperimentPlan.model_validate(json.loads((base / "experiment.json").read_text()))
        rows, curves = [], []
        for culture in plan.cultures:
            for arm in plan.arms:
                for seed in plan.seed_list:
                    path = base / "sessions" / f"{culture}-{arm}-{seed}.json"
                    if path.exists():
                        row = json.loads(path.read_text())
                        rows.append(_flat(row))
                        head = {"culture": culture, "arm": arm, "seed": seed}
                        curves += [{**head, "block": k, "value": value} for k, value in enumerate(row["curve"])]
        columns = ["culture", "arm", "seed", "block", "value"]
        return cls(plan, pd.DataFrame(rows), pd.DataFrame(curves, columns=columns))

    def summary(self) -> pd.DataFrame:
        """Compare every arm with the reference condition, seed by seed.

        Returns
        -------
        DataFrame
            One row per culture and arm: n, mean and its 95 % interval (low, high); difference (reference minus arm)
            with its interval, effect (d_z) with its interval and p; first, last (mean of the learning curve's first and
            last block) and learning_effect, learning_p of last minus first.
        """
        rows = [self._compare(culture, arm) for culture in self.plan.cultures for arm in self.plan.arms]
        return pd.DataFrame(rows)

    def outcomes(self, culture: str, arm: str) -> pd.Series:
        """Return the outcome of each seed; NaN where a session is missing."""
        chosen = self.sessions[(self.sessions["culture"] == culture) & (self.sessions["arm"] == arm)]
        return chosen.set_index("seed")["outcome"].reindex(list(self.plan.seed_list)).astype(float)

    def curve(self, culture: str, arm: str) -> pd.DataFrame:
        """Return the learning curves: a row per seed, a column per block."""
        chosen = self.curves[(self.curves["culture"] == culture) & (self.curves["arm"] == arm)]
        return chosen.pivot(index="seed", columns="block", values="value")

    def _compare(self, culture: str, arm: str) -> dict[str, Any]:
        mine, reference = self.outcomes(culture, arm), self.outcomes(culture, self.plan.first)
        mean, low, high = mean_interval(mine)
        found: dict[str, Any] = {"culture": culture, "arm": arm, "n": int(mine.notna().sum())}
        found |= {"mean": mean, "low": low, "high": high}
        versus = compare_paired(reference, mine) if arm != self.plan.first else compare_paired([], [])
        names = {"mean_difference": "difference", "low": "difference_low", "high": "difference_high"}
        found |= {names.get(name, name): value for name, value in versus.to_dict().items() if name != "n"}
        return {**found, **self._learning(culture, arm)}

    def _learning(self, culture: str, arm: str) -> dict[str, float]:
        curve = self.curve(culture, arm).to_numpy(dtype=float)
        if not curve.size:
            return dict.fromkeys(("first", "last", "learning_effect", "learning_p"), float("nan"))
        change = compare_paired(curve[:, -1], curve[:, 0])
        first, last = (mean_interval(curve[:, k])[0] for k in (0, -1))
        return {"first": first, "last": last, "learning_effect": change.effect, "learning_p": change.p}

    def findings(self) -> list[str]:
        """Return a sentence per culture: which controls it beats, and whether it learns."""
        table, sign = self.summary(), 1.0 if self.plan.better == "higher" else -1.0
        found, learners = [], []
        for culture in self.plan.cultures:
            rows = table[table["culture"] == culture].set_index("arm")
            controls = [arm for arm in self.plan.controls if arm in rows.index]
            beaten = [
                arm
                for arm in controls
                if rows["p"][arm] * max(len(controls), 1) < LEVEL and sign * rows["difference"][arm] > 0
            ]
            reference = rows.loc[self.plan.first]
            learns = reference["learning_p"] < LEVEL and sign * (reference["last"] - reference["first"]) > 0
            if learns:
                learners.append(culture)
            unbeaten = [arm for arm in controls if arm not in beaten]
            parts = [f"better than {', '.join(beaten)}" if beaten else "better than no control"]
            parts += [f"not better than {', '.join(unbeaten)}"] if beaten and unbeaten else []
            found.append(f"{culture}: {self.plan.first} is {'; '.join(parts)} (p < {LEVEL:g}, Bonferroni).")
        if self.plan.curve is not None:
            what = f"({self.plan.curve}, last against first block)"
            some = f"Learning within a session {what}: {', '.join(learners)}."
            found.append(some if learners else f"No culture learns within a session {what}.")
        return found

    def explanations(self) -> dict[str, str]:
        """Return what a difference from each control means."""
        return {name: CONTROLS[name].says for name in self.plan.controls}

    def save_tables(self, folder: str | PathLike[str]) -> list[Path]:
        """Write ``sessions.csv``, ``summary.csv`` and, where there are curves, ``curves.csv``."""
        tables = {"sessions": self.sessions, "summary": self.summary(), "curves": self.curves}
        written = []
        for name, table in tables.items():
            if len(table):
                path = Path(folder) / f"{name}.csv"
                table.to_csv(path, index=False)
                written.append(path)
        return written


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    names = ("culture", "arm", "seed", "outcome", "n_spikes", "n_pulses", "n_rejected")
    numbers = {name: np.nan if value is None else value for name, value in row["numbers"].items() if name not in names}
    return {**{name: row[name] for name in names}, **numbers}
