"""Spikes from synthetic voltage with known spikes: recall, precision, times, artefacts, layouts, a peer."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_voltage import SIGMA, SNR, WRITERS, Synthetic, synthetic

from organoid import RecordingError, SpikeRecording
from organoid.detection import ArrayVoltage, DetectionSettings, detect, open_voltage
from organoid.detection.detector import example_cutouts, merged, stimuli_blanked, without
from organoid.detection.filtering import noise_levels
from organoid.detection.peaks import find_peaks

TOLERANCE = 2e-4  # s
HELD = synthetic()


def array(held: Synthetic) -> ArrayVoltage:
    return ArrayVoltage(held.voltage, held.rate)


def matched(found: np.ndarray, known: np.ndarray) -> float:
    """Return the fraction of `found` within the tolerance of one of `known`."""
    edges = np.concatenate([[-np.inf], known, [np.inf]])
    k = np.searchsorted(edges, found)
    return float(np.mean(np.minimum(found - edges[k - 1], edges[k] - found) <= TOLERANCE))


def of_channel(rec: SpikeRecording, channel: int) -> np.ndarray:
    return rec.spike_times[rec.spike_units == channel]


def test_recall_and_precision_from_a_signal_to_noise_ratio_of_5() -> None:
    rec = detect(array(HELD))
    for channel, known in enumerate(HELD.spikes):
        if SNR[channel % len(SNR)] >= 5:
            assert matched(known, of_channel(rec, channel)) >= 0.95
            assert matched(of_channel(rec, channel), known) >= 0.95


def test_the_noise_is_that_of_the_quiet_parts() -> None:
    used = DetectionSettings(band=None)
    np.testing.assert_allclose(noise_levels(array(HELD), used), SIGMA, rtol=0.03)


def test_artefacts_are_holes_without_spikes() -> None:
    rec = detect(array(HELD))
    holes = np.stack([rec.observed[:-1, 1], rec.observed[1:, 0]], axis=1)
    assert len(holes) == len(HELD.artefacts)
    assert np.all((holes[:, 0] <= HELD.artefacts) & (holes[:, 1] >= HELD.artefacts + 3e-3))
    assert rec.is_observed(rec.spike_ticks).all()
    assert detect(array(HELD), DetectionSettings(blank_artefacts=False)).observed.shape == (1, 2)


@pytest.mark.parametrize("writer", WRITERS)
def test_layouts_give_the_spikes_of_the_array(writer: str, tmp_path: Path) -> None:
    held = synthetic(n_channels=5, seconds=2.0)
    path = tmp_path / f"{writer}.h5"
    WRITERS[writer](path, held)
    found, expected = detect(path, workers=1), detect(array(held))
    assert (found.sampling_rate, found.n_units) == (held.rate, 5)
    assert found.duration == pytest.approx(2.0)
    order = np.argsort(found.units["name"].to_numpy()) if writer == "mcs" else np.arange(5)
    for k, channel in enumerate(order):
        both = of_channel(found, int(channel)), of_channel(expected, k)
        assert matched(*both) > 0.97 and matched(*both[::-1]) > 0.97
    np.testing.assert_allclose(np.sort(found.units["noise_uv"]), np.sort(expected.units["noise_uv"]), rtol=0.05)


def test_blocks_and_processes_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    WRITERS["cl1"](tmp_path / "v.h5", HELD)
    whole = detect(tmp_path / "v.h5", workers=1)
    monkeypatch.setattr("organoid.detection.detector._BLOCK_SAMPLES", 1 << 16)
    small = detect(tmp_path / "v.h5", workers=2)
    assert matched(small.spike_times, whole.spike_times) > 0.999
    assert abs(small.n_spikes - whole.n_spikes) <= 2
    np.testing.assert_allclose(small.observed, whole.observed, atol=1e-4)


def test_a_peer_finds_the_same() -> None:
    core = pytest.importorskip("spikeinterface.core", reason="SpikeInterface is not installed")
    peaks = pytest.importorskip("spikeinterface.sortingcomponents.peak_detection")
    held = synthetic(n_channels=8, seconds=5.0, artefacts=False)
    filtered = held.voltage * 1e6
    recording = core.NumpyRecording([filtered.T.astype("f4")], held.rate)
    noise = noise_levels(ArrayVoltage(filtered, held.rate), DetectionSettings(band=None))
    parameters = {"peak_sign": "neg", "detect_threshold": 5, "exclude_sweep_ms": 1.0, "noise_levels": noise}
    theirs = peaks.detect_peaks(recording, method="by_channel", method_kwargs=parameters)
    ours = detect(ArrayVoltage(filtered, held.rate), DetectionSettings(band=None, blank_artefacts=False))
    assert abs(ours.n_spikes - theirs.size) <= 0.02 * theirs.size
    both = set(zip(theirs["sample_index"].tolist(), theirs["channel_index"].tolist()))
    mine = set(zip(ours.spike_ticks.tolist(), ours.spike_units.tolist()))
    assert len(both & mine) >= 0.98 * max(len(both), len(mine))


def test_what_spikeinterface_opens(tmp_path: Path) -> None:
    core = pytest.importorskip("spikeinterface.core", reason="SpikeInterface is not installed")
    held = synthetic(n_channels=4, seconds=2.0)
    recording = core.NumpyRecording([held.counts.T.copy()], held.rate)
    recording.set_channel_gains(0.1)
    recording.set_channel_offsets(0.0)
    expected = detect(array(held))
    assert detect(recording, workers=1).n_spikes == pytest.approx(expected.n_spikes, rel=0.03)
    recording.save(folder=tmp_path / "saved", verbose=False)
    assert detect(tmp_path / "saved", workers=1).n_spikes == pytest.approx(expected.n_spikes, rel=0.03)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["negative", "positive", "both"]))
def test_peaks_against_a_slow_reference(seed: int, channels: int, sign: str) -> None:
    rng = np.random.default_rng(seed)
    block = np.rint(rng.normal(0, 2, (300, channels)) * 2) / 2  # ties are common
    used = DetectionSettings(threshold=1.5, dead_time=4e-3, sign=sign)
    found = find_peaks(block, np.ones(channels), used, 1000.0)
    expected = []
    for s in {"negative": (-1,), "positive": (1,), "both": (-1, 1)}[sign]:
        x = s * block
        for i in range(4, 296):
            for c in range(channels):
                before, after = x[i - 4 : i, c], x[i + 1 : i + 5, c]
                if x[i, c] > 1.5 and np.all(x[i, c] > before) and np.all(x[i, c] >= after):
                    expected.append((i, c))
    assert list(zip(found.rows.tolist(), found.channels.tolist())) == sorted(expected)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), max_size=8))
def test_holes_are_taken_out_of_spans(drawn: list[tuple[int, int]]) -> None:
    holes = merged(sorted((float(a), float(a + b)) for a, b in drawn))
    left = without(np.array([[0.0, 50.0], [60.0, 110.0]]), holes)
    for tick in np.arange(0.5, 120, 1.0):
        inside = any(a <= tick < b for a, b in ((0, 50), (60, 110))) and not any(a <= tick < b for a, b in holes)
        assert inside == any(a <= tick < b for a, b in left.tolist())


def test_cutouts_show_the_spikes() -> None:
    rec = detect(array(HELD))
    held = example_cutouts(array(HELD), rec, n_channels=3)
    assert len(held) == 3
    for cuts in held.values():
        assert cuts.shape[1] == 2 * int(1.5e-3 * HELD.rate) + 1
        assert abs(int(np.argmin(cuts.mean(axis=0))) - cuts.shape[1] // 2) <= 1


def test_time_after_stimuli_is_blanked() -> None:
    rec = SpikeRecording([0.1, 0.5005, 0.9], [0, 0, 0], t_stop=1.0, stimuli={"time_s": [0.5]})
    done = stimuli_blanked(rec, 0.01)
    assert done.spike_times.tolist() == [0.1, 0.9]
    assert done.observed.tolist() == [[0.0, 0.5], [0.51, 1.0]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.0}, "expected a threshold above 0"),
        ({"sign": "up"}, "one of negative, positive, both"),
        ({"band": (3000.0, 300.0)}, "0 < low < high"),
    ],
)
def test_impossible_settings(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordingError, match=said):
        DetectionSettings(**change)


def test_files_without_voltage_say_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        h5["a"] = [1]
    with pytest.raises(RecordingError, match="layout is not one whose voltage is read"):
        open_voltage(tmp_path / "x.h5")
    (tmp_path / "x.txt").write_text("no")
    with pytest.raises(RecordingError, match="not an HDF5 file; open it with SpikeInterface"):
        open_voltage(tmp_path / "x.txt")
    with pytest.raises(FileNotFoundError):
        open_voltage(tmp_path / "absent.h5")
    with pytest.raises(RecordingError, match="no source of voltage"):
        detect(object())
