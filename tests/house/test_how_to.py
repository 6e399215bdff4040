"""How-to pages that promise to run: their Python blocks, in order, in one namespace, in the root of the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/how-to" / name for name in ("choose-a-loss.md", "write-a-protocol.md")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_how_to_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = page.read_text(encoding="utf-8")
    names = {"__name__": page.stem}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert blocks
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), names)  # errors point at the page's lines


def test_the_page_names_every_loss_and_model() -> None:
    from organoid.losses import LOSSES
    from organoid.models import MODELS

    text = PAGES[0].read_text(encoding="utf-8")
    assert [name for name in (*LOSSES, *MODELS) if f"`{name}`" not in text] == []
