"""All that is told of one run, and where: table, JSON, succeeded.log, files at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

from asyncsync.cli.files import reason, replace
from asyncsync.model.events import Chosen, Ended, Event
from asyncsync.model.foreign import shown
from asyncsync.model.job import CopyJob, Plan
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.reporting.failed_list import failed_list
from asyncsync.reporting.json import report_json
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog
from asyncsync.reporting.table import Table
from asyncsync.reporting.under_way import UnderWay
from asyncsync.reporting.verdict import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from asyncsync.cli.github import Page
    from asyncsync.cli.output import Output
    from asyncsync.cli.settings import Settings

_QUIET_SECONDS = 30.0  # a person who watches begins to wonder


class Telling:
    """Listens to a run. Raises nothing: a full disk must not cost the images that are under way.

    `complete` is False once something could not be written.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        log: FilteringBoundLogger,
        narration: Narration,
        out: Output,
        succeeded: SucceededLog,
        page: Page | None = None,
    ) -> None:
        self._plan, self._settings, self._log, self._out = plan, settings, log, out
        self._narration, self._succeeded, self._page = narration, succeeded, page
        self._table = Table(plan.jobs, coloured=out.coloured)
        self._under_way = UnderWay(len(plan.jobs))
        self._ended: dict[CopyJob, Outcome] = {}
        self._told: set[CopyJob] = set()
        self._idle: list[Outcome] = []  # told at the end, when it is known how many they are
        self._told_copied: set[CopyJob] = set()  # in rows: of a tar, before it was in its place
        self._finished = False
        self._via = "direct" if settings.via == "direct" else "engine"  # until the run says which
        self._began = time.monotonic()
        self._lost: set[Path] = set()
        self._late = plan.tar is not None  # what is in place is known at the end
        self._why = "a failure ended the run before"  # of what is not tried to its end
        self.complete = True

    def observe(self, event: Event) -> None:
        """Hear one event of the run."""
        self._under_way(event)
        self._narration(event)
        match event:
            case Chosen(via):
                self._via = via
                self.begin()
            case Ended(outcome):
                self._ended[outcome.job] = outcome
            case _:
                pass

    def begin(self) -> None:
        """Begin the files of this run: it is under way."""
        self._kept("--succeeded-log", self._settings.succeeded_log, self._succeeded.begin)

    def tell(self, outcome: Outcome) -> None:
        """Tell what became of one image."""
        self._told.add(outcome.job)
        if not self._late:
            self._tell_succeeded(outcome)
        hidden = self._settings.quiet and outcome.in_place
        if outcome.status is Status.NOT_STARTED:
            self._idle.append(outcome)
        elif self._settings.output == "table" and not hidden:
            self._out.line(self._table.row(outcome))
            if self._late and outcome.status is Status.COPIED:
                self._told_copied.add(outcome.job)

    def tell_alive(self) -> None:
        """Tell what is under way: live in a terminal, else if nothing has ended for a while."""
        if self._out.live:
            self._out.live.show(list(self._under_way.rows(self._out.live.height)))
        elif self._under_way.quiet_for(_QUIET_SECONDS):
            self._log.info("continued", under_way=list(self._under_way.longest()))

    def tell_inside(self, message: str) -> None:
        """Note what went wrong on the way, and failed an image if it mattered."""
        self._log.debug("failed_inside", reason=message)

    def tell_stopping(self, signal: str) -> None:
        """Answer a signal."""
        self._why = f"{signal} stopped the run"
        self._log.warning("stopped", signal=signal, under_way=len(self._under_way))

    def tell_closing(self, seconds: float) -> None:
        """Say that the deadline is near: from now on nothing is begun."""
        self._why = "the deadline came first"
        under_way = len(self._under_way)
        waiting = len(self._plan.jobs) - len(self._ended) - under_way
        if waiting:
            self._log.warning(
                "closed", waiting=waiting, under_way=under_way, seconds=round(seconds, 1)
            )

    def tell_expired(self) -> None:
        """Say that the deadline is here, if anything is given up for it."""
        if len(self._under_way):
            self._log.warning("expired", under_way=len(self._under_way))

    def finish(self, report: Report) -> None:
        """Tell what was not told yet, write the files, tell the end; once."""
        if self._finished:
            return
        self._finished = True
        report = replaced(report, outcomes=tuple(map(self._explained, report.outcomes)))
        for outcome in report.outcomes:
            if outcome.job not in self._told:
                self.tell(outcome)
        if tar := self._plan.tar:
            for outcome in report.outcomes:
                self._tell_succeeded(outcome)
            self._narration.take_back(tar, [o for o in report.outcomes if self._is_lost(o)])
        self._write_files(report)
        if self._page:
            self._page.tell_report(
                report,
                destination=str(self._settings.to),
                report_path=self._written(self._settings.report),
                failed_list=self._written(self._settings.failed_list),
                limit_rate=self._settings.limit_rate,
            )
        if self._settings.output == "json":
            self._out.line(report_json(report))
        else:
            listed = self._named(self._settings.failed_list)
            for row in self._table.idle(self._idle, failed_list=listed):
                self._out.line(row)
            self._out.line("")
            for line in self._verdict(report):
                self._out.line(line)
        if self._out.failed:
            self._refuse(f"stdout cannot be written ({reason(self._out.failed)}).")

    def so_far(self) -> Report:
        """The report of a run that has to be left before its end."""
        seconds = time.monotonic() - self._began
        return Report(self._via, seconds, tuple(map(self._last_known, self._plan.jobs)))

    def _last_known(self, job: CopyJob) -> Outcome:
        begun = Status.CANCELLED if job in self._under_way else Status.NOT_STARTED
        ended = self._ended.get(job)
        if ended and self._late and ended.status is Status.COPIED:
            return replaced(ended, status=Status.CANCELLED, digest=None)
        return ended or Outcome(job, begun)

    def _tell_succeeded(self, outcome: Outcome) -> None:
        self._kept("--succeeded-log", self._settings.succeeded_log, self._succeeded.tell, outcome)

    def _is_lost(self, outcome: Outcome) -> bool:
        """Whether it had been copied, but not into what is in its place."""
        ended = self._ended.get(outcome.job)
        return bool(ended and ended.in_place and not outcome.in_place)

    def _explained(self, outcome: Outcome) -> Outcome:
        if outcome.in_place or outcome.error:
            return outcome
        return replaced(outcome, notes=(*outcome.notes, self._why))

    def _write_files(self, report: Report) -> None:
        wanted = (
            ("--failed-list", self._settings.failed_list, failed_list),
            ("--report", self._settings.report, lambda report: f"{report_json(report)}\n"),
        )
        for what, path, text in wanted:
            if path is not None:
                self._kept(what, path, lambda text, path=path: replace(path, text), text(report))

    def _kept(self, what: str, path: Path, write: Callable[..., None], *content: object) -> None:
        try:
            write(*content)
        except OSError as error:
            if path not in self._lost:  # once: the next image would only say it again
                self._lost.add(path)
                self._refuse(
                    f"{what} {path} cannot be written ({reason(error)}); it is incomplete."
                )

    def _refuse(self, why: str) -> None:
        self._log.error("refused", reason=why)
        self.complete = False

    def _verdict(self, report: Report) -> Iterator[str]:
        return verdict(
            report,
            succeeded_log=self._named(self._settings.succeeded_log),
            failed_list=self._named(self._settings.failed_list),
            limit_rate=self._settings.limit_rate,
            tar=self._plan.tar,
            told_copied=self._told_copied,
        )

    def _named(self, path: Path | None) -> str | None:
        written = self._written(path)
        return shown(str(written)) if written else None

    def _written(self, path: Path | None) -> Path | None:
        return None if path in self._lost else path
