"""Measurements kept in a file as they are made, so that a benchmark can be stopped and go on."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Finished:
    """Results by name; each comes with the load of the machine when it was begun and the time it took.

    Parameters
    ----------
    path : Path, optional
        File (JSON) to keep them in; what it holds already is not measured again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return a result, measured unless it is there already."""
        if name not in self.found:
            load, began = os.getloadavg()[0], time.perf_counter()
            result = measure()
            took = time.perf_counter() - began
            self.found[name] = {"load": load, "took_s": took, "result": result}
            print(f"{name}: done in {took:.0f} s, at load {load:.1f}", file=sys.stderr, flush=True)
            if self.path is not None:
                self.path.write_text(json.dumps(self.found, indent=1))
        return self.found[name]["result"]

    def loads(self) -> dict[str, float]:
        """Return the load under which each result was measured."""
        return {name: held["load"] for name, held in self.found.items()}
