"""Words the field does not use for what is meant, and the ones it does: none of the former stands in prose.

Prose is what people read: documentation, docstrings, comments, and texts of four words or more.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = {
    r"foretell\w*|foretold": "predict",
    r"left alone|leaves? alone|left to itself": "in free run",
    r"lives? like|lives? with|come alive": "match the recording, pass the free-run criteria",
    r"caricature|straw man": "an oversimplified model, a baseline",
    r"anew": "again",
    r"surest": "most significant",
    r"portrait\w*|portray\w*": "summary of activity",
    r"made-up": "synthetic",
    r"last fifth": "the last 20 %",
    r"quicker": "faster",
    r"whoever|nobody|everybody": "no unit, all units, the caller",
    r"(?<!time-)rescaled intervals": "time-rescaled intervals",
    r"first light": "quickstart",
    r"tell whether|tell which": "return whether",
    r"graphics processors?|the processors?": "GPU, CPU, cores",
    r"refus(e|es|ed|al|ing)": "reject",
    r"hz a unit|rows? a unit|spikes? a minute|bursts? a minute": "per unit, per minute",
    r"straight away wild|is wild|are wild|wild ones?": "runaway",
}
ALLOWED = {"organoid/stimulation/guard.py": "reject"}  # what its verdicts are called there
CODE = sorted(path for folder in ("organoid", "io", "models") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])


def prose_of_code(text: str) -> list[str]:
    """Comments and texts of four words or more."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found.append(token.string)
        elif token.type == tokenize.STRING:
            made = "f" in token.string[:2].lower()  # its values are not looked at
            words = re.sub(r"{[^}]*}", "", token.string) if made else str(ast.literal_eval(token.string))
            found += [words] if len(re.findall(r"[A-Za-z]+", words)) >= 4 else []
    return found


def prose_of_page(text: str) -> list[str]:
    """A page without its code."""
    without_blocks = re.sub(r"^( *)(```|~~~).*?^\1\2", "", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"`[^`]*`", "", without_blocks)]


def words_to_avoid(prose: list[str]) -> list[str]:
    """What stands there, and what to say instead."""
    plain = [re.sub(r"\s+", " ", re.sub(r"``?[^`]*``?", "", text)) for text in prose]
    return [
        f"{match.group(0)!r}: say {instead}"
        for pattern, instead in STANDARD.items()
        for text in plain
        for match in re.finditer(rf"\b(?:{pattern})\b", text, flags=re.IGNORECASE)
    ]


def test_prose_is_found_and_code_is_not() -> None:
    source = 'anew = 1  # foretold\nkey = "alive"\n\n\ndef f():\n    """Refuse what\n    nobody knows."""\n'
    assert [word.split(":")[0] for word in words_to_avoid(prose_of_code(source))] == [
        "'foretold'",
        "'nobody'",
        "'Refuse'",
    ]
    assert words_to_avoid(prose_of_page("plain\n\n```python\nanew = 1\n```\n\n`anew`")) == []
    assert words_to_avoid(prose_of_page("made\nanew")) == ["'anew': say again"]


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_speaks_the_language_of_the_field(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), "nothing")
    found = words_to_avoid(prose_of_code(path.read_text(encoding="utf-8")))
    assert [word for word in found if not word.endswith(allowed)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_speak_the_language_of_the_field(path: Path) -> None:
    assert words_to_avoid(prose_of_page(path.read_text(encoding="utf-8"))) == []
