"""How fast a list goes through one engine: the shell loop, `xargs -P`, and asyncsync.

    python benchmarks/engine.py [--rounds 3] [--links latency,line] [--limits default]

As root, on a dockerd and two docker-registries of its own, all on loopback; relays make the links.
For every contender in every round engine and target are new and empty, and the contenders change
places from round to round. A run counts only if the target has each image with the source's config
(a classic engine packs layers anew, so the other digests differ). Some contenders run a second time
with nothing changed. Ratios compare runs of the same round.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from engine_report import (
    LIMITS,
    LINKS,
    OURS,
    SERIAL,
    Contender,
    Cpu,
    Limits,
    Part,
    Run,
    Traffic,
    report,
)
from engines import has_containerd_store, new_engine, versions
from measuring import Link, known
from parts import images
from parts.engine import Engine
from parts.processes import PartFailed, missing
from parts.registry import PutImage, Registry, Request
from parts.relay import Relay
from roads import Road, Seen
from watching import children_cpu, cores, environment, say, stalled_seconds, tail

CONTENDERS = "serial,xargs-4,xargs-8,asyncsync-1,asyncsync-4,asyncsync-8,asyncsync-16"
RERUN = (SERIAL, OURS)
BASES = 4
BASE_BYTES = 2_000_000
OWN_BYTES = (180_000, 2_200_000)  # a layer of an image's own; as many small as large ones
TIMEOUT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Workload:
    """The images in the source, by repository; the tag is always 1. `distinct`: bytes of layers."""

    images: dict[str, PutImage]
    distinct: int

    @classmethod
    def put(cls, registry: Registry, count: int, *, scale: float, seed: int) -> Workload:
        """Fill the registry: every image has one of a few bases and 2 or 3 layers of its own."""
        rng = random.Random(seed)  # noqa: S311  sizes, no secret
        sizes: dict[str, int] = {}
        bases = [images.layer(f"{seed} base {n}", int(BASE_BYTES * scale)) for n in range(BASES)]
        put = {}
        low, high = OWN_BYTES
        for number in range(count):
            own = [
                images.layer(
                    f"{seed} {number} {layer}", int(low * (high / low) ** rng.random() * scale)
                )
                for layer in range(2 + number % 2)
            ]
            layers = [bases[number % BASES], *own]
            name = f"source/image{number:02}"
            put[name] = registry.put_image(name, "1", layers=0, shared_layers=layers)
            sizes |= {images.digest_of(layer.data): len(layer.data) for layer in layers}
        return cls(put, sum(sizes.values()))

    def write_list(self, folder: Path, host: str) -> Path:
        """An image a line: the shell reads it as well as asyncsync."""
        path = folder / "images.txt"
        path.write_text("".join(f"{host}/{name}:1\n" for name in self.images))
        return path

    def traffic(self, seen: Seen) -> Traffic:
        """The same, told by what an engine limits."""
        layers = self._about_layers(seen.requests)
        return Traffic(len(seen.requests), layers, seen.connections, seen.bytes)

    def _about_layers(self, requests: Sequence[Request]) -> int:
        """How many of the requests are about layers, which an engine limits; configs are not."""
        blobs = [unquote(request.path) for request in requests if "/blobs/" in request.path]
        configs = {put.config_digest for put in self.images.values()}
        of_configs = (path for path in blobs if any(digest in path for digest in configs))
        # Of an upload only the closing PUT names the digest, not its POST and its PATCH.
        return len(blobs) - sum(3 if "/uploads/" in path else 1 for path in of_configs)

    def check(self, target: Registry) -> None:
        """Raise PartFailed unless the target has every image with the source's config."""
        for name, put in self.images.items():
            copied = f"target/{name.rpartition('/')[2]}"
            found = target.config_digest_of(copied, "1")
            if found != put.config_digest:
                raise PartFailed(f"{copied}:1 has config {found}, {name}:1 {put.config_digest}")


@dataclass(frozen=True, slots=True)
class Bench:
    """What all contenders share."""

    source: Road
    target: Road
    workload: Workload
    folder: Path
    containerd_store: bool | None
    rounds: int

    def part(self, link: Link, limits: Limits, contenders: Sequence[Contender]) -> Part:
        """All rounds over this link with these limits, each contender at another place in each."""
        for road in (self.source, self.target):
            road.shape(link)
        runs: dict[Contender, list[Run]] = {contender: [] for contender in contenders}
        reruns: dict[Contender, list[Run]] = {c: [] for c in contenders if c in RERUN}
        for number in range(self.rounds):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                self.target.renew()
                with self.new_engine(limits) as engine:
                    runs[contender].append(self.run(engine, contender))
                    if contender in reruns:
                        reruns[contender].append(self.run(engine, contender))
                seconds = [its[contender][-1].seconds for its in (runs, reruns) if contender in its]
                told = ", again ".join(f"{taken:.2f} s" for taken in seconds)
                say(f"{link.name} {limits.name} round {number + 1}: {contender} {told}")
        distinct, binding = self.workload.distinct, not self.containerd_store
        return Part(link, limits, binding, cores(), distinct, runs, reruns)

    def new_engine(self, limits: Limits) -> AbstractContextManager[Engine]:
        """An engine that has those limits."""
        store, settings = self.containerd_store, limits.settings
        return new_engine(self.folder, containerd_store=store, settings=settings)

    def run(self, engine: Engine, contender: Contender) -> Run:
        """Run a contender, check what it brought, and tell what it took. Raises PartFailed."""
        names = self.workload.write_list(self.folder, self.source.host)
        command = contender.command(str(names), f"{self.target.host}/target")
        surroundings = environment(self.folder, engine)
        said = self.folder / "contender.log"
        source, target = self.source.counting("down"), self.target.counting("up")
        with said.open("wb") as log:
            used, stalled, begun = cpu(), stalled_seconds(), time.perf_counter()
            code = subprocess.run(
                command, env=surroundings, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS, check=False,
            ).returncode  # fmt: skip
            seconds = time.perf_counter() - begun
            used, stalled = cpu() - used, stalled_seconds() - stalled
        if code != 0:
            raise PartFailed(f"{contender} ended with {code}:\n{tail(said)}")
        self.workload.check(self.target.registry)
        traffic = self.workload.traffic
        return Run(seconds, stalled, traffic(source()), traffic(target()), used)


def cpu() -> Cpu:
    """The CPU seconds that everything here has used until now."""
    client = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cpu(
        engine=children_cpu({"dockerd", "containerd"}),
        client=client.ru_utime + client.ru_stime,  # of the children that have ended
        registries=children_cpu({"docker-registry"}),
        relays=time.process_time(),
    )


def contenders(text: str) -> list[Contender]:
    """Reads `serial,asyncsync-8` for argparse."""
    try:
        return list(dict.fromkeys(map(Contender.parse, text.split(","))))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--scale", type=float, default=1.0, help="of the layers' sizes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--links", type=known(LINKS), default=",".join(LINKS))
    parser.add_argument("--limits", type=known(LIMITS), default=",".join(LIMITS))
    parser.add_argument("--contenders", type=contenders, default=CONTENDERS)
    parser.add_argument(
        "--containerd-store", action=argparse.BooleanOptionalAction, default=None,
        help="containerd's image store, or Docker's own (default: the engine's choice)",
    )  # fmt: skip
    return parser.parse_args()


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Bench]:
    """Two registries, the first of them full, and their relays."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="asyncsync-benchmark-")))
        source = stack.enter_context(Registry(folder / "source"))
        target = stack.enter_context(Registry(folder / "target"))
        workload = Workload.put(source, options.images, scale=options.scale, seed=options.seed)
        yield Bench(
            Road(source, stack.enter_context(Relay(source.host))),
            Road(target, stack.enter_context(Relay(target.host))),
            workload, folder, options.containerd_store, options.rounds,
        )  # fmt: skip


def main() -> None:
    """Measure each part, and print it when it is done."""
    options = arguments()
    if lacks := (*missing("engine"), *missing("registry")):
        sys.exit(f"it needs {', '.join(lacks)}")
    load = os.getloadavg()[0]
    with prepared(options) as bench:
        with bench.new_engine(LIMITS["default"]) as engine:
            measured, containerd_store = versions(engine), has_containerd_store(engine)
        if options.containerd_store and not containerd_store:
            sys.exit(f"there is no containerd store in this engine: {measured}")
        bench = replace(bench, containerd_store=containerd_store)
        for link in options.links:
            for limits in options.limits:
                if containerd_store and limits is not LIMITS["default"]:
                    print(f"{link.name}: {limits} left out, a containerd store has none\n")
                    continue
                print(report(bench.part(link, limits, options.contenders)), end="\n\n", flush=True)
        print(
            f"{measured}\n{options.images} images, {bench.workload.distinct / 1e6:.1f} MB distinct "
            f"(scale {options.scale:g}, seed {options.seed}); {options.rounds} rounds, median "
            f"[lowest-highest]\n{cores()} cores, which registries and relays share; load average "
            f"{load:.1f} before, {os.getloadavg()[0]:.1f} after\n"
            f"repeat: {' '.join(['python', *sys.argv])}"
        )


if __name__ == "__main__":
    try:
        main()
    except (PartFailed, subprocess.TimeoutExpired) as failed:
        sys.exit(str(failed))
