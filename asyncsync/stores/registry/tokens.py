"""Tokens of one registry: fetched once for all who wait, kept until shortly before they end."""

from __future__ import annotations

import time
from base64 import b64encode
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from yarl import URL

from asyncsync.credentials.flights import Flight
from asyncsync.model.access import AS_GIVEN, Access, Credential
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    PermissionDenied,
    RegistryUnavailable,
    Where,
)
from asyncsync.model.foreign import shown
from asyncsync.model.place import Registry
from asyncsync.stores.registry.answers import Answer, failure, said
from asyncsync.stores.registry.auth import (
    Challenge,
    read_grant,
    token_form,
    token_query,
)
from asyncsync.stores.registry.certificates import Elsewhere
from asyncsync.stores.registry.logins import Logins
from asyncsync.stores.registry.trust import Refused, realm_url, same_origin
from asyncsync.stores.registry.wire import Request, Wire

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOKEN_BYTES_MAX = 128 * 1024  # of a token server's answer
_REMEMBERED = 256  # tokens that are blanked out in foreign text; older ones have ended


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token as a registry wants it: by the challenge of the host `at`, for `who`."""

    at: URL
    realm: str
    service: str
    scope: str
    who: Credential | None


def basic(who: Credential) -> str:
    """The Authorization header that sends user and password."""
    pair = f"{who.username}:{who.password or who.identity_token}"
    return f"Basic {b64encode(pair.encode(errors=AS_GIVEN)).decode()}"


def named(who: Credential) -> str:
    """What messages call a credential."""
    if who.registry_token:
        return "the registry token"
    return (
        f"the credentials for user {shown(who.username, limit=80)}"
        if who.username
        else "the identity token"
    )


class Tokens:
    """The tokens of one registry. Many tasks ask at once; each token is one request."""

    def __init__(
        self,
        place: Registry,
        access: Access,
        wire: Wire,
        logins: Logins,
        elsewhere: Elsewhere,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._place, self._access, self._wire = place, access, wire
        self._logins, self._elsewhere, self._clock = logins, elsewhere, clock
        self._kept: dict[Wanted, tuple[str, float]] = {}
        self._flights: defaultdict[Wanted, Flight[str]] = defaultdict(Flight)
        self.seen: deque[str] = deque(maxlen=_REMEMBERED)

    async def get(self, wanted: Wanted) -> str:
        """A token that is still good, kept or new. Raises CopyError."""
        token, until = self._kept.get(wanted, ("", 0.0))
        if token and self._clock() < until:
            return token

        async def fetch() -> str:
            asked_at = self._clock()
            async with self._logins.trying(wanted.who, wanted.scope):
                answer = await self._ask(wanted)
                grant = read_grant(answer.body) if answer.status == 200 else None
                if grant is None:
                    raise self._failure(answer, wanted)
            self.seen.append(grant.token)
            self._keep(wanted, grant.token, asked_at + grant.seconds)
            return grant.token

        return await self._flights[wanted].join(fetch)

    def _keep(self, wanted: Wanted, token: str, until: float) -> None:
        """Keep it, and none that has ended: a run may be about many repositories."""
        self._flights.pop(wanted, None)  # whoever waits there has it, and nobody else comes
        self._kept.pop(wanted, None)
        self._kept[wanted] = token, until
        while self._kept:  # those of one server live equally long: the first one ends first
            first, (_, ends) = next(iter(self._kept.items()))
            if ends > self._clock():
                return
            del self._kept[first]

    def drop(self, wanted: Wanted, token: str) -> None:
        """Forget `token`, which the registry no longer takes; a newer one stays."""
        if self._kept.get(wanted, ("",))[0] == token:
            del self._kept[wanted]

    async def _ask(self, wanted: Wanted) -> Answer:
        who, home = wanted.who, self._wire.reach_of(wanted.at)
        try:
            realm = realm_url(wanted.realm, wanted.at, home)
        except Refused as refused:
            what = f"{self._place} sends us for a token to {refused}: refused"
            raise CopyError(what, Where(self._place.host)) from None
        where = Where(self._place.host)
        guard = None if same_origin(realm, wanted.at) else home
        async with self._elsewhere.context(realm) as tls:  # often it is the registry itself
            headers = {"Accept": "application/json"}
            if who and who.identity_token:
                form = token_form(who.identity_token, wanted.service, wanted.scope)
                post = Request("POST", realm, headers | _FORM, TOKEN_BYTES_MAX, lambda: form)
                answer = await self._wire.ask(post, where, home=guard, tls=tls)
                if answer.status not in (404, 405):  # not every token server knows OAuth2
                    return answer
            if who:
                headers["Authorization"] = basic(who)
            url = token_query(realm, wanted.service, wanted.scope)
            get = Request("GET", url, headers, TOKEN_BYTES_MAX)
            return await self._wire.ask(get, where, home=guard, tls=tls)

    def _failure(self, answer: Answer, wanted: Wanted) -> CopyError:
        who, where = wanted.who, Where(self._place.host)
        secrets = (*(who.secrets if who else ()), *self.seen, *self._access.secrets)
        speaker = f"{self._place}'s token server {answer.url.host}"
        words = f" ({answer.line}){said(answer, secrets)}"
        if answer.status == 200:  # the text may be a token
            return RegistryUnavailable(f"{speaker} gave no token that can be used", where)
        if 300 <= answer.status < 400:
            return CopyError(f"{speaker} redirects, which is not followed with a login", where)
        if who is None and answer.status == 401:
            return AuthenticationFailed(f"{self._place} wants a login{words}", where)
        if who and (answer.status == 401 or (answer.status == 400 and who.identity_token)):
            return AuthenticationFailed(f"{self._place} refuses {named(who)}{words}", where)
        if answer.status == 403:
            return PermissionDenied(f"{speaker} refuses us{words}", where)
        return failure(answer, self._place.host, speaker=speaker, secrets=secrets, now=time.time())


def wanted_by(challenge: Challenge, at: URL, scope: str, who: Credential | None) -> Wanted:
    """The token that answers `challenge`."""
    return Wanted(at, challenge.realm, challenge.service, scope, who)
