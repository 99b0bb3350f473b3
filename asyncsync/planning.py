"""Images × destinations → jobs: what each target is called, and that no two are one.

Pure. A plan that stands can be carried out in any order: no two jobs write the same target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapreplace

from asyncsync.model.errors import PlanError
from asyncsync.model.foreign import shown
from asyncsync.model.job import CopyJob, Destination, Plan, Shard
from asyncsync.model.naming import NotAReference
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import ImageSpec, ListWarning, Mistake


def plan(
    specs: Sequence[ImageSpec], to: Sequence[Destination], platforms: tuple[Platform, ...] = ()
) -> Plan:
    """The jobs that bring every image to every destination, in the order of the list.

    An image that stands twice is copied once, with a warning. Raises PlanError with all mistakes.
    """
    images, warnings = _distinct(specs)
    owners: dict[Reference, ImageSpec] = {}
    jobs: list[CopyJob] = []
    mistakes: list[Mistake] = []
    for spec in images:
        for destination in dict.fromkeys(to):
            target = _target(spec, destination)
            if isinstance(target, Mistake):
                mistakes.append(target)
            elif (owner := owners.setdefault(target, spec)) is not spec:
                mistakes.append(_collision(spec, owner, target))
            else:
                jobs.append(CopyJob(spec.source, target, platforms, spec.at))
    if mistakes:
        raise PlanError(mistakes)
    return Plan(tuple(jobs), warnings)


def part(whole: Plan, shard: Shard) -> Plan:
    """One of so many parts of a plan, in the order of the plan; all parts together are the plan.

    The same plan gives the same parts, about equally large. Images of one source repository stay
    together, since they share most of their layers. Warnings go with the first part.
    """
    families: dict[str, list[CopyJob]] = {}
    for job in whole.jobs:
        families.setdefault(job.source.name, []).append(job)
    loads = [(0, index) for index in range(1, shard.count + 1)]  # a heap already
    ours: set[CopyJob] = set()
    # The largest first, each to the part that has least: at most one family from the best.
    for family in sorted(families.values(), key=len, reverse=True):
        load, index = loads[0]
        heapreplace(loads, (load + len(family), index))
        if index == shard.index:
            ours.update(family)
    jobs = tuple(job for job in whole.jobs if job in ours)
    return Plan(jobs, whole.warnings if shard.index == 1 else ())


def _distinct(specs: Sequence[ImageSpec]) -> tuple[Iterator[ImageSpec], tuple[ListWarning, ...]]:
    first: dict[Reference, ImageSpec] = {}
    warnings = tuple(
        _stands_twice(spec, kept)
        for spec in specs
        if (kept := first.setdefault(spec.source, spec)) is not spec
    )
    return iter(first.values()), warnings


def _target(spec: ImageSpec, destination: Destination) -> Reference | Mistake:
    name = spec.source.repository.rpartition("/")[2]
    # A dot, because `sha256-<hex>` belongs to the referrers tag schema (distribution-spec).
    tag = spec.source.tag or str(spec.source.digest).replace(":", ".")
    try:
        target = destination.image(name, tag)
    except NotAReference as error:
        what = f"{spec.source.familiar} cannot go to {destination}/{name}: {error.what}"
        return Mistake(spec.at, shown(f"{what}. Choose a shorter namespace"))
    if target == spec.source:
        what = f"{target} would be copied onto itself. Remove it, or choose another destination"
        return Mistake(spec.at, what)
    return target


_ONE_OF_THEM = "Keep one of them. The other can go by a list of its own, into another namespace."


def _collision(spec: ImageSpec, owner: ImageSpec, target: Reference) -> Mistake:
    both = f"{spec.source.familiar} and {owner.source.familiar} ({owner.at})"
    return Mistake(spec.at, f"{both} would both become {target}. {_ONE_OF_THEM}")


def _stands_twice(spec: ImageSpec, kept: ImageSpec) -> ListWarning:
    what = f"{spec.source.familiar} stands at {kept.at} already. It is copied once"
    return ListWarning(spec.at, f"{what}; remove one of the two.")
