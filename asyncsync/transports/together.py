"""Requests that need no answer from each other, made at once. Errors leave bare, not in a group."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from anyio import create_task_group

T = TypeVar("T")
U = TypeVar("U")


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Await both to their ends. If both fail, the first one's error is raised."""
    results: dict[int, Any] = {}
    errors: dict[int, Exception] = {}

    async def one(number: int, each: Awaitable[Any]) -> None:
        try:
            results[number] = await each
        except Exception as error:  # noqa: BLE001  it is raised below
            errors[number] = error

    async with create_task_group() as group:
        group.start_soon(one, 0, first)
        group.start_soon(one, 1, second)
    if errors:
        raise errors[min(errors)]
    return results[0], results[1]


async def every(each: Iterable[Awaitable[object]]) -> None:
    """Await all of them; the first that fails ends the others, and its error is raised."""
    failed: list[Exception] = []

    async def one(awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001  the first is raised below
            failed.append(error)
            group.cancel_scope.cancel()

    async with create_task_group() as group:
        for awaitable in each:
            group.start_soon(one, awaitable)
    if failed:
        raise failed[0]
