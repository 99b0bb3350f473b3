"""One registry: the way in, what it wants from us for each repository, where it sends us."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ssl import SSLContext
from typing import Literal

from anyio import CapacityLimiter, to_thread
from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.credentials.flights import Flight
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import (
    AuthenticationFailed,
    ConfigurationError,
    CopyError,
    PermissionDenied,
    RegistryUnavailable,
    TlsError,
    Where,
)
from asyncsync.model.manifest import ACCEPTED_TYPES, MANIFEST_BYTES_MAX
from asyncsync.model.reference import Reference, Registry
from asyncsync.stores.registry.answers import Answer, codes, failure, told
from asyncsync.stores.registry.auth import Challenge, choose, parse_challenges, pull_scope
from asyncsync.stores.registry.hosts import api_host, own_certificates, schemes
from asyncsync.stores.registry.logins import Logins
from asyncsync.stores.registry.mishaps import speaks_no_tls
from asyncsync.stores.registry.tokens import Tokens, basic, named, wanted_by
from asyncsync.stores.registry.trust import REDIRECTS_MAX, Refused, redirect_url, same_origin
from asyncsync.stores.registry.wire import Request, Wire, trusting

REQUESTS_AT_ONCE = 16  # to one registry; small requests, so more gain nothing
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: a HEAD or GET of the manifest or config that `ref` names, at `url`."""

    method: str
    url: URL
    ref: Reference


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a repository is read: the challenge, and the scope of a token."""

    challenge: Challenge
    scope: str


class Session:
    """Asks one registry. Many tasks ask at once."""

    def __init__(
        self,
        place: Registry,
        access: Access,
        credentials: Credentials,
        wire: Wire,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._place, self._access, self._credentials, self._wire = place, access, credentials, wire
        self._where = Where(place.host)
        self._logins = Logins()
        self._tokens = Tokens(place, wire, self._logins, clock=clock)
        self._limiter = CapacityLimiter(REQUESTS_AT_ONCE)
        self._opening: Flight[URL] = Flight()
        self._base: URL | None = None
        self._tls: SSLContext | None = None
        self._terms: dict[str, Terms] = {}  # by repository
        self._used: set[Credential] = set()

    async def ask(
        self, method: str, ref: Reference, kind: Literal["manifests", "blobs"] = "manifests"
    ) -> Answer:
        """Ask for what `ref` names of this kind, on the terms that the registry sets.

        Gives any answer but a challenge. Raises CopyError.
        """
        if self._base is None:
            self._base = await self._opening.join(self._open)
        path = f"/v2/{ref.repository}/{kind}/{ref.identifier}"
        ask = Ask(method, self._base.with_path(path), ref)
        terms = self._terms.get(ref.repository)
        answer = await self._on(terms, ask)
        if not _challenges(answer, terms, ask):
            return answer
        terms = await self._read_terms(answer, terms, ask)
        answer = await self._on(terms, ask)
        if _challenges(answer, terms, ask):
            more = _challenge_of(answer)
            scope = more.missing_scope if more else None
            if scope and scope != terms.scope:
                terms = replace(terms, scope=scope)
                answer = await self._on(terms, ask)
        if answer.status == 401 or (_challenges(answer, terms, ask) and answer.body):
            raise await self._refusal(answer, ask)  # a HEAD's 400 may mean anything else, too
        self._terms[ref.repository] = terms
        return answer

    def failure(self, answer: Answer) -> CopyError:
        """The error that an answer of this registry, or of whom it sent us to, is."""
        host = answer.url.host_port_subcomponent
        ours = self._base is None or same_origin(answer.url, self._base)
        speaker = str(self._place) if ours else f"{host}, where {self._place} sends us,"
        return failure(
            answer, self._place.host, speaker=speaker, secrets=self._secrets, now=time.time()
        )

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (*(secret for who in self._used for secret in who.secrets), *self._tokens.seen)

    async def _open(self) -> URL:
        """Find the scheme. A loopback host that speaks no TLS is asked in plain HTTP."""
        host = api_host(self._place)
        if certificates := await to_thread.run_sync(own_certificates, self._place):
            files = [self._access.ca_file] if self._access.ca_file else []
            try:
                self._tls = await to_thread.run_sync(trusting, *files + list(certificates))
            except ConfigurationError as error:
                raise TlsError(str(error), self._where) from None
        first, *others = (
            URL(f"{scheme}://{host}") for scheme in schemes(self._place, self._access)
        )
        if not others:
            return first
        try:
            await self._send("GET", first.with_path("/v2/"), first, None)
        except (TlsError, RegistryUnavailable) as error:
            if not speaks_no_tls(error.__cause__):
                raise
            return others[0]
        return first

    async def _on(self, terms: Terms | None, ask: Ask) -> Answer:
        """Ask on these terms; None is as nobody."""
        if terms is None:
            return await self._follow(ask, None)
        who = await self._credentials.find(self._place, ask.ref.repository)
        if who:
            self._used.add(who)
        if terms.challenge.scheme == "basic":
            return await self._with_password(ask, who)
        if who and who.registry_token:
            return await self._follow(ask, f"Bearer {who.registry_token}")
        wanted = wanted_by(terms.challenge, ask.url.origin(), terms.scope, who)
        token = await self._tokens.get(wanted)
        answer = await self._follow(ask, f"Bearer {token}")
        if _challenges(answer, terms, ask):
            self._tokens.drop(wanted, token)
        return answer

    async def _with_password(self, ask: Ask, who: Credential | None) -> Answer:
        if who is None:
            raise AuthenticationFailed(f"{self._place} wants a login", self._where)
        async with self._logins.trying(who):
            answer = await self._follow(ask, basic(who))
            if answer.status == 401:
                what = f"{self._place} refuses {named(who)} ({answer.line}){self._said(answer)}"
                raise AuthenticationFailed(what, self._where)
        return answer

    async def _read_terms(self, answer: Answer, terms: Terms | None, ask: Ask) -> Terms:
        """What the registry wants, from its challenge or, where it gives none, from /v2/."""
        challenge = _challenge_of(answer)
        if challenge is None and terms:  # public.ecr.aws: 400, without a challenge
            challenge = terms.challenge
        if challenge is None:
            url = ask.url.with_path("/v2/")
            challenge = _challenge_of(await self._send("GET", url, ask.url, None))
        if challenge is None:
            what = f"{self._place} refuses us ({answer.line}), and does not say how to log in"
            raise PermissionDenied(f"{what}{self._said(answer)}", self._where)
        return Terms(challenge, terms.scope if terms else pull_scope(ask.ref.repository))

    async def _refusal(self, answer: Answer, ask: Ask) -> CopyError:
        """What it means that our answer to the challenge is not enough."""
        who = await self._credentials.find(self._place, ask.ref.repository)
        said = f"({answer.line}){self._said(answer)}"
        if who is None:  # hidden and missing look alike, on purpose
            what = f"{ask.ref.name} does not exist, or needs a login {said}"
            return PermissionDenied(what, self._where)
        if who.registry_token:
            return AuthenticationFailed(f"{self._place} refuses {named(who)} {said}", self._where)
        what = f"{self._place} takes {named(who)}, but does not let them read {ask.ref.name} {said}"
        return PermissionDenied(what, self._where)

    async def _follow(self, ask: Ask, authorization: str | None) -> Answer:
        """Ask, and go where the answer leads, at most REDIRECTS_MAX times."""
        url = ask.url
        for _ in range(REDIRECTS_MAX + 1):
            ours = same_origin(url, ask.url)
            answer = await self._send(ask.method, url, ask.url, authorization if ours else None)
            if answer.status == 401 and not ours:
                answer = await self._as_nobody(answer, ask)
            if answer.status not in _REDIRECTS:
                return answer
            try:
                home = self._wire.reach_of(ask.url)
                url = redirect_url(answer.headers.get("Location", ""), url, ask.url, home)
            except Refused as refused:
                raise CopyError(
                    f"{self._place} sends us to {refused}: refused", self._where
                ) from None
        what = f"{self._place} redirects more than {REDIRECTS_MAX} times"
        raise CopyError(what, self._where)

    async def _as_nobody(self, answer: Answer, ask: Ask) -> Answer:
        """Answer the challenge of a host to which we were sent: never with what we have here."""
        challenge = _challenge_of(answer)
        if challenge is None or challenge.scheme != "bearer":
            raise self.failure(answer)
        scope = challenge.params.get("scope") or pull_scope(ask.ref.repository)
        token = await self._tokens.get(wanted_by(challenge, answer.url.origin(), scope, None))
        again = await self._send(ask.method, answer.url, ask.url, f"Bearer {token}")
        if again.status == 401:
            raise self.failure(again)
        return again

    async def _send(self, method: str, url: URL, home: URL, authorization: str | None) -> Answer:
        headers = {"Accept": ", ".join(ACCEPTED_TYPES)}
        if authorization:
            headers["Authorization"] = authorization
        request = Request(method, url, headers, MANIFEST_BYTES_MAX)
        ours = same_origin(url, home)
        reach = None if ours else self._wire.reach_of(home)
        async with self._limiter:
            return await self._wire.ask(
                request, self._where, home=reach, tls=self._tls if ours else None
            )

    def _said(self, answer: Answer) -> str:
        text = told(answer, self._secrets)
        return f": {text}" if text else ""


def _challenge_of(answer: Answer) -> Challenge | None:
    return choose(parse_challenges(answer.headers.getall("WWW-Authenticate", [])))


def _challenges(answer: Answer, terms: Terms | None, ask: Ask) -> bool:
    """Whether the answer wants another login or token than it got."""
    if answer.status == 400 and terms and terms.challenge.scheme == "bearer":
        # public.ecr.aws says so where a token has ended; a HEAD has no body to say more
        return ask.method == "HEAD" or ("DENIED" in codes(answer) and b"oken" in answer.body)
    return answer.status == 401
