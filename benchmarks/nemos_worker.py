"""Runs nemos in an environment of its own; talks through files, so that it needs nothing of this repository.

``python nemos_worker.py JOB.npz OUT.json``. The job holds spike counts a bin (training part first), the number
of training bins and a JSON text of settings; see `settings` in `main`. The curve of a fit is taken with nemos' public
step-by-step interface; time spent on scoring is not counted.
"""

import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import nemos as nmo
import numpy as np

TINY = 1e-30


def features(counts: np.ndarray, n_basis: int, window: int) -> tuple[jax.Array, np.ndarray]:
    """Return nemos' raised-cosine features of all units (the first bins are NaN), and the kernels."""
    basis = nmo.basis.RaisedCosineLogConv(n_basis_funcs=n_basis, window_size=window)
    x = basis.compute_features(counts.astype(np.float32))
    return jnp.asarray(x, dtype=jnp.float32), np.asarray(basis.kernel_)


def held_out(model: nmo.glm.PopulationGLM, x: jax.Array, counts: jax.Array, mean: jax.Array) -> float:
    """Return bits/spike on the given bins against constant rates; the same formula as organoid's."""
    gain = 0.0
    for start in range(0, len(counts), 50_000):
        mu, n = model.predict(x[start : start + 50_000]), counts[start : start + 50_000]
        gain += float(jnp.sum(n * jnp.log(jnp.maximum(mu, TINY) / mean) - (mu - mean)))
    return gain / (np.log(2) * float(counts.sum()))


def make_model(strength: float, solver: str, maxiter: int, tol: float) -> nmo.glm.PopulationGLM:
    """Return an unfitted Poisson population model with a ridge."""
    return nmo.glm.PopulationGLM(
        regularizer="Ridge",
        regularizer_strength=strength,
        solver_name=solver,
        solver_kwargs={"maxiter": maxiter, "tol": tol},
    )


def standardise(x: jax.Array, first: int, n_train: int) -> tuple[jax.Array, np.ndarray]:
    """Divide by the deviation and take the mean away, both of the training part."""
    mean, scale = x[first:n_train].mean(0), x[first:n_train].std(0)
    scale = jnp.where(scale > 0, scale, 1.0)
    return (x - mean) / scale, np.asarray(scale)


def recover(counts: np.ndarray, n_train: int, settings: dict) -> dict:
    """Choose the ridge on the last part of the training bins, fit all of them, return kernel areas."""
    began = time.process_time()
    window = settings["window"]
    x, kernels = features(counts, settings["n_basis"], window)
    x, scale = standardise(x, window, n_train)
    y = jnp.asarray(counts, dtype=jnp.float32)
    inner = int(0.8 * n_train)
    mean = jnp.maximum(y[:inner].sum(0), 0.5) / inner
    scores, start = {}, None
    for strength in sorted(settings["strengths"], reverse=True):
        model = make_model(strength, "LBFGS", settings["maxiter"], settings["tol"])
        model.fit(x[window:inner], y[window:inner], init_params=start)
        start = (model.coef_, model.intercept_)
        scores[strength] = held_out(model, x[inner:n_train], y[inner:n_train], mean)
    best = max(scores, key=lambda strength: scores[strength])
    model = make_model(best, "LBFGS", settings["maxiter"], settings["tol"])
    model.fit(x[window:n_train], y[window:n_train], init_params=start)
    n = counts.shape[1]
    coefficients = (np.asarray(model.coef_) / scale[:, None]).reshape(n, settings["n_basis"], n)
    area = np.einsum("jbi,b->ji", coefficients, kernels.sum(0))
    validation = {f"{strength:g}": score for strength, score in scores.items()}
    return {"area": area.tolist(), "strength": best, "validation": validation, "cpu_s": time.process_time() - began}


def curve(counts: np.ndarray, n_train: int, settings: dict) -> dict:
    """Fit step by step and note the held-out score now and then, with seconds and CPU seconds, features included."""
    began, began_cpu, window = time.perf_counter(), time.process_time(), settings["window"]
    x, _ = features(counts, settings["n_basis"], window)
    if settings["standardise"]:
        x, _ = standardise(x, window, n_train)
    y = jnp.asarray(counts, dtype=jnp.float32)
    x.block_until_ready()
    seconds = {"features": time.perf_counter() - began}
    mean = jnp.maximum(y[:n_train].sum(0), 0.5) / n_train
    train = (x[window:n_train], y[window:n_train])
    points: list[tuple[int, float, float, float]] = []
    spent, spent_cpu, steps = seconds["features"], time.process_time() - began_cpu, 0
    model = make_model(settings["strength"], settings["solver"], settings["maxiter"], settings["tol"])
    params = model.initialize_params(*train)
    state = model.initialize_solver_and_state(*train, params)
    params = model._validator.to_model_params(params)
    begin = time.perf_counter()
    step = jax.jit(model.solver_update).lower(params, state, *train).compile()
    seconds["compilation, not counted"] = time.perf_counter() - begin
    begin, cpu = time.perf_counter(), time.process_time()
    while steps < settings["maxiter"] and spent + time.perf_counter() - begin < settings["budget_s"]:
        params, state, _ = step(params, state, *train)
        steps += 1
        if steps in settings["marks"] or steps % 10 == 0:
            params.coef.block_until_ready()
            spent, spent_cpu = spent + time.perf_counter() - begin, spent_cpu + time.process_time() - cpu
            model.coef_, model.intercept_ = params.coef, params.intercept
            score = held_out(model, x[n_train:], y[n_train:], mean)
            points.append((steps, spent, spent_cpu, score))
            print(points[-1], flush=True)
            begin, cpu = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"points": points, "seconds": seconds, "peak_rss_mb": peak, "settings": settings}


def main() -> None:
    """Run the job named on the command line."""
    job = np.load(sys.argv[1])
    settings = json.loads(str(job["settings"]))
    do = {"recover": recover, "curve": curve}[settings["do"]]
    result = do(job["counts"], int(job["n_train"]), settings)
    with open(sys.argv[2], "w") as out:
        json.dump(result, out)


if __name__ == "__main__":
    main()
