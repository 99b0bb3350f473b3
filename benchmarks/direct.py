"""How fast a list goes from registry to registry: skopeo's ways, the engine's, and asyncsync.

    python benchmarks/direct.py [--work shared,tiny] [--links loopback,shaped] [--rounds 1]

On two docker-registries of its own, all on loopback; relays make the links. In every round the
target is new and empty for every contender, and the contenders change places from round to round.
A run counts only if the target has each image with the source's digest (with the source's config
where an engine packs layers anew). Each contender runs a second time with nothing changed. Ratios
compare runs of the same round. The goals hold at scale 1; contenders with an engine need root.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from direct_goals import MEMORY_AT, judged
from direct_report import MIB, Part, Run, Traffic, report
from direct_ways import CONTENDERS, OURS, Contender, Route, direct_at, templated
from direct_work import MEMORY_WORKS, SOURCE, TARGET, WORKS, Work, Workload
from engines import new_engine, versions
from measuring import LOOPBACK, Link, known, median
from parts.engine import Engine
from parts.processes import PartFailed, missing, run
from parts.registry import Registry
from parts.relay import Relay
from roads import Road, Seen
from storage import blob_bytes, copy_namespace
from watching import children_cpu, cores, environment, say, tail, watch

SLOW = Link("slow-tls", "TLS, 4 MB/s a connection to the target", rate_each=4e6, tls=True,
            to_target=True)  # fmt: skip
LINKS = {
    link.name: link
    for link in (
        LOOPBACK,
        Link("tls", "loopback, TLS on both sides", tls=True),
        Link("shaped", "50 ms round trip, 400 Mbit/s each way in all", 0.05, rate=50e6),
        SLOW,
    )
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One work over one link: both registries, the first of them full."""

    work: Work
    workload: Workload
    link: Link
    source: Road
    target: Road
    folder: Path

    def part(self, contenders: Sequence[Contender], rounds: int, bound: float | None) -> Part:
        """All rounds, each contender at another place in each. With a bound, none runs longer."""
        if bound is None:
            contenders = [c for c in contenders if c.name not in self.work.left_out]
        runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
        reruns: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
        for number in range(rounds):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                its = list(self.runs(contender, bound))
                told = ", again ".join(f"{run.seconds:.2f} s" for run in its)
                say(f"{self.work.name} {self.link.name} {number + 1}: {contender.name} {told}")
                if not self.work.in_place:
                    runs[contender.name].append(its[0])
                if bound is None:
                    reruns[contender.name].append(its[-1])
        return Part(
            self.work.name, self.work.says, self.link, cores(), len(self.workload.images),
            self.workload.distinct, {} if self.work.in_place else runs,
            {} if bound is not None else reruns, bound,
        )  # fmt: skip

    def runs(self, contender: Contender, bound: float | None) -> Iterator[Run]:
        """Run a contender with an empty target, and again; once where there is nothing to do."""
        with ExitStack() as stack:
            self.target.renew(self._in_place if self.work.in_place else None)
            engine = None
            if contender.engine:
                engine = stack.enter_context(new_engine(self.folder, containerd_store=None))
            yield self.run(contender, engine, bound)
            if bound is None and not self.work.in_place:
                yield self.run(contender, engine, bound)

    def _in_place(self, data: Path) -> None:
        copy_namespace(self.source.registry.folder / "data", data, SOURCE, TARGET)

    def run(self, contender: Contender, engine: Engine | None, bound: float | None) -> Run:
        """Run a contender, check what it brought, and tell what it took. Raises PartFailed."""
        roads = (self.source, self.target)
        cas = [ca for road in roads if (ca := road.registry.ca_file)]
        route = Route.write(
            self.folder, self.workload.images, self.source.host, self.target.host, cas
        )
        counting = self.source.counting("down"), self.target.counting("up")
        log, used = self.folder / "contender.log", used_cpu()
        watched = watch(
            contender.command(route), env=environment(self.folder, engine), folder=self.folder,
            log=log, stop_after=bound,
        )  # fmt: skip
        engines, registries, relays = (
            now - before for now, before in zip(used_cpu(), used, strict=True)
        )
        if bound is None:
            if watched.code != 0:
                raise PartFailed(f"{contender.name} ended with {watched.code}:\n{tail(log)}")
            self.workload.check(self.target.registry, by_config=contender.engine)
        return Run(
            watched.seconds, watched.cpu + engines, registries, relays, watched.rss,
            watched.samples or (watched.rss,),
            traffic(counting[0](), sent_bytes),
            traffic(counting[1](), partial(uploaded_bytes, self.target.registry)),
        )  # fmt: skip


def used_cpu() -> tuple[float, float, float]:
    """The CPU seconds of engines, registries and relays until now."""
    return (
        children_cpu({"dockerd", "containerd"}),
        children_cpu({"docker-registry"}),
        time.process_time(),
    )


def traffic(seen: Seen, blobs: Callable[[Seen], int]) -> Traffic:
    return Traffic(len(seen.requests), seen.connections, blobs(seen), seen.bytes)


def sent_bytes(seen: Seen) -> int:
    """How many bytes of blobs a registry has sent."""
    asked = (request for request in seen.requests if request.method == "GET")
    return sum(request.bytes for request in asked if "/blobs/" in request.path)


def uploaded_bytes(registry: Registry, seen: Seen) -> int:
    """How many bytes of blobs were uploaded to it: those that closing requests name."""
    closing = (r for r in seen.requests if r.method in {"PUT", "POST"} and r.status == 201)
    queries = (parse_qs(urlsplit(request.path).query) for request in closing)
    return sum(blob_bytes(registry, query["digest"][0]) for query in queries if "digest" in query)


class Sources:
    """The source of one work, filled once; it may be asked over plain HTTP and over TLS."""

    def __init__(self, work: Work, folder: Path, scale: float, seed: int) -> None:
        self.work, self._folder = work, folder
        with Registry(folder / "filled") as registry:
            self.workload = Workload.of(registry, work.put(registry, scale, seed))

    @contextmanager
    def bench(self, link: Link) -> Iterator[Bench]:
        """Both registries, and their relays, for this link."""
        with ExitStack() as stack, TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            (folder / "source").mkdir()
            (folder / "source" / "data").symlink_to(self._folder / "filled" / "data")
            source = stack.enter_context(Registry(folder / "source", tls=link.tls))
            target = stack.enter_context(Registry(folder / "target", tls=link.tls))
            roads = [Road(r, stack.enter_context(Relay(r.host))) for r in (source, target)]
            for road in roads[1:] if link.to_target else roads:
                road.shape(link)
            yield Bench(self.work, self.workload, link, roads[0], roads[1], folder)


def read_template(text: str) -> Contender:
    """Reads NAME='command' for argparse."""
    try:
        return templated(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_counts(text: str) -> list[Contender]:
    """Reads `8,16,32` for argparse."""
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError("write numbers, as 8,16,32") from error
    return [direct_at(count) for count in counts]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=known(WORKS), default="shared,tiny,unchanged")
    parser.add_argument("--links", type=known(LINKS), default="loopback,tls,shaped")
    parser.add_argument("--contenders", type=known(CONTENDERS), default=",".join(CONTENDERS))
    parser.add_argument(
        "--direct-c", type=read_counts, default=[], metavar="N,…",
        help="the direct way with so many images at once, too; 1 shows its round trips",
    )  # fmt: skip
    parser.add_argument(
        "--also",
        type=read_template,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another contender; {list}, {source}, {target}, {ca_file} are filled in",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=0.05,
        help="of large layers, and of how many images there are",
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a run of slow-tls lasts")
    parser.add_argument("--folder", type=Path, help="of the registries (default: a temporary one)")
    return parser.parse_args()


def wanted(options: argparse.Namespace) -> Iterator[tuple[Work, Sequence[Link], float | None]]:
    """Each work, the links that it goes over, and after how many seconds its runs are stopped."""
    links = [link for link in options.links if link != SLOW]
    if links:
        yield from ((work, links, None) for work in options.work)
    if SLOW in options.links:
        yield from ((work, [SLOW], options.seconds) for work in MEMORY_WORKS)


def contenders_of(options: argparse.Namespace, bound: float | None) -> list[Contender]:
    """All that were asked for; where memory counts, those who copy many images at once."""
    chosen = [*options.contenders, *options.direct_c, *options.also]
    if bound is None:
        return chosen
    ours = [direct_at(16)] if CONTENDERS[OURS] in chosen else []
    others = [c for c in chosen if c.at_once != 1 and not c.engine and c.name != OURS]
    return list(dict.fromkeys((*ours, *others)))


def told(part: Part, scale: float) -> str:
    """What is printed of a part."""
    lines = [report(part), *(goals := list(judged(part)))]
    if goals:
        at = "" if scale == 1 else f" (they are for scale 1, this is {scale:g})"
        lines.insert(1, f"goals{at}")
    return "\n".join(lines)


def main() -> None:
    """Measure each part, and print it when it is done."""
    options = arguments()
    engine = any(c.engine for c in options.contenders) and options.links != [SLOW]
    if lacks := (*missing("registry"), *(missing("engine") if engine else ())):
        sys.exit(f"it needs {', '.join(dict.fromkeys(lacks))}")
    load, parts = os.getloadavg()[0], []
    for work, links, bound in wanted(options):
        with TemporaryDirectory(prefix="asyncsync-benchmark-", dir=options.folder) as folder:
            sources = Sources(work, Path(folder), options.scale, options.seed)
            for link in links:
                with sources.bench(link) as bench:
                    part = bench.part(contenders_of(options, bound), options.rounds, bound)
                print(told(part, options.scale), end="\n\n", flush=True)
                parts.append(part)
    if sizes := [part.runs[MEMORY_AT] for part in parts if part.bounded and MEMORY_AT in part.runs]:
        rss = (median((run.rss / MIB for run in runs), ".0f") for runs in sizes)
        print(f"{MEMORY_AT} by size of layers, the largest first: RSS MiB {', '.join(rss)}\n")
    with TemporaryDirectory() as folder, ExitStack() as stack:
        running = new_engine(Path(folder), containerd_store=None)
        measured = versions(stack.enter_context(running) if engine else None)
    skopeo = run("skopeo", "--version").stdout.split()[-1]
    print(
        f"{measured}, skopeo {skopeo}\n"
        f"scale {options.scale:g}, seed {options.seed}; {options.rounds} rounds, median "
        f"[lowest-highest]; CPU of clients with their engines\n"
        f"{cores()} cores, which registries and relays share; load average {load:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after\n"
        f"repeat: {shlex.join(['python', *sys.argv])}"
    )


if __name__ == "__main__":
    try:
        main()
    except (PartFailed, subprocess.TimeoutExpired) as failed:
        sys.exit(str(failed))
