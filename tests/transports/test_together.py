"""Requests made at once: what becomes of the others when one of them fails."""

from __future__ import annotations

import anyio
import pytest
from anyio import sleep_forever, wait_all_tasks_blocked

from asyncsync.model.errors import CopyError, NotFound, Where
from asyncsync.transports.together import both, every

WHERE = Where("r.example")


async def gives(value: str) -> str:
    return value


async def fails(error: Exception) -> str:
    await wait_all_tasks_blocked()
    raise error


async def test_both_answers_come_in_the_order_in_which_they_were_asked_for() -> None:
    assert await both(gives("source"), gives("target")) == ("source", "target")


async def test_the_first_ones_error_is_raised_whichever_came_earlier() -> None:
    first, second = NotFound("no image", WHERE), CopyError("no answer", WHERE)

    async def at_once() -> str:
        raise second

    with pytest.raises(NotFound) as caught:
        await both(fails(first), at_once())
    assert caught.value is first
    with pytest.raises(CopyError) as caught:
        await both(gives("source"), at_once())
    assert caught.value is second


async def test_who_is_asked_beside_one_that_fails_comes_to_his_end() -> None:
    ended = anyio.Event()

    async def at_once() -> str:
        raise NotFound("no image", WHERE)

    async def later() -> str:
        await wait_all_tasks_blocked()
        ended.set()
        return "target"

    with pytest.raises(NotFound):
        await both(at_once(), later())
    assert ended.is_set()


async def test_of_many_the_first_that_fails_ends_those_that_would_never_end() -> None:
    error = NotFound("no blob", WHERE)
    with pytest.raises(NotFound) as caught:
        await every([sleep_forever(), fails(error), sleep_forever()])
    assert caught.value is error


async def test_where_many_fail_the_earliest_error_is_raised() -> None:
    error = NotFound("no blob", WHERE)

    async def on_the_way_out() -> None:
        try:
            await sleep_forever()
        finally:
            raise LookupError("what was cut off has its own to say")

    with pytest.raises(NotFound) as caught:
        await every([on_the_way_out(), fails(error)])
    assert caught.value is error
