"""Text to images: `decode` for bytes, `read` for a list, `entries` for Python values.

Pure. Two grammars, chosen by the first line that says something and never by trial: what fails
as YAML is not read as lines, or `nginx:` would change its meaning with the line above it. (Only
what begins with a key and is a list of neither kind may be called YAML for what stands below it.)
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from asyncsync.lists.entry import BLANKS, Entry, mistake, understood
from asyncsync.lists.lines import in_lines, is_mapping, numbered
from asyncsync.model.errors import ListError
from asyncsync.model.place import Layout
from asyncsync.model.spec import ImageSpec, Mistake, Position

__all__ = ["decode", "entries", "read"]

LIST_BYTES_MAX = 16 * 1024 * 1024  # a hundred thousand names of the length that people give
ENTRIES_MAX = 100_000

_AROUND = BLANKS + "\r\n"  # values are often lines of a file, with their ends
_BOM = "\ufeff"
_REMARK = (
    "an entry is an image alone, and has no remark. Remove the '#' and what follows, or give the "
    "path of the list"
)
_YAML = re.compile(r"(?:---|-|(?:defaults|images|destinations):)(?:[ \t]|\Z)")


def decode(data: bytes, name: str) -> str:
    """The text of a list that was read as bytes: UTF-8, a BOM is dropped. Raises ListError."""
    if len(data) > LIST_BYTES_MAX:
        what = f"a list has at most {LIST_BYTES_MAX // 1024**2} MiB. Split it into several lists"
        raise ListError([Mistake(Position(name, 1), what)])
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ListError([Mistake(Position(name, 1), "this is UTF-16. Save the list as UTF-8")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error counts without the BOM; what it calls its object does, too.
        before = error.object[: error.start].decode()
        at = Position(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
        byte = f"the byte 0x{error.object[error.start]:02x} is no UTF-8"
        raise ListError([Mistake(at, f"{byte}. Save the list as UTF-8")]) from None


def read(text: str, name: str, layout: Layout | None = None) -> tuple[ImageSpec, ...]:
    """The images of a list, in its order. Raises ListError with all mistakes.

    `name` is how messages call the list: its path, or `-` for stdin. `layout`: the images are
    there, and are named as it names them.
    """
    text = text.removeprefix(_BOM)
    _, first = next(numbered(text), (1, ""))
    if not _YAML.match(first.lstrip(BLANKS)) and not is_mapping(text):
        return _all(in_lines(text, name), layout)
    from asyncsync.lists.structured import in_yaml  # lines need no parser of YAML

    return _all(in_yaml(text, name), layout)


def entries(texts: Iterable[str], layout: Layout | None = None) -> tuple[ImageSpec, ...]:
    """The images that are named one by one, as Python values. Raises ListError with all mistakes.

    Their positions are in the file `<entries>`, the first one on line 1.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("entries are a list of texts; one text would be taken letter by letter")
    return _all(_values(texts), layout)


def _values(texts: Iterable[str]) -> Iterator[Entry | Mistake]:
    for index, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise TypeError(f"entry {index} is no str but {type(text).__name__}")
        content = text.strip(_AROUND)
        entry = Entry(content, Position("<entries>", index, 1 + text.find(content)))
        if "#" in content:  # in no image's name, and often these are the lines of a file
            yield mistake(entry.at, _REMARK, content.index("#"))
        else:
            yield entry


def _all(found: Iterable[Entry | Mistake], layout: Layout | None = None) -> tuple[ImageSpec, ...]:
    specs: list[ImageSpec] = []
    mistakes: list[Mistake] = []
    for count, each in enumerate(found, start=1):
        result = each if isinstance(each, Mistake) else understood(each, layout)
        if count > ENTRIES_MAX:
            mistakes.append(
                mistake(result.at, f"a list has at most {ENTRIES_MAX} images. Split it")
            )
            break
        if isinstance(result, Mistake):
            mistakes.append(result)
        else:
            specs.append(result)
    if mistakes:
        raise ListError(mistakes)
    return tuple(specs)
