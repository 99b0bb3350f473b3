"""Manifests, tags and referrers (OCI distribution-spec, “Pull”, “Push”, “Content Discovery”)."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web
from anyio import CancelScope

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    MANIFEST_BYTES_MAX,
    OCI_INDEX,
    RawManifest,
    parse_manifest,
    told_type,
)
from asyncsync.server import bodies, paths
from asyncsync.server.catalog import Catalog
from asyncsync.server.changes import Changes
from asyncsync.server.disk import Disk
from asyncsync.server.errors import (
    Code,
    Refused,
    digest_invalid,
    manifest_invalid,
    manifest_unknown,
)
from asyncsync.server.limits import Limits
from asyncsync.server.sending import content_headers, not_modified

_CHANGES_AT_ONCE = 8
_NUMBER = re.compile(r"[0-9]{1,9}")
_PAGE_BYTES_MAX = 3 * 1024 * 1024  # of referrers: such a page is a manifest to its reader


class Manifests:
    """The manifests of a layout, by tag and by digest."""

    def __init__(self, catalog: Catalog, changes: Changes, limits: Limits, disk: Disk) -> None:
        self._catalog, self._changes = catalog, changes
        self._limits, self._disk = limits, disk
        # Who changes the index waits for other processes that do; those who read must not.
        self._index = Disk(_CHANGES_AT_ONCE)

    async def get(self, request: web.BaseRequest, at: paths.Manifest) -> web.StreamResponse:
        """GET, HEAD: what a tag or digest stands for, whatever Accept says: there is no other."""
        raw = await self._disk(lambda: self._read(at))
        if raw is None:
            raise manifest_unknown(at.repository, at.reference)
        if unchanged := not_modified(request, raw.digest):
            return unchanged
        headers = content_headers(raw.digest, raw.media_type, len(raw.data))
        if request.method == "HEAD":
            return web.Response(headers=headers)
        return web.Response(body=raw.data, headers=headers)

    async def put(self, request: web.BaseRequest, at: paths.Manifest) -> web.StreamResponse:
        """PUT: keep a manifest, if all it names is there."""
        data = await bodies.whole(
            request, MANIFEST_BYTES_MAX, self._limits.idle_seconds, "the manifest"
        )
        said = request.headers.get("Content-Type", "").partition(";")[0].strip()
        try:
            raw = await self._disk(lambda: _named(said, data, at.reference))
            parsed = await self._disk(lambda: parse_manifest(raw))
        except ValueError as error:
            raise manifest_invalid(str(error)) from None
        name = None if isinstance(at.reference, Digest) else f"{at.repository}:{at.reference}"
        # Shielded: a client that goes away now leaves all of it, or nothing.
        with CancelScope(shield=True):
            async with self._changes.together():
                if lacks := await self._disk(lambda: self._catalog.lacks(parsed)):
                    what = "blob or manifest unknown to the registry"
                    details = map(str, lacks)
                    raise Refused(404, Code.MANIFEST_BLOB_UNKNOWN, what, details=details)
                await self._index(lambda: self._catalog.put(raw, parsed, name))
        headers = {
            "Location": f"/v2/{at.repository}/manifests/{raw.digest}",
            "Docker-Content-Digest": str(raw.digest),
        }
        if parsed.subject:  # it is in the list of referrers, so no tag has to say it
            headers["OCI-Subject"] = str(parsed.subject.digest)
        return web.Response(status=201, headers=headers)

    async def delete(self, at: paths.Manifest) -> web.StreamResponse:
        """DELETE: a tag alone, or a manifest with all its tags, unless an index needs it."""
        async with self._changes.alone():
            reference = at.reference
            if isinstance(reference, str):
                if not await self._index(partial(self._catalog.drop_tag, at.repository, reference)):
                    raise manifest_unknown(at.repository, reference)
                return web.Response(status=202)
            found = await self._disk(lambda: self._catalog.find(at.repository, reference))
            if found is None:
                raise manifest_unknown(at.repository, reference)
            by = await self._disk(lambda: self._catalog.needed_by(reference))
            if by is not None:
                what = f"{reference} is part of {by}; delete that one first"
                raise Refused(409, Code.DENIED, what)
            await self._index(partial(self._catalog.drop_digest, at.repository, reference))
        return web.Response(status=202)

    async def repositories(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET: the repositories, in pages where `n` asks for them."""
        page, headers = _page_of(await self._disk(self._catalog.repositories), request)
        return web.json_response({"repositories": page}, headers=headers)

    async def tags(self, request: web.BaseRequest, at: paths.Tags) -> web.StreamResponse:
        """GET: the tags of a repository, in pages where `n` asks for them."""
        found = await self._disk(lambda: self._catalog.tags(at.repository))
        if found is None:
            raise Refused(404, Code.NAME_UNKNOWN, f"there is no repository {at.repository}")
        page, headers = _page_of(found, request)
        return web.json_response({"name": at.repository, "tags": page}, headers=headers)

    async def referrers(self, request: web.BaseRequest, at: paths.Referrers) -> web.StreamResponse:
        """GET: what refers to a manifest, whether that is there or not."""
        wanted, last = request.query.get("artifactType"), request.query.get("last")
        page, more = await self._disk(lambda: self._page(at, wanted, last))
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        if more:
            kept = {"artifactType": wanted} if wanted else {}
            query = urlencode({"last": page[-1]["digest"], **kept})
            path = f"/v2/{at.repository}/referrers/{quote(str(at.digest), safe=':')}"
            headers["Link"] = f'<{path}?{query}>; rel="next"'
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page}
        headers["Content-Type"] = OCI_INDEX  # as it stands: a charset would make it another one
        return web.Response(body=json.dumps(body).encode(), headers=headers)

    def _page(
        self, at: paths.Referrers, wanted: str | None, last: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """As many referrers as fit, in the order of their digests; and whether there are more."""
        page: list[dict[str, Any]] = []
        size = 0
        for each in self._catalog.referrers(at.repository, at.digest):
            if (last and each["digest"] <= last) or (wanted and each.get("artifactType") != wanted):
                continue
            size += len(json.dumps(each))
            if page and size > _PAGE_BYTES_MAX:
                return page, True
            page.append(each)
        return page, False

    def _read(self, at: paths.Manifest) -> RawManifest | None:
        found = self._catalog.find(at.repository, at.reference)
        return self._catalog.read(found) if found else None


def _page_of(found: list[str], request: web.BaseRequest) -> tuple[list[str], dict[str, str]]:
    """What is asked for of sorted names, and a link to the next page where there is one.

    (OCI distribution-spec, “Listing Tags”)
    """
    last, text = request.query.get("last"), request.query.get("n")
    left = found if last is None else [name for name in found if name > last]
    if text is None:
        return left, {}
    if _NUMBER.fullmatch(text) is None:
        raise Refused(400, Code.PAGINATION_NUMBER_INVALID, "n is a number of names, from 0 up")
    page = left[: int(text)]
    if not page or len(page) == len(left):
        return page, {}
    query = urlencode({"n": text, "last": page[-1]})
    return page, {"Link": f'<{request.path}?{query}>; rel="next"'}


def _named(said: str, data: bytes, reference: str | Digest) -> RawManifest:
    """A body with its type and its digest. Raises Refused if they are not what was said."""
    media_type = said or told_type(data)
    if media_type not in ACCEPTED_TYPES:
        raise manifest_invalid(f"the manifest is of a type that is not supported: {media_type}")
    if isinstance(reference, str):
        return RawManifest(media_type, data, Digest.of(data))
    digest = Digest.of(data, reference.algorithm)
    if digest != reference:
        raise digest_invalid(ValueError(f"{digest} came instead of {reference}"))
    return RawManifest(media_type, data, digest)
