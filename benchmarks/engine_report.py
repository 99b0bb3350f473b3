"""What benchmarks/engine.py compares, as values, and what is said of it. No I/O."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

from measuring import LOOPBACK, Link, Spread, faster, median, over, text

JUDGED = 8  # at once: the default, and what the goals speak of
RERUN_GOAL = 10.0  # times faster than the loop's, with nothing changed


LINKS = {
    link.name: link
    for link in (
        LOOPBACK,
        Link("latency", "45 ms round trip", 0.045),
        Link("slow", "45 ms round trip, 1.5 MB/s a connection", 0.045, rate_each=1.5e6),
        Link("line", "45 ms round trip, 200 Mbit/s in all", 0.045, rate=25e6),
    )
}
# How many times faster than the loop 8 at once should be.
GOALS = {"loopback": 1.5, "latency": 4.0, "slow": 4.0, "line": 2.5}


@dataclass(frozen=True, slots=True)
class Limits:
    """How many layers a classic engine fetches and sends at a time, over all its clients."""

    name: str
    downloads: int
    uploads: int

    @property
    def settings(self) -> dict[str, int]:
        """As daemon.json says it."""
        return {"max-concurrent-downloads": self.downloads, "max-concurrent-uploads": self.uploads}

    def __str__(self) -> str:
        return f"{self.name} limits of {self.downloads} down, {self.uploads} up"


LIMITS = {limits.name: limits for limits in (Limits("default", 3, 5), Limits("raised", 16, 16))}


# What one would type, at a list with an image a line: $0 the list, $1 the target, $2 how many.
LOOP = """set -e
while read -r image; do
    docker pull -q "$image"
    docker tag "$image" "$1/${image##*/}"
    docker push -q "$1/${image##*/}"
done <"$0"
"""
XARGS = """xargs <"$0" -P "$2" -I{} bash -c '
    docker pull -q {} && docker tag {} "$1/$(basename {})" && docker push -q "$1/$(basename {})"
' _ "$1"
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to copy the list, so many images at once. Written `serial`, `xargs-8`."""

    way: str
    at_once: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `asyncsync-8`. Raises ValueError that shows right ones."""
        match = re.fullmatch(r"(serial)|(xargs|asyncsync)-([1-9]\d*)", text)
        if match is None:
            raise ValueError(f"{text!r} is no contender; write serial, xargs-8 or asyncsync-8")
        return cls(match[1]) if match[1] else cls(match[2], int(match[3]))

    def command(self, names: str, to: str) -> list[str]:
        """What it runs: the images named in the file `names`, to registry and namespace `to`."""
        count = str(self.at_once)
        match self.way:
            case "serial":
                return ["bash", "-c", LOOP, names, to]
            case "xargs":
                return ["bash", "-c", XARGS, names, to, count]
        return [sys.executable, "-m", "asyncsync", "sync", names, "--to", to, "-c", count]

    def __str__(self) -> str:
        return self.way if self.way == "serial" else f"{self.way}-{self.at_once}"


SERIAL = Contender("serial")
OURS = Contender("asyncsync", JUDGED)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one registry saw of a run.

    `layers`: those of the requests that are about layers. `bytes`: up to the target, down from
    the source; None without a relay that counts them.
    """

    requests: int
    layers: int
    connections: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds. `relays` is this process, in which they run."""

    engine: float
    client: float
    registries: float
    relays: float

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Cpu)))

    @property
    def total(self) -> float:
        return self.engine + self.client + self.registries + self.relays


@dataclass(frozen=True, slots=True)
class Run:
    """One contender, once over the list. `stalled`: seconds in which all waited for a disk."""

    seconds: float
    stalled: float
    source: Traffic
    target: Traffic
    cpu: Cpu

    @property
    def requests(self) -> int:
        return self.source.requests + self.target.requests

    @property
    def connections(self) -> int:
        return self.source.connections + self.target.connections


Rounds = Mapping[Contender, Sequence[Run]]


@dataclass(frozen=True, slots=True)
class Part:
    """All rounds over one link with one setting of the engine's limits.

    `limits_bind`: no, if the engine ignores them. `distinct`: bytes of all different layers.
    """

    link: Link
    limits: Limits
    limits_bind: bool
    cores: int
    distinct: int
    runs: Rounds
    reruns: Rounds


def shares(run: Run, contender: Contender, part: Part) -> dict[str, float]:
    """How much of the run's time each thing was in use that could bind it: 1 is all the time.

    `CPU`: of all programs here, the registries too. `disk`: nothing on this machine could go on
    without it. `line`: the fuller direction's bytes at its rate. `slots`: the layers that the
    engine's limits let through at a time, at least: each holds its place for its round trips and
    its bytes at a connection's rate. `trips`: all round trips, if each of the images under way
    made one after the other; above 1 they overlapped. `relay`: of the one core that relays have.
    """
    link, wall = part.link, run.seconds
    found = {"CPU": run.cpu.total / part.cores / wall, "disk": run.stalled / wall}
    if not link.shaped:
        return found
    sides = ((run.source, part.limits.downloads), (run.target, part.limits.uploads))
    if link.rate:
        found["line"] = max((side.bytes or 0) / link.rate for side, _ in sides) / wall
    if part.limits_bind:
        found["slots"] = max(_layer_seconds(side, link) / count for side, count in sides) / wall
    trips = sum(side.requests + side.connections for side, _ in sides)
    found["trips"] = trips * link.round_trip / contender.at_once / wall
    found["relay"] = run.cpu.relays / wall
    return found


def _layer_seconds(side: Traffic, link: Link) -> float:
    """How long its layers' transfers last at least, one after the other."""
    # Engines open a connection for nearly every request, and that is a round trip of its own.
    trips = side.layers * (1 + side.connections / max(1, side.requests))
    return trips * link.round_trip + (side.bytes or 0) / (link.rate_each or float("inf"))


def report(part: Part) -> str:
    """All that is said of a part: its tables, the goals, what binds."""
    engine = str(part.limits) if part.limits_bind else "an engine without limits"
    blocks = [f"{part.link.name}: {part.link.says}; {engine}", text(_table(part, part.runs))]
    if part.reruns:
        blocks += ["the same again, nothing changed", text(_table(part, part.reruns))]
    if goals := list(_goals(part)):
        blocks += ["goals", *goals]
    blocks += ["what binds, in shares of the time", text(_binding(part)), *_ceiling(part)]
    return "\n".join(blocks)


def _table(part: Part, rounds: Rounds) -> Iterator[Sequence[str]]:
    yield (
        "", "seconds", "× serial", "× xargs", "up ÷ distinct", "requests", "connections",
        "engine CPU s", "client CPU s",
    )  # fmt: skip
    for contender, runs in rounds.items():
        yield (
            str(contender),
            f"{Spread.of(run.seconds for run in runs):.2f}",
            _ratio(rounds, SERIAL, contender),
            _ratio(rounds, Contender("xargs", contender.at_once), contender),
            median((over(run.target.bytes, part.distinct) for run in runs), ".2f"),
            median((run.requests for run in runs), ".0f"),
            median((run.connections for run in runs), ".0f"),
            median((run.cpu.engine for run in runs), ".2f"),
            median((run.cpu.client for run in runs), ".2f"),
        )


def _goals(part: Part) -> Iterator[str]:
    """A line for each goal that can be judged by what ran."""
    xargs = [contender for contender in part.runs if contender.way == "xargs"]
    wanted = [
        (part.runs, SERIAL, OURS, GOALS[part.link.name], ""),
        *((part.runs, other, Contender("asyncsync", other.at_once), 1.0, "") for other in xargs),
        (part.reruns, SERIAL, OURS, RERUN_GOAL, " with nothing changed"),
    ]
    for rounds, theirs, ours, goal, when in wanted:
        if theirs in rounds and ours in rounds:
            got = faster(rounds[theirs], rounds[ours])
            met = "met   " if got.median >= goal else "missed"
            yield f"  {met}  {ours} is {got:.2f} × {theirs}{when} (goal {goal:g})"


def _binding(part: Part) -> Iterator[Sequence[str]]:
    """The median shares of each contender, and the largest of them by name."""
    found = {contender: _median_shares(part, contender) for contender in part.runs}
    names = list(next(iter(found.values())))
    yield ("", *names, "most")
    for contender, its in found.items():
        yield (
            str(contender),
            *(f"{its[name]:.2f}" for name in names),
            max(its, key=its.__getitem__),
        )


def _ceiling(part: Part) -> Iterator[str]:
    """How fast ours could be at best, if what binds most were in use all the time."""
    if SERIAL not in part.runs or OURS not in part.runs:
        return
    its = _median_shares(part, OURS)
    its.pop("trips", None)  # more at once would overlap them
    most = max(its, key=its.__getitem__)
    serial, ours = (
        statistics.median(run.seconds for run in part.runs[contender])
        for contender in (SERIAL, OURS)
    )
    least = its[most] * ours
    yield (
        f"  {most} alone would take {least:.1f} of the {ours:.1f} s of {OURS}: "
        f"at best {serial / least:.1f} × {SERIAL}"
    )


def _median_shares(part: Part, contender: Contender) -> dict[str, float]:
    each = [shares(run, contender, part) for run in part.runs[contender]]
    return {name: statistics.median(its[name] for its in each) for name in each[0]}


def _ratio(rounds: Rounds, theirs: Contender, ours: Contender) -> str:
    if theirs not in rounds or theirs == ours or ours.way == "serial":
        return "-"
    return f"{faster(rounds[theirs], rounds[ours]):.2f}"
