"""A fit saved and read again is the same fit; anything else is refused in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from synthetic_recordings import bursting, known_network, poisson, recorded

import organoid
from organoid import FitError, ModelError, OrganoidError, SpikeRecording
from organoid.fitting import FitResult
from organoid.fitting.free_run.settings import FreeRunSettings, Plan
from organoid.models.serialization import read_network, write_network
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters

NETWORKS = ("network", "forced", "uncoupled")
TABLES = ("edges", "per_unit", "units", "electrodes")
ENTRIES = (*NETWORKS, *TABLES, "scores", "free_run", "notes", "settings")


@pytest.fixture(scope="module")
def rec() -> SpikeRecording:
    base = bursting(4, 40.0, 3)
    units = pd.DataFrame(
        {
            "name": ["a", "b", "ü", ""],
            "channel": [3, None, 7, 7],
            "x_um": [0.0, 17.5, np.nan, 35.0],
            "y_um": [0.0, 0.0, np.nan, 1e-3],
            "well": ["A1"] * 4,
        }
    )
    return SpikeRecording(
        base.spike_times, base.spike_units, t_start=0.0, t_stop=40.0, units=units, notes=("made up", "with ü and \n")
    )


@pytest.fixture(scope="module")
def result(rec: SpikeRecording) -> FitResult:
    fitted = organoid.fit(rec, free_run=False)
    scores = fitted.scores.copy()
    scores["undefined"] = float("nan")
    scores["nothing"] = None
    scores["whole"] = np.int64(3)
    free_run = {"rate_ratio": 0.1 + 0.2, "burst_rate_ratio": None, "rate_ratio_range": [0.1, 1 / 3], "runaway": False}
    return dataclasses.replace(fitted, scores=scores, free_run=free_run)


@pytest.fixture
def path(result: FitResult, tmp_path: Path) -> Path:
    result.save(tmp_path / "fit.h5")
    return tmp_path / "fit.h5"


def parameters_of(network: SpikeResponseNetwork) -> list[Any]:
    return leaves(network.parameters)


def leaves(value: Any) -> list[Any]:
    """Every array and number, those of nested terms included."""
    return [x for part in value for x in leaves(part)] if isinstance(value, tuple) else [value]


def test_round_trip_is_exact(rec: SpikeRecording, result: FitResult, path: Path) -> None:
    back = organoid.load_fit(path)
    for one, other in ((getattr(result, name), getattr(back, name)) for name in NETWORKS):
        for x, y in zip(parameters_of(one), parameters_of(other)):
            assert type(x) is type(y) and np.asarray(x).dtype == np.asarray(y).dtype
            assert np.asarray(x).shape == np.asarray(y).shape
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        assert one.describe() == other.describe()
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(back, name), getattr(result, name), check_exact=True)
    assert back.notes == result.notes and "with ü and \n" in back.notes
    assert back.settings == result.settings
    assert back.free_run == result.free_run
    assert back.bin_width == result.bin_width
    assert list(back.scores.index) == list(result.scores.index)
    for name, value in result.scores.items():
        if isinstance(value, float) and np.isnan(value):
            assert np.isnan(back.scores[name])
        else:
            assert back.scores[name] == value, name
    assert back.scores["nothing"] is None
    assert np.array_equal(back.predict(rec), result.predict(rec))
    assert repr(back) == repr(result)


def test_second_generation_is_the_same_file_content(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.h5"
    organoid.load_fit(path).save(again)

    def content(file: Path) -> dict[str, bytes]:
        held: dict[str, bytes] = {}
        with h5py.File(file) as h5:
            h5.visititems(
                lambda name, item: (
                    held.update({name: np.asarray(item[()]).tobytes()})
                    if isinstance(item, h5py.Dataset) and item.dtype.kind != "O"
                    else None
                )
            )
        return held

    assert content(again) == content(path)


def test_a_whole_fit_round_trips(tmp_path: Path) -> None:
    """All that a fit with free runs puts into it, undefined scores included."""
    plans = tuple(Plan(((0.3, 3),), 10_000, everything) for everything in (False, True))
    runs = FreeRunSettings(duration=20.0, check_duration=20.0, plans=plans)
    rng = np.random.default_rng(0)
    one_burst = SpikeRecording(5 + rng.uniform(0, 0.2, 400), rng.integers(0, 4, 400), t_start=0.0, t_stop=60.0)
    fitted = organoid.fit(one_burst, free_run=runs)
    fitted.save(tmp_path / "f.h5")
    back = organoid.load_fit(tmp_path / "f.h5")
    assert back.free_run == fitted.free_run and back.notes == fitted.notes
    assert np.isnan(back.scores["heldout_bits_per_spike"])
    pd.testing.assert_frame_equal(back.per_unit, fitted.per_unit, check_exact=True)


def test_one_unit_round_trips(tmp_path: Path) -> None:
    fitted = organoid.fit(poisson([8.0], 20.0, 0), free_run=False)
    fitted.save(tmp_path / "one.h5")
    back = organoid.load_fit(tmp_path / "one.h5")
    assert len(back.edges) == 0 and list(back.edges.columns) == list(fitted.edges.columns)
    assert back.network.describe() == fitted.network.describe()


def test_simulation_of_a_loaded_fit_is_the_same(result: FitResult, path: Path) -> None:
    one = organoid.simulate(result, 5.0, seed=1)
    other = organoid.simulate(organoid.load_fit(path), 5.0, seed=1)
    assert one.n_spikes > 0
    assert np.array_equal(one.spike_times, other.spike_times) and np.array_equal(one.spike_units, other.spike_units)


def test_saving_replaces_whole_files_and_leaves_nothing_behind(result: FitResult, tmp_path: Path) -> None:
    target = tmp_path / "fit.h5"
    target.write_text("something else")
    result.save(target)
    result.save(str(target))
    organoid.load_fit(str(target))
    assert [p.name for p in tmp_path.iterdir()] == ["fit.h5"]


def test_a_failed_save_leaves_the_old_file(result: FitResult, path: Path) -> None:
    before = path.read_bytes()
    broken = dataclasses.replace(result, settings={"odd": object()})
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["fit.h5"]


# --- refusals -----------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        organoid.load_fit(tmp_path / "nowhere.h5")
    with pytest.raises(FileNotFoundError):
        organoid.load_fit(tmp_path)


@pytest.mark.parametrize("content", [b"", b"time,unit\n0.1,0\n", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_fit(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "text.h5"
    file.write_bytes(content)
    with pytest.raises(FitError, match=r"text\.h5"):
        organoid.load_fit(file)


def test_a_recording_is_no_fit(rec: SpikeRecording, tmp_path: Path) -> None:
    organoid.write_recording(rec, tmp_path / "rec.h5")
    with pytest.raises(FitError, match="an organoid recording"):
        organoid.load_fit(tmp_path / "rec.h5")
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["x"] = 1
    with pytest.raises(FitError, match="no organoid file"):
        organoid.load_fit(tmp_path / "other.h5")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_fit(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OrganoidError):
        organoid.load_fit(path)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_incomplete_fit_names_what_is_missing(path: Path, entry: str) -> None:
    with h5py.File(path, "a") as h5:
        del h5[entry]
    with pytest.raises(FitError, match=entry):
        organoid.load_fit(path)


@pytest.mark.parametrize(
    "entry", ["network/weights", "network/fields/decay", "uncoupled/bias", "network/capacity", "edges/q"]
)
def test_a_fit_without_a_parameter(path: Path, entry: str) -> None:
    with h5py.File(path, "a") as h5:
        del h5[entry]
    with pytest.raises(OrganoidError, match=entry.split("/")[-1]):
        organoid.load_fit(path)


DAMAGED = {
    "another shape": ("network/weights", np.zeros((3, 4, 3))),
    "not finite": ("network/bias", np.full(4, np.nan)),
    "text for numbers": ("network/bias", np.array([b"a", b"b", b"c", b"d"])),
    "scores no mapping": ("scores", "[1, 2]"),
    "no JSON": ("settings", "{"),
    "notes no list": ("notes", "3"),
    "settings no mapping": ("settings", "[]"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_fit_is_refused_in_words(path: Path, damage: str) -> None:
    entry, value = DAMAGED[damage]
    with h5py.File(path, "a") as h5:
        del h5[entry]
        h5[entry] = value
    with pytest.raises(OrganoidError):
        organoid.load_fit(path)


def test_a_fit_without_its_bin_width(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5.attrs["bin_width"]
    with pytest.raises(FitError):
        organoid.load_fit(path)


# --- networks in groups -------------------------------------------------------------------------------------------


def test_network_round_trip_keeps_infinite_bounds(tmp_path: Path) -> None:
    net = known_network()
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        write_network(h5.create_group("a"), net)
        back = read_network(h5["a"])
    assert back.describe() == net.describe()
    assert np.isinf(back.parameters.ceiling).all() and back.parameters.rate_limit == np.inf
    state = net.initial_state(0)
    assert np.array_equal(back.advance(state, 2000).steps, net.advance(state, 2000).steps)


def test_other_things_are_not_networks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        with pytest.raises(ModelError, match="dict"):
            write_network(h5.create_group("a"), {})
        with pytest.raises(ModelError, match="escape_lif"):
            read_network(h5.create_group("b"))
    plain = SpikeResponseNetwork(
        plain_parameters(dt=1e-3, tau=np.array([0.01]), weights=np.zeros((1, 1, 1)), bias=np.array([-3.0]))
    )
    assert plain.n_units == 1


def test_a_fit_of_the_true_network_says_what_it_is() -> None:
    fitted = organoid.fit(recorded(known_network(), 20.0, 1), free_run=False)
    assert repr(fitted).startswith("FitResult(8 units, held out ")
    described = fitted.network.describe()
    assert described["model"] == "escape_lif" and described["n_units"] == 8
