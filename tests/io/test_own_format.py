"""The own layout: what is written is read back exactly, and damage is named."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from recording_strategies import recordings

from organoid import RecordingError, SpikeRecording, read_recording, write_recording
from organoid.io.info import file_info


@given(rec=recordings())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_round_trip_is_exact(rec: SpikeRecording, tmp_path: Path) -> None:
    write_recording(rec, tmp_path / "rec.h5")
    again = read_recording(tmp_path / "rec.h5")
    assert again.equals(rec)
    assert list(again.units.dtypes) == list(rec.units.dtypes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rec = SpikeRecording([0.1, 0.2, 0.7], [0, 1, 0], t_stop=1.0, metadata={"age": 3}, notes=["a note"])
    write_recording(rec, tmp_path / "rec.h5")
    return tmp_path / "rec.h5"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    monkeypatch.setattr("organoid.hdf5.layout.write_recording", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_recording(SpikeRecording([], []), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["rec.h5"]


def test_info_agrees_with_the_recording(file: Path) -> None:
    info = file_info(file)
    assert (info["format"], info["n_units"], info["n_spikes"], info["n_stimuli"]) == ("organoid", 2, 3, 0)
    assert (info["t_start"], info["t_stop"]) == (0.0, 1.0)
    assert info["entries"] == [{"well": None, "recording": None, "n_units": 2, "n_spikes": 3}]


def edit(file: Path, name: str, value: object) -> None:
    with h5py.File(file, "a") as h5:
        del h5[name]
        if value is not None:
            h5[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spikes/time_s", None, "'spikes/time_s' is missing"),
        ("spikes/unit", [0.0, 1.0, 0.0], "'spikes/unit' has shape"),
        ("spikes/time_s", [0.1], "has shape"),
        ("window", [0.0], r"'window' is \[0.0\]; expected t_start and t_stop"),
        ("window", [0.0, 1e300], "'window' is"),
        ("units", 3, "'units' is not a table"),
        ("metadata", b"{", "'metadata' is not JSON"),
        ("notes", b"3", "'notes' is not a JSON list"),
        ("units/x_um", None, "'units/x_um' is missing"),
    ],
)
def test_what_does_not_fit_is_named(file: Path, name: str, value: object, message: str) -> None:
    edit(file, name, value)
    with h5py.File(file, "a") as h5:
        unseal(h5)
    with pytest.raises(RecordingError, match=message):
        read_recording(file)


def unseal(h5: h5py.File) -> None:
    """Remove every checksum, as in a file written by hand."""
    h5.attrs.pop("crc32", None)
    h5.visititems(lambda _, item: item.attrs.pop("crc32", None) and None)


def test_an_unsealed_file_is_read_all_the_same(tmp_path: Path) -> None:
    file, rec = tmp_path / "rec.h5", SpikeRecording([0.1, 0.7], [0, 1], t_stop=1.0, sampling_rate=1000.0)
    write_recording(rec, file)
    with h5py.File(file, "a") as h5:
        unseal(h5)
    assert read_recording(file).equals(rec)
    with h5py.File(file, "a") as h5:
        h5.attrs["sampling_rate"] = np.nan
    again = read_recording(file)
    assert again.sampling_rate is None
    assert again.notes == ("attribute 'sampling_rate' is not a number: the sampling rate is unknown",)


@pytest.mark.parametrize("name", ["spikes/time_s", "units/name", "metadata", "window", "observed"])
def test_a_changed_value_is_named(file: Path, name: str) -> None:
    with h5py.File(file, "a") as h5:
        values = h5[name][()]
        h5[name][()] = b'{"age": 4}' if name == "metadata" else (np.flip(values) if values.ndim == 1 else values / 2)
    with pytest.raises(RecordingError, match=f"'{name}' does not match its checksum"):
        read_recording(file)


def test_a_changed_byte_of_the_spikes_is_named(file: Path) -> None:
    with h5py.File(file) as h5:
        place = h5["spikes/time_s"].id.get_chunk_info(0).byte_offset
    content = bytearray(file.read_bytes())
    content[place + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(RecordingError, match="'spikes/time_s'"):
        read_recording(file)


def test_a_type_that_became_another_is_named(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        values, sealed = h5["spikes/time_s"][()], dict(h5["spikes/time_s"].attrs)
        del h5["spikes/time_s"]
        h5["spikes/time_s"] = values.astype(np.longdouble)
        h5["spikes/time_s"].attrs.update(sealed)
    with pytest.raises(RecordingError, match="'spikes/time_s' does not match its checksum"):
        read_recording(file)


def test_a_changed_attribute_is_named(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        h5.attrs["sampling_rate"] = 20000.0
    with pytest.raises(RecordingError, match="'/' does not match its checksum"):
        read_recording(file)


def test_other_kinds_and_newer_versions_are_refused_clearly(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        h5.attrs["organoid_kind"] = "fit"
    with pytest.raises(RecordingError, match="load_fit"):
        read_recording(file)
    with h5py.File(file, "a") as h5:
        h5.attrs["organoid_version"] = 99
    with pytest.raises(RecordingError, match="update organoid"):
        read_recording(file)


def test_a_session_cut_short_keeps_what_all_columns_hold(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        h5.attrs["organoid_kind"] = "session"
        units = h5["spikes/unit"][:2]
        del h5["spikes/unit"]
        h5["spikes/unit"] = units
    assert read_recording(file).spike_times.tolist() == [0.1, 0.2]


def test_a_missing_well_is_answered_with_the_choices(file: Path) -> None:
    with pytest.raises(RecordingError, match="no well 'A1'"):
        read_recording(file, well="A1")
    with pytest.raises(RecordingError, match="one recording without a name"):
        read_recording(file, recording="rec1")


def test_the_example_of_the_specification_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Path(__file__).parents[2] / "docs" / "reference" / "file-format.md"
    monkeypatch.chdir(tmp_path)
    exec(spec.read_text().split("```python")[1].split("```")[0], {})
    rec = read_recording("mine.h5")
    assert list(rec.units["name"]) == ["left", "right"]
    assert rec.sampling_rate == 20000.0
    assert any("'stimuli'" in note for note in rec.notes)


def test_a_table_cut_between_a_column_and_its_flags(tmp_path):
    """A killed writer may leave more flags than values: a journal keeps what both hold, a finished file is refused."""
    import pandas as pd

    stimuli = pd.DataFrame({"time_s": [0.1, 0.2, 0.3], "channel": pd.array([1, None, 3], dtype="Int64")})
    path = tmp_path / "cut.h5"
    write_recording(SpikeRecording([0.5], [0], t_stop=1.0, stimuli=stimuli), path)
    with h5py.File(path, "a") as h5:
        for name in ("stimuli", "stimuli/missing"):
            h5[name].attrs.pop("crc32", None)
        flags = h5["stimuli/missing/channel"][()]
        del h5["stimuli/missing/channel"]
        h5["stimuli/missing/channel"] = [*flags, True]
    with pytest.raises(RecordingError):
        read_recording(path)
    with h5py.File(path, "a") as h5:
        h5.attrs["organoid_kind"] = "session"
        h5.attrs.pop("crc32", None)
    assert read_recording(path).stimuli["channel"].isna().tolist() == [False, True, False]


def test_a_text_that_claims_to_be_longer_than_its_file_is_refused_at_once(file: Path) -> None:
    with h5py.File(file) as h5:
        place = h5["notes"].id.get_offset()
    content = bytearray(file.read_bytes())
    content[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(RecordingError, match="'notes' claims a text of 2147483647 bytes, longer than its file"):
        read_recording(file)


def test_texts_that_look_like_rows_of_varying_length_are_refused(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        rows = np.empty(1, dtype=object)
        rows[0] = np.array([1, 2], dtype="i4")
        h5["units/name"].attrs.create("kind", rows, dtype=h5py.vlen_dtype("i4"))
    with pytest.raises(RecordingError, match="'kind' has the damaged type object: rows of varying length"):
        read_recording(file)


@pytest.mark.parametrize("lost", ["channel", "well"])
def test_lost_flags_of_missing_values_are_named(file: Path, lost: str) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        del h5[f"units/missing/{lost}"]
    with pytest.raises(RecordingError, match="table 'units' has lost the flags of missing values"):
        read_recording(file)


def test_flags_of_another_length_than_their_column_are_named(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        del h5["units/missing/channel"]
        h5["units/missing/channel"] = np.ones(5, dtype=bool)
    with pytest.raises(RecordingError, match="column 'channel' of 'units' has 2 rows, its flags 5"):
        read_recording(file)


def test_a_journal_cut_between_two_columns_says_what_it_kept(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        h5.attrs["organoid_kind"] = "session"
        for name in ("units/name", "spikes/time_s"):
            values = h5[name][()]
            attributes = dict(h5[name].attrs)
            del h5[name]
            h5.create_dataset(name, data=[*values, values[-1]]).attrs.update(attributes)
    rec = read_recording(file)
    assert (rec.n_spikes, rec.n_units) == (3, 2)
    assert any("the columns of 'spikes' hold 3 to 4 rows" in note for note in rec.notes)
    assert any("the columns of 'units' hold 2 to 3 rows" in note for note in rec.notes)


def names_heap(path: Path) -> tuple[bytearray, int]:
    content = bytearray(path.read_bytes())
    return content, content.index(b"HEAP\x00\x00\x00\x00")


def test_a_chain_of_names_without_an_end_is_refused_and_not_followed(file: Path) -> None:
    content, place = names_heap(file)
    free, start = (int.from_bytes(content[place + at : place + at + 8], "little") for at in (16, 24))
    content[start + free : start + free + 8] = free.to_bytes(8, "little")
    file.write_bytes(content)
    with pytest.raises(RecordingError, match=r"rec\.h5 is damaged: its heap of names at byte \d+ cannot be read"):
        read_recording(file)


def test_a_block_of_the_user_before_the_file_is_no_damage(file: Path, tmp_path: Path) -> None:
    rec = read_recording(file)
    with h5py.File(file) as whole, h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as h5:
        for key in whole.attrs:
            h5.attrs[key] = whole.attrs[key]
        for name in whole:
            whole.copy(name, h5)
    assert read_recording(tmp_path / "block.h5").equals(rec)


def test_a_journal_that_lost_a_part_says_so(file: Path) -> None:
    with h5py.File(file, "a") as h5:
        unseal(h5)
        h5.attrs["organoid_kind"] = "session"
        del h5["observed"], h5["stimuli"]
    notes = read_recording(file).notes
    assert {"the file holds no 'observed'", "the file holds no 'stimuli'"} <= set(notes)
