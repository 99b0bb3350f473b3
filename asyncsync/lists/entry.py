"""One entry of a list: understood, or the slip in it named, with what was probably meant.

Reading is one question to `Reference.parse`. Only an entry that it refuses is looked at again,
for the slips that people make and a grammar cannot name: a full-width colon, a pasted command.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from asyncsync.model.foreign import quoted, shown
from asyncsync.model.naming import NotAReference
from asyncsync.model.place import Layout, is_layout
from asyncsync.model.reference import REFERENCE_MAX, Reference, in_lower_case, is_reference
from asyncsync.model.spec import ImageSpec, Mistake, Position

BLANKS = " \t"  # what may stand around an entry; a no-break space looks like one and is none

_STRANGE = re.compile(r"[^\t -~]")
_LINE_BREAKS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # what Python, YAML or an editor breaks at
# Signs that look like what a reference is made of, and that NFKC does not turn into it.
_LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201c\u201d\u00ab\u00bb", "'"),
        **dict.fromkeys("\u2236\ua789\u02d0", ":"),
        **dict.fromkeys("\u2044\u2215", "/"),
        **dict.fromkeys("\u3002\u00b7", "."),
        **dict(zip("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456", "aeopcyxi", strict=True)),
    }
)
_COMMAND = re.compile(
    r"(?P<all>(?:\$ *)?(?:sudo +)?(?:docker|podman|nerdctl|crane) +(?:image +)?pull"
    r"|FROM(?= )|image:(?= )|--platform[ =]\S+)(?: +--platform[ =]\S+| +-\S+)* +"
)
_WEBSITE = r"hub\.docker\.com/(?:(?:_|r|repository/docker)/)?"
_SCHEME = re.compile(
    rf"(?P<all>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^/@\s]*@)?(?:{_WEBSITE})?|(?P<website>{_WEBSITE})"
)
_BESIDE_SIGN = re.compile(r"[ \t]+(?=[:@/])|(?<=[:@/])[ \t]+")
_OTHER_REMARK = re.compile(r"(?:^|[ \t])(//|;)")
_WRAPPING = "\"'`,;" + BLANKS


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it stands in a list; `at` is the place of its first character."""

    text: str
    at: Position


@dataclass(frozen=True, slots=True)
class _Slip:
    """What is wrong, where in the entry, and what to do when nothing better can be written."""

    what: str
    offset: int
    advice: str = ""


def understood(entry: Entry, layout: Layout | None = None) -> ImageSpec | Mistake:
    """The image that `entry` names, or what is wrong with it and what to write instead.

    `layout`: where names are read as they stand there.
    """
    try:
        source = Reference.within(layout, entry.text) if layout else Reference.parse(entry.text)
    except NotAReference as error:
        instead = _meant(entry.text)
        if layout and instead and is_layout(instead):
            what = f"with --from {layout}, an image is named as it is named there"
            return mistake(entry.at, f"{what}. Write {Reference.parse(instead).entry}")
        slip = _slip(entry.text) or _Slip(error.what, error.offset)
        meant = f"Write {instead}" if instead else slip.advice
        return mistake(entry.at, f"{slip.what}. {meant}" if meant else slip.what, slip.offset)
    if isinstance(source.place, Layout) and not layout:
        what = f"an image of a layout is read with --from {source.place}"
        return mistake(entry.at, f"{what}. Write {source.entry} here")
    if source.digest and not source.tag and source.digest.algorithm != "sha256":
        what = f"a {source.digest.algorithm} digest is too long to become the target's tag"
        name, at, _ = entry.text.partition("@")
        return mistake(entry.at, f"{what}. Put a tag before it: {name}:TAG@…", len(name + at) - 1)
    return ImageSpec(source, entry.at)


def mistake(at: Position, text: str, offset: int = 0) -> Mistake:
    """A mistake `offset` characters behind `at`, its text safe to show."""
    return Mistake(replace(at, column=at.column + offset), shown(text))


def _slip(text: str) -> _Slip | None:
    if strange := _STRANGE.search(text):
        return _strange(strange[0], strange.start())
    if command := _COMMAND.match(text):
        what = f"{quoted(command['all'])} is no part of an image's name"
        if text.startswith("-"):
            what += ", but an option for all of the list"
        return _Slip(what, 0, "Write the image alone")
    if text.startswith("-"):
        return _Slip("a list of lines has no '- ' before an image", 0)
    if text.startswith(('["', "['")):
        return _Slip("a list is lines or YAML, not JSON", 0, "Put each image on its own line")
    if remark := _OTHER_REMARK.search(text):
        what = f"a remark begins with '#', not with '{remark[1]}'"
        return _Slip(what, remark.start(1), "Put a # before it")
    if text[:1] in ("'", '"', "`"):
        return _Slip("an image is written without quotes", 0, "Remove the quotes")
    if (scheme := _SCHEME.match(text)) and scheme["all"]:
        return _Slip(f"an image is written without {scheme['all']}", 0, "Write host/name:tag")
    if "#" in text:
        what = "'#' begins a remark only at the start of a line or after a blank"
        return _Slip(what, text.index("#"), "Put a blank before it")
    if blank := _BESIDE_SIGN.search(text):
        slip = "a blank stands inside the image's name"  # and to remove it is not enough
        return _Slip(slip, blank.start(), "Write the image alone, as nginx:1.27")
    if blank := re.search(r"[ \t]+", text):
        return _second(text, blank.end())
    return None


def _second(text: str, offset: int) -> _Slip:
    what = f"one image a line, but {quoted(text[offset:])} follows {quoted(text[:offset].rstrip())}"
    return _Slip(what, offset, "Put a second image on a line of its own, a remark after ' #'")


def _strange(character: str, offset: int) -> _Slip:
    name = unicodedata.name(character, "").lower().replace("fullwidth", "full-width")
    code = f"U+{ord(character):04X} ({name or 'a control character'})"
    if character == "\n":  # from a quoted YAML text, or a value
        return _Slip("a line break stands inside an entry", offset, "Make each image an entry")
    if character in _LINE_BREAKS:
        what = f"{code} is no line break here; LF and CRLF are"
        return _Slip(what, offset, "Put each image on a line of its own")
    if not character.isprintable():
        return _Slip(f"{code} cannot be part of an image's name", offset, "Remove it")
    article = "an" if name[:1] in tuple("aeiou") else "a"
    what = f"'{character}' is {article} {name}" if name else f"{code} is no letter of a name"
    advice = "Names are made of a-z, 0-9, '.', '_', '-', '/' and ':', and a remark begins with '#'"
    return _Slip(what, offset, advice)


def _meant(text: str) -> str | None:
    """The entry with every known slip taken out, if that names an image."""
    if len(text) > 2 * REFERENCE_MAX:  # too long to be an image with a slip in it
        return None
    plain = unicodedata.normalize("NFKC", text.translate(_LOOK_ALIKES))
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    plain = _OTHER_REMARK.split(plain, maxsplit=1)[0]
    plain = re.sub(r"\A[ \t]*-(?!-)", "", plain).strip(_WRAPPING)
    plain = _COMMAND.sub("", plain, count=1) if _COMMAND.match(plain) else plain
    plain = _SCHEME.sub("", plain, count=1) if _SCHEME.match(plain) else plain
    plain = _BESIDE_SIGN.sub("", plain.partition("#")[0]).strip(_WRAPPING)
    lower = in_lower_case(plain)
    return next((instead for instead in (plain, lower) if is_reference(instead)), None)
