"""The ways to copy a list that benchmarks/direct.py compares, as one would type them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from direct_work import SOURCE, TAG, TARGET
from engine_report import LOOP

OURS = "asyncsync"


@dataclass(frozen=True, slots=True)
class Route:
    """What contenders are told: lists in their forms, where to, and whom to trust.

    `source` is a registry, `target` a registry and a namespace. `names`: an image a line,
    `pairs`: skopeo's source and target a line, `listing`: the YAML of `skopeo sync`. `ca_file`
    and `certs`: the CAs of both as a file and as a folder; None for plain HTTP.
    """

    source: str
    target: str
    names: Path
    pairs: Path
    listing: Path
    ca_file: Path | None
    certs: Path | None

    @classmethod
    def write(
        cls, folder: Path, images: Collection[str], source: str, target: str, cas: list[Path]
    ) -> Route:
        """Write the lists and the CAs into `folder`. Without CAs all is plain HTTP."""
        route = cls(
            source, f"{target}/{TARGET}",
            folder / "images.txt", folder / "pairs.txt", folder / "images.yaml",
            folder / "ca.pem" if cas else None, folder / "certs" if cas else None,
        )  # fmt: skip
        pairs = {
            f"{source}/{SOURCE}/{name}:{TAG}": f"{route.target}/{name}:{TAG}" for name in images
        }
        route.names.write_text("".join(f"{name}\n" for name in pairs))
        route.pairs.write_text(
            "".join(f"docker://{of} docker://{to}\n" for of, to in pairs.items())
        )
        reached = {"cert-dir": str(route.certs)} if cas else {"tls-verify": False}
        listed = {**reached, "images": {f"{SOURCE}/{name}": [TAG] for name in images}}
        route.listing.write_text(json.dumps({source: listed}))  # JSON is YAML
        if route.ca_file and route.certs:
            route.ca_file.write_text("".join(ca.read_text() for ca in cas))
            route.certs.mkdir(exist_ok=True)
            (route.certs / "ca.crt").write_text(route.ca_file.read_text())
        return route

    def skopeo(self, *sides: str) -> list[str]:
        """Skopeo's options for one side or both: `src`, `dest`."""
        if self.certs:
            return [f"--{side}-cert-dir={self.certs}" for side in sides]
        return [f"--{side}-tls-verify=false" for side in sides]

    def asyncsync(self) -> list[str]:
        """Our own."""
        return ["--ca-file", str(self.ca_file)] if self.ca_file else []


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to copy the list. `engine`: it needs one; `at_once`: so many images, 0 unknown."""

    name: str
    command: Callable[[Route], list[str]]
    engine: bool = False
    at_once: int = 1


_SKOPEO = ["skopeo", "--insecure-policy"]  # a policy about signatures, none about TLS
_COPY = [*_SKOPEO, "copy", "--quiet", "--all"]
_SKOPEO_LOOP = """set -e
while read -r from to; do "$@" "$from" "$to"; done <"$0"
"""
_SKOPEO_XARGS = 'exec xargs <"$0" -P 8 -L 1 "$@"'


def _serial(route: Route) -> list[str]:
    return ["bash", "-c", LOOP, str(route.names), route.target]


def _skopeo(script: str) -> Callable[[Route], list[str]]:
    return lambda route: [
        "bash", "-c", script, str(route.pairs), *_COPY, *route.skopeo("src", "dest"),
    ]  # fmt: skip


def _skopeo_sync(route: Route) -> list[str]:
    return [
        *_SKOPEO, "sync", "--all", "--src", "yaml", "--dest", "docker", *route.skopeo("dest"),
        str(route.listing), route.target,
    ]  # fmt: skip


def _asyncsync(*options: str) -> Callable[[Route], list[str]]:
    return lambda route: [
        sys.executable, "-m", "asyncsync", "sync", str(route.names), "--to", route.target,
        *options, *route.asyncsync(),
    ]  # fmt: skip


_ENGINE = _asyncsync("--via", "engine", "-c", "8")

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("serial", _serial, engine=True),
        Contender("skopeo", _skopeo(_SKOPEO_LOOP)),
        Contender("xargs-skopeo", _skopeo(_SKOPEO_XARGS), at_once=8),
        Contender("skopeo-sync", _skopeo_sync),
        Contender("asyncsync-engine", _ENGINE, engine=True, at_once=8),
        Contender(OURS, _asyncsync("--via", "direct"), at_once=0),
    )
}


def direct_at(count: int) -> Contender:
    """Our direct way with so many images at once."""
    way = _asyncsync("--via", "direct", "-c", str(count))
    return Contender(f"{OURS}-c{count}", way, at_once=count)


def templated(text: str) -> Contender:
    """Read `NAME=command`; `{list}`, `{source}`, `{target}`, `{ca_file}` stand for what they are.

    Raises ValueError that shows a right one.
    """
    name, _, template = text.partition("=")
    example = "{list} {source} {target}"
    if not name or not template or name in CONTENDERS:
        raise ValueError(f"{text!r} is no contender of its own; write NAME='tool {example}'")

    def command(route: Route) -> list[str]:
        filled = template.format(
            list=route.names, source=route.source, target=route.target, ca_file=route.ca_file
        )
        return ["bash", "-c", filled]

    try:
        template.format(list="", source="", target="", ca_file="")
    except (LookupError, ValueError) as error:
        raise ValueError(f"{text!r}: in braces there may be {example} {{ca_file}}") from error
    return Contender(name, command, at_once=0)
