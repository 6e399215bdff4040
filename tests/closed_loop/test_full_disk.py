"""A disk that runs full: one sentence, and a journal that can be read."""

import subprocess
import sys
from pathlib import Path

import pytest
from closed_loop_fakes import FakeCulture, Prober

from organoid.closed_loop import JournalError, read_session, replay, run_session
from organoid.closed_loop.journal import reserve as reserving
from organoid.closed_loop.journal.reserve import MARGIN, Reserve


@pytest.fixture
def small_disk(tmp_path, request):
    """Mount a file system in memory of some MiB; skipped where that is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={getattr(request, 'param', 4)}m"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]
    if not _can_mount() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _can_mount():
    return sys.platform == "linux" and Path("/bin/mount").exists()


def loud():
    return Prober(tick_rate=1000.0, every=1)


def test_a_full_disk_is_one_sentence_and_leaves_a_readable_journal(small_disk):
    path, device = small_disk / "j.h5", FakeCulture(rate=500.0)
    with pytest.raises(JournalError, match="cannot grow: No space left") as caught:
        run_session(loud(), device, 60.0, journal=path)
    assert "\n" not in str(caught.value) and device.closed
    session = read_session(path)
    assert session.outcome["status"] == "failed" and "cannot grow" in session.outcome["error"]
    assert session.outcome["n_ticks"] == len(session.ticks) > 100
    report = replay(path, lambda *_: FakeCulture(rate=500.0), lambda _: loud())
    assert report.same and report.n_ticks == len(session.ticks)


@pytest.mark.parametrize("unseen", [False, True], ids=["seen before the write", "unseen until the write fails"])
def test_a_disk_filled_by_others_ends_the_same_way(small_disk, monkeypatch, unseen):
    path = small_disk / "j.h5"
    if unseen:
        monkeypatch.setattr(Reserve, "has_room", lambda self, n_bytes: True)

    class Filler:
        def on_tick(self, tick, commands):
            if tick.index == 500:
                with pytest.raises(OSError, match="No space"), (small_disk / "other").open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))

    with pytest.raises(JournalError, match="No space left"):
        run_session(loud(), FakeCulture(rate=500.0), 60.0, journal=path, observers=[Filler()])
    session = read_session(path)
    assert session.outcome["status"] == "failed" and len(session.ticks) > 500
    assert session.recording.n_spikes > 0


@pytest.mark.parametrize("small_disk", [1], indirect=True)
def test_no_room_for_the_beginning(small_disk):
    (small_disk / "other").write_bytes(bytes((1 << 20) - 8192))
    with pytest.raises(JournalError, match=r"cannot be created: No space.* MB of room are needed"):
        run_session(loud(), FakeCulture(), 1.0, journal=small_disk / "j.h5")
    assert [file.name for file in small_disk.iterdir()] == ["other"]


def test_a_finished_journal_takes_no_more_room_than_it_needs(tmp_path):
    path = tmp_path / "j.h5"
    run_session(Prober(), FakeCulture(), 1.0, journal=path)
    assert path.stat().st_size < MARGIN
    assert read_session(path).outcome["status"] == "completed"


def test_room_is_taken_once_for_many_flushes(tmp_path, monkeypatch):
    reserve, taken = Reserve(tmp_path / "a.h5", 0), []
    monkeypatch.setattr(reserving, "_allocate", lambda file, size: taken.append(size))
    for _ in range(10):
        reserve.ensure(1000)
    assert len(taken) == 1
    reserve.release()
    assert list(tmp_path.iterdir()) == []
