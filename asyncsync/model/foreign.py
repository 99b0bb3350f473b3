"""Text that somebody else wrote (an engine, a registry, a list), made safe to show.

Everything foreign is hostile until it went through `shown`: an escape code moves a terminal's
cursor, a line that begins with `::` is a command to GitHub Actions, a megabyte hides the message.
"""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_MAX = 500  # characters; longer than any message we would want to read in a table
QUOTED_MAX = 100  # characters; a quotation leaves room for what is said about it
_SECRET_MIN = 4  # characters; a shorter one would blank out ordinary words of a message


def shown(text: str, *, secrets: Iterable[str] = (), limit: int = SHOWN_MAX) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Secrets are replaced by `***` first, before cutting could leave half of one. No workflow
    command is left: neither `::` at the start (GitHub) nor `##[` anywhere (Azure, older GitHub).
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN:
            text = text.replace(secret, "***")
    line = _one_line(text, limit)
    return line.lstrip(": ") if line.startswith("::") else line


def quoted(text: str) -> str:
    """Return `text` in quotes, safe to show inside a sentence, shortened where it is long."""
    return f"'{_one_line(text, QUOTED_MAX)}'"


def _one_line(text: str, limit: int) -> str:
    text = text[: limit * 40]  # a megabyte is not worth cleaning for the few characters we show
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    # A runner looks for `##[` in the whole line, and for `::` only where the line begins.
    line = line.replace("##[", "## [")
    return line if len(line) <= limit else line[: limit - 1] + "…"
