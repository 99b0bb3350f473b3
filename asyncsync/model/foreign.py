"""Text that somebody else wrote (an engine, a registry, a list), made safe to show.

Everything foreign is hostile until it went through `shown`: an escape code moves a terminal's
cursor, a line that begins with `::` is a command to GitHub Actions, a megabyte hides the message.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_plus

SHOWN_MAX = 500  # characters; longer than any message we would want to read in a table
QUOTED_MAX = 100  # characters; a quotation leaves room for what is said about it
_HIDDEN = "***"
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SECRET_MIN = 4  # characters; a shorter one would blank out ordinary words of a message


def shown(text: str, *, secrets: Iterable[str] = (), limit: int = SHOWN_MAX) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Secrets are replaced by `***` first, before cutting could leave half of one. No workflow
    command is left: neither `::` at the start (GitHub) nor `##[` anywhere (Azure, older GitHub).
    """
    line = _one_line(without(text, secrets), limit)
    return line.lstrip(": ") if line.startswith("::") else line


def without(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with `***` for each secret; that alone where it holds one in another form."""
    known = sorted((s for s in secrets if len(s) >= _SECRET_MIN), key=len, reverse=True)
    if not known:  # most texts: nothing is looked for in their other forms
        return text
    for secret in known:
        text = text.replace(secret, _HIDDEN)
    if any(secret in plain for plain in _decoded(text) for secret in known):
        return _HIDDEN
    return text


def _decoded(text: str) -> Iterator[str]:
    """What `text` says where it is written as in an address, in HTML or in JSON.

    Each has many ways to write one sign: `&`, `%26`, `&amp;`, `&#38;`, `&#x26;`, `\\u0026`.
    """
    if "%" in text:
        yield unquote(text)
    if "+" in text:
        yield unquote_plus(text)
    if "&" in text:
        yield html.unescape(text)
    if "\\" in text:
        yield _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2], text)


def quoted(text: str) -> str:
    """Return `text` in quotes, safe to show inside a sentence, shortened where it is long.

    Each sign of it can be seen, blanks at its ends and a byte order mark, too: it may be the one
    that is wrong.
    """
    seen = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: QUOTED_MAX + 1])
    return f"'{_shortened(seen, QUOTED_MAX)}'"


def _one_line(text: str, limit: int) -> str:
    text = text[: limit * 40]  # a megabyte is not worth cleaning for the few characters we show
    return _shortened(" ".join("".join(c if c.isprintable() else " " for c in text).split()), limit)


def _shortened(line: str, limit: int) -> str:
    # A runner looks for `##[` in the whole line, and for `::` only where the line begins.
    line = line.replace("##[", "## [")
    return line if len(line) <= limit else line[: limit - 1] + "…"
