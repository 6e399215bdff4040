"""Damaged files, more than 2,000 of them: an error, the same content, or a note that says why not.

`mutations` says how to run more by hand.
"""

from collections import Counter

import pytest
from mutations import FAILURES, Outcome, run, table
from reader_files import WRITERS

EACH = 112
SEED = 20


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_every_damage_is_refused_harmless_or_noted(name: str) -> None:
    outcomes = list(run([name], EACH, SEED))
    failures = [f"{one.number} {one.mutation}: {one.detail}" for one in outcomes if one.outcome in FAILURES]
    assert not failures, "\n".join(failures)
    counts = Counter(one.outcome for one in outcomes)
    assert counts.total() == EACH
    assert counts["error"] >= EACH // 10, f"too few mutations were noticed:\n{table(outcomes)}"


def test_more_than_two_thousand_mutations_run_over_all_formats() -> None:
    assert EACH * len(WRITERS) >= 2000


def test_the_table_of_outcomes_counts_by_format() -> None:
    lines = table([Outcome("a", 0, "m", "error"), Outcome("b", 0, "m", "same")]).splitlines()
    assert [line.split()[0] for line in lines] == ["format", "a", "b", "all"]
    assert lines[-1].split()[1:3] == ["1", "1"]
