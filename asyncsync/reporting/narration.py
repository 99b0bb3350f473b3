"""Writes a run's events into the log, each at its level and under its keys."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from asyncsync.model.events import (
    Advised,
    BytesMoved,
    Chosen,
    Ended,
    Event,
    Noted,
    Retried,
    Spared,
    StepEnded,
    StepStarted,
    Waited,
    Walked,
    Warned,
)
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.causes import cause_key
from asyncsync.settings import concurrency_of

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from asyncsync.model.job import Destination, Plan, Shard
    from asyncsync.model.place import Layout

_LONG_WAIT_SECONDS = 10  # from here on, somebody who watches asks what is wrong


class Narration:
    """A listener. `failures_shown`: something else tells each failure, so the log need not."""

    def __init__(self, log: FilteringBoundLogger, *, failures_shown: bool) -> None:
        self._log, self._failures_shown = log, failures_shown
        self._run: dict[str, Any] = {}
        self._concurrency: int | None = None
        self._waited_for: set[Hashable] = set()  # a rate limit makes each of 2,000 images wait

    def begin(
        self, plan: Plan, *, to: Destination, concurrency: int | None, shard: Shard | None = None
    ) -> None:
        """Tell what is odd about the list; the first event will say what the run is about.

        `concurrency` None is the way's own, which is known with the way.
        """
        self._run = {"images": len(plan.jobs), "destination": str(to)}
        self._concurrency = concurrency
        if shard:
            self._run["shard"] = str(shard)
        for warning in plan.warnings:
            at = warning.at
            self._log.warning(
                "warned", file=at.file, line=at.line, column=at.column, text=warning.text
            )

    def __call__(self, event: Event) -> None:
        """Write one event down."""
        match event:
            case Chosen(via, why):
                at_once = self._concurrency or concurrency_of(via)
                self._log.info("chosen", via=via, why=why, concurrency=at_once, **self._run)
            case Advised(text):
                self._log.warning("advised", text=text)
            case Warned(registry, text):
                self._log.warning("cautioned", registry=registry, text=text)
            case BytesMoved() | Spared() | Walked():
                pass  # far too many; the sum is the outcome's
            case Ended(outcome):
                self._ended(outcome)
            case _:
                self._about_job(event, str(event.job.source))

    def take_back(self, tar: Layout, lost: Sequence[Outcome]) -> None:
        """Tell that `lost`, of which a copy was told, are not in place: `tar` is not."""
        if self._failures_shown or not lost:
            return
        error, target, images = lost[0].error, str(tar), len(lost)
        if error is None:
            self._log.info("taken_back", target=target, images=images, reason=lost[0].notes[-1])
        else:
            self._log.error(
                "taken_back", target=target, images=images, reason=error.what, advice=error.advice()
            )

    def _about_job(
        self, event: StepStarted | StepEnded | Retried | Waited | Noted, image: str
    ) -> None:
        match event:
            case StepStarted(_, step):
                self._log.debug("started", image=image, step=str(step))
            case StepEnded(_, step, seconds):
                self._log.debug("ended", image=image, step=str(step), seconds=round(seconds, 3))
            case Retried(_, attempt, wait, error):
                where = _where(error.where.registry, error.where.step)
                is_news = wait >= _LONG_WAIT_SECONDS and cause_key(error) not in self._waited_for
                if is_news:
                    self._waited_for.add(cause_key(error))
                tell = self._log.warning if is_news else self._log.info
                tell(
                    "retried",
                    image=image,
                    **where,
                    attempt=attempt,
                    wait_seconds=round(wait, 3),
                    reason=error.what,
                )
            case Waited(_, why, seconds):
                tell = self._log.warning if seconds >= _LONG_WAIT_SECONDS else self._log.info
                tell("waited", image=image, reason=why, seconds=round(seconds, 3))
            case Noted(_, text):
                self._log.warning("noted", image=image, text=text)

    def _ended(self, outcome: Outcome) -> None:
        image, error = str(outcome.job.source), outcome.error
        if error is not None:
            tell = self._log.info if self._failures_shown else self._log.error
            where = _where(error.where.registry, error.where.step)
            tell(
                "failed",
                image=image,
                **where,
                kind=type(error).__name__,
                reason=error.what,
                advice=error.advice(),
                attempt=outcome.attempts,
            )
        elif outcome.status is Status.COPIED:
            self._log.info(
                "copied",
                image=image,
                target=str(outcome.job.target),
                digest=str(outcome.digest),
                bytes=outcome.bytes_moved,
                bytes_there=outcome.bytes_there,
                bytes_shared=outcome.bytes_shared,
                seconds=round(outcome.seconds, 3),
                attempt=outcome.attempts,
            )
        else:
            self._log.info(str(outcome.status), image=image, target=str(outcome.job.target))


def _where(registry: str, step: object) -> dict[str, str | None]:
    return {"registry": registry, "step": str(step) if step else None}
