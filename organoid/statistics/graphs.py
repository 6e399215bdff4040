"""Graph measures of a table of connections, beside those of random graphs of the same degrees (extra ``analysis``)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError

_SWAPS_PER_EDGE = 5


def graph_measures(
    edges: pd.DataFrame,
    n_units: int | None = None,
    *,
    max_q: float | None = 0.05,
    density: float | None = None,
    n_null: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Return measures of the graph of units, each with its null.

    Many measures follow from the number of edges and the degrees alone. So each stands beside its mean and standard
    deviation over `n_null` graphs with the same degrees and shuffled edges; and for graphs of different cultures
    `density` keeps the same fraction of possible edges in all of them, the heaviest.

    Parameters
    ----------
    edges : DataFrame
        pre, post, weight and (for `max_q`) q, as `connectivity` returns; read as undirected, the heavier of two
        directions counts. Only positive weights make edges.
    n_units : int, optional
        Units, unconnected ones included. Default: ``edges.attrs["n_units"]``.
    max_q : float, optional
        Edges with a larger q are left out; None keeps all. Not used with `density`.
    density : float, optional
        Fraction of possible edges to keep, the heaviest first, significant or not.
    n_null : int
    seed : int

    Returns
    -------
    DataFrame
        One row per measure: measure, value, null_mean, null_sd, z. Measures: n_edges, density, mean_degree,
        mean_strength, clustering, path_length and global_efficiency (unweighted; path_length of the largest component),
        modularity (greedy), largest_component (fraction of units), small_world (clustering over path length, both
        relative to their nulls). NaN where undefined, and without a null for the first four, which shuffling keeps.

    Raises
    ------
    RecordingError
        If networkx is not installed, columns are missing or a parameter makes no sense.

    References
    ----------
    M. Rubinov, O. Sporns, "Complex network measures of brain connectivity: uses and interpretations", 2010;
    S. Maslov, K. Sneppen, "Specificity and stability in topology of protein networks", 2002 (the null).
    """
    networkx = _networkx()
    kept = _kept(edges, n_units, max_q, density)
    graph = networkx.Graph()
    graph.add_nodes_from(range(kept.attrs["n_units"]))
    graph.add_weighted_edges_from(kept[["pre", "post", "weight"]].itertuples(index=False, name=None))
    values = {**_counts(graph), **_shape(networkx, graph)}
    rng = np.random.default_rng(seed)
    nulls = pd.DataFrame([_shape(networkx, _shuffled(networkx, graph, rng)) for _ in range(n_null)])
    rows = [_row(name, value, nulls[name].to_numpy(float) if name in nulls else None) for name, value in values.items()]
    table = pd.DataFrame(rows)
    of = table.set_index("measure")[["value", "null_mean"]].astype(float)
    relative = (of["value"] / of["null_mean"]).reindex(["clustering", "path_length"]).to_numpy()
    small = float(relative[0] / relative[1]) if n_null and np.all(np.isfinite(relative)) and relative[1] else np.nan
    return pd.concat([table, pd.DataFrame([_row("small_world", small, None)])], ignore_index=True)


def _networkx() -> Any:
    try:
        import networkx
    except ImportError:
        raise RecordingError('graph measures need networkx; pip install "organoid[analysis]"') from None
    return networkx


def _kept(edges: pd.DataFrame, n_units: int | None, max_q: float | None, density: float | None) -> pd.DataFrame:
    missing = {"pre", "post", "weight"} - set(edges.columns)
    if missing:
        raise RecordingError(f"the table of edges lacks {sorted(missing)}; expected pre, post and weight")
    n = edges.attrs.get("n_units") if n_units is None else n_units
    if n is None:
        raise RecordingError("the table of edges does not say how many units there are; give n_units")
    if density is not None and not 0 < density <= 1:
        raise RecordingError(f"density is {density}; expected a fraction above 0 up to 1")
    pairs = np.sort(edges[["pre", "post"]].to_numpy(dtype=np.int64), axis=1)
    table = edges.assign(pre=pairs[:, 0], post=pairs[:, 1])
    table = table[(table["weight"] > 0) & (table["pre"] != table["post"])].sort_values("weight", ascending=False)
    if density is None and max_q is not None and "q" in table:
        table = table[table["q"] <= max_q]
    table = table.drop_duplicates(["pre", "post"])
    if density is not None:
        table = table.head(round(density * n * (n - 1) / 2))
    kept = pd.DataFrame(table[["pre", "post", "weight"]])
    kept.attrs["n_units"] = int(n)
    return kept


def _counts(graph: Any) -> dict[str, float]:
    n, m = graph.number_of_nodes(), graph.number_of_edges()
    strength = [value for _, value in graph.degree(weight="weight")]
    return {
        "n_edges": float(m),
        "density": 2 * m / (n * (n - 1)) if n > 1 else float("nan"),
        "mean_degree": 2 * m / n if n else float("nan"),
        "mean_strength": float(np.mean(strength)) if n else float("nan"),
    }


def _shape(networkx: Any, graph: Any) -> dict[str, float]:
    names = ("clustering", "path_length", "global_efficiency", "modularity", "largest_component")
    if not graph.number_of_edges():
        return dict.fromkeys(names, float("nan"))
    largest = max(networkx.connected_components(graph), key=len)
    communities = networkx.community.greedy_modularity_communities(graph)
    return dict(
        zip(
            names,
            (
                networkx.average_clustering(graph),
                networkx.average_shortest_path_length(graph.subgraph(largest)),
                networkx.global_efficiency(graph),
                networkx.community.modularity(graph, communities, weight=None),
                len(largest) / graph.number_of_nodes(),
            ),
        )
    )


def _shuffled(networkx: Any, graph: Any, rng: np.random.Generator) -> Any:
    """Return a graph of the same degrees whose edges were swapped in pairs; as it is where no swap is possible."""
    other = networkx.Graph(graph)
    n_swaps = _SWAPS_PER_EDGE * graph.number_of_edges()
    swap: Callable[..., Any] = networkx.double_edge_swap
    try:
        swap(other, nswap=n_swaps, max_tries=20 * n_swaps, seed=int(rng.integers(2**31)))
    except networkx.NetworkXException:  # fewer swaps than wanted, or none: stars and complete graphs have no other form
        pass
    return other


def _row(name: str, value: float, null: Any) -> dict[str, Any]:
    known = null is not None and len(null) > 1 and bool(np.all(np.isfinite(null)))
    mean, sd = (float(np.mean(null)), float(np.std(null, ddof=1))) if known else (float("nan"), float("nan"))
    z = (value - mean) / sd if known and sd > 0 else float("nan")
    return {"measure": name, "value": float(value), "null_mean": mean, "null_sd": sd, "z": z}
