r"""Equations as MathML, which browsers draw themselves: no script, no network."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_PLACED = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(text: str, page: Any, config: Any, files: Any) -> str:
    """Replace every equation of a page."""
    return _PLACED.sub(_mathml, text)


def _mathml(match: re.Match[str]) -> str:
    tex = html.unescape(match.group(3)).strip()
    tex = tex.replace("{aligned}", "{align*}")
    if "&" in tex and r"\begin" not in tex:
        tex = rf"\begin{{align*}}{tex}\end{{align*}}"
    made = convert(tex, display="block" if match.group(2) == "[" else "inline")
    return f'<div class="equation">{made}</div>' if match.group(1) == "div" else made
