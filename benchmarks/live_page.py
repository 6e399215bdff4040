"""The live page under load: ``python -m benchmarks.live_page [--seconds S] [--speed X] [--store]``.

``organoid run ... --live`` is started from the command line, so fast that some 100,000 spikes a minute reach the page;
a headless Chromium opens it, counts its updates and its memory, and presses stop. What the machine is busy with besides
is written down, too.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import store
from organoid.closed_loop import read_session

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "live"))
import webdriver

_COUNTS = "return [page.updates, page.drawn, performance.memory.usedJSHeapSize]"


def start(folder: str, speed: float) -> tuple[subprocess.Popen[str], str]:
    """Start a session from the command line; returns its process and the address of its page."""
    command = [sys.executable, "-m", "organoid", "run", "periodic_pulses", "--culture", "preset:asynchronous_culture"]
    command += ["--out", f"{folder}/j.h5", "--duration", "36000", "--live", "--speed", str(speed)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:\S+/", line)
        if found:
            return process, found.group(0)
    raise RuntimeError("the command ended without an address")


def measure(seconds: float, speed: float) -> dict[str, Any]:
    """Return updates a second, spikes a minute, memory of the tab at the begin and the end, and how stop went."""
    with tempfile.TemporaryDirectory() as folder, webdriver.browser() as browser:
        process, url = start(folder, speed)
        opened = time.perf_counter()
        browser.open(url)
        browser.wait("return window.page !== undefined && page.drawn > 0", 120)
        first = time.perf_counter() - opened
        time.sleep(min(20.0, seconds))  # until the page shows its full window
        before, began = browser.run(_COUNTS), time.perf_counter()
        highest = 0
        while time.perf_counter() - began < seconds:
            time.sleep(5.0)
            highest = max(highest, browser.run(_COUNTS)[2])
        after, took = browser.run(_COUNTS), time.perf_counter() - began
        browser.run("document.getElementById('stop').click()")
        browser.wait("return page.over", 60)
        process.wait(60)
        outcome = read_session(f"{folder}/j.h5").outcome
    return {
        "seconds": round(took),
        "updates/s": round((after[0] - before[0]) / took, 1),
        "spikes/min": round(60 * (after[1] - before[1]) / took),
        "first spikes after, s": round(first, 1),
        "tab, MB: begin, highest, end": ", ".join(f"{value / 1e6:.0f}" for value in (before[2], highest, after[2])),
        "load (1 min)": round(os.getloadavg()[0], 1),
        "exit code": process.returncode,
        "journal": f"{outcome['status']}: {outcome.get('error', '')}",
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--speed", type=float, default=11.0)
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args(arguments)
    if webdriver.MISSING:
        raise SystemExit(webdriver.MISSING)
    row = measure(options.seconds, options.speed)
    print(row)
    if options.store:
        notes = ["Headless Chromium and the session share the machine; load beyond these two is other work."]
        command = "python -m benchmarks.live_page --store"
        store("live_page", [row], title="The live page under load", command=command, notes=notes)


if __name__ == "__main__":
    main()
