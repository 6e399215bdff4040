"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

_LARGEST_SEED = 2**63 - 1

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
Seed = Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Same seed, same result.")]
Well = Annotated[str | None, typer.Option(help="Which well, where the file holds several.")]
Which = Annotated[str | None, typer.Option("--recording", help="Which recording, where the file holds several.")]
Report = Annotated[Path | None, typer.Option("--report", help="Also write a report, one HTML page.")]
Recorded = Annotated[Path, typer.Argument(metavar="FILE", help="A recording, in any format read.")]
