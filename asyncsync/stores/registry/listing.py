"""What refers to a manifest, as a registry lists it, page by page.

A list is whole or an error: half of the signatures would be taken for all. So it is asked of the
registry itself and never of a mirror, which lists what it happens to hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from yarl import URL

from asyncsync.model.digest import Digest
from asyncsync.model.errors import RegistryUnavailable, TimedOut, UnsupportedManifest, Where
from asyncsync.model.manifest import OCI_INDEX, Descriptor, Index, RawManifest, parse_manifest
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import Answer
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.kinds import media_type
from asyncsync.stores.registry.rates import Kind
from asyncsync.stores.registry.session import Session
from asyncsync.stores.registry.trust import origin, same_origin

PAGES_MAX = 1000
BYTES_MAX = 16 * 1024 * 1024  # of all pages together
REFERRERS_MAX = 1000  # of one manifest
# For all pages; a registry may hold us for half of that (Retry-After), and each page may take long.
SECONDS_MAX = 30 * 60.0

# What registries without the referrers API say to it; go-containerregistry, `remote/referrers.go`,
# takes 400, 404 and 406 for that, others give 405 or 501.
_NOT_SUPPORTED = frozenset({400, 404, 405, 406, 415, 501})
# One link of RFC 8288, section 3: an address in angle brackets, then parameters.
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w!#$&+.^`|~-]+(?:\s*=\s*(?:"[^"]*"|[^\s",;]*))?)*)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]*))', re.IGNORECASE)


async def referrers_of(
    session: Session, ref: Reference, *, clock: Callable[[], float]
) -> tuple[Descriptor, ...] | None:
    """What the registry says refers to the digest of `ref`; None where it keeps no such lists.

    Raises CopyError. (OCI distribution-spec, “Listing Referrers”)
    """
    found: dict[Digest, Descriptor] = {}
    pages = _Pages(session, ref, clock)
    accept = {"Accept": OCI_INDEX}
    first = Ask("GET", ref.repository, f"referrers/{ref.digest}", Kind.HEADS, accept)
    ask: Ask | None = first
    while ask:
        answer = await session.ask(ask)
        if ask is first and _not_supported(answer):
            return None
        if answer.status != 200:
            raise session.failure(answer)
        ask = pages.after(answer, ask)
        page = RawManifest(OCI_INDEX, answer.body, Digest.of(answer.body))
        for entry in listed_in(page, ref):
            found.setdefault(entry.digest, entry)
        if len(found) > REFERRERS_MAX:
            raise _unlike(ref, f"more than {REFERRERS_MAX} referrers")
    return tuple(found.values())


def _not_supported(answer: Answer) -> bool:
    """Whether it knows no such end-point: it says so, or shows a page of a web site instead."""
    if answer.status == 200:
        kind = media_type(answer.headers.get("Content-Type"))
        return kind not in (OCI_INDEX, "application/json")
    return answer.status in _NOT_SUPPORTED


def listed_in(page: RawManifest, ref: Reference) -> tuple[Descriptor, ...]:
    """What a list of referrers of `ref` names; nothing if it is of another type than such lists.

    Raises UnsupportedManifest.
    """
    if page.media_type != OCI_INDEX:
        return ()
    try:
        parsed = parse_manifest(page)
    except ValueError as error:
        what = f"{ref.place} sent a list of what refers to {ref.digest} that is none: {error}"
        raise UnsupportedManifest(what, Where(str(ref.place))) from error
    return parsed.manifests if isinstance(parsed, Index) else ()


class _Pages:
    """What was asked of one list; its answers' `Link` alone says whether there is more of it."""

    def __init__(self, session: Session, ref: Reference, clock: Callable[[], float]) -> None:
        self._session, self._ref = session, ref
        self._clock, self._until = clock, clock() + SECONDS_MAX
        self._asked: set[URL] = set()
        self._size = 0

    def after(self, answer: Answer, ask: Ask) -> Ask | None:
        """How to ask for the page after this one; None where it was the last. Raises CopyError."""
        self._asked.add(answer.url)
        self._size += len(answer.body)
        if answer.cut or self._size > BYTES_MAX:
            raise _unlike(self._ref, "more bytes than a list has")
        link = next_page(answer.headers.getall("Link", []))
        if link is None:
            return None
        url = self._session.sent_to(answer, self._session.own_scheme(link))
        if not same_origin(url, answer.url):
            raise _unlike(self._ref, f"a list that goes on elsewhere, at {origin(url)}")
        if url in self._asked:
            raise _unlike(self._ref, "a list that leads back to one of its pages")
        if len(self._asked) >= PAGES_MAX:
            raise _unlike(self._ref, f"more than {PAGES_MAX} pages")
        if self._clock() > self._until:
            place, name = self._ref.place, self._ref.name
            what = f"{place} lists, for {name}, pages for more than {SECONDS_MAX / 60:.0f} minutes"
            raise TimedOut(what, Where(str(place)))
        return replace(ask, at=url)


def next_page(links: Iterable[str]) -> str | None:
    """The address of the next page in the `Link` headers of an answer, as it is written there."""
    for header in links:
        for target, parameters in _LINK.findall(header):
            rel = _REL.search(parameters)
            if rel and "next" in (rel[1] or rel[2] or "").lower().split():
                return str(target)
    return None


def _unlike(ref: Reference, what: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{ref.place} lists, for {ref.name}, {what}", Where(str(ref.place)))
