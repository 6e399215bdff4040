"""Sparse synapses with delays of their own, Dale's law and trained constants: against plain loops and each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import organoid
from organoid.errors import ModelError
from organoid.fitting.methods.gradient import GradientSettings, fit_gradient
from organoid.models import (
    LIF,
    SYNAPSES,
    AdaptiveLIF,
    AdaptiveLIFParameters,
    AdEx,
    AdExParameters,
    DalesLaw,
    ExponentialSynapses,
    Izhikevich,
    IzhikevichParameters,
    LIFParameters,
    PairSTDP,
    PlasticNetwork,
    ShortTermPlasticity,
    SparseSynapses,
    random_mask,
)
from organoid.models.serialization import read_trained, write_trained
from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.simulators.stepwise import free_network
from organoid.models.synapses import sparse as sparse_synapses

DT = 0.001
FREE = LIFParameters(refractory=0.0)


def sparse(n: int = 4, delay: Any = DT, mask: Tensor | None = None, seed: int = 0, **other: Any) -> SparseSynapses:
    generator = torch.Generator().manual_seed(seed)
    given = {"tau": (0.003, 0.01), "scale": 3.0, **other}
    return SparseSynapses(n, DT, delay=delay, mask=mask, generator=generator, **given).double()


def signs_of(weight: Tensor, pre_axis: int) -> list[set[float]]:
    return [set(weight.select(pre_axis, k).sign().ravel().tolist()) - {0.0} for k in range(weight.shape[pre_axis])]


def input_to(n: int, n_steps: int = 120, batch: int = 2) -> Tensor:
    return 2 + 6 * torch.randn(batch, n_steps, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# Sparse weights and delays


def plain_run(synapses: SparseSynapses, x: NDArray[Any]) -> NDArray[Any]:
    """A LIF network, one connection at a time: every spike is kept, and weighed by its age when it has arrived."""
    n_steps, n = x.shape
    spikes, v, keep = np.zeros((n_steps, n)), np.zeros(n), np.exp(-DT / 0.02)
    weight, lag = synapses.effective_weight().detach().numpy(), synapses.lag.numpy()
    for t in range(n_steps):
        drive = x[t].copy()
        for c, (i, j) in enumerate(zip(synapses.pre.tolist(), synapses.post.tolist(), strict=True)):
            for sent in np.flatnonzero(spikes[: max(0, t - lag[c] + 1), i]):
                drive[j] += sum(
                    weight[k, c] * np.exp(-(t - lag[c] - sent) * DT / tau) for k, tau in enumerate(synapses.tau)
                )
        v = keep * v + (1 - keep) * drive
        spikes[t] = v >= 1
        v = v * (1 - spikes[t])
    return spikes


@given(n=st.integers(1, 5), density=st.floats(0, 1), longest=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_a_sparse_network_is_the_plain_loop(n: int, density: float, longest: int, seed: int) -> None:
    delay = torch.randint(0, longest + 1, (n, n), generator=torch.Generator().manual_seed(seed)) * DT
    synapses = sparse(n, delay, random_mask(n, density, seed=seed), seed)
    x = input_to(n, 40, 1)
    spikes, _ = LIF(n, DT, FREE, synapses=synapses).double().run(x)
    np.testing.assert_array_equal(spikes[0].detach(), plain_run(synapses, x[0].numpy()))


def test_one_delay_and_every_pair_is_the_dense_network() -> None:
    own, x, out = sparse(delay=2 * DT), input_to(4), []
    dense = ExponentialSynapses(
        4, DT, tau=own.tau, delay=2 * DT, mask=None, scale=1.0, generator=torch.Generator()
    ).double()
    with torch.no_grad():
        dense.weight.copy_(own.matrix())
    for synapses in (own, dense):
        model = LIF(4, DT, FREE, synapses=synapses).double()
        spikes = model.trajectory(x).logits
        spikes.square().mean().backward()
        assert synapses.weight.grad is not None
        out.append((spikes.detach(), synapses.weight.grad))
    torch.testing.assert_close(out[0][0], out[1][0])
    torch.testing.assert_close(out[0][1], out[1][1][:, own.pre, own.post])


@pytest.mark.parametrize("forced", [False, True])
def test_lists_and_matrices_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch, forced: bool) -> None:
    delay = torch.arange(16.0).reshape(4, 4) % 5 * DT
    sent = (input_to(4) > 9).double() if forced else None
    out = []
    for share, entries in ((2.0, 7), (0.0, 1 << 22)):  # connection by connection in small pieces; one product
        monkeypatch.setattr(sparse_synapses, "_DENSE", share)
        monkeypatch.setattr(sparse_synapses, "_ENTRIES", entries)
        synapses = sparse(4, delay, random_mask(4, 0.7, seed=1))
        run = LIF(4, DT, FREE, synapses=synapses).double().trajectory(input_to(4), forced=sent)
        run.logits.square().mean().backward()
        out.append((run.spikes.detach(), run.logits.detach(), synapses.weight.grad))
    torch.testing.assert_close(out[0], out[1])


def test_only_connections_that_exist_have_weights() -> None:
    mask = random_mask(60, 0.05, seed=2)
    synapses = sparse(60, mask=mask)
    assert synapses.n_connections == int(mask.sum())
    assert synapses.weight.shape == (2, synapses.n_connections)
    assert torch.equal((synapses.matrix() != 0).all(0), mask)
    assert synapses.matrix().sum(1).std().item() == pytest.approx(3.0, rel=0.2)


# Dale's law


def mixed(n: int) -> tuple[int, ...]:
    return tuple(-1 if k % 3 == 2 else 1 for k in range(n))


@pytest.mark.parametrize("kind", sorted(SYNAPSES))
def test_the_hard_law_holds_after_any_training(kind: str) -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((1500, 4)) < 0.05).astype(int)
    options: dict[str, Any] = {"release": ShortTermPlasticity(0.004)} if "short" in kind else {}
    synapses = SYNAPSES[kind](
        4,
        0.004,
        tau=(0.005,),
        delay=0.004,
        mask=None,
        scale=0.3,
        generator=torch.Generator(),
        **options,
        dale=DalesLaw(mixed(4)),
    )
    brief = GradientSettings(n_steps=6, batch=8, window=0.1, warmup=0.05, learning_rate=0.3, free_run=False)
    model = fit_gradient(counts, model=LIF(4, 0.004, synapses=synapses), bin_width=0.004, settings=brief).model
    own: Any = model.synapses  # type: ignore[attr-defined]
    assert not torch.equal(own.weight, synapses.weight)
    weight = own.matrix() if hasattr(own, "matrix") else own.effective_weight()
    assert signs_of(weight, 1) == [{float(s)} for s in mixed(4)]


@pytest.mark.parametrize("signs", [None, mixed(6)])
@pytest.mark.parametrize("kind", ["exponential", "sparse"])
def test_descent_on_the_soft_law_leaves_no_wrong_sign(kind: str, signs: tuple[int, ...] | None) -> None:
    synapses = SYNAPSES[kind](
        6, DT, tau=(0.005,), delay=DT, mask=None, scale=1.0, generator=torch.Generator(), dale=DalesLaw(signs, 10.0)
    )
    before = synapses.penalty().item()
    optimiser = torch.optim.SGD(synapses.parameters(), lr=0.5)
    for _ in range(300):
        optimiser.zero_grad()
        synapses.penalty().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert synapses.penalty().item() < 1e-4 * before
    weight: Any = synapses.matrix() if isinstance(synapses, SparseSynapses) else synapses.effective_weight()
    larger = weight[weight.abs() > 1e-2 * weight.abs().max()] if signs is None else None
    sums = weight.sum((0, 2)).sign() if signs is None else torch.tensor(signs)
    wrong = (weight * sums[None, :, None]).clamp(max=0).abs().max()
    assert wrong < 0.02 * weight.abs().max()
    assert larger is None or len(larger) > 3


def test_the_soft_law_acts_in_training() -> None:
    counts = (np.random.default_rng(0).random((1500, 4)) < 0.05).astype(int)
    brief = GradientSettings(n_steps=40, batch=8, window=0.1, warmup=0.05, learning_rate=0.02, free_run=False)
    wrong = []
    for strength in (1e-9, 1e3):
        synapses = ExponentialSynapses(
            4,
            0.004,
            tau=(0.005,),
            delay=0.004,
            mask=None,
            scale=0.3,
            generator=torch.Generator(),
            dale=DalesLaw(mixed(4), strength),
        )
        model: Any = fit_gradient(counts, model=LIF(4, 0.004, synapses=synapses), bin_width=0.004, settings=brief).model
        weight = model.synapses.effective_weight() * torch.tensor(mixed(4))[:, None]
        wrong.append(weight.clamp(max=0).square().sum().item())
    assert wrong[1] < 0.05 * wrong[0]


# Trained constants


def lively(adaptive: bool = False) -> Any:
    p = LIFParameters(tau_syn=(0.004, 0.02), trainable=("tau_mem", "tau_syn", "threshold"))
    if adaptive:
        return AdaptiveLIF(4, 0.004, AdaptiveLIFParameters(p, trainable=("tau_adapt",)))
    return LIF(4, 0.004, p)


@pytest.mark.parametrize("adaptive", [False, True])
def test_trained_constants_move_stay_positive_and_run_freely_as_trained(adaptive: bool) -> None:
    rng = np.random.default_rng(1)
    counts = (rng.random((1500, 4)) < [0.02, 0.05, 0.1, 0.3]).astype(int)
    before = lively(adaptive)
    wild = GradientSettings(n_steps=8, batch=8, window=0.1, warmup=0.05, learning_rate=0.5, free_run=False)
    fit = fit_gradient(counts, model=before, bin_width=0.004, settings=wild, progress=False)
    after: Any = fit.model
    moved = {key for key, p in after.named_parameters() if not torch.equal(p, before.get_parameter(key))}
    names = {"log_tau_mem", "log_threshold", "log_tau_syn"} | ({"log_tau_adapt"} if adaptive else set())
    assert names <= {key.split(".")[-1] for key in moved}
    membrane = after.cell.membrane if adaptive else after.cell
    assert ((membrane.decay > 0) & (membrane.decay < 1) & (membrane.threshold > 0)).all()
    network = fit.network
    assert isinstance(network, LIFSimulator)
    state = network.initial_state(0)
    free = network.advance(state, 400)
    with torch.no_grad():
        spikes = after.double().run(torch.from_numpy(network.noise(state, 400))[None])[0][0]
    assert spikes.sum() > 20
    np.testing.assert_array_equal(np.argwhere(spikes.numpy()), np.stack([free.steps, free.units], 1))


def test_constants_given_as_trained_start_at_their_values() -> None:
    p = LIFParameters(tau_mem=0.013, tau_syn=(0.004, 0.02), weight_scale=1.0)
    x, out = input_to(4), []
    for trainable in ((), ("tau_mem", "tau_syn", "threshold")):
        fixed = LIFParameters(**{**vars(p), "trainable": trainable})
        out.append(LIF(4, DT, fixed, seed=2).double().trajectory(x))
    torch.testing.assert_close(out[0].logits, out[1].logits, rtol=1e-6, atol=1e-6)
    assert torch.equal(out[0].spikes, out[1].spikes)


# Files


@pytest.mark.parametrize("kind", sorted(SYNAPSES))
def test_synapses_of_every_kind_come_back_from_a_file(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"release": ShortTermPlasticity(DT, 0.3, 0.1, 0.05)} if "short" in kind else {}
    delay = torch.arange(16.0).reshape(4, 4) % 5 * DT if "sparse" in kind else 3 * DT
    for dale in (None, DalesLaw(mixed(4)), DalesLaw(None, 2.0)):
        synapses = SYNAPSES[kind](
            4,
            DT,
            tau=(0.003, 0.01),
            delay=delay,
            mask=random_mask(4, 0.6, seed=1),
            scale=3.0,
            generator=torch.Generator(),
            trainable=("tau_syn",),
            dale=dale,
            **options,
        )
        model = AdaptiveLIF(4, DT, AdaptiveLIFParameters(FREE), synapses=synapses)
        with h5py.File(tmp_path / "model.h5", "w") as h5:
            write_trained(h5.create_group("model"), model)
            back: Any = read_trained(h5["model"])
        assert type(back.synapses) is SYNAPSES[kind] and back.synapses.dale == dale
        x = input_to(4).float()
        assert torch.equal(back.run(x)[0], model.run(x)[0])
        assert model.run(x)[0].any()


@pytest.mark.parametrize("kind", sorted(SYNAPSES))
def test_networks_with_any_synapses_keep_the_contract_and_run_freely(kind: str) -> None:
    synapses = SYNAPSES[kind](
        4,
        DT,
        tau=(0.003,),
        delay=2 * DT,
        mask=random_mask(4, 0.6, seed=1),
        scale=3.0,
        generator=torch.Generator(),
        dale=DalesLaw(mixed(4)),
    )
    model = LIF(4, DT, FREE, synapses=synapses)
    organoid.check_model(model)
    with torch.no_grad():
        model.bias.fill_(1.1)
    network = free_network(model)
    assert network.advance(network.initial_state(0), 200).units.size > 10


# Refusals


class OtherSynapses(ExponentialSynapses):
    pass


def write_other(path: Path) -> None:
    other = OtherSynapses(3, DT, tau=(0.01,), delay=DT, mask=None, scale=1.0, generator=torch.Generator())
    with h5py.File(path / "x.h5", "w") as h5:
        write_trained(h5.create_group("m"), LIF(3, DT, synapses=other))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: LIFParameters(trainable=("tau_adapt",)), "can train tau_mem"),
        (lambda p: LIFParameters(trainable="tau_mem"), "can train"),  # type: ignore[arg-type]
        (lambda p: AdaptiveLIFParameters(trainable=("tau_mem",)), "tau_adapt"),
        (lambda p: AdExParameters(LIFParameters(trainable=("threshold",))), "AdEx"),
        (lambda p: IzhikevichParameters(trainable=("b",)), "Izhikevich"),
        (lambda p: DalesLaw(), "needs signs"),
        (lambda p: DalesLaw((1, 0)), "1 or -1"),
        (lambda p: DalesLaw((1, 1), -1.0), "positive"),
        (lambda p: sparse(dale=DalesLaw((1, 1))), "one sign for each of 4"),
        (lambda p: sparse(delay=-DT), "delays"),
        (lambda p: sparse(delay=torch.zeros(3, 3)), "delays"),
        (lambda p: sparse(tau=()), "time constant"),
        (lambda p: LIF(3, DT, synapses=sparse()), "must agree"),
        (lambda p: AdEx(4, 2 * DT, synapses=sparse()), "must agree"),
        (lambda p: Izhikevich(4, DT, synapses=sparse(), mask=torch.ones(4, 4)), "must agree"),
        (lambda p: PlasticNetwork(LIF(4, DT, synapses=sparse()), PairSTDP(DT)), "one delay"),
        (write_other, "cannot be stored"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make(tmp_path)
