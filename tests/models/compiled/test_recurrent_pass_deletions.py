"""Every term of the compiled adjoint matters: with any one taken away, the comparison with plain torch fails.

The source of the adjoint is changed, and run by the interpreter instead of the compiler.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
from kernel_checks import DT, Case, differences

from organoid.models import LIFParameters, ShortTermPlasticity
from organoid.models.compiled.recurrent import adjoint as kernels_adjoint
from organoid.models.compiled.recurrent import backward as kernels_back
from organoid.models.compiled.recurrent import event_lists as kernels_marks
from organoid.models.compiled.recurrent import forward as kernels_forward
from organoid.models.compiled.recurrent import short_term as kernels_release
from organoid.models.compiled.recurrent import weights as kernels_weights
from organoid.models.surrogate import FastSigmoid, Triangular

ALL = ("tau_mem", "tau_syn", "threshold")
SMALL: dict[str, Any] = {"n": 3, "batch": 2, "n_steps": 14, "split": 5, "drive": (3.0, 12.0)}
HARD = Case("adaptive_lif", lif=LIFParameters(weight_scale=6.0, trainable=ALL), spike=FastSigmoid(2.0), **SMALL)
SUBTRACT = HARD.with_lif(reset="subtract")
FREE = HARD.with_lif(refractory=0.0)
NEAR = Case("lif", lif=LIFParameters(weight_scale=6.0, delay=0.001), spike=Triangular(2.0, 1.0), **SMALL)
SOME = replace(NEAR, n=8, spike=Triangular(0.5, 1.0))
RELEASE = replace(NEAR, n=5, n_steps=30, split=12, release=ShortTermPlasticity(DT, 0.3, 0.02, 0.03))

# What is changed, into what, and the case that must notice.
DELETIONS = [
    # through the synapses, one by one and all together
    ("out[start + j0], out[start + j1], out[start + j2], out[start + j3] = s0, s1, s2, s3", "pass", SOME),
    ("out[a + j0], out[a + j1], out[a + j2], out[a + j3] = s0, s1, s2, s3", "pass", FREE),
    ("out[b + j0], out[b + j1], out[b + j2], out[b + j3] = z0, z1, z2, z3", "pass", FREE),
    ("ds += g_spikes[b, t, near.unit[e]]", "pass", NEAR),
    ("ds += la[i]", "pass", HARD),  # through the adaptation
    ("ds -= lv[i] * (near.value[e] + threshold[i] if c.hard else threshold[i])", "pass", HARD),  # hard reset
    ("ds -= lv[i] * (near.value[e] + threshold[i] if c.hard else threshold[i])", "pass", SUBTRACT),
    ("near.value[e] + threshold[i] if c.hard", "near.value[e] if c.hard", HARD),
    ("gap[i] += slope[e] * ds", "pass", NEAR),
    ("take(g_distance, t, gap)", "gap[:] = 0", NEAR),
    ("-gap[i] - (zero if c.hard else lv[i] * spikes[i])", "(zero if c.hard else -lv[i] * spikes[i])", HARD),
    ("-gap[i] - (zero if c.hard else lv[i] * spikes[i])", "-gap[i]", SUBTRACT),
    ("sums.threshold[i] += d", "pass", HARD),
    ("sums.increment[i] += d * adaptation[i]", "pass", HARD),
    ("sums.fade[i] += la[i] * adaptation[i]", "pass", HARD),
    ("la[i] = c.fade[i] * la[i] + d * c.increment[i]", "la[i] = d * c.increment[i]", HARD),
    ("la[i] = c.fade[i] * la[i] + d * c.increment[i]", "la[i] = c.fade[i] * la[i]", HARD),
    ("gap[i] + lv[i] * (one - spikes[i])", "gap[i] + lv[i]", HARD),
    ("gap[i] + lv[i] * (one - spikes[i])", "gap[i]", HARD),
    ("lv[i] = gap[i] + lv[i]\n", "lv[i] = gap[i]\n", SUBTRACT),
    ("drive[i] = c.take[i] * lv[i]", "drive[i] = lv[i]", NEAR),
    ("drive[i] = zero if held[i] > 0 else drive[i]", "pass", HARD),  # a held potential takes no drive
    ("lv[i] = lv[i] if held[i] > 0 else c.keep[i] * lv[i]", "lv[i] = c.keep[i] * lv[i]", HARD),
    ("record.held.shape[1] > 0, held, words", "False, held, words", HARD),
    ("sums.keep[lane] += d * before", "pass", HARD),
    ("sums.take[lane] += d * (now - c.keep[lane] * before) / c.take[lane]", "pass", HARD),
    ("initial[lane] if t == 0 else", "0.0 if t == 0 else", HARD),
    ("voltage - record.spikes[b, t, i] * (voltage if c.hard else threshold)", "voltage", FREE),
    ("drive[i] + decay * later[i]", "drive[i]", HARD),
    ("drive[i] + decay * later[i]", "decay * later[i]", HARD),
    ("g_inject[b, t, k, i] = now[b * n + i]", "pass", HARD),
    ("drive[i] + decay * now[i]", "drive[i]", NEAR),
    ("some[i] += here[i]", "pass", NEAR),
    ("here[i] + c.synapse_decay[k] * row[i]", "here[i]", NEAR),
    ("g_decay[k, first + i] += row[i] * past", "pass", HARD),
    ("if t > 0 else initial[b, k, first + i]", "if t > 0 else 0.0", HARD),
    # what is released: from outside, through the synapses, and through the stores
    ("out[b * n + i] += g_sent[b, t, i]", "pass", RELEASE),
    ("out[i] = through[i]", "out[i] = 0", RELEASE),
    ("if every or slope[e] != 0:", "if slope[e] != 0:", replace(RELEASE, spike=Triangular(0.5, 1.0))),
    ("g_sent[i] / use + recover * lm[i]", "g_sent[i] / use", RELEASE),
    ("g_sent[i] / use + recover * lm[i]", "recover * lm[i]", RELEASE),
    ("out * u * (one - m) + later * (u - f)", "out * u * (one - m)", RELEASE),
    ("out * u * (one - m) + later * (u - f)", "later * (u - f)", RELEASE),
    ("lm[i] = recover * lm[i] - out * z * u", "lm[i] = recover * lm[i]", RELEASE),
    ("lm[i] = recover * lm[i] - out * z * u", "lm[i] = -out * z * u", RELEASE),
    ("later * (one - z) + (one - use) * z * (later + out * (one - m))", "later * (one - z)", RELEASE),
    ("later * (one - z) + (one - use) * z * (later + out * (one - m))", "0.0", RELEASE),
    ("(later + out * (one - m))", "later", RELEASE),
    ("(later + out * (one - m))", "(out * (one - m))", RELEASE),
    (
        "            for i in range(row.size):\n                total[i] += row[i]",
        "            pass",
        NEAR,
    ),
]


MODULES = (kernels_release, kernels_weights, kernels_adjoint)


def interpreted(old: str = "", new: str = "") -> dict[str, Any]:
    """Return the functions of the adjoint, changed, as plain Python."""
    sources = [inspect.getsource(module) for module in MODULES]
    assert any(old in source for source in sources), "the source has changed: update the list"
    parts: dict[str, Any] = {name: getattr(kernels_forward, name).py_func for name in ("put", "take", "flag_near")}
    parts |= {name: getattr(kernels_marks, name).py_func for name in ("mark", "flags_for_lanes")}
    names: dict[str, Any] = {"__name__": "adjoint"}
    for source in sources:
        source = source.replace(old, new).replace("@kernel(nogil=True)\n", "").replace("@part\n", "")
        for name in ("_four_rows", "_two_copies"):
            source = source.replace(f"part({name}, fastmath=REORDERED)", name)
        assert "part(" not in source  # a compiled part must not be called by the interpreter
        exec(compile(source, "adjoint", "exec"), names)
        parts.setdefault("release_back", names["release_back"])  # before the adjoint imports the compiled one
    names.update(parts)
    return names


def use(monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]) -> None:
    for name in ("list_near", "run_adjoint", "run_weights"):
        monkeypatch.setattr(kernels_back, name, names[name])


@pytest.mark.parametrize("case", [HARD, SUBTRACT, FREE, NEAR, SOME, RELEASE])
def test_unchanged_the_comparison_holds(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, interpreted())
    assert max(differences(case).values()) < 1e-10


@pytest.mark.parametrize(("old", "new", "case"), DELETIONS)
def test_a_missing_term_is_noticed(old: str, new: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, interpreted(old, new))
    gaps = differences(case)
    assert max(gaps.values()) > 1e-4
    assert all(gap < 1e-10 for name, gap in gaps.items() if not name.startswith("gradient"))
