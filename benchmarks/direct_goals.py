"""The goals of the direct way, as data, and whether a part meets them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from direct_report import MIB, Part, Rounds, Run, cpu_a_gib, wall_over_link
from direct_ways import OURS, direct_at
from measuring import Spread, faster

MEMORY_AT = direct_at(16).name
_ONE_BY_ONE = direct_at(1).name


def _ours(figure: Callable[[Part, Run], float | None], name: str = OURS) -> Figure:
    """The figure of our runs; None where one of them has none."""

    def got(part: Part) -> Spread | None:
        rounds = part.runs or part.reruns
        values = [figure(part, run) for run in rounds.get(name, ())]
        known = [value for value in values if value is not None]
        return Spread.of(known) if known else None

    return got


def _times_faster(than: str) -> Figure:
    def got(part: Part) -> Spread | None:
        rounds = part.runs or part.reruns
        both = than in rounds and OURS in rounds
        return faster(rounds[than], rounds[OURS]) if both else None

    return got


def _share_of(other: str, figure: Callable[[Part, Run], float]) -> Figure:
    """Our figure over another's of the same round."""

    def got(part: Part) -> Spread | None:
        if other not in part.runs or OURS not in part.runs:
            return None
        pairs = zip(part.runs[OURS], part.runs[other], strict=True)
        return Spread.of(figure(part, a) / figure(part, b) for a, b in pairs)

    return got


def _cpu_of_the_least(part: Part) -> Spread | None:
    """Our CPU seconds over those of whoever else took least in the same round."""
    others: Rounds = {n: its for n, its in part.runs.items() if n.partition("-c")[0] != OURS}
    if OURS not in part.runs or not others:
        return None
    return Spread.of(
        ours.cpu / min(its[number].cpu for its in others.values())
        for number, ours in enumerate(part.runs[OURS])
    )


def _trips(part: Part) -> Spread | None:
    """How many round trips an image lasts, if it goes alone: so many more than again.

    Unchanged it lasts one, with the same start of the process and of its connections.
    """
    pairs = zip(part.runs.get(_ONE_BY_ONE, ()), part.reruns.get(_ONE_BY_ONE, ()), strict=True)
    more = [(run.seconds - again.seconds) / part.images for run, again in pairs]
    return Spread.of(1 + seconds / part.link.round_trip for seconds in more) if more else None


def _wall(_: Part, run: Run) -> float:
    return run.seconds


Figure = Callable[[Part], Spread | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """`says` what is to be at most so much, or `at_least`; `links` are those where it holds."""

    work: str
    links: tuple[str, ...]
    says: str
    bound: float
    got: Figure
    at_least: bool = False

    def judge(self, part: Part) -> str | None:
        """A line about it; None if it is about something else, or its contenders did not run."""
        if (part.work, part.link.name) not in {(self.work, link) for link in self.links}:
            return None
        got = self.got(part)
        if got is None:
            return None
        value = round(got.median, 2)  # as it is printed
        met = value >= self.bound if self.at_least else value <= self.bound
        most = "at least" if self.at_least else "at most"
        return f"  {'met   ' if met else 'missed'}  {self.says}: {got:.2f} ({most} {self.bound:g})"


_SHAPED, _PLAIN, _TLS = ("shaped",), ("loopback",), ("tls",)
_ALL = (*_PLAIN, *_TLS, *_SHAPED)
_SLOW = ("slow-tls",)

GOALS = (
    Goal("shared", _SHAPED, "wall ÷ link time", 1.10, _ours(wall_over_link)),
    Goal("shared", _SHAPED, "times serial", 10, _times_faster("serial"), at_least=True),
    Goal("shared", _SHAPED, "times skopeo", 4, _times_faster("skopeo"), at_least=True),
    Goal(
        "shared", _SHAPED, "times xargs-skopeo", 1.5, _times_faster("xargs-skopeo"), at_least=True
    ),
    Goal("shared", (*_PLAIN, *_TLS), "of skopeo's wall", 0.6, _share_of("skopeo", _wall)),
    Goal("shared", (*_PLAIN, *_TLS), "of the least CPU of others", 1.0, _cpu_of_the_least),
    Goal("shared", _ALL, "bytes ÷ distinct", 1.0, _ours(lambda p, run: run.blobs / p.distinct)),
    Goal("shared", _ALL, "connections", 100, _ours(lambda _, run: run.connections)),
    Goal("tiny", _SHAPED, "round trips an image, alone", 6, _trips),
    Goal("tiny", _SHAPED, "requests an image", 10, _ours(lambda p, run: run.requests / p.images)),
    Goal("tiny", _SHAPED, "times skopeo", 10, _times_faster("skopeo"), at_least=True),
    # The best Go peer needed 85, a prototype in Python 50, the best schedule measured so far 11.
    Goal("tiny", _SHAPED, "ms an image", 11, _ours(lambda p, run: run.seconds * 1e3 / p.images)),
    Goal("large", _PLAIN, "of skopeo's CPU s a GiB", 0.35, _share_of("skopeo", cpu_a_gib)),
    Goal("large", _TLS, "of skopeo's CPU s a GiB", 0.45, _share_of("skopeo", cpu_a_gib)),
    Goal("large", _ALL, "bytes ÷ distinct", 1.0, _ours(lambda p, run: run.blobs / p.distinct)),
    Goal("unchanged", _ALL, "requests an image", 2, _ours(lambda p, run: run.requests / p.images)),
    Goal("unchanged", _ALL, "times skopeo-sync", 5, _times_faster("skopeo-sync"), at_least=True),
    *(
        goal
        for work in ("memory", "memory-quarter")
        for goal in (
            Goal(work, _SLOW, "RSS MiB", 100, _ours(lambda _, run: run.rss / MIB, MEMORY_AT)),
            # 10 % more is taken for flat: what an allocator keeps settles in the first seconds.
            Goal(work, _SLOW, "last ÷ first quarter", 1.1, _ours(lambda _, r: r.drift, MEMORY_AT)),
        )
    ),
)


def judged(part: Part) -> Iterator[str]:
    """A line for each goal that can be judged by what ran."""
    for goal in GOALS:
        if line := goal.judge(part):
            yield line
