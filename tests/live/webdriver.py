"""A browser for tests: headless Chromium through its driver, spoken to in plain HTTP (the W3C WebDriver protocol)."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = (
    "" if DRIVER and CHROMIUM else "no chromium with its driver on this machine (Debian: chromium chromium-driver)"
)
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-precise-memory-info"),
)


class Browser:
    """One window."""

    def __init__(self, base):
        self._base = base

    def command(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.command("POST", "/url", {"url": url})

    def run(self, script):
        return self.command("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script, seconds):
        """Return how long it took until a script returned something true."""
        began = time.perf_counter()
        while not self.run(script):
            assert time.perf_counter() - began < seconds, f"never true: {script}"
            time.sleep(0.05)
        return time.perf_counter() - began

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.command("GET", "/screenshot")))

    def resize(self, width, height):
        self.command("POST", "/window/rect", {"width": width, "height": height})


@contextmanager
def browser():
    """Start a driver and a browser; end both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            root = Browser(f"http://127.0.0.1:{port}")
            for _ in range(400):
                try:
                    root.command("GET", "/status")
                    break
                except OSError:
                    time.sleep(0.1)
            chrome = {"binary": CHROMIUM, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
            wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": chrome}}}
            session = root.command("POST", "/session", wanted)["sessionId"]
            window = Browser(f"http://127.0.0.1:{port}/session/{session}")
            yield window
            window.command("DELETE", "")
        finally:
            driver.terminate()
            driver.wait(30)
