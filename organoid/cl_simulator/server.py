"""The process a culture inside the vendor's simulator runs in: one `CultureFeed` behind one connection.

It is started by `use_culture` with its configuration as JSON. Ready, it prints the address it listens at. Lines on its
standard input are notes for the journal; their end says that the application has ended.
"""

import json
import os
import sys
import threading
from multiprocessing.connection import Connection, Listener
from typing import Any

from organoid.cl_simulator.culture_feed import CultureFeed, Stim

_PATIENCE_S = 1.0  # between the end of the application and that of its simulator


class _Server:
    """One feed, one connection."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._feed = CultureFeed(**config)
        self._feed.open()
        self._said: list[str] = []
        self._orphaned, self._connected = threading.Event(), threading.Event()

    def listen(self) -> None:
        """Serve until the simulator, or the application, has ended."""
        key = os.urandom(16)
        with Listener(authkey=key) as listener:
            print(json.dumps({"address": listener.address, "key": key.hex()}), flush=True)
            threading.Thread(target=self._follow_application, daemon=True).start()
            with listener.accept() as connection:
                self._connected.set()
                self._serve(connection)
        self._feed.close(self._said)

    def _follow_application(self) -> None:
        self._said.extend(line.rstrip("\n") for line in sys.stdin)
        self._orphaned.set()
        if not self._connected.wait(_PATIENCE_S):
            self._feed.close(self._said)
            os._exit(0)  # the main thread waits for a connection that will not come

    def _serve(self, connection: "Connection[Any, Any]") -> None:
        while connection.poll(_PATIENCE_S) or not self._orphaned.is_set():
            if not connection.poll(0):
                continue
            try:
                kind, *values = connection.recv()
                if kind == "stims":
                    self._feed.on_stims([Stim(*value) for value in values[0]])
                else:
                    connection.send(("spikes", self._feed.read(*values)))
            except (EOFError, ConnectionError):
                return
            except Exception as error:
                self._feed.fail(error, self._said)
                connection.send(("error", f"{type(error).__name__}: {error}"))
                return


def main() -> int:
    """Serve; returns the exit code."""
    from organoid.errors import OrganoidError

    try:
        server = _Server(json.loads(sys.argv[1]))
    except (OrganoidError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    server.listen()
    return 0


if __name__ == "__main__":
    sys.exit(main())
