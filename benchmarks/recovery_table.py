"""Tables of what `recovery` has run so far: rankings, decisions, and where a peer is better."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

RANKED = ("ap_exc", "ap_inh", "auroc_exc", "auroc_inh")
BY = ["duration", "generator", "condition"]


def rankings(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every method's rankings, averaged over seeds (only seeds every method has seen)."""
    real = rows[rows["method"] != "shifted"]
    methods = real["method"].nunique()
    seen = real.groupby([*BY, "seed"])["method"].transform("nunique") == methods
    return real[seen].groupby([*BY, "method"])[list(RANKED)].mean()


def decisions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the cut at q < 0.05 finds, averaged over seeds, and how many shifted recordings show an edge."""
    own = rows[rows["method"] == "organoid"]
    table = own.groupby(BY)[["n_found", "fdr", "recall", "mcc", "undecided"]].mean()
    shifted = rows[rows["method"] == "shifted"]
    if len(shifted):
        table["any_edge_shifted"] = shifted.assign(any=shifted["n_found"] > 0).groupby(BY)["any"].mean()
    table["n_seeds"] = own.groupby(BY)["seed"].nunique()
    return table


def best_peer(ranked: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return organoid beside the best peer, condition by condition."""
    wide = ranked[measure].unstack("method")
    peers = wide.drop(columns="organoid")
    return pd.DataFrame({"organoid": wide["organoid"], "best_peer": peers.max(axis=1), "which": peers.idxmax(axis=1)})


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the acceptance figures as plain numbers."""
    frame = pd.DataFrame(rows)
    found: dict[str, Any] = {"n_runs": len(frame)}
    table = decisions(frame)
    for generator, part in table.groupby("generator"):
        found[f"fdr_{generator}"] = float(part["fdr"].mean())
    shifted = frame[frame["method"] == "shifted"]
    found["n_shifted"], found["any_edge_shifted"] = len(shifted), float((shifted["n_found"] > 0).mean())
    ranked = rankings(frame)
    for measure in ("ap_exc", "ap_inh"):
        beside = best_peer(ranked, measure)
        won = beside["organoid"] >= beside["best_peer"]
        found[f"won_{measure}"] = {str(d): f"{int(w.sum())} of {w.size}" for d, w in won.groupby("duration")}
        found[f"lost_{measure}"] = [" ".join(map(str, key)) for key in beside.index[~won]]
    return found


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the tables, or the acceptance figures as JSON."""
    if not rows:
        print("nothing has been run yet")
        return
    if as_json:
        print(json.dumps(summary(rows), indent=1))
        return
    frame = pd.DataFrame(rows)
    ranked = rankings(frame)
    with pd.option_context("display.width", 200, "display.max_rows", None, "display.precision", 2):
        for measure in ("ap_exc", "ap_inh"):
            print(f"\n{measure}\n{ranked[measure].unstack('method')}")
        areas = ranked[["auroc_exc", "auroc_inh"]].groupby(["duration", "method"]).mean()
        print(f"\nauroc, mean over conditions\n{areas}")
        print(f"\nq < 0.05\n{decisions(frame)}")
    print(json.dumps(summary(rows), indent=1))
