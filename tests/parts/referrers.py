"""What refers to images: put into a real registry, and a registry that lists it by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from scripted import Scripted

from parts.gateway import gateway, passed_on
from parts.images import OCI_INDEX, OCI_MANIFEST, digest_of
from parts.registry import Registry

NOTARY = "application/vnd.cncf.notary.signature"
SPDX = "application/spdx+json"
_EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"


def fallback_tag(digest: str) -> str:
    """Where clients list what refers to a digest (OCI distribution-spec)."""
    return digest.replace(":", "-")


def artifact(subject: str, kind: str, content: str, **annotations: str) -> bytes:
    """A manifest that refers to the image manifest of digest `subject`."""
    blob = content.encode()
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": _EMPTY_CONFIG, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": kind, "digest": digest_of(blob), "size": len(blob)}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
        "annotations": annotations,
    }
    return json.dumps(body).encode()


def put_referrer(
    registry: Registry, repository: str, subject: str, kind: str = NOTARY, content: str = "signed"
) -> str:
    """Put an artifact about `subject` and list it at the fallback tag; its digest."""
    registry.put_blob(repository, b"{}")
    registry.put_blob(repository, content.encode())
    data = artifact(subject, kind, content, by="us")
    digest = registry.put_manifest(repository, digest_of(data), OCI_MANIFEST, data)
    listed = registry.manifest(repository, fallback_tag(subject))
    entries = [*(listed["manifests"] if listed else []), entry(data)]
    page = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    registry.put_manifest(repository, fallback_tag(subject), OCI_INDEX, json.dumps(page).encode())
    return digest


def entry(data: bytes) -> dict[str, Any]:
    """What a list of referrers says about a manifest."""
    body = json.loads(data)
    return {
        "mediaType": body["mediaType"],
        "digest": digest_of(data),
        "size": len(data),
        "artifactType": body["artifactType"],
        "annotations": body["annotations"],
    }


@dataclass
class Lists:
    """The lists of a `listing_registry`: entries by repository and subject."""

    held: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, repository: str, data: bytes) -> str | None:
        """Take note of a manifest; the digest of its subject, if it has one."""
        subject = (json.loads(data).get("subject") or {}).get("digest")
        if subject is not None:
            entries = self.held.setdefault((repository, subject), [])
            if entry(data) not in entries:
                entries.append(entry(data))
        return subject


@asynccontextmanager
async def listing_registry(to: Registry) -> AsyncIterator[tuple[Scripted, Lists]]:
    """The registry `to`, with the referrers API that docker-registry lacks."""
    lists = Lists()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def referrers_api(request: web.BaseRequest) -> web.StreamResponse | None:
            repository, _, last = request.path.removeprefix("/v2/").rpartition("/")
            repository, _, noun = repository.rpartition("/")
            if noun == "referrers":
                found = lists.held.get((repository, last), [])
                page = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
                return web.Response(body=json.dumps(page).encode(), content_type=OCI_INDEX)
            if (request.method, noun) != ("PUT", "manifests"):
                return None
            answer = await passed_on(session, to.host, request)
            subject = lists.add(repository, await request.read()) if answer.status == 201 else None
            if subject:
                answer.headers["OCI-Subject"] = subject
            return answer

        async with gateway(to.host, referrers_api) as server:
            yield server, lists
