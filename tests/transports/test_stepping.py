"""A step of a job, whatever its transport: what is told of it, and what its errors name."""

from __future__ import annotations

import time

import pytest
from parts.places import Listener
from parts.turns import at_once

from asyncsync.model.errors import CopyError, NotFound, RegistryUnavailable, Where
from asyncsync.model.events import Retried, StepEnded, StepStarted
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.stepping import Steps

JOB = CopyJob(
    Reference.parse("s.example/team/image:1"), Reference.parse("t.example/image:1"), (),
    Position("l", 1, 1),
)  # fmt: skip


def steps(listener: Listener) -> Steps:
    return Steps(JOB, listener, Retrying(3, chance=lambda: 0.5, sleep=at_once))


async def test_a_step_is_told_and_timed_whatever_becomes_of_it() -> None:
    async def answers() -> str:
        return "done"

    async def refuses() -> str:
        raise NotFound("no", Where("s.example"))

    listener, began = Listener(), time.monotonic()
    assert await steps(listener).run(Step.PULL, answers) == "done"
    with pytest.raises(NotFound):
        await steps(listener).run(Step.PUSH, refuses)
    took = time.monotonic() - began
    assert [event for event in listener.events if isinstance(event, StepStarted)] == [
        StepStarted(JOB, Step.PULL),
        StepStarted(JOB, Step.PUSH),
    ]
    ended = [event for event in listener.events if isinstance(event, StepEnded)]
    assert [event.step for event in ended] == [Step.PULL, Step.PUSH]
    assert 0 <= sum(event.seconds for event in ended) <= took


async def test_what_a_step_fails_with_names_the_image_and_the_step() -> None:
    async def refuses() -> str:
        raise NotFound("no", Where("s.example"))

    with pytest.raises(NotFound) as caught:
        await steps(Listener()).run(Step.PULL, refuses)
    assert caught.value.where == Where("s.example", "s.example/team/image:1", Step.PULL)


async def test_each_further_attempt_is_told_with_its_wait_and_the_reason() -> None:
    failures: list[CopyError] = [
        RegistryUnavailable("down", Where("s.example"), transient=True, retry_after=wait)
        for wait in (1.0, 7.0)
    ]

    async def flaky() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    listener = Listener()
    assert await steps(listener).run(Step.PULL, flaky) == "done"
    told = [event for event in listener.events if isinstance(event, Retried)]
    assert [(event.attempt, event.wait) for event in told] == [(2, 1.5), (3, 7.5)]
    assert {event.error.where.step for event in told} == {Step.PULL}
