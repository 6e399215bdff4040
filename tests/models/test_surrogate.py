"""Surrogate gradients: the step forward, the stated derivative backward."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from organoid.models.surrogate import (
    SURROGATES,
    ArcTan,
    Boxcar,
    FastSigmoid,
    Gaussian,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangular,
)

NAMES = sorted(SURROGATES)
# Points off the kinks (0, +-1/2, +-1) of the piecewise ones, where a finite difference has no meaning.
POINTS = torch.tensor([-3.3, -1.21, -0.83, -0.31, -0.011, 0.013, 0.27, 0.77, 1.19, 2.9], dtype=torch.float64)


def backward_of(surrogate: Surrogate, v: torch.Tensor) -> torch.Tensor:
    """What autograd sees as the derivative of the spikes."""
    v = v.clone().requires_grad_()
    surrogate(v).sum().backward()
    assert v.grad is not None
    return v.grad


def test_registry_holds_the_eight_documented_ones() -> None:
    smooth = {"arctan", "fast_sigmoid", "sigmoid", "gaussian", "superspike"}
    assert set(NAMES) == smooth | {"triangular", "boxcar", "straight_through"}


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_the_heaviside_step(name: str) -> None:
    v = torch.tensor([-2.0, -1e-9, 0.0, 1e-9, 2.0], dtype=torch.float64)
    assert SURROGATES[name]()(v).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_finite_difference_of_the_smooth_function(name: str) -> None:
    surrogate, step = SURROGATES[name](), 1e-6
    numeric = (surrogate.smooth(POINTS + step) - surrogate.smooth(POINTS - step)) / (2 * step)
    torch.testing.assert_close(backward_of(surrogate, POINTS), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_relaxed_is_differentiable_in_the_ordinary_sense(name: str) -> None:
    v = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(SURROGATES[name]().relaxed, (v,))


@pytest.mark.parametrize(
    ("surrogate", "closed_form"),
    [
        (ArcTan(3.0), lambda v: 1.5 / (1 + (1.5 * math.pi * v) ** 2)),
        (FastSigmoid(7.0), lambda v: 3.5 / (1 + 7 * abs(v)) ** 2),
        (SuperSpike(7.0), lambda v: 1 / (1 + 7 * abs(v)) ** 2),
        (Sigmoid(5.0), lambda v: 5 * math.exp(-5 * v) / (1 + math.exp(-5 * v)) ** 2),
        (Triangular(2.0, 0.4), lambda v: 0.4 * max(0.0, 1 - abs(v) / 2)),
        (Boxcar(0.5), lambda v: 2.0 if abs(v) < 0.25 else 0.0),
        (Gaussian(0.3), lambda v: math.exp(-(v**2) / 0.18) / math.sqrt(0.18 * math.pi)),
        (StraightThrough(), lambda v: 1.0),
    ],
)
def test_backward_is_the_closed_form(surrogate: Surrogate, closed_form) -> None:  # type: ignore[no-untyped-def]
    expected = torch.tensor([closed_form(float(v)) for v in POINTS], dtype=torch.float64)
    torch.testing.assert_close(backward_of(surrogate, POINTS), expected)


@pytest.mark.parametrize("name", NAMES)
@given(v=st.floats(-50, 50))
def test_derivative_is_symmetric_and_never_negative(name: str, v: float) -> None:
    surrogate, point = SURROGATES[name](), torch.tensor([v, -v], dtype=torch.float64)
    here, mirrored = surrogate.derivative(point).tolist()
    assert here >= 0
    assert here == pytest.approx(mirrored)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"straight_through", "superspike", "triangular"}))
def test_normalised_ones_run_from_zero_to_one(name: str) -> None:
    ends = SURROGATES[name]().smooth(torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(name: str, dtype: torch.dtype) -> None:
    v = torch.zeros(2, 3, dtype=dtype)
    assert SURROGATES[name]()(v).dtype is dtype
    assert SURROGATES[name]().derivative(v).dtype is dtype


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_a_width_that_is_not_positive_is_refused(wrong: float) -> None:
    for make in (ArcTan, FastSigmoid, SuperSpike, Sigmoid, Triangular, Boxcar, Gaussian):
        with pytest.raises(ValueError, match="positive finite"):
            make(wrong)
