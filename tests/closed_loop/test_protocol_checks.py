"""Wrong protocols: each is one sentence that names file, line and tick; `check_protocol`; random numbers of a tick."""

import json
import re
import textwrap

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober

import organoid
from organoid.cli import main
from organoid.closed_loop import Command, ProtocolError, check_protocol, read_session, replay, run_session
from organoid.closed_loop.protocol_conformance import same_value
from organoid.errors import OrganoidError, StimulationError
from organoid.protocols import ConfiguredProtocol, load_protocol, protocol_names
from organoid.stimulation import Pulse

GOOD = {
    "head": "tick_rate = 50.0",
    "start": "def start(self, info, rng):\n    return 0",
    "decide": "def decide(self, tick, state):\n    return [], state",
    "finish": "def finish(self, state):\n    return {}",
}
PULSE = "Pulse.biphasic([0], 2e-6, 200e-6)"


def decide(body):
    return {"decide": "def decide(self, tick, state):\n" + textwrap.indent(body, "    ")}


def at_tick_3(body):
    return decide(f"if tick.index == 3:\n    {body}\nreturn [], state")


# name: (what is wrong with the class, what the sentence says; its tick, where it has one)
WRONG = {
    "no tick_rate": ({"head": "pass"}, "no 'tick_rate'", None),
    "no start": ({"start": ""}, "no 'start'", None),
    "no decide": ({"decide": ""}, "no 'decide'", None),
    "no finish": ({"finish": ""}, "no 'finish'", None),
    "tick_rate is text": ({"head": "tick_rate = 'often'"}, "tick_rate is 'often'", None),
    "tick_rate is NaN": ({"head": "tick_rate = float('nan')"}, "tick_rate is nan", None),
    "tick_rate is zero": ({"head": "tick_rate = 0.0"}, "tick_rate is 0.0", None),
    "tick_rate above the frame rate": ({"head": "tick_rate = 1e6"}, "at most one tick a frame", None),
    "tick_rate raises": (
        {"head": "@property\ndef tick_rate(self):\n    return 1 / 0  # HERE"},
        "ZeroDivisionError",
        None,
    ),
    "start takes too little": (
        {"start": "def start(self, info):  # HERE\n    return 0"},
        "expected start\\(self",
        None,
    ),
    "decide takes too much": (
        {"decide": "def decide(self, tick, state, mood):  # HERE\n    return [], 0"},
        "expected decide\\(self, tick, state\\)",
        None,
    ),
    "decide is a number": ({"decide": "decide = 3"}, "decide is int 3", None),
    "decide yields": ({"decide": "def decide(self, tick, state):  # HERE\n    yield [], 0"}, "yields", None),
    "decide is asynchronous": (
        {"decide": "async def decide(self, tick, state):  # HERE\n    return [], 0"},
        "asynchronous",
        None,
    ),
    "start raises": ({"start": "def start(self, info, rng):\n    return info.nothing  # HERE"}, "AttributeError", None),
    "decide raises": (at_tick_3("1 / 0  # HERE"), "ZeroDivisionError: division by zero", 3),
    "decide raises without text": (at_tick_3("assert False  # HERE"), "AssertionError", 3),
    "decide raises in a helper": (
        decide("return helper(tick), state") | {"tail": "def helper(tick):\n    return [][tick.index]  # HERE"},
        "IndexError",
        0,
    ),
    "decide returns None": (at_tick_3("return None"), "returned None; expected \\(commands, state\\)", 3),
    "decide returns commands alone": (at_tick_3("return []"), "returned list \\[\\]", 3),
    "decide returns three": (at_tick_3("return [], state, 1"), "expected \\(commands, state\\)", 3),
    "decide swaps": (at_tick_3("return {'n': 1}, []"), "a list of commands first", 3),
    "one command, no list": (at_tick_3(f"return Command({PULSE}), state"), "a list of commands first", 3),
    "pulses, no commands": (at_tick_3(f"return [{PULSE}], state"), "returned Pulse .*expected Command\\(pulse\\)", 3),
    "100,000 commands": (at_tick_3(f"return [Command({PULSE})] * 100_000, state"), "at most 4096 in one tick", 3),
    "a fractional frame": (at_tick_3(f"return [Command({PULSE}, 10.5)], state  # HERE"), "frame 10.5; expected", 3),
    "a NaN frame": (at_tick_3(f"return [Command({PULSE}, float('nan'))], state  # HERE"), "frame nan", 3),
    "a frame beyond all time": (at_tick_3(f"return [Command({PULSE}, 10**30)], state  # HERE"), "whole number", 3),
    "a label that is no text": (at_tick_3(f"return [Command({PULSE}, label=7)], state  # HERE"), "label 7", 3),
    "a NaN amplitude": (
        at_tick_3("return [Command(Pulse.biphasic([0], float('nan'), 1e-4))], state  # HERE"),
        "amplitude nan .*finite",
        3,
    ),
    "a fractional electrode": (
        at_tick_3("return [Command(Pulse.biphasic([0.5], 1e-6, 1e-4))], state  # HERE"),
        "electrode 0.5",
        3,
    ),
    "report returns a list": ({"report": "def report(self, state):  # HERE\n    return [1.0]"}, "returned list", None),
    "report gives text": (
        {"report": "def report(self, state):  # HERE\n    return {'mood': 'good'}"},
        "'mood': 'good'.*numbers",
        None,
    ),
    "report changes its names": (
        {"report": "def report(self, state):  # HERE\n    return {f'x{state}': 1.0}"} | decide("return [], state + 1"),
        "names of the first tick",
        0,
    ),
    "report raises": (
        {"report": "def report(self, state):\n    return {'x': 1 / (2 - state)}  # HERE"}
        | decide("return [], state + 1"),
        "ZeroDivisionError",
        1,
    ),
    "finish returns None": ({"finish": "def finish(self, state):  # HERE\n    pass"}, "returned None", None),
    "finish returns a list": ({"finish": "def finish(self, state):  # HERE\n    return [1]"}, "returned list", None),
    "finish raises": ({"finish": "def finish(self, state):\n    return {}[state]  # HERE"}, "KeyError", None),
    "describe is not plain": ({"report": "def describe(self):\n    return {'name': self}"}, "not JSON", None),
}


def write(folder, parts):
    made = GOOD | {"report": "", "tail": ""} | parts
    tail = made.pop("tail")
    body = "\n".join(part for part in made.values() if part)
    text = "from organoid.closed_loop import Command\nfrom organoid.stimulation import Pulse\n\n\n"
    file = folder / "mine.py"
    file.write_text(f"{text}class Mine:\n{textwrap.indent(body, '    ')}\n\n\n{tail}\n")
    return file


def test_there_are_many_wrong_protocols():
    assert len(WRONG) >= 28


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_protocol_is_one_sentence(name, tmp_path):
    parts, message, tick = WRONG[name]
    file = write(tmp_path, parts)
    device = FakeCulture()
    with pytest.raises(OrganoidError, match=message) as caught:
        run_session(load_protocol(f"{file}:Mine"), device, 0.5, journal=tmp_path / "j.h5")
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    lines = [number for number, line in enumerate(file.read_text().splitlines(), 1) if "# HERE" in line]
    if lines:
        assert f"{file}, line {lines[0]}, in " in text
    if tick is not None:
        assert f"at tick {tick}" in text and str(file) in text
        session = read_session(tmp_path / "j.h5")
        assert session.outcome["status"] == "failed" and f"at tick {tick}" in session.outcome["error"]
        assert device.closed


def test_a_class_is_not_a_protocol():
    with pytest.raises(ProtocolError, match=r"give an object of it: Prober\(\)"):
        run_session(Prober, FakeCulture(), 1.0)


def test_a_right_protocol_passes(tmp_path):
    check_protocol(load_protocol(f"{write(tmp_path, {})}:Mine"))


@pytest.mark.parametrize("name", protocol_names())
def test_every_registered_protocol_passes(name):
    check_protocol(load_protocol(name), seconds=3.0)


@pytest.mark.parametrize(
    ("parts", "rule"),
    [
        (
            {"start": "def start(self, info, rng):\n    return [0]"} | decide("state[0] += 1\nreturn [], state"),
            "does not change the state",
        ),
        (
            {"start": "def start(self, info, rng):\n    return rng"} | decide("state.random()\nreturn [], state"),
            "change",
        ),
        (
            {"start": "def start(self, info, rng):\n    self.n = 0\n    return 0"}
            | decide("self.n += 1\nreturn [], self.n"),
            "the same for the same tick and state",
        ),
        ({"start": "def start(self, info, rng):\n    return lambda: 0"}, "copied and pickled"),
        (
            decide(f"return [Command({PULSE})], state")
            | {
                "report": "def plan(self, info, duration):\n    from organoid.protocols.base import plan_table\n"
                f"    return plan_table([('s', {PULSE}, 3, True)])"
            },
            "3 planned, 249 delivered",
        ),
    ],
    ids=["mutates", "draws from the state", "keeps on the object", "cannot be copied", "plan too small"],
)
def test_check_protocol_names_the_rule(tmp_path, parts, rule):
    with pytest.raises(ProtocolError, match=rule):
        check_protocol(load_protocol(f"{write(tmp_path, parts)}:Mine"))


def test_same_value_compares_like_values():
    state = {"a": np.array([1.0, np.nan]), "b": (1, [float("nan")], Pulse.biphasic(0, 1e-6, 1e-4)), "c": None}
    again = {"a": np.array([1.0, np.nan]), "b": (1, [float("nan")], Pulse.biphasic(0, 1e-6, 1e-4)), "c": None}
    assert same_value(state, again)
    for key, other in (("a", np.array([1.0, 2.0])), ("b", (1,)), ("c", 0)):
        assert not same_value(state, again | {key: other})


class Gambler(Prober):
    """Uses the random numbers of the tick."""

    def decide(self, tick, state):
        electrode = int(tick.rng.integers(8))
        return [Command(Pulse.biphasic([electrode], 2e-6, 200e-6))], {**state, "draw": tick.rng.random()}


def test_a_tick_has_random_numbers_that_replay(tmp_path):
    session = run_session(Gambler(), FakeCulture(), 1.0, seed=3, journal=tmp_path / "j.h5")
    draws = session.ticks["draw"].to_numpy()
    assert len(np.unique(draws)) == 100 and len(set(session.commands["electrodes"])) == 8
    report = replay(tmp_path / "j.h5", lambda _, group: FakeCulture.read_from(group), lambda _: Gambler())
    assert report.same
    other = run_session(Gambler(), FakeCulture(), 1.0, seed=4)
    assert not np.isin(draws, other.ticks["draw"]).any()
    check_protocol(Gambler())


@pytest.mark.parametrize("value", [1.5, float("nan"), True, "5", 10**30])
def test_a_command_is_checked_where_it_is_made(value):
    with pytest.raises(StimulationError, match="whole number"):
        Command(Pulse.biphasic(0, 1e-6, 1e-4), value)
    with pytest.raises(StimulationError, match="expected a Pulse"):
        Command(value)


def test_configured_protocols_can_be_written_outside(tmp_path):
    class Mine(ConfiguredProtocol):
        name = "mine"

        def start(self, info, rng):
            return self.pulses(info, 2, 10.0)

        def decide(self, tick, state):
            return [Command(state[tick.index % 2])] if tick.index % 10 == 0 else [], state

        def finish(self, state):
            return {"n": len(state)}

    check_protocol(Mine(tick_rate=50.0))
    with pytest.raises(OrganoidError, match="speed"):
        Mine(speed=3)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert left.value.code == 0
    return capsys.readouterr().out


class TestCommandLine:
    def fail(self, capsys, *arguments):
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        return left.value.code, capsys.readouterr().err

    def test_a_bug_of_the_user_is_not_a_bug_of_ours(self, tmp_path, capsys):
        file = write(tmp_path, at_tick_3("1 / 0  # HERE"))
        arguments = ("run", f"{file}:Mine", "--culture", "preset:bursting_culture", "--duration", "1")
        code, text = self.fail(capsys, *arguments, "--out", str(tmp_path / "j.h5"))
        assert code == 2 and re.fullmatch(rf"Error: {file}, line \d+, in decide at tick 3: Zero.*zero\n", text)
        shown = run(capsys, "info", str(tmp_path / "j.h5"))
        assert "failed: ProtocolError" in shown and "at tick 3" in shown

    def test_a_file_that_does_not_run(self, tmp_path, capsys):
        file = tmp_path / "mine.py"
        for text, line in (("x = 1\ny = 1 / 0\n", 2), ("def broken(:\n", 1)):
            file.write_text(text)
            arguments = ("run", f"{file}:Mine", "--culture", "preset:bursting_culture", "--dry-run")
            code, said = self.fail(capsys, *arguments)
            assert code == 2 and f"mine.py, line {line}:" in said and "Error" in said

    def test_rejected_and_late_commands_are_counted_by_reason(self, tmp_path, capsys):
        body = f"return [Command(Pulse.biphasic([0], 1.0, 200e-6)), Command({PULSE}, 10**9)], state"
        file, out, page = write(tmp_path, decide(body)), tmp_path / "j.h5", tmp_path / "page.html"
        common = (f"{file}:Mine", "--culture", "preset:bursting_culture", "--duration", "1", "--latency", "maxone")
        said = run(capsys, "run", *common, "--out", str(out), "--report", str(page))
        assert "50 by guard (amplitude 1 A; simulated allows 1e-05 A)" in said and "50 by session" in said
        found = json.loads(run(capsys, "info", str(out), "--json"))["session"]
        assert found["status"] == "completed" and found["late"] == 50 and found["n_commands"] == 100
        assert {(row["stage"], row["n"]) for row in found["rejected"]} == {("guard", 50), ("session", 50)}
        assert "50 by guard (amplitude" in run(capsys, "info", str(out))
        assert "50 commands were rejected (guard): amplitude" in page.read_text()
        assert "50 by guard (amplitude" in run(capsys, "run", *common, "--dry-run")

    def test_info_says_interrupted(self, tmp_path, capsys):
        class Stopper:
            def on_tick(self, tick, commands):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_session(Prober(), FakeCulture(), 1.0, journal=tmp_path / "j.h5", observers=[Stopper()])
        assert "1 tick, interrupted" in run(capsys, "info", str(tmp_path / "j.h5"))


def test_the_names_are_at_the_root():
    assert organoid.check_protocol is check_protocol and organoid.ProtocolError is ProtocolError
