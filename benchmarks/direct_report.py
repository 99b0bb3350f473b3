"""What benchmarks/direct.py measures, as values, and its tables. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from direct_ways import OURS
from measuring import Link, Spread, faster, median, over, text

MIB, GIB = 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one registry saw of a run.

    `blobs`: bytes of blobs that it sent, or that were uploaded and kept. `wire`: all bytes that
    way, headers and broken transfers too; None without a relay that counts them.
    """

    requests: int
    connections: int
    blobs: int
    wire: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """One contender, once over the list.

    CPU in seconds: `cpu` of the client and of the engine if it has one, `relays` of this process,
    in which they run, `registries` of both. `rss` and `samples`: the client's memory in bytes,
    at most and through the run.
    """

    seconds: float
    cpu: float
    registries: float
    relays: float
    rss: int
    samples: Sequence[int]
    source: Traffic
    target: Traffic

    @property
    def requests(self) -> int:
        return self.source.requests + self.target.requests

    @property
    def connections(self) -> int:
        return self.source.connections + self.target.connections

    @property
    def blobs(self) -> int:
        """Bytes of blobs in the fuller direction."""
        return max(self.source.blobs, self.target.blobs)

    @property
    def wire(self) -> int | None:
        """All bytes in the fuller direction, as far as it is known."""
        sides = [side.wire for side in (self.source, self.target) if side.wire is not None]
        return max(sides, default=None)

    @property
    def drift(self) -> float:
        """How much more memory the last quarter of the run took than its first."""
        quarter = max(1, len(self.samples) // 4)
        first, last = self.samples[:quarter], self.samples[-quarter:]
        return statistics.median(last) / statistics.median(first)


Rounds = Mapping[str, Sequence[Run]]


@dataclass(frozen=True, slots=True)
class Part:
    """All rounds of one work over one link, by the contenders' names.

    `bounded`: seconds after which a run was stopped; None if all ran to their end.
    """

    work: str
    says: str
    link: Link
    cores: int
    images: int
    distinct: int
    runs: Rounds
    reruns: Rounds
    bounded: float | None = None

    @property
    def link_seconds(self) -> float | None:
        """How long the distinct bytes take at the line's rate; None if that is not the work."""
        return self.distinct / self.link.rate if self.link.rate and self.heavy else None

    @property
    def heavy(self) -> bool:
        """Whether bytes are most of the work, not requests."""
        return self.distinct > 16 * MIB


def report(part: Part) -> str:
    """The tables of a part, and what the harness itself took."""
    here = f"here {part.images} images, {part.distinct / MIB:.1f} MiB distinct"
    blocks = [
        f"{part.work}: at scale 1 {part.says}; {here}",
        f"{part.link.name}: {part.link.says}",
    ]
    if part.link_seconds:
        blocks[-1] += f"; link time {part.link_seconds:.2f} s"
    if part.bounded:
        blocks += [f"stopped after {part.bounded:g} s", text(_table(part, part.runs, _MEMORY))]
    elif part.runs:
        blocks.append(text(_table(part, part.runs, _FIRST)))
    if part.reruns:
        blocks += ["nothing changed", text(_table(part, part.reruns, _AGAIN))]
    return "\n".join([*blocks, _harness(part)])


Column = Callable[[Part, Rounds, str], str]


def _table(part: Part, rounds: Rounds, columns: Mapping[str, Column]) -> Iterator[Sequence[str]]:
    """A row a contender. Columns of which nobody has a figure are left out."""
    rows = {
        name: {title: tell(part, rounds, name) for title, tell in columns.items()}
        for name in rounds
    }
    told = [title for title in columns if any(row[title] != "-" for row in rows.values())]
    yield ("", *told)
    for name, row in rows.items():
        yield (name, *(row[title] for title in told))


def _spread(figure: Callable[[Part, Run], float | None], spec: str) -> Column:
    """A column with the median of the rounds, and how far they lie apart."""

    def tell(part: Part, rounds: Rounds, name: str) -> str:
        values = [figure(part, run) for run in rounds[name]]
        known = [value for value in values if value is not None]
        return f"{Spread.of(known):{spec}}" if known else "-"

    return tell


def _middle(figure: Callable[[Part, Run], float | None], spec: str) -> Column:
    """A column with the median of the rounds alone."""
    return lambda part, rounds, name: median((figure(part, run) for run in rounds[name]), spec)


def _slower(_: Part, rounds: Rounds, name: str) -> str:
    """How many times faster ours is than this one."""
    if OURS not in rounds or name == OURS:
        return "-"
    return f"{faster(rounds[name], rounds[OURS]):.2f}"


def wall_over_link(part: Part, run: Run) -> float | None:
    return run.seconds / part.link_seconds if part.link_seconds else None


def cpu_a_gib(part: Part, run: Run) -> float:
    """CPU seconds for each GiB that had to be moved: what is moved twice is no work done."""
    return run.cpu / (part.distinct / GIB)


_SECONDS = _spread(lambda _, run: run.seconds, ".2f")
_CPU = _middle(lambda _, run: run.cpu, ".2f")
_RSS = _middle(lambda _, run: run.rss / MIB, ".0f")
_ASKED = {
    "requests": _middle(lambda _, run: run.requests, ".0f"),
    "an image": _middle(lambda part, run: run.requests / part.images, ".2f"),
    "connections": _middle(lambda _, run: run.connections, ".0f"),
}
_FIRST: dict[str, Column] = {
    "seconds": _SECONDS,
    "÷ link time": _middle(wall_over_link, ".2f"),
    f"÷ {OURS}": _slower,
    "CPU s": _CPU,
    "CPU s a GiB": _middle(lambda p, run: cpu_a_gib(p, run) if p.heavy else None, ".2f"),
    "RSS MiB": _RSS,
    "down ÷ distinct": _middle(lambda part, run: run.source.blobs / part.distinct, ".2f"),
    "up ÷ distinct": _middle(lambda part, run: run.target.blobs / part.distinct, ".2f"),
    "wire ÷ distinct": _middle(lambda part, run: over(run.wire, part.distinct), ".2f"),
    **_ASKED,
}
_AGAIN: dict[str, Column] = {
    "seconds": _SECONDS,
    f"÷ {OURS}": _slower,
    "CPU s": _CPU,
    "RSS MiB": _RSS,
    "blobs ÷ distinct": _middle(lambda part, run: run.blobs / part.distinct, ".2f"),
    **_ASKED,
}
_MEMORY: dict[str, Column] = {
    "seconds": _SECONDS,
    "MiB uploaded": _middle(lambda _, run: (run.target.wire or 0) / MIB, ".0f"),
    "RSS MiB": _spread(lambda _, run: run.rss / MIB, ".0f"),
    "first quarter": _middle(lambda _, run: _quarter(run.samples, 0) / MIB, ".0f"),
    "second": _middle(lambda _, run: _quarter(run.samples, 1) / MIB, ".0f"),
    "third": _middle(lambda _, run: _quarter(run.samples, 2) / MIB, ".0f"),
    "last": _middle(lambda _, run: _quarter(run.samples, 3) / MIB, ".0f"),
    "connections": _ASKED["connections"],
}


def _quarter(samples: Sequence[int], number: int) -> float:
    """The median of one quarter of the samples."""
    length = max(1, len(samples) // 4)
    return statistics.median(samples[number * length :][:length] or samples)


def _harness(part: Part) -> str:
    """What might have bound instead of the contenders: the most of any run."""
    runs = [run for rounds in (part.runs, part.reruns) for its in rounds.values() for run in its]
    registries = max(run.registries / run.seconds / part.cores for run in runs)
    said = f"the harness at most: registries {registries:.2f} of {part.cores} cores"
    if part.link.shaped:
        said += f", relays {max(run.relays / run.seconds for run in runs):.2f} of the one they have"
    return said
