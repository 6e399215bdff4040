"""The live page: what it keeps, who may see it, that the session does not notice; and in a real browser."""

import json
import threading
import time
import urllib.error
import urllib.request

import h5py
import numpy as np
import pytest
import webdriver
from closed_loop_fakes import FakeCulture

from organoid.closed_loop import SessionError, read_session, run_session
from organoid.closed_loop.replay.compare import first_difference
from organoid.errors import DeviceError
from organoid.hdf5 import layout
from organoid.live import LiveActivity, LivePage, Pace, StoppedByPage
from organoid.live.activity import MAX_ROWS
from organoid.protocols import PeriodicPulses, RateClamp

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")


def fetch(url, method="GET", host=None):
    request = urllib.request.Request(url, method=method, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


class TestActivity:
    @pytest.mark.parametrize("tick_rate", [3.0, 30.0, 1000.0])
    def test_bins_are_the_histogram_of_the_spikes_whatever_the_ticks(self, tick_rate):
        activity = LiveActivity()
        session = run_session(PeriodicPulses(tick_rate=tick_rate), FakeCulture(rate=20.0), 6.0, observers=[activity])
        state = json.loads(json.dumps(activity.state()))
        frames = np.rint(session.recording.spike_times * 20_000)
        n = len(state["bins"])
        expected = np.histogram2d(frames // 2_000, session.recording.spike_units, [np.arange(n + 1), np.arange(9)])[0]
        assert n >= 57 and np.array_equal(state["bins"], expected) and state["first_bin"] == 0
        assert activity.state(after=n - 3)["bins"] == state["bins"][-2:] and activity.state(after=n - 1)["bins"] == []
        assert state["totals"]["pulses"] == len(state["stimuli"]) == len(session.stimuli)

    def test_the_memory_is_bounded(self):
        activity = LiveActivity()
        run_session(RateClamp(max_pulse_rate=50.0), FakeCulture(n_units=150, rate=0.5), 30.0, observers=[activity])
        state = activity.state()
        assert len(state["bins"]) == 200 and state["first_bin"] == 100 and state["n_rows"] == MAX_ROWS
        assert {len(counts) for counts in state["bins"]} == {MAX_ROWS}
        assert all(10.0 <= stimulus[0] <= 30.0 for stimulus in state["stimuli"])

    def test_numbers_and_deadlines_of_the_journal_are_shown(self):
        activity = LiveActivity()
        session = run_session(RateClamp(), FakeCulture(), 8.0, observers=[activity], latency="finalspark")
        state, last = activity.state(), session.ticks.iloc[-1]
        assert state["numbers"] == {name: last[name] for name in state["numbers"]} and "rate" in state["numbers"]
        commands = session.outcome["commands"]
        assert state["totals"]["late"] == commands["late"] and state["totals"]["missed"] == commands["missed"] > 0


class TestServer:
    def test_without_the_token_there_is_nothing_to_see(self):
        with LivePage() as page:
            root = page.url.rsplit("/", 2)[0]
            assert b"<title>" in fetch(page.url) and b"Plotly" in fetch(page.url + "plotly.js")[:400_000]
            for path in ("/", "/state", "/stop", "/wrong/", "/wrong/state", page.url[len(root) : -2] + "/"):
                for method in ("GET", "POST"):
                    with pytest.raises(urllib.error.HTTPError) as refused:
                        fetch(root + path, method)
                    assert refused.value.code == 403
            with pytest.raises(urllib.error.HTTPError) as refused:  # another name for this address
                fetch(page.url, host="evil.example:80")
            assert refused.value.code == 403 and page.url.startswith("http://127.0.0.1:")
            assert len(page.url.split("/")[3]) >= 20

    def test_a_taken_port_is_one_sentence(self):
        with LivePage() as page, pytest.raises(DeviceError, match="choose another"):
            LivePage(port=int(page.url.split(":")[2].split("/")[0]))

    def test_odd_requests_do_no_harm(self):
        with LivePage() as page:
            for after in ("", "x", "9" * 30, "-1", "1.5"):
                assert json.loads(fetch(page.url + f"state?after={after}"))["bins"] == []

    def test_the_session_is_the_same_with_and_without_a_page(self, tmp_path):
        plain = tmp_path / "plain.h5"
        run_session(RateClamp(), FakeCulture(), 8.0, seed=3, journal=plain)
        seen = tmp_path / "seen.h5"
        over = threading.Event()

        def read(url, pause):
            while not over.is_set():
                fetch(url + "state")
                time.sleep(pause)

        with LivePage() as page:
            readers = [threading.Thread(target=read, args=(page.url, pause)) for pause in (0.0, 0.4)]
            for reader in readers:
                reader.start()
            run_session(RateClamp(), FakeCulture(), 8.0, seed=3, journal=seen, observers=[page.activity, Pace(40.0)])
            over.set()
            for reader in readers:
                reader.join()
        with h5py.File(plain) as a, h5py.File(seen) as b:
            assert first_difference(a, b) == (None, first_difference(a, a)[1])
            for name in (layout.SPIKE_TIMES, layout.SPIKE_UNITS):
                assert a[name][()].tobytes() == b[name][()].tobytes() != b""

    def test_the_stop_button_interrupts_the_session_and_the_journal_says_by_what(self, tmp_path):
        path, device = tmp_path / "j.h5", FakeCulture()
        with pytest.raises(StoppedByPage), LivePage() as page:
            threading.Timer(0.5, lambda: fetch(page.url + "stop", "POST")).start()
            run_session(RateClamp(), device, 600.0, journal=path, observers=[page.activity, Pace(5.0)])
        outcome = read_session(path).outcome
        assert outcome["status"] == "interrupted" and "stopped by the live page" in outcome["error"]
        assert device.calls[-2:] == [("interrupt",), ("close",)]


def test_a_pace_waits_for_the_clock():
    began = time.perf_counter()
    run_session(PeriodicPulses(), FakeCulture(), 2.0, observers=[Pace(10.0)])
    assert time.perf_counter() - began >= 0.19
    with pytest.raises(SessionError, match="positive"):
        Pace(0.0)


@pytest.mark.slow
@pytest.mark.skipif(bool(webdriver.MISSING), reason=webdriver.MISSING)
def test_in_a_real_browser(tmp_path):
    """A page opened late sees spikes; a second tab is closed; stop ends the session, and the page says so."""
    path, stopped, started = tmp_path / "j.h5", [], threading.Event()

    def session(page):
        try:
            with page:
                started.set()
                device = FakeCulture(n_units=30, rate=5.0)
                run_session(RateClamp(baseline=1.0), device, 900.0, journal=path, observers=[page.activity, Pace(1.0)])
        except StoppedByPage as reason:
            stopped.append(reason)

    with webdriver.browser() as browser:
        page = LivePage("rate clamp")
        thread = threading.Thread(target=session, args=(page,))
        thread.start()
        started.wait(30)
        browser.open(page.url)
        browser.wait("return window.page !== undefined && page.updates > 2 && page.drawn > 0", 120)
        browser.open("about:blank")  # as if the tab had been closed
        browser.open(page.url)
        browser.wait("return window.page !== undefined && page.bins.flat().some(count => count > 0)", 120)
        assert browser.run("return document.querySelectorAll('#raster .heatmaplayer image').length") == 1
        shown = browser.run("return [...document.querySelectorAll('#numbers td')].map(cell => cell.textContent)")
        assert "rate" in shown and "pulse_rate" in shown
        browser.run("document.getElementById('stop').click()")
        browser.wait("return page.over", 120)
        assert "interrupted" in browser.run("return document.getElementById('status').textContent")
        thread.join(60)
    outcome = read_session(path).outcome
    assert stopped and outcome["status"] == "interrupted" and "live page" in outcome["error"]
