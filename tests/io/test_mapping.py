"""A lab's own layout through a mapping: five layouts made up by hand, and what a wrong mapping says."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from organoid import RecordingError, SpikeRecording, read_recording
from organoid.io.map_proposal import propose

TIMES = [np.array([0.01, 0.5, 1.5]), np.array([0.7]), np.array([0.02, 1.25])]
FLAT = np.concatenate(TIMES)
UNITS = np.repeat([0, 1, 2], [3, 1, 2])


def flat(folder: Path) -> tuple[Path, str]:
    path = folder / "flat.h5"
    with h5py.File(path, "w") as h5:
        h5["data/stamps"], h5["data/neuron"] = np.rint(FLAT * 20000).astype("u4"), UNITS + 1
        h5["data/pos"] = np.array([[0.0, 5.0], [10.0, 5.0], [20.0, 5.0], [30.0, 5.0]])  # the fourth never fires
        h5["pulses_ms"], h5.attrs["fs"], h5.attrs["age"] = np.array([10000.0]), 20000.0, 21
    return path, (
        'times = "data/stamps"\nunits = "data/neuron"\ntime_unit = "samples"\nsampling_rate = "@fs"\n'
        'x_um = "data/pos[:, 0]"\ny_um = "data/pos[:, 1]"\nt_stop = 2\n[metadata]\nage = "@age"\n'
    )


def ragged(folder: Path) -> tuple[Path, str]:
    path = folder / "ragged.npz"
    np.savez(path, t_ms=FLAT * 1000, ends=np.cumsum([3, 1, 2]), label=np.array(["good", "noise", "good"]))
    return path, 'times = "t_ms"\nindex = "ends"\ntime_unit = "ms"\nlabel = "label"\nt_stop = 2.0\n'


def group_per_unit(folder: Path) -> tuple[Path, str]:
    path = folder / "groups.h5"
    with h5py.File(path, "w") as h5:
        for k, train in enumerate(TIMES):
            h5[f"cells/cell{k + 8}/t"] = train  # cell8, cell9, cell10: natural order
    return path, 'times = "cells/*/t"\nt_stop = 2.0\n'


def cell_array(folder: Path) -> tuple[Path, str]:
    cells = np.empty((3, 1), dtype=object)
    for k, train in enumerate(TIMES):
        cells[k, 0] = train[:, None]
    names = np.empty((3, 1), dtype=object)
    names[:, 0] = ["a", "b", "c"]
    path = folder / "cells.mat"
    scipy.io.savemat(path, {"result": {"trains": cells, "who": names}, "T": 2.0})
    return path, 'times = "result.trains"\nnames = "result.who"\nt_stop = "T"\n'


def csv(folder: Path) -> tuple[Path, str]:
    path = folder / "spikes.csv"
    rows = [f"{t:.4f};{'abc'[u]};A{u + 1}".replace(".", ",") for t, u in zip(FLAT, UNITS)]
    path.write_text("Zeit (s);Zelle;Kammer\n" + "\n".join(rows) + "\n", encoding="utf-16")
    return path, 'times = "Zeit (s)"\nunits = "Zelle"\nwell = "Kammer"\nt_stop = 2.0\n'


LAYOUTS = [flat, ragged, group_per_unit, cell_array, csv]


def mapped(layout: Callable[[Path], tuple[Path, str]], folder: Path, **options: object) -> SpikeRecording:
    path, text = layout(folder)
    assert len(text.splitlines()) <= 10
    (folder / "mapping.toml").write_text(text)
    return read_recording(path, mapping=folder / "mapping.toml", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_five_layouts_in_ten_lines(layout: Callable[[Path], tuple[Path, str]], tmp_path: Path) -> None:
    rec = mapped(layout, tmp_path, exclude=())
    order = np.argsort(FLAT)
    np.testing.assert_allclose(rec.spike_times, FLAT[order], atol=1e-12)
    assert rec.spike_units.tolist() == UNITS[order].tolist()
    assert (rec.t_start, rec.t_stop) == (0.0, 2.0)


def test_what_a_layout_says_besides_spikes(tmp_path: Path) -> None:
    rec = mapped(flat, tmp_path)
    assert (rec.sampling_rate, rec.n_units, rec.metadata["age"]) == (20000.0, 4, 21)
    assert rec.units["x_um"].tolist() == [0.0, 10.0, 20.0, 30.0]
    rec = mapped(csv, tmp_path)
    assert rec.wells == ("A1", "A2", "A3")
    assert rec.units["name"].tolist() == ["a", "b", "c"]
    assert mapped(cell_array, tmp_path).units["name"].tolist() == ["a", "b", "c"]
    assert mapped(group_per_unit, tmp_path).units["name"].tolist() == ["cell8", "cell9", "cell10"]
    rec = mapped(ragged, tmp_path)
    assert rec.n_units == 2  # labels act: noise is left out
    assert any("labelled noise are left out" in note for note in rec.notes)


def test_stimuli_and_events_of_a_layout(tmp_path: Path) -> None:
    path, text = flat(tmp_path)
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(text.replace("[metadata]", 'stimuli = "pulses_ms"\n[metadata]'))
    assert read_recording(path, mapping=mapping).stimuli["time_s"].tolist() == [0.5]  # in the unit of the times
    with h5py.File(path, "a") as h5:
        h5["marks/t"], h5["marks/what"] = np.array([20000]), np.array([b"light"])
    mapping.write_text(text + '[events]\ntimes = "marks/t"\nlabel = "marks/what"\n')
    assert read_recording(path, mapping=mapping).events[["time_s", "label"]].to_numpy().tolist() == [[1.0, "light"]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('times = "data/stamp"', r"line 1 \(times\): the file holds nothing named 'data/stamp'; it holds data/neuron"),
        ('units = "data/pos"', r"line 2 \(units\): 'data/pos' holds 8 values for 6 times"),
        (
            'time_unit = "minutes"',
            r"line 3 \(time_unit\): 'minutes' is no unit of time; expected s, ms, us",
        ),
        ('sampling_rate = "data/pos"', r"line 4 \(sampling_rate\): 'data/pos' gives None; expected one number"),
        ('unit = "data/neuron"', r"\(unit\): there is no such entry; entries are times, units"),
        ('index = "data/neuron"', r"\(index\): stands beside units; give one of units, index and counts"),
        ("times = 3", r"line 1 \(times\): 3 is no name; expected a text"),
    ],
)
def test_a_wrong_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    path, text = flat(tmp_path)
    key = line.split(" =")[0]
    lines = text.splitlines()
    place = next((k for k, held in enumerate(lines) if held.split(" =")[0] == key), 0)
    lines[place : place + (lines[place].split(" =")[0] == key)] = [line]
    (tmp_path / "m.toml").write_text("\n".join(lines))
    with pytest.raises(RecordingError, match=said) as raised:
        read_recording(path, mapping=tmp_path / "m.toml")
    assert "\n" not in str(raised.value)


def test_no_toml_and_no_times(tmp_path: Path) -> None:
    path, _ = flat(tmp_path)
    (tmp_path / "m.toml").write_text("times = \n")
    with pytest.raises(RecordingError, match=r"m\.toml is no TOML text: .*line 1"):
        read_recording(path, mapping=tmp_path / "m.toml")
    with pytest.raises(RecordingError, match="the mapping has no entry times"):
        read_recording(path, mapping={"units": "data/neuron"})
    with pytest.raises(FileNotFoundError, match=r"absent\.toml \(mapping\)"):
        read_recording(path, mapping=tmp_path / "absent.toml")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_proposal_reads_the_layout_or_says_what_is_missing(
    layout: Callable[[Path], tuple[Path, str]], tmp_path: Path
) -> None:
    path, _ = layout(tmp_path)
    (tmp_path / "proposed.toml").write_text(propose(path))
    if layout in (flat, ragged, cell_array):  # their names are those people use
        rec = read_recording(path, mapping=tmp_path / "proposed.toml", exclude=())
        np.testing.assert_allclose(rec.spike_times, np.sort(FLAT), atol=1e-9)
    else:
        assert "what the file holds" in propose(path)


@given(st.text(max_size=200))
def test_any_text_as_a_mapping_is_one_sentence(text: str) -> None:
    import tempfile

    from organoid.io.mapping import read_mapping

    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        try:
            read_mapping(file.name)
        except RecordingError as error:
            assert str(error)
