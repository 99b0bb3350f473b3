"""What `sync` does: read, plan, check and open the files, copy, tell."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from asyncsync import lists
from asyncsync.cli import files
from asyncsync.cli.deadline import Deadline
from asyncsync.cli.ending import FAILED, Ending
from asyncsync.cli.following import follow
from asyncsync.cli.live import live
from asyncsync.cli.output import Output
from asyncsync.cli.settings import Given, Settings, check_hosts, how_to_log, settings
from asyncsync.cli.telling import Telling
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.place import Layout
from asyncsync.planning import part
from asyncsync.planning import plan as planned
from asyncsync.reporting.failed_list import wrote
from asyncsync.reporting.log import Level, open_log
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog

if TYPE_CHECKING:
    from asyncsync.cli.signals import Interruption
    from asyncsync.model.job import Plan


def run(ending: Ending, images: str, given: Given) -> int:
    """Carry out `asyncsync sync` and return its exit code. Raises AsyncsyncError."""
    began = time.monotonic()
    log_format, level = how_to_log(given, os.environ)
    shown_there = log_format == "console" and given["output"] == "table"
    below = live(sys.stdout, sys.stderr) if shown_there and not given["quiet"] else None
    log = open_log(Output(sys.stderr, below), log_format=log_format, level=level)
    ending.warn = lambda line: log.warning("refused", reason=line)
    if log_format == "json":
        ending.tell = lambda line: log.error("refused", reason=line.strip())
    ending.name_list(images)
    ending.traceback = level == Level.DEBUG
    if ending.page:  # before anything is read: what is wrong may be a secret in the wrong place
        ending.page.mask_names()
    chosen = _settings(images, given)
    ending.secrets = chosen.secrets
    if ending.page:
        ending.page.mask(ending.secrets, names=chosen.names)
    text = files.list_text(images, chosen.from_)
    plan = planned(lists.read(text, images, chosen.from_), [chosen.to], chosen.platforms)
    check_hosts(chosen.access, plan)
    if chosen.shard:
        plan = part(plan, chosen.shard)
    _check(chosen, images, ours=wrote(text))
    out = Output(sys.stdout, below)
    narration = Narration(log, failures_shown=shown_there)
    narration.begin(plan, to=chosen.to, concurrency=chosen.concurrency, shard=chosen.shard)
    if ending.page:
        ending.page.tell_warnings(plan.warnings)
    if not plan.jobs:
        of = {"shard": str(chosen.shard)} if chosen.shard else {}
        log.warning("found_empty", file=ending.list_name, **of)
    with files.open_kept("--succeeded-log", chosen.succeeded_log) as file:
        succeeded = SucceededLog(file, partial(files.empty, file, chosen.succeeded_log))
        telling = Telling(plan, chosen, log, narration, out, succeeded, page=ending.page)
        deadline = Deadline(chosen.deadline, began) if chosen.deadline else None
        return _carry_out(plan, chosen, telling, ending.interruption, deadline)


def _settings(images: str, given: Given) -> Settings:
    from urllib.request import getproxies_environment

    password = _password(images) if given["password_stdin"] else None
    return settings(given, os.environ, password=password, proxies=getproxies_environment())


def _password(images: str) -> str:
    if images == files.STDIN:
        raise ConfigurationError("stdin cannot be list and password at once. Name the list's file.")
    try:
        password = files.read_stdin().decode().rstrip("\r\n")  # as docker login does
    except UnicodeDecodeError:
        raise ConfigurationError("--password-stdin: stdin is no UTF-8.") from None
    if not password:
        raise ConfigurationError("--password-stdin: stdin has no password.")
    return password


def _check(chosen: Settings, images: str, *, ours: bool) -> None:
    """Make sure that every file can be written, before any is touched and anything moves.

    `ours`: the list was written by an earlier run, and may be replaced by what is left of it.
    """
    read = {} if images == files.STDIN else {Path(os.path.realpath(images)): "the list itself"}
    taken = dict(_of_layouts(chosen)) | ({} if ours else read)
    if chosen.failed_list:  # `sync todo --failed-list todo` is a loop that ends
        files.check_writable("--failed-list", chosen.failed_list, taken)
    taken = read | taken
    files.check_writable("--succeeded-log", chosen.succeeded_log, taken)
    if chosen.report:
        files.check_writable("--report", chosen.report, taken)


def _of_layouts(chosen: Settings) -> Iterator[tuple[Path, str]]:
    """The files without which a layout is none, and what they are: a list written there ends it."""
    for place in (chosen.from_, chosen.to.place):
        if isinstance(place, Layout) and place.is_tar:
            yield Path(os.path.realpath(place.path)), str(place)
        elif isinstance(place, Layout):
            for name in ("index.json", "oci-layout"):
                yield Path(os.path.realpath(place.path), name), f"a part of {place}"


def _carry_out(
    plan: Plan,
    chosen: Settings,
    telling: Telling,
    interruption: Interruption,
    deadline: Deadline | None,
) -> int:
    if not plan.jobs:  # nobody is asked for nothing
        telling.begin()
        telling.finish(telling.so_far())
        return 0 if telling.complete else FAILED
    from asyncsync.api import open_sync

    opening = open_sync(plan, **chosen.options(telling.observe))
    report = anyio.run(partial(follow, opening, telling, interruption, deadline))
    if interruption.signal is not None:
        return interruption.exit_code
    return 0 if report.ok and telling.complete else FAILED
