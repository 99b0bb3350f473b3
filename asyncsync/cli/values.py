"""What can be written after an option or in a variable: text → value, or a ValueError that teaches.

Both doors read with the same functions, so that they cannot drift apart. Our own values are
imported where they are made, or `--help` would load them all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

if TYPE_CHECKING:
    from asyncsync.model.job import Destination, Shard
    from asyncsync.model.place import Layout
    from asyncsync.model.platform import Platform
    from asyncsync.server import Address
    from asyncsync.settings import Via

_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)s)?")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(|[kKMG]|[KMG]i)B(?:/s)?")
_BITS = re.compile(r"[0-9.]+ ?(?:[kKMGmg]i?)?(?:b|bits?|bps)(?:/s)?")
_BYTES = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3,
          "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}  # fmt: skip
_NAMED_SO = "write ./- for a file of that name"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Parsed(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # 8.2's has no arguments
    """An option's value, read by one of the functions below."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name, self._parse = name, parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Read what was written. Ends the command with what is wrong about it."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            from asyncsync.model.foreign import shown

            self.fail(shown(str(error)), param, ctx)


def destination(text: str) -> Destination:
    """Read `registry[:port][/namespace…]` or `oci:FOLDER`."""
    from asyncsync.model.job import Destination

    return Destination.parse(text)


def layout(text: str) -> Layout:
    """Read `oci:FOLDER`."""
    from asyncsync.model.place import Layout

    return Layout.parse(text)


def address(text: str) -> Address:
    """Read `address:port`, of this machine."""
    from asyncsync.server.listening import Address

    return Address.parse(text)


def folder(text: str) -> Path:
    """Read a folder to serve; `oci:` may stand before it, as in other places."""
    name = text.removeprefix("oci:")
    if name.endswith(".tar"):  # else a folder of that name would be made
        raise ValueError("a tar cannot be served: unpack it into a folder, and name that")
    if not name:
        raise ValueError("the folder has no name")
    if os.path.isfile(name):  # what opens it would advise a tar as well
        raise ValueError(f"{name!r} is a file, and no folder: name one, as ./export")
    return Path(name)


def written(text: str) -> Path:
    """Read the name of a file to write."""
    if text == "-":
        raise ValueError(f"'-' is no file, and stdout carries the results; {_NAMED_SO}")
    return Path(text)


def read(text: str) -> Path:
    """Read the name of a file to read."""
    if text == "-":
        raise ValueError(f"'-' is no file, and stdin is not read here; {_NAMED_SO}")
    return Path(text)


def host(text: str) -> str:
    """Read `host[:port]`."""
    from asyncsync.model.place import Registry

    return Registry.parse(text).host


def mirror(text: str) -> tuple[str, str]:
    """Read `HOST=URL`."""
    from asyncsync.model.access import mirror_url

    of, found, url = text.partition("=")
    if not found:  # its text is not shown: a URL may hold a login
        raise ValueError("write HOST=URL, as docker.io=https://mirror.example")
    return host(of), mirror_url(url)


def platform(text: str) -> Platform:
    """Read `os/arch[/variant]`."""
    from asyncsync.model.platform import Platform

    return Platform.parse(text)


def platforms(text: str) -> tuple[Platform, ...]:
    """Read several platforms, separated by commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(map(platform, parts or [text]))


def shard(text: str) -> Shard:
    """Read `I/N`, a part of a plan."""
    from asyncsync.model.job import Shard

    return Shard.parse(text)


def via(text: str) -> Via:
    """Read the name of a way to copy."""
    return cast("Via", _one_of(text, "auto", "engine", "direct"))


def log_format(text: str) -> Literal["console", "json"]:
    """Read the name of a form of the log."""
    return cast("Literal['console', 'json']", _one_of(text, "console", "json"))


def concurrency(text: str) -> int:
    """Read how many images are copied at once."""
    from asyncsync.settings import CONCURRENCY_MAX

    return _whole(text, 1, CONCURRENCY_MAX)


def retries(text: str) -> int:
    """Read how often something is tried again."""
    from asyncsync.settings import RETRIES_MAX

    return _whole(text, 0, RETRIES_MAX)


def duration(text: str) -> float:
    """Read `90s`, `20m`, `5h30m` or plain seconds; more than nothing."""
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif text and (match := _DURATION.fullmatch(text)):
        hours, minutes, rest = (float(part or 0) for part in match.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    else:
        raise ValueError(f"{text!r} is no duration; write 90s, 20m, 5h30m or plain seconds")
    if seconds == 0:
        raise ValueError("no time at all is no limit that could be kept")
    return seconds


def rate(text: str) -> float:
    """Read `20MiB/s`, `500KB/s` or the same without `/s`: bytes a second, more than none."""
    if match := _RATE.fullmatch(text):
        number, unit = match.groups()
        if float(number) == 0:
            raise ValueError("no bytes at all is no rate that could be kept")
        return float(number) * _BYTES[unit]
    if _BITS.fullmatch(text):
        raise ValueError(
            f"{text!r} counts bits, and a rate counts bytes (eight bits each, with a large B); "
            "write 20MiB/s or 500KB/s"
        )
    raise ValueError(f"{text!r} is no rate; write 20MiB/s or 500KB/s")


def yes_or_no(text: str) -> bool:
    """Read 1, true, yes, on or 0, false, no, off, in any case."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError(f"{text!r} is neither yes nor no; write {'/'.join(_YES)} or {'/'.join(_NO)}")


def _whole(text: str, least: int, most: int) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is no whole number from {least} to {most}")
    return int(text)


def _one_of(text: str, *choices: str) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text
