"""Compiled networks: equal to plain torch, gradients included, whatever the number of threads."""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import DT, Case, build, differences, draw, relative, results

from organoid.errors import ModelError
from organoid.models import (
    LIF,
    MODELS,
    SURROGATES,
    AdEx,
    LIFParameters,
    ShortTermPlasticity,
    backend,
    support_table,
)
from organoid.models.compiled.recurrent import autograd as kernels_pass
from organoid.models.compiled.recurrent import backward as kernels_back
from organoid.models.compiled.recurrent import threads as kernels_threads
from organoid.models.compiled.recurrent.threads import in_parallel
from organoid.models.surrogate import Surrogate, Triangular

BACKEND = importlib.import_module("organoid.models.backend")  # a function of the package has the same name
ALL = ("tau_mem", "tau_syn", "threshold")
DEPRESSING, BOTH = ShortTermPlasticity(DT, 0.5, 0.05), ShortTermPlasticity(DT, 0.2, 0.03, 0.05)
SILENT, USUAL, SATURATED = (-20.0, 1.0), (2.0, 5.0), (80.0, 20.0)


def worst(case: Case) -> tuple[str, float]:
    return max(differences(case).items(), key=lambda item: item[1])


@st.composite
def cases(draw: Any) -> Case:
    n_steps = draw(st.integers(2, 40))
    lif = LIFParameters(
        tau_syn=draw(st.sampled_from([(0.005,), (0.003, 0.02)])),
        refractory=draw(st.sampled_from([0, 1, 3])) * DT,
        delay=draw(st.sampled_from([1, 2, 5])) * DT,
        reset=draw(st.sampled_from(["hard", "subtract"])),
        detach_reset=draw(st.booleans()),
        weight_scale=draw(st.sampled_from([0.5, 3.0])),
        trainable=draw(st.sampled_from([(), ALL])),
    )
    return Case(
        kind=draw(st.sampled_from(["lif", "adaptive_lif", "escape_noise"])),
        n=draw(st.integers(1, 6)),
        batch=draw(st.integers(1, 3)),
        n_steps=n_steps,
        split=draw(st.integers(1, n_steps - 1)),
        lif=lif,
        spike=SURROGATES[draw(st.sampled_from(sorted(SURROGATES)))](),
        forced=draw(st.booleans()),
        drive=draw(st.sampled_from([SILENT, USUAL, SATURATED])),
        density=draw(st.sampled_from([0.0, 0.3, 1.0])),
        seed=draw(st.integers(0, 1000)),
        release=draw(st.sampled_from([None, DEPRESSING, BOTH])),
    )


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_compiled_networks_are_the_plain_ones(case: Case) -> None:
    name, gap = worst(case)
    assert gap < 1e-10, name


@pytest.mark.parametrize("kind", ["lif", "adaptive_lif"])
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("release", [None, BOTH])
def test_single_precision_is_as_near_to_the_truth_as_plain_torch(kind: str, forced: bool, release: Any) -> None:
    """Values agree to 1e-6; gradients to what single precision leaves of them, against double precision."""
    lif = LIFParameters(weight_scale=1.0, trainable=ALL)
    case = Case(
        kind, n=30, batch=4, n_steps=120, split=50, lif=lif, forced=forced, dtype=torch.float32, release=release
    )
    model = build(case)
    compiled = results(model, case)
    with backend("torch"):
        plain, truth = results(model, case), results(model.double(), replace(case, dtype=torch.float64))
    assert torch.equal(compiled["spikes"].double(), truth["spikes"])
    for name, value in compiled.items():
        if name.startswith("gradient"):
            assert relative(value, truth[name]) < 2 * relative(plain[name], truth[name]) + 1e-6, name
        else:
            assert relative(value, plain[name]) < 1e-6, name


@pytest.mark.parametrize("kind", ["lif", "adaptive_lif"])
@pytest.mark.parametrize("release", [None, BOTH])
def test_single_precision_is_plain_torch_to_a_millionth_at_the_rates_of_cultures(kind: str, release: Any) -> None:
    """Every entry of every output and gradient, relative to the largest entry; nothing here amplifies rounding."""
    lif, spike = LIFParameters(weight_scale=0.5), Triangular(0.2, 1.0)
    case = Case(kind, 50, 4, 150, 70, lif, spike, drive=(0.4, 2.2), dtype=torch.float32, release=release)
    model = build(case)
    compiled = results(model, case)
    with backend("torch"):
        plain = results(model, case)
    assert torch.equal(compiled["spikes"], plain["spikes"])
    assert 0.002 < float(plain["spikes"].mean()) < 0.01
    for name, value in compiled.items():
        assert float((value - plain[name]).abs().max()) <= 1e-6 * float(plain[name].abs().max()), name


def test_activity_of_the_cases_is_what_they_say() -> None:
    rates = [float(results(build(c), c)["spikes"].mean()) for c in (Case(drive=d) for d in (SILENT, USUAL, SATURATED))]
    assert rates[0] == 0
    assert 0.01 < rates[1] < 0.3
    assert rates[2] > 0.25  # a spike in every step that the refractory period leaves


# Threads and memory


def big() -> Case:
    lif = LIFParameters(trainable=ALL)
    return Case("adaptive_lif", n=130, batch=5, n_steps=30, lif=lif, spike=Triangular(0.5), release=BOTH)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def eager_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = torch.get_num_threads()
    monkeypatch.setattr(kernels_threads, "_SMALL", 0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("spike", [Triangular(0.1), Triangular(0.5), None])  # few, some, all near threshold
def test_same_bytes_whatever_the_number_of_threads(eager_threads: None, spike: Surrogate | None) -> None:
    found = []
    case = replace(big(), spike=spike)
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        found.append(results(build(case), case))
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_two_python_threads_do_not_disturb_each_other(eager_threads: None) -> None:
    torch.set_num_threads(2)
    alone = results(build(big()), big())
    found: list[dict[str, torch.Tensor]] = []
    threads = [threading.Thread(target=lambda: found.append(results(build(big()), big()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert equal(alone, found[0])
    assert equal(alone, found[1])


def test_lists_that_have_to_grow_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = results(build(big()), big())
    for name in ("_RARE", "_SOME"):
        monkeypatch.setattr(kernels_pass, name, 10**9)  # no room to begin with
    assert equal(whole, results(build(big()), big()))


def test_short_lists_of_near_units_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = replace(big(), spike=None)
    whole = results(build(endless), endless)
    monkeypatch.setattr(kernels_back, "_NEAR", 1)  # a step at a time
    assert equal(whole, results(build(endless), endless))


def test_a_forked_process_can_run(eager_threads: None) -> None:
    torch.set_num_threads(2)
    results(build(big()), big())  # the threads exist now
    torch.set_num_threads(1)  # torch's own threads do not survive a fork
    pid = os.fork()
    if pid == 0:
        in_parallel(lambda first, last: None, [[(0, 2)], [(2, 4)]])
        os._exit(17)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17


def test_infinite_and_missing_numbers_reach_the_gradient() -> None:
    model = LIF(2, DT, spike=Triangular(0.1)).double()
    x = torch.zeros(1, 5, 2, dtype=torch.float64)
    x[0, 2, 0] = float("nan")
    x.requires_grad_()
    model.trajectory(x).spikes.sum().backward()
    assert x.grad is not None
    assert x.grad[0, 2, 0].isnan()


# Choice


def test_second_derivatives_are_refused_and_the_way_out_works() -> None:
    model = LIF(3, DT, spike=SURROGATES["gaussian"]()).double()
    x = torch.full((1, 10, 3), 3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(model.run(x)[0].sum(), x, create_graph=True)
    with pytest.raises(ModelError, match=r"backend\('torch'\)"):
        first.sum().backward()
    with backend("torch"):
        (first,) = torch.autograd.grad(model.run(x)[0].sum(), x, create_graph=True)
        first.square().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (LIF(3, DT, spike=SURROGATES["sigmoid"]().relaxed), "no Surrogate"),
        (AdEx(3, DT), "no compiled form"),
        (LIF(3, DT).to(torch.bfloat16), "float32 or float64"),
        (LIF(3, DT).to("meta"), "for the CPU"),
    ],
)
def test_a_fallback_is_said_once(model: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKEND, "_said", set())
    x = torch.zeros(1, 4, 3).to(model.bias)
    with pytest.warns(UserWarning, match=reason):
        model.run(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.run(x)


def test_what_was_chosen_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKEND, "_said", set())
    with warnings.catch_warnings(), backend("torch"):
        warnings.simplefilter("error")
        AdEx(3, DT).run(torch.zeros(1, 4, 3))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ModelError, match="choose 'auto' or 'torch'"), backend("cuda"):  # type: ignore[arg-type]
        pass


def test_the_table_tells_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that the table calls compiled run without torch's loop, the others say that they do not."""
    table = support_table()
    compiled = set()
    for name, make in MODELS.items():
        monkeypatch.setattr(BACKEND, "_said", set())
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            make(3, DT, seed=0).run(torch.zeros(1, 4, 3))
        compiled |= {name} if not said else set()
    assert {"lif", "adaptive_lif"} <= compiled
    assert not {"adex", "izhikevich"} & compiled
    assert "AdEx, Izhikevich" in table
    assert all(len(row.split("  ")) >= 3 for row in table.splitlines())


def test_short_term_synapses_run_compiled_and_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BACKEND, "_said", set())
    model, x = build(Case(release=BOTH)), torch.zeros(1, 9, 4, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.run(x)
        model.trajectory(x, forced=(x == 0).to(x))
        model.forced_voltages((x == 0).to(x))


def test_a_forced_stretch_after_a_free_one_passes_gradients_to_it() -> None:
    """What the free spikes left of the resources decides what recorded spikes release."""
    model = build(Case(release=BOTH))
    forced = (draw(2, 12, 4, seed=1, dtype=torch.float64) > 0.5).double()
    found = []
    for name in ("auto", "torch"):
        with backend(name):  # type: ignore[arg-type]
            x = (3 + 5 * draw(2, 12, 4, seed=0, dtype=torch.float64)).requires_grad_()
            state = model.trajectory(x).state
            model.trajectory(torch.zeros_like(forced), state, forced=forced).logits.sum().backward()
            assert x.grad is not None
            found.append(x.grad)
    assert found[1].abs().max() > 1e-3
    assert relative(found[0], found[1]) < 1e-10


def test_on_another_device_the_plain_network_runs() -> None:
    model = LIF(4, DT).to("meta")
    out = model.trajectory(torch.zeros(2, 6, 4, device="meta"))
    assert out.spikes.device.type == out.logits.device.type == "meta"
    assert replace(Case(), n=4).n == out.spikes.shape[2]
