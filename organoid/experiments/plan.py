"""What an experiment is, from a TOML file or from Python."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from organoid.closed_loop import SessionError
from organoid.experiments.controls import CONTROLS


class ExperimentError(SessionError):
    """An experiment is not described as it should be; nothing has been run."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProtocolPlan(_Strict):
    """A protocol by name (registered, or ``file.py:Class``), with parameters, sites and stimuli."""

    name: str
    parameters: dict[str, Any] = {}
    sites: dict[str, Any] = {}
    stimuli: dict[str, Any] = {}

    def arguments(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the protocol is made with; `changed` parameters come over its own."""
        tables = {name: getattr(self, name) for name in ("sites", "stimuli") if getattr(self, name)}
        return {**self.parameters, **tables, **changed}


class Condition(_Strict):
    """One condition: parameters of the protocol that differ, latency, whether pulses are delivered."""

    parameters: dict[str, Any] = {}
    latency: str = "ideal"
    deliver: bool = True


class ExperimentPlan(_Strict):
    """A protocol on cultures, under conditions and controls, over seeds.

    Parameters
    ----------
    name : str
    duration : float, s
        Of every session.
    seeds : int or tuple of int
        That many from 0 on, or these. Seeds pair sessions: the statistics compare conditions within a seed.
    outcome : str
        Number of the protocol's outcome that is compared.
    curve : str, optional
        Number the protocol reports at every tick, for learning curves.
    blocks : int
        Parts of a session that the learning curve has.
    better : {"higher", "lower"}
        What counts as better; p is one-sided in that direction.
    reference : str, optional
        The condition that others are compared with; default: the first.
    cultures : dict of str to str
        Name to a fit's file or ``preset:NAME``.
    protocol : ProtocolPlan
    conditions : dict of str to Condition
        Default: one, "closed_loop", as the protocol is.
    controls : tuple of str
        Of `CONTROLS`; each is made from the reference condition.
    """

    name: str
    duration: float = Field(gt=0, allow_inf_nan=False)
    seeds: int | tuple[int, ...] = 20
    outcome: str
    curve: str | None = None
    blocks: int = Field(default=10, ge=2)
    better: Literal["higher", "lower"] = "higher"
    reference: str | None = None
    cultures: dict[str, str] = Field(min_length=1)
    protocol: ProtocolPlan
    conditions: dict[str, Condition] = {"closed_loop": Condition()}
    controls: tuple[str, ...] = ()

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, seeds: int | tuple[int, ...]) -> tuple[int, ...]:
        found = tuple(range(seeds)) if isinstance(seeds, int) else seeds
        if len(found) < 2 or len(set(found)) < len(found) or min(found) < 0:
            raise ValueError("expected two seeds or more, each once, 0 or more")
        return found

    @model_validator(mode="after")
    def _known(self) -> "ExperimentPlan":
        unknown = [name for name in self.controls if name not in CONTROLS]
        if unknown:
            raise ValueError(f"no control {unknown[0]!r}; choices: {', '.join(CONTROLS)}")
        if self.first not in self.conditions:
            raise ValueError(f"reference {self.reference!r} is no condition; there are: {', '.join(self.conditions)}")
        both = sorted(set(self.controls) & set(self.conditions))
        if both:
            raise ValueError(f"{both[0]!r} is both a condition and a control; rename the condition")
        return self

    @property
    def first(self) -> str:
        """The condition that the others, and the controls, are compared with."""
        return self.reference or next(iter(self.conditions))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """All seeds."""
        return self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))

    @property
    def arms(self) -> tuple[str, ...]:
        """Conditions, then controls."""
        return (*self.conditions, *self.controls)

    def digest(self) -> str:
        """Return a hash of everything that decides what a session gives; seeds and statistics are not part of it."""
        values = self.model_dump(mode="json", exclude={"seeds", "better", "controls", "conditions", "reference"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_experiment(source: str | PathLike[str] | Mapping[str, Any]) -> ExperimentPlan:
    """Return an experiment from a TOML file, or from the same values in Python.

    The file has ``[experiment]`` (name, duration, seeds, outcome, curve, blocks, better, reference, controls),
    ``[cultures]``, ``[protocol]`` with ``[protocol.parameters]``, and ``[conditions.NAME]``. Files of cultures are
    looked for beside it.

    Raises
    ------
    FileNotFoundError
    ExperimentError
        Naming the entry that is wrong.
    """
    folder = Path()
    if isinstance(source, Mapping):
        values: Mapping[str, Any] = source
    else:
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"no such experiment file: {path}")
        folder = path.parent
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ExperimentError(f"{path} is not TOML: {error}") from None
    return _plan(values, folder)


def _plan(values: Mapping[str, Any], folder: Path) -> ExperimentPlan:
    head = values.get("experiment", {})
    unknown = sorted(set(values) - {"experiment", "cultures", "protocol", "conditions"})
    if unknown or not isinstance(head, Mapping):
        odd = unknown[0] if unknown else "experiment"
        raise ExperimentError(f"expected [experiment], [cultures], [protocol] and [conditions.NAME]; {odd!r} is wrong")
    body = {name: values[name] for name in ("cultures", "protocol", "conditions") if name in values}
    try:
        plan = ExperimentPlan.model_validate({**head, **body})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "experiment"
        raise ExperimentError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    return plan.model_copy(update={"cultures": {k: _beside(v, folder) for k, v in plan.cultures.items()}})


def _beside(culture: str, folder: Path) -> str:
    if culture.startswith("preset:") or Path(culture).is_absolute():
        return culture
    return str((folder / culture).resolve())
