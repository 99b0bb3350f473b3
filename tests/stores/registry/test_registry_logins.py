"""What became of our logins: the parts that no healthy registry shows."""

from __future__ import annotations

from anyio import Event, create_task_group, wait_all_tasks_blocked

from asyncsync.model.access import Credential
from asyncsync.model.errors import CopyError, TimedOut, Where
from asyncsync.stores.registry.logins import Logins

ALICE = Credential("alice", password="c4nary-s3cret")


async def test_who_waited_for_a_login_that_nobody_answered_has_waited_for_its_own() -> None:
    logins, gate = Logins(), Event()
    tried: list[str] = []
    failed: list[CopyError] = []

    async def log_in(scope: str) -> None:
        try:
            async with logins.trying(ALICE, scope):
                tried.append(scope)
                await gate.wait()
                raise TimedOut("it sent nothing", Where("r.example"), transient=True).being_away()
        except CopyError as error:
            failed.append(error)

    async with create_task_group() as group:
        for number in range(5):
            group.start_soon(log_in, f"scope {number}")
        await wait_all_tasks_blocked()
        gate.set()
    assert tried == ["scope 0"]
    assert [(type(error), error.transient, error.away) for error in failed] == [
        (TimedOut, True, True)
    ] * 5
    assert len({id(error) for error in failed}) == 5
    await log_in("a later one")
    assert tried == ["scope 0", "a later one"]
