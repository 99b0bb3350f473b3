"""What `demo` shows: commands as they are typed in its folder, and what they do.

`sync` is read from the very words that are shown, and told by what tells every run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from asyncsync import lists
from asyncsync.api import open_sync
from asyncsync.cli import files
from asyncsync.cli.output import Output
from asyncsync.cli.settings import Given, settings
from asyncsync.cli.sync import sync
from asyncsync.cli.telling import Telling
from asyncsync.model.job import Destination, Plan
from asyncsync.model.outcome import Report, Status
from asyncsync.planning import plan as planned
from asyncsync.reporting.log import Level, open_log
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog
from asyncsync.reporting.table import plan_lines
from asyncsync.reporting.units import count

LIST, LIST_WITH_MISTAKE = "images.yaml", "mistake.yaml"
_LISTED = """\
# what others build on
{source}/demo/base:1
{source}/demo/runtime:3.13

# ours
{source}/demo/api:2.0
{source}/demo/api:2.1   # the next one
{source}/demo/web:5
{source}/demo/worker:1
"""
_MISTAKEN = "{source}/demo/web:6\n"  # there is none
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Stage:
    """Two registries, and a folder in which commands are typed.

    `source` is one of them, `to` is a destination in the other; `asked` says how many requests
    both have answered.
    """

    def __init__(
        self, folder: Path, out: Output, *, source: str, to: str, asked: Callable[[], int]
    ) -> None:
        self._folder, self._out = folder, out
        self._source, self._to, self._asked = source, to, asked

    async def play(self) -> bool:
        """Show all of it; whether all came as it should. Raises AsyncsyncError, OSError."""
        listed = _LISTED.format(source=self._source)
        self._write(LIST, listed)
        self._say("Two registries run on this machine now, one with six images and one empty.")
        self._say("No Docker, no network, no login. This is a list, as you would keep it:", "")
        self._type("cat", LIST)
        self._say(*listed.splitlines())
        self._say("", "What would go where:", "")
        self._type("asyncsync", "plan", "--to", self._to)
        self._say(*plan_lines(self._plan(LIST, Destination.parse(self._to))))
        self._say("", "Copy, straight from one registry to the other:", "")
        first = await self._sync()
        self._say("", "Again, with nothing changed:", "")
        before = self._asked()
        second = await self._sync()
        requests = count(self._asked() - before, "request")
        self._say(f"That took {requests} and moved {second.bytes_moved} bytes.")
        self._write(LIST_WITH_MISTAKE, listed + _MISTAKEN.format(source=self._source))
        what = "the same list with one more image, which does not exist"
        self._say("", f"{LIST_WITH_MISTAKE} is {what} (-q tells failures alone):", "")
        third = await self._sync("-q", LIST_WITH_MISTAKE)
        self._say("Until then, sync ends with exit code 1.", "")
        unchanged = [report.counts[Status.UNCHANGED] for report in (second, third)]
        return first.ok and unchanged == [len(first.outcomes)] * 2

    async def _sync(self, *more: str) -> Report:
        words = ["--via", "direct", "--to", self._to, *more]
        self._type("asyncsync", "sync", *words)
        given = dict(sync.make_context("sync", words).params)
        images = str(given.pop("images"))
        # Nobody's variables: this is to look the same everywhere.
        chosen = settings(cast(Given, given), variables={})
        plan = self._plan(images, chosen.to)
        level = Level.ERROR if chosen.quiet else Level.WARNING
        log = open_log(self._out, log_format="console", level=level)
        narration = Narration(log, failures_shown=True)
        narration.begin(plan, to=chosen.to, concurrency=chosen.concurrency)
        path = self._folder / chosen.succeeded_log
        with files.open_kept("--succeeded-log", path) as file:
            succeeded = SucceededLog(file, partial(files.empty, file, path))
            telling = Telling(plan, chosen, log, narration, self._out, succeeded)
            options = chosen.options(telling.observe)
            # Nobody's logins either: a helper that hangs is no part of this.
            options["docker_config"] = self._folder
            async with open_sync(plan, **options) as run:
                async for outcome in run:
                    telling.tell(outcome)
            telling.finish(run.report)
        return run.report

    def _plan(self, name: str, to: Destination) -> Plan:
        return planned(lists.read((self._folder / name).read_text(), name), [to])

    def _write(self, name: str, text: str) -> None:
        files.replace(self._folder / name, text)

    def _type(self, *words: str) -> None:
        bold, plain = (_BOLD, _PLAIN) if self._out.coloured else ("", "")
        self._say(f"{bold}$ {' '.join(words)}{plain}")

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._out.line(line)
