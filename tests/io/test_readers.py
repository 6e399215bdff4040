"""Promises every reader keeps, on a file of each format; counts of the real files; wrong inputs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from reader_files import WRITERS, carmen
from real_recordings import all_real_recordings, real_recording

import organoid
from organoid import RecordingError, SpikeRecording, read_recording, write_recording
from organoid.hdf5 import safe_read as layout_guard
from organoid.io.info import NO_SPIKES, file_info
from organoid.io.registry import Evidence, Format, detect_format, formats

FORMATS = {fmt.name: fmt for fmt in formats()}
REAL_COUNTS = [
    ("maxwell/MaxTwo_6well.raw.h5", "maxwell", 284, 0),
    ("mcs/2014-07-09T10-17-35W8 Standard all 500 Hz.h5", "mcs", 224, 0),
    ("threebrain/biocam_hw3.0_fw1.7.0.12_raw.brw", "3brain", 0, 0),
    ("cl1/cl1_simulator_20s.h5", "cl1", 1496, 264),
    ("nwb/A8604-211122.nwb", "nwb", 21354, 0),
    ("axion/exampleRecording_1012016_plate1_DIV3_spike_list.csv.gz", "axion-csv", 100957, 0),
]


@pytest.mark.parametrize(("name", "fmt", "n_spikes", "n_stimuli"), REAL_COUNTS)
def test_counts_of_real_files(name: str, fmt: str, n_spikes: int, n_stimuli: int) -> None:
    info = file_info(real_recording(*name.split("/")))
    assert (info["format"], info["n_spikes"], info["n_stimuli"]) == (fmt, n_spikes, n_stimuli)
    assert sum(entry["n_spikes"] for entry in info["entries"]) == n_spikes
    assert sum(entry["n_units"] for entry in info["entries"]) == info["n_units"]


def test_every_real_recording_is_of_exactly_one_format() -> None:
    paths = [path for path in all_real_recordings() if path.parent.name != "logs"]
    if not paths:
        pytest.skip("no real recordings here")
    for path in paths:
        assert detect_format(path).name in FORMATS, path


@pytest.mark.parametrize("name", WRITERS)
def test_promises_of_a_reader(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    assert all(check.passed for check in organoid.check_reader(_checkable(detect_format(path)), [path]))


def _checkable(fmt: Format) -> Format:
    """Let an organoid file pass: it keeps the metadata of what was written, which need not name a format."""
    if fmt.name != "organoid":
        return fmt

    def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
        rec = fmt.read(path, well, recording)
        return SpikeRecording(rec.spike_times, rec.spike_units, t_stop=rec.t_stop, metadata={"format": "organoid"})

    return Format(fmt.name, fmt.title, fmt.evidence, fmt.recognises, read)


def test_check_reader_lists_every_broken_promise(tmp_path: Path) -> None:
    path = carmen(tmp_path)
    bad = Format("bad", "Bad", "none", lambda source: True, lambda path, well, recording: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(RecordingError) as caught:
        organoid.check_reader(bad, [path])
    for problem in ("also recognised by carmen", "a Python file is recognised", "without an error", "not a SpikeRec"):
        assert problem in str(caught.value)
    with pytest.raises(RecordingError, match="at least one valid file"):
        organoid.check_reader(bad, [])


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_read_survives_the_own_format(name: str, tmp_path: Path) -> None:
    rec = read_recording(WRITERS[name](tmp_path))
    write_recording(rec, tmp_path / "copy.h5")
    assert read_recording(tmp_path / "copy.h5").equals(rec)


@pytest.mark.parametrize("name", WRITERS)
def test_info_agrees_with_reading(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    rec, info = read_recording(path), file_info(path)
    assert (info["n_units"], info["n_spikes"], info["n_stimuli"]) == (rec.n_units, rec.n_spikes, len(rec.stimuli))
    assert (info["t_start"], info["t_stop"], info["notes"]) == (rec.t_start, rec.t_stop, list(rec.notes))
    assert info["sampling_rate"] == rec.sampling_rate


def test_every_format_is_written_for_these_tests_and_states_its_evidence(tmp_path: Path) -> None:
    assert len(FORMATS) == 14
    written = set()
    for name, writer in WRITERS.items():
        (tmp_path / name).mkdir()
        written.add(detect_format(writer(tmp_path / name)).name)
    assert written == set(FORMATS)
    for fmt in FORMATS.values():
        assert any(evidence in fmt.evidence for evidence in Evidence), fmt.name


def test_info_of_a_raw_only_file_says_so(tmp_path: Path) -> None:
    path = real_recording("threebrain", "biocam_hw3.0_fw1.7.0.12_raw.brw")
    assert file_info(path)["notes"] == [NO_SPIKES]
    with pytest.raises(RecordingError, match=NO_SPIKES):
        read_recording(path)


def wrong_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Write every kind of wrong input, with the words its one sentence must hold."""
    inputs: dict[str, tuple[Path, str]] = {}

    def add(name: str, content: bytes, words: str) -> None:
        (folder / name).write_bytes(content)
        inputs[name] = folder / name, words

    add("text.h5", b"these are no spikes\n", "is not an HDF5 file (it begins with b'these are no spi'")
    add("nothing.h5", b"", "is empty")
    add("log.csv", b"time,amplitude,duty_time_ms,stim_electrodes,tag\n", "is a stimulation log; pass it with")
    add("truncated.h5", carmen(folder).read_bytes()[:3000], "cannot be opened: it is cut short")
    add("zip.h5", b"PK\x03\x04broken", "is not an HDF5 file")
    with h5py.File(folder / "empty.h5", "w"):
        inputs["empty"] = folder / "empty.h5", "unknown layout; top-level names are nothing"
    with h5py.File(folder / "other.h5", "w") as h5:
        h5["alpha"], h5["beta"] = 1, 2
        inputs["other"] = folder / "other.h5", "unknown layout; top-level names are alpha, beta"
    with h5py.File(folder / "cmos.h5", "w") as h5:
        h5.attrs["ID.Type"], h5.attrs["ID.TypeID"] = "x", "y"
        inputs["cmos"] = folder / "cmos.h5", "CMOS-MEA recording (.cmcr/.cmtr), another layout that is not read"
    (folder / "folder").mkdir()
    inputs["folder"] = folder / "folder", "unknown folder, holding nothing"
    return inputs


def test_wrong_inputs_each_give_one_clear_sentence(tmp_path: Path) -> None:
    for path, words in wrong_inputs(tmp_path).values():
        for call in (read_recording, file_info):
            with pytest.raises(RecordingError) as caught:
                call(path)
            assert words in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_not_a_bad_recording(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_recording(tmp_path / "absent.h5")


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_well_and_recording_are_refused(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    for choice in ({"well": "Z9"}, {"recording": "rec_99"}):
        with pytest.raises(RecordingError, match=r"Z9|rec_99|neither has a name|without a name|names no wells"):
            read_recording(path, **choice)  # type: ignore[arg-type]


def test_formats_of_other_packages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Point:
        def load(self) -> Any:
            return Format("mine", "Mine", "none", lambda source: source.path.suffix == ".mine", read=read)

    def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
        return SpikeRecording(np.loadtxt(path, ndmin=1), [0], t_stop=1.0)

    monkeypatch.setattr("organoid.io.registry._plugins", lambda: (Point(),))
    (tmp_path / "x.mine").write_text("0.5")
    assert read_recording(tmp_path / "x.mine").spike_times.tolist() == [0.5]


def test_reading_and_info_need_no_heavy_import(tmp_path: Path) -> None:
    path = carmen(tmp_path)
    code = f"import sys; from organoid.io.info import file_info; file_info({str(path)!r}); print(*sorted(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numba", "plotly"} & set(loaded.split())


def test_no_reader_touches_voltage(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: set[str] = set()
    original = h5py.Dataset.__getitem__

    def recorded(self: h5py.Dataset, *arguments: Any, **options: Any) -> Any:
        touched.add(str(self.name).rsplit("/", 1)[-1])
        return original(self, *arguments, **options)

    def recorded_numbers(found: h5py.Dataset) -> Any:
        touched.add(str(found.name).rsplit("/", 1)[-1])
        return numbers(found)

    numbers = layout_guard._numbers  # reads past h5py's own door
    monkeypatch.setattr(layout_guard, "_numbers", recorded_numbers)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", recorded)
    for name, *_ in REAL_COUNTS[:5]:
        file_info(real_recording(*name.split("/")))
    assert {"spike_times", "TimeStampEntity_0"} <= touched
    assert not {"raw", "Raw", "sig", "ChannelData", "samples"} & touched


def test_the_example_of_the_documentation_keeps_its_promises(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-reader.md"
    held: dict[str, Any] = {}
    exec(page.read_text().split("```python")[1].split("```")[0], held)
    with h5py.File(tmp_path / "mine.h5", "w") as h5:
        h5["my_spikes"], h5["my_units"] = [0.1, 0.2], [0, 1]
    assert organoid.check_reader(held["FORMAT"], [tmp_path / "mine.h5"])


def test_an_installed_package_adds_a_format_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "their_reader.py").write_text(
        "from organoid.io.registry import Format\n"
        "from organoid import SpikeRecording\n"
        "FORMAT = Format('theirs', 'Their spikes', 'real files', lambda source: source.head.startswith(b'THEIRS'),\n"
        "                lambda path, well, recording: SpikeRecording([0.5], [0], t_stop=1.0))\n"
    )
    installed = tmp_path / "their_reader-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: their-reader\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[organoid.formats]\ntheirs = their_reader:FORMAT\n")
    (tmp_path / "x.spk").write_text("THEIRS")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])}
    for arguments in (["formats"], ["info", str(tmp_path / "x.spk")]):
        command = [sys.executable, "-m", "organoid", *arguments]
        ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        assert "Their spikes" in ran.stdout
