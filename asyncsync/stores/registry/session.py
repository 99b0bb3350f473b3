"""One registry: the way in, what it wants from us for each repository, where it sends us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ssl import SSLContext

from anyio import to_thread
from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.credentials.flights import Flight
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    PermissionDenied,
    RegistryUnavailable,
    TlsError,
    Where,
)
from asyncsync.model.foreign import without
from asyncsync.model.manifest import MANIFEST_BYTES_MAX
from asyncsync.model.place import Registry
from asyncsync.stores.registry.answers import (
    Answer,
    codes,
    failure,
    is_registrys,
    push_failure,
    said,
)
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.auth import Challenge, choose, parse_challenges, pull_scope
from asyncsync.stores.registry.certificates import Elsewhere, context_for
from asyncsync.stores.registry.hosts import api_host, proxy_for, schemes
from asyncsync.stores.registry.logins import Logins
from asyncsync.stores.registry.mishaps import OR_ITS_PROXY, speaks_no_tls
from asyncsync.stores.registry.notices import Notices
from asyncsync.stores.registry.quirks import Quirks
from asyncsync.stores.registry.rates import Kind, Rates
from asyncsync.stores.registry.tokens import Tokens, basic, named, wanted_by
from asyncsync.stores.registry.trust import REDIRECTS_MAX, Refused, redirect_url, same_origin
from asyncsync.stores.registry.wire import Request, Wire

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SLOWING = frozenset({429, 503})
_CHALLENGES_MAX = 16  # headers that are read …
_CHALLENGE_MAX = 8192  # … and characters of each; all that fit an answer take half a minute
_FOLLOWED = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a repository is read: the challenge, and the scope of a token."""

    challenge: Challenge
    scope: str

    def wider(self, answer: Answer) -> Terms | None:
        """The same with the scope that `answer` says is missing, if that is another one."""
        challenge = _challenge_of(answer)
        scope = challenge.missing_scope if challenge else None
        return replace(self, scope=scope) if scope and scope != self.scope else None


class Session:
    """Asks one registry. Many tasks ask at once. `mirror`: where it is, for one that stands in.

    What a run learns of it: `ways` that are left to upload a blob; whether it `mounts` from other
    repositories, and whether a mount from a repository to itself tells what it has (`tells`).
    """

    def __init__(
        self,
        place: Registry,
        access: Access,
        credentials: Credentials,
        wire: Wire,
        *,
        clock: Callable[[], float],
        quirks: Quirks,
        notices: Notices,
        mirror: URL | None = None,
    ) -> None:
        self._mirror = mirror
        self._place, self._access, self._credentials, self._wire = place, access, credentials, wire
        self._where = Where(place.host)
        self._logins = Logins()
        self._elsewhere = Elsewhere(place, access)
        self._tokens = Tokens(place, access, wire, self._logins, self._elsewhere, clock=clock)
        self.quirks = quirks
        self._notices = notices
        self._rates = Rates(self.quirks.at_once, clock=clock)
        self._opening: Flight[URL] = Flight()
        self._base: URL | None = None
        self._tls: SSLContext | None = None
        self._terms: dict[str, Terms] = {}  # by scope
        self._challenge: Challenge | None = None  # what it has wanted before, for any repository
        self._used: set[Credential] = set()
        self.ways = self.quirks.ways
        self.mounts = self.tells = True

    @property
    def place(self) -> Registry:
        """Which registry it asks."""
        return self._place

    async def ask(self, ask: Ask) -> Answer:
        """Ask, on the terms that the registry sets.

        Gives any answer but a challenge. Raises CopyError.
        """
        if self._base is None:
            self._base = await self._opening.join(self._open)
        terms = self._terms.get(ask.scope) or self._expected(ask)
        answer = await self._on(terms, ask)
        if _challenges(answer, terms, ask):
            terms = await self._read_terms(answer, terms, ask)
            answer = await self._on(terms, ask)
            if _challenges(answer, terms, ask) and (wider := terms.wider(answer)):
                terms, answer = wider, await self._on(wider, ask)
            if answer.status == 401 or (_challenges(answer, terms, ask) and answer.body):
                raise await self._refusal(answer, ask)  # a HEAD's 400 may mean anything else, too
        if terms:
            self._terms[ask.scope], self._challenge = terms, terms.challenge
        return answer

    def _expected(self, ask: Ask) -> Terms | None:
        """The terms of its other repositories: a round trip less for each further one."""
        return Terms(self._challenge, ask.scope) if self._challenge else None

    def failure(self, answer: Answer) -> CopyError:
        """The error that an answer of this registry, or of whom it sent us to, is."""
        return self._error(failure, answer)

    def _error(self, read: Callable[..., CopyError], answer: Answer) -> CopyError:
        host = answer.url.host_port_subcomponent
        ours = same_origin(answer.url, self._home)
        speaker = str(self._place) if ours else f"{host}, where {self._place} sends us,"
        if proxy_for(answer.url, self._access.proxies) and not is_registrys(answer):
            speaker = f"{speaker.removesuffix(',')}{OR_ITS_PROXY}"
        return read(
            answer, self._place.host, speaker=speaker, secrets=self._secrets, now=time.time()
        )

    def push_failure(self, answer: Answer) -> CopyError:
        """The same of an answer to a push, with what is known to help at this registry."""
        error = self._error(push_failure, answer)
        if isinstance(error, PermissionDenied):
            hint = self.quirks.on_denied
        elif answer.status == 404 and "NAME_UNKNOWN" in codes(answer):
            hint = self.quirks.on_missing
        else:
            hint = ""
        return error.saying(f"{error.what}. {hint}") if hint else error

    @contextmanager
    def hiding(self) -> Iterator[None]:
        """Show none of our secrets in an error that leaves this block, whoever put it there.

        A registry can name what it wants where we have to quote it: hosts, types, digests.
        """
        try:
            yield
        except CopyError as error:
            known = self.secrets
            what, advised = without(error.what, known), without(error.advised, known)
            if (what, advised) == (error.what, error.advised):
                raise
            raise error.saying(what).advising(advised) from None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown of what it says; host names come to us in lower case."""
        return (*self._secrets, *(secret.lower() for secret in self._secrets))

    @property
    def _secrets(self) -> tuple[str, ...]:
        ours = (secret for who in self._used for secret in who.secrets)
        # A proxy's error page may show what was sent to it.
        return (*ours, *self._tokens.seen, *self._access.secrets)

    async def _open(self) -> URL:
        """Find the scheme. A loopback host that speaks no TLS is asked in plain HTTP."""
        self._tls = await to_thread.run_sync(context_for, self._place, self._access)
        if self._mirror:
            return self._mirror.origin()
        host = api_host(self._place)
        first, *others = (
            URL(f"{scheme}://{host}").origin() for scheme in schemes(self._place, self._access)
        )
        if not others:
            return first
        try:
            ping = Request("GET", first.with_path("/v2/"), {}, MANIFEST_BYTES_MAX)
            await self._wire.ask(ping, self._where, tls=self._tls)
        except (TlsError, RegistryUnavailable) as error:
            if not speaks_no_tls(error.__cause__):
                raise
            return others[0]
        return first

    async def _on(self, terms: Terms | None, ask: Ask) -> Answer:
        """Ask on these terms; None is as nobody."""
        if terms is None:
            return await self._follow(ask, None)
        who = await self._credentials.find(self._place, ask.repository)
        if who:
            self._used.add(who)
        if terms.challenge.scheme == "basic":
            return await self._with_password(ask, who)
        if who and who.registry_token:
            return await self._follow(ask, f"Bearer {who.registry_token}")
        wanted = wanted_by(terms.challenge, self._home, terms.scope, who)
        token = await self._tokens.get(wanted)
        answer = await self._follow(ask, f"Bearer {token}")
        if _challenges(answer, terms, ask):
            self._tokens.drop(wanted, token)
        return answer

    async def _with_password(self, ask: Ask, who: Credential | None) -> Answer:
        if who is None:
            raise AuthenticationFailed(f"{self._place} wants a login", self._where)
        # By method as well: many a login may neither cancel an upload nor mount, and yet push.
        async with self._logins.trying(who, f"{ask.method} {ask.scope}"):
            answer = await self._follow(ask, basic(who))
            if answer.status == 401:
                words = f"({answer.line}){said(answer, self._secrets)}"
                what = f"{self._place} refuses {named(who)} {words}"
                raise AuthenticationFailed(what, self._where)
        return answer

    async def _read_terms(self, answer: Answer, terms: Terms | None, ask: Ask) -> Terms:
        """What the registry wants, from its challenge or, where it gives none, from /v2/."""
        challenge = _challenge_of(answer)
        if challenge is None and terms:  # public.ecr.aws: 400, without a challenge
            challenge = terms.challenge
        if challenge is None:
            ping = Ask("GET", ask.repository, self._home.with_path("/v2/"), Kind.HEADS)
            challenge = _challenge_of(await self._send(ping, self._url(ping), None))
        if challenge is None:
            what = f"{self._place} refuses us ({answer.line}), and does not say how to log in"
            raise PermissionDenied(f"{what}{said(answer, self._secrets)}", self._where)
        return Terms(challenge, terms.scope if terms else ask.scope)

    async def _refusal(self, answer: Answer, ask: Ask) -> CopyError:
        """What it means that our answer to the challenge is not enough."""
        who = await self._credentials.find(self._place, ask.repository)
        name, do = f"{self._place}/{ask.repository}", "push to" if ask.writes else "read"
        hint = f". {self.quirks.on_denied}" if ask.writes and self.quirks.on_denied else ""
        words = f"({answer.line}){said(answer, self._secrets)}{hint}"
        if who is None:  # hidden and missing look alike, on purpose
            what = f"{name} does not exist, or needs a login {words}"
            return PermissionDenied(what, self._where)
        if who.registry_token:
            return AuthenticationFailed(f"{self._place} refuses {named(who)} {words}", self._where)
        what = f"{self._place} takes {named(who)}, but does not let them {do} {name} {words}"
        return PermissionDenied(what, self._where)

    async def _follow(self, ask: Ask, authorization: str | None) -> Answer:
        """Ask, and go where the answer leads, at most REDIRECTS_MAX times."""
        url = self._url(ask)
        for _ in range(REDIRECTS_MAX + 1):
            ours = same_origin(url, self._home)
            answer = await self._send(ask, url, authorization if ours else None)
            if answer.status == 401 and not ours:
                answer = await self._as_nobody(answer, ask)
            follows = ask.follows and ask.method in _FOLLOWED
            if answer.status not in _REDIRECTS or not follows:
                return answer
            url = self.sent_to(answer, answer.headers.get("Location", ""))
        what = f"{self._place} redirects more than {REDIRECTS_MAX} times"
        raise CopyError(what, self._where)

    def sent_to(self, answer: Answer, location: str) -> URL:
        """Where `location` of this answer leads. Raises CopyError where we do not go."""
        try:
            return redirect_url(location, answer.url, self._home, self._wire.reach_of(self._home))
        except Refused as refused:
            raise CopyError(f"{self._place} sends us to {refused}: refused", self._where) from None

    def own_scheme(self, location: str) -> str:
        """A Location, put right where a proxy before the registry has spoilt it.

        On our own host an http that came by https is https, and a port that got lost is ours.
        """
        try:
            url = URL(location, encoded=True)
            ours = (
                url.host == self._home.host
                and url.explicit_port in (None, self._home.port)
                and url.scheme in ("", "http", "https")
                and url.user is None
            )
        except ValueError:  # `sent_to` refuses it
            return location
        if not ours:
            return location
        return f"{self._home}{url.raw_path_qs}"

    async def _as_nobody(self, answer: Answer, ask: Ask) -> Answer:
        """Answer the challenge of a host to which we were sent: never with what we have here."""
        challenge = _challenge_of(answer)
        if challenge is None or challenge.scheme != "bearer":
            raise self.failure(answer)
        scope = challenge.params.get("scope") or pull_scope(ask.repository)
        token = await self._tokens.get(wanted_by(challenge, answer.url.origin(), scope, None))
        again = await self._send(ask, answer.url, f"Bearer {token}")
        if again.status == 401:
            raise self.failure(again)
        return again

    @property
    def _home(self) -> URL:
        assert self._base is not None  # noqa: S101  `ask` opens it first
        return self._base

    def _url(self, ask: Ask) -> URL:
        if isinstance(ask.at, URL):
            return ask.at
        prefix = self._mirror.raw_path.strip("/") if self._mirror else ""
        path = f"{prefix}/{ask.repository}" if prefix else ask.repository
        return URL(f"{self._home}/v2/{path}/{ask.at}", encoded=True)

    async def _send(self, ask: Ask, url: URL, authorization: str | None) -> Answer:
        headers = dict(ask.headers)
        if authorization:
            headers["Authorization"] = authorization
        request = Request(ask.method, url, headers, ask.most, ask.body, closes=ask.closes)
        if not same_origin(url, self._home):  # another host has other limits, and tells us of none
            home = self._wire.reach_of(self._home)
            async with self._elsewhere.context(url) as tls:
                return await self._wire.ask(request, self._where, home=home, tls=tls)
        async with self._rates.turn(ask.kind) as turn:
            answer = await self._wire.ask(request, self._where, tls=self._tls)
            failed = self.failure(answer) if answer.status in _SLOWING else None
            self._rates.learn(turn, answer.status, answer.headers, failed)
        if "Warning" in answer.headers:
            warnings = answer.headers.getall("Warning")
            self._notices.take(self._place.host, warnings, self._secrets)
        return answer


def _challenge_of(answer: Answer) -> Challenge | None:
    headers = answer.headers.getall("WWW-Authenticate", [])[:_CHALLENGES_MAX]
    return choose(parse_challenges(header[:_CHALLENGE_MAX] for header in headers))


def _challenges(answer: Answer, terms: Terms | None, ask: Ask) -> bool:
    """Whether the answer wants another login or token than it got."""
    if answer.status == 400 and terms and terms.challenge.scheme == "bearer":
        # public.ecr.aws says so where a token has ended; a HEAD has no body to say more
        return ask.method == "HEAD" or ("DENIED" in codes(answer) and b"oken" in answer.body)
    return answer.status == 401
