"""Credential helpers: programs that keep logins for docker (docker-credential-helpers, “get”)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from subprocess import PIPE

from anyio import (
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    create_task_group,
    fail_after,
    open_process,
)
from anyio.abc import ByteReceiveStream, Process

from asyncsync.credentials.files import credential_of, server_of
from asyncsync.model.access import Credential
from asyncsync.model.errors import AuthenticationFailed, ConfigurationError, Where
from asyncsync.model.foreign import shown
from asyncsync.model.place import Registry

HELPER_SECONDS = 30.0  # a helper that waits for a person waits in vain in a batch
HELPER_BYTES_MAX = 64 * 1024  # of what it writes; a login has some hundred bytes
_NOT_FOUND = "credentials not found in native keychain"  # with exit code 1, and on stdout


async def ask_helper(
    helper: str,
    place: Registry,
    *,
    named_in: str,
    environ: Mapping[str, str],
    seconds: float = HELPER_SECONDS,
) -> Credential | None:
    """The login that `docker-credential-<helper>` keeps for `place`, or None if it keeps none.

    Raises AuthenticationFailed that says which helper failed and what it said.
    """
    program = f"docker-credential-{helper}"
    where = Where(place.host)
    instead = f"or take it out of {named_in} (credHelpers or credsStore)."
    try:
        with fail_after(seconds):
            code, out, err = await _run(program, server_of(place.host), environ)
        return _answered(code, out, err, program, where)
    except TimeoutError:
        failed = AuthenticationFailed(f"{program} did not answer within {seconds:.0f} s", where)
        raise failed.advising(f"Mend {program}, {instead}") from None
    except OSError as error:
        why = f"cannot be run: {error.strerror}"
        failed = AuthenticationFailed(f"{program}, which {named_in} names, {why}", where)
        raise failed.advising(f"Install {program}, {instead}") from error
    except AuthenticationFailed as failed:  # docker login would ask it, too
        failed.advising(f"Mend {program}, {instead}")
        raise


async def _run(program: str, server: str, environ: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    async with await open_process(
        [program, "get"], stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environ)
    ) as process:
        output, errors = bytearray(), bytearray()
        async with create_task_group() as group:
            group.start_soon(_tell, process, server)
            for stream, heard in ((process.stdout, output), (process.stderr, errors)):
                group.start_soon(_listen, stream, heard, group.cancel_scope)
        if max(len(output), len(errors)) > HELPER_BYTES_MAX:
            with suppress(ProcessLookupError):
                process.kill()
        return await process.wait(), bytes(output), bytes(errors)


async def _tell(process: Process, server: str) -> None:
    if process.stdin is None:
        return
    try:
        await process.stdin.send(server.encode())
        await process.stdin.aclose()
    except (BrokenResourceError, ConnectionError):
        return  # it ended without reading; its exit code says the rest


async def _listen(stream: ByteReceiveStream | None, heard: bytearray, talk: CancelScope) -> None:
    try:
        while stream is not None:
            heard += await stream.receive()
            if len(heard) > HELPER_BYTES_MAX:
                talk.cancel()  # all of it: a child of its own may hold the other stream open
    except EndOfStream:
        return


def _answered(code: int, out: bytes, err: bytes, program: str, where: Where) -> Credential | None:
    if max(len(out), len(err)) > HELPER_BYTES_MAX:
        what = f"{program} wrote more than {HELPER_BYTES_MAX} bytes, which is no login"
        raise AuthenticationFailed(what, where)
    if code == 0:
        return _login(out, program, where)
    said = out.decode(errors="replace")
    if _NOT_FOUND in said:
        return None
    said = shown(f"{said} {err.decode(errors='replace')}") or "without a word"
    raise AuthenticationFailed(f"{program} failed (exit code {code}): {said}", where)


def _login(out: bytes, program: str, where: Where) -> Credential | None:
    try:  # its output may hold a secret: no message shows it
        answer = json.loads(out)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        what = f"{program} answered something that is no login"
        raise AuthenticationFailed(what, where)
    try:
        return credential_of(username, secret)
    except ConfigurationError:
        what = f"{program} answered a login that cannot be sent"
        raise AuthenticationFailed(what, where) from None
