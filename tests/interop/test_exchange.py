"""Round trips through every partner that is installed: spikes, units, positions, stimuli, holes, metadata."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from recording_strategies import recordings

from organoid import RecordingError, SpikeRecording, interop, read_recording
from organoid.io.exchange import as_text, from_context

RATE = 20000.0


def recording(rate: float | None = RATE) -> SpikeRecording:
    rng = np.random.default_rng(3)
    ticks = np.sort(rng.integers(20000 * 2, 20000 * 12, 400))
    units = {"name": ["a", "b", "c", "silent"], "channel": [3, 4, None, 9], "electrode": [30, 40, 50, 90]}
    units |= {
        "x_um": [0.0, 30.0, np.nan, 60.0],
        "y_um": [0.0, 0.0, np.nan, 30.0],
        "label": ["good", "mua", "good", "good"],
    }
    return SpikeRecording(
        ticks / RATE,
        rng.integers(0, 3, 400),
        n_units=4,
        t_start=2.0,
        t_stop=12.0,
        sampling_rate=rate,
        units=units,
        stimuli={
            "time_s": [3.0, 5.5],
            "electrode": [30, None],
            "amplitude": [1e-6, np.nan],
            "amplitude_unit": ["A", None],
        },
        events={"time_s": [4.0], "kind": ["camera"], "label": ["frame 1"]},
        observed=[[2.0, 6.0], [7.0, 12.0]],
        metadata={"age": 21, "genotype": "wt", "species": "mouse", "nested": {"a": [1, None]}},
        notes=["from a test"],
    )


def equal_to_one_sample(back: SpikeRecording, rec: SpikeRecording) -> None:
    np.testing.assert_allclose(back.spike_times, rec.spike_times, atol=0.5 / rec.tick_rate, rtol=0)
    assert back.replace(spike_times=rec.spike_times, spike_units=back.spike_units).equals(rec)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(recordings())
def test_the_context_brings_everything_back(rec: SpikeRecording) -> None:
    assert from_context(rec.spike_times, rec.spike_units, as_text(rec)).equals(rec)


def test_a_damaged_context_is_an_error() -> None:
    with pytest.raises(RecordingError, match="context of the recording is damaged"):
        from_context([], [], '{"version": 1}')
    with pytest.raises(RecordingError, match="damaged"):
        from_context([], [], "no JSON")


@pytest.mark.parametrize("rate", [RATE, None])
def test_spikeinterface(rate: float | None) -> None:
    pytest.importorskip("spikeinterface.core", reason="SpikeInterface is not installed")
    rec = recording(rate)
    sorting = interop.to_sorting(rec)
    assert sorting.get_property("label").tolist() == rec.units["label"].tolist()
    equal_to_one_sample(interop.from_sorting(sorting), rec)


def test_a_sorting_and_a_probe_of_others() -> None:
    core = pytest.importorskip("spikeinterface.core", reason="SpikeInterface is not installed")
    sorting = core.NumpySorting.from_unit_dict([{"7": np.array([10, 30]), "9": np.array([20])}], RATE)
    sorting.set_property("electrode", np.array([30, 90]))
    sorting.set_property("KSLabel", np.array(["good", "noise"]))
    probe = interop.to_probe(recording())
    rec = interop.from_sorting(sorting, probe=probe)
    assert rec.spike_ticks.tolist() == [10, 20, 30]
    assert rec.units[["name", "x_um", "label"]].to_numpy().tolist() == [["7", 0.0, "good"], ["9", 60.0, "noise"]]
    assert len(rec.electrodes) == probe.get_contact_count() == 3
    both = core.NumpySorting.from_unit_dict([{"7": np.array([1])}, {"7": np.array([2])}], RATE)
    with pytest.raises(RecordingError, match=r"2 segments.*segment=0 to 1"):
        interop.from_sorting(both)
    with pytest.raises(RecordingError, match="is no sorting"):
        interop.from_sorting([1, 2])


@pytest.mark.parametrize("rate", [RATE, None])
def test_neo(rate: float | None) -> None:
    neo = pytest.importorskip("neo", reason="neo is not installed")
    rec = recording(rate)
    block = interop.to_neo(rec)
    segment = block.segments[0]
    assert len(segment.spiketrains) == 4
    assert segment.epochs[0].times.magnitude.tolist() == [6.0]
    assert [event.name for event in segment.events] == ["stimuli", "events"]
    assert interop.from_neo(block).equals(rec)
    plain = interop.from_neo(segment)  # without what travels beside: spikes, window, columns, marks
    assert plain.spike_times.tolist() == rec.spike_times.tolist()
    assert plain.stimuli["time_s"].tolist() == [3.0, 5.5]
    assert isinstance(block, neo.Block)


def test_elephant() -> None:
    pytest.importorskip("elephant.conversion", reason="elephant is not installed")
    rec = recording()
    back = interop.from_elephant(interop.to_elephant(rec))
    assert back.spike_times.tolist() == rec.spike_times.tolist()
    binned = interop.to_elephant(rec, bin_width=0.1)
    assert binned.to_array().tolist() == rec.counts(0.1).T.tolist()
    assert interop.from_elephant(binned).counts(0.1).tolist() == rec.counts(0.1).tolist()


def test_pynapple() -> None:
    nap = pytest.importorskip("pynapple", reason="pynapple is not installed")
    rec = recording()
    group, beside = interop.to_pynapple(rec), interop.to_pynapple_intervals(rec)
    assert isinstance(group, nap.TsGroup)
    assert group["label"].tolist() == rec.units["label"].tolist()
    back = interop.from_pynapple(
        group,
        observed=beside["observed"],
        stimuli=rec.stimuli,
        events=rec.events,
        sampling_rate=RATE,
        metadata=rec.metadata,
    )
    assert back.replace(notes=rec.notes, units=back.units[rec.units.columns], electrodes=rec.electrodes).equals(
        rec.replace(electrodes=rec.electrodes)
    )
    assert interop.from_pynapple(group, stimuli=beside["stimuli"]).stimuli["time_s"].tolist() == [3.0, 5.5]


@pytest.mark.parametrize("rate", [RATE, None])
def test_spikedata(rate: float | None) -> None:
    pytest.importorskip("spikelab.spikedata", reason="SpikeLab is not installed")
    rec = recording(rate)
    data = interop.to_spikedata(rec)
    assert (data.N, data.length, data.start_time) == (4, 10000.0, 2000.0)
    equal_to_one_sample(interop.from_spikedata(data), rec)


class Other:
    """A SpikeData of another package: trains in ms and a length."""

    def __init__(self) -> None:
        self.train, self.length = [np.array([1.0, 2500.0]), np.array([10.0])], 3000.0


def test_any_object_with_trains_in_ms() -> None:
    rec = interop.from_spikedata(Other())
    assert (rec.spike_times.tolist(), rec.t_stop) == ([0.001, 0.01, 2.5], 3.0)
    with pytest.raises(RecordingError, match="is no SpikeData"):
        interop.from_spikedata(3)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [RATE, None])
def test_nwb(rate: float | None, tmp_path: Path) -> None:
    pytest.importorskip("pynwb", reason="pynwb is not installed")
    rec = recording(rate)
    path = interop.write_nwb(rec, tmp_path / "culture.nwb")
    assert read_recording(path, exclude=()).equals(rec)
    assert list(tmp_path.iterdir()) == [path]
    standard = standard_parts(path, tmp_path / "edited.nwb")
    assert standard.spike_times.tolist() == rec.spike_times.tolist()
    assert standard.observed.tolist() == rec.observed.tolist()
    assert standard.stimuli["time_s"].tolist() == rec.stimuli["time_s"].tolist()
    assert standard.events["time_s"].tolist() == rec.events["time_s"].tolist()
    assert standard.sampling_rate == (None if rate is None else pytest.approx(rate))
    assert standard.units["x_um"].iloc[[0, 1, 3]].tolist() == [0.0, 30.0, 60.0]


def standard_parts(path: Path, target: Path) -> SpikeRecording:
    """Return the recording as any NWB reader sees it: without what this package wrote beside."""
    import shutil

    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "a") as h5:
        del h5["scratch/organoid"]
    return read_recording(target, exclude=())


@pytest.mark.slow
def test_nwb_in_other_tools(tmp_path: Path) -> None:
    pytest.importorskip("pynwb", reason="pynwb is not installed")
    rec = recording()
    seen = rec.is_observed(rec.spike_ticks)  # the inspector objects to spikes in holes
    rec = rec.replace(spike_times=rec.spike_times[seen], spike_units=rec.spike_units[seen])
    path = interop.write_nwb(rec, tmp_path / "culture.nwb", experimenter="Doe, Jane")
    problems = inspected(path)
    assert problems == []
    nap = pytest.importorskip("pynapple", reason="pynapple is not installed")
    group = nap.load_file(str(path))["units"]
    assert sorted(np.concatenate([group[k].times() for k in group.keys()]).tolist()) == rec.spike_times.tolist()
    extractors = pytest.importorskip("spikeinterface.extractors", reason="SpikeInterface is not installed")
    sorting = extractors.read_nwb_sorting(str(path), sampling_frequency=RATE, t_start=0.0)
    found = np.concatenate([sorting.get_unit_spike_train(unit) for unit in sorting.unit_ids])
    assert sorted(found.tolist()) == rec.spike_ticks.tolist()


@pytest.mark.slow
def test_a_culture_in_the_terms_of_its_extension(tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb", reason="pynwb is not installed")
    pytest.importorskip("ndx_cell_culture", reason="ndx-cell-culture is not installed")
    rec = recording().replace(metadata={"species": "human", "culture_type": "organoid", "cell_line": "H9", "age": 90})
    path = interop.write_nwb(rec, tmp_path / "culture.nwb")
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
        subject = io.read().subject
        assert type(subject).__name__ == "CellCultureSubject"
        assert (subject.species, subject.age, subject.culture.culture_type) == ("Homo sapiens", "P90D", "organoid")
    assert read_recording(path, exclude=()).equals(rec)


def inspected(path: Path) -> list[Any]:
    """Return what the NWB inspector finds that is more than a suggestion."""
    inspector = pytest.importorskip("nwbinspector", reason="the NWB inspector is not installed")
    least = inspector.Importance.BEST_PRACTICE_VIOLATION
    found = inspector.inspect_nwbfile(nwbfile_path=str(path), importance_threshold=least)
    return [(message.check_function_name, message.message) for message in found]


def test_a_partner_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from organoid.interop.partner import partner

    with pytest.raises(RecordingError, match=r'nowhere is not installed .*pip install "organoid\[interop\]"'):
        partner("nowhere.module")


def test_tables_of_others_are_kept() -> None:
    assert isinstance(recording().units, pd.DataFrame)
