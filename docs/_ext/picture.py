"""Makes docs/demo.svg, the README's picture, from a real run of the demo: `python docs/_ext/picture.py`."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType

from logferry.shipper.demo.main import run
from logferry.shipper.demo.screen import Frame, panel

__all__ = ["Camera"]

SHOT = 0.7  # the part of the run after which the picture is taken: after the kill and the burst


class Camera:
    """A screen that keeps what was said and the panel of one moment."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.panel: RenderableType = ""

    def say(self, text: str) -> None:
        """Keep one line."""
        if "files in" not in text:
            self.said.append(text)

    def draw(self, frame: Frame) -> None:
        """Keep the panel until the moment of the picture."""
        if frame.passed <= frame.duration * SHOT:
            self.panel = panel(frame)

    def close(self) -> None:
        """Nothing to restore."""


def main(target: Path, duration: float) -> int:
    """Run the demo and write the picture."""
    camera = Camera()
    with redirect_stdout(StringIO()) as report:
        result = run(duration, screen=camera)
    console = Console(record=True, width=122, file=sys.stderr, force_terminal=True)
    console.print("[bold]$ make demo")
    for line in camera.said[:-1]:
        console.print(line, highlight=False)
    console.print(camera.panel)
    account, _, _ = report.getvalue().partition("\nThe slowest trace")
    console.print(account.rstrip(), highlight=False, markup=False)
    svg = console.export_svg(title="logferry demo")
    # The fonts it names lie on somebody's server: the reader's own monospace does.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", ""))
    return result


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1] / "demo.svg", 40.0))
