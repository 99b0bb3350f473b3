"""Draws docs/demo.svg, the picture in README, from a real run: .venv/bin/python docs/picture.py"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "demo.svg"
FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"  # those of the reader


def seen_in_a_terminal(*command: str) -> str:
    """What `command` writes into a terminal, its colours too."""
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # how Linux tells that nobody writes there any more
            pass
    os.close(ours)
    if process.returncode != 0:
        raise SystemExit(said.decode())
    return said.decode().replace("\r\n", "\n")


def drawn(text: str) -> str:
    """An SVG of `text`, which loads nothing from anywhere."""
    seen = Text.from_ansi(f"$ asyncsync demo\n{text}")
    width = max(map(len, seen.plain.splitlines()))
    console = Console(record=True, width=width, file=io.StringIO(), color_system="standard",
                      force_terminal=True)  # fmt: skip
    console.print(seen, soft_wrap=True)
    svg = console.export_svg(title="asyncsync demo", unique_id="demo")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    # What cuts lines that are too long, and the ends of lines: half of the file.
    svg = re.sub(r'<clipPath id="demo-line-.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="url\(#demo-line-\d+\)"', "", svg)
    svg = re.sub(r"<text [^>]*>\n</text>", "", svg)
    svg = svg.replace("</text><text", "</text>\n<text")
    svg = re.sub(r"font-family: [^;]+;", f"font-family: {FONTS};", svg)
    return re.sub(r"^\s+", "", svg, flags=re.MULTILINE)


if __name__ == "__main__":
    told = seen_in_a_terminal(sys.executable, "-m", "asyncsync", "demo")
    PICTURE.write_text(drawn(told))
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")
