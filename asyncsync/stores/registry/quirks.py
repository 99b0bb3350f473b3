"""What is different at which registry: one table, by the host's name. Pure.

Code asks `quirks(host)` and never compares a host's name itself. A registry under a name of its
own (Harbor, zot, Nexus, a GitLab at home) is in no row: it gets the defaults, and its answers
teach the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

from asyncsync.model.place import DOCKER_HUB
from asyncsync.stores.registry.rates import Kind

MIB = 1024 * 1024
_NAME = re.compile(r"[a-z0-9.-]+")


class Way(StrEnum):
    """How a blob is uploaded (OCI distribution-spec, “Pushing blobs”)."""

    PUT = "put"  # POST, then one PUT with Content-Length
    CHUNKS = "chunks"  # POST, PATCHes with Content-Range, the last part in the PUT
    PATCH = "patch"  # POST, one PATCH without Content-Range, an empty PUT: as docker does


class Mounts(StrEnum):
    """From when on a blob of one repository can be mounted into another."""

    AFTER_BLOB = "after its upload"
    AFTER_MANIFEST = "after a manifest that names it"


@dataclass(frozen=True, slots=True)
class Quirks:
    """What to do otherwise at one registry; the defaults are for all of which nothing is known."""

    api_host: str | None = None
    """The host that answers, where it is not the registry's own name."""
    quota_by_429: bool = False
    """Whether 429 with TOOMANYREQUESTS is a quota that is spent for hours, and no mere rate."""
    at_once: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Requests at once to begin with, where fewer than elsewhere."""
    ways: tuple[Way, ...] = (Way.PUT, Way.CHUNKS, Way.PATCH)
    """Ways to upload, in the order to try. Never empty."""
    chunk_bytes: int = 128 * MIB
    """Of one chunk, unless the registry asks for larger ones (OCI-Chunk-Min-Length)."""
    mounts: Mounts = Mounts.AFTER_BLOB
    trust_offset: bool = True
    """Whether it tells truly how much of an upload it has, so that a broken one can go on."""
    one_scope: bool = False
    """Whether its token server hears one scope of several alone: then a mount is not asked for."""
    digest_tags: bool = True
    """Whether a tag `sha256-<hex>` is a tag there, as the referrers tag schema needs."""
    on_denied: str = ""
    """What to do where it refuses a push; empty: nothing is known but the usual."""
    on_missing: str = ""
    """What to do where it knows no such repository at a push; empty: the usual."""


_WHOLE = (Way.PUT, Way.PATCH)  # never in chunks

_ECR_HOSTS = (
    "*.dkr.ecr.*.amazonaws.com",
    "*.dkr.ecr-fips.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com.cn",
    "*.dkr-ecr.*.on.aws",  # dual-stack: Amazon ECR user guide, “Making requests”
    "*.dkr-ecr.*.on.amazonwebservices.com.cn",
)
_ALIYUN_PERSONAL_HOSTS = (
    "registry.*.aliyuncs.com",
    "registry-vpc.*.aliyuncs.com",
    "registry-internal.*.aliyuncs.com",
    "*.personal.cr.aliyuncs.com",
)

# Patterns are of the whole host, `*` stands for any characters. Each ends in a name that its
# owner holds, so that nobody else's host can match. The first row that matches counts.
_TABLE: tuple[tuple[tuple[str, ...], Quirks], ...] = (
    (
        (DOCKER_HUB,),
        Quirks(
            # docker.io itself is a web site: containers/image, docker_client.go
            api_host="registry-1.docker.io",
            # docs.docker.com, “Docker Hub pull usage and limits”; its abuse limit is a bare 429
            quota_by_429=True,
            # A PUT of 100 MB was answered 400 where PATCH and PUT went through:
            # atlanhq/application-sdk#2020. Chunks: nobody tells of any there.
            ways=_WHOLE,
        ),
    ),
    (
        ("ghcr.io",),
        # Content-Range over 4 MiB is 416, several PATCHes overwrite each other:
        # ocx-sh/ocx#237, oras-project/rust-oci-client#37; nothing to continue: the same
        Quirks(ways=_WHOLE, trust_offset=False),
    ),
    (
        ("gcr.io", "*.gcr.io", "*-docker.pkg.dev"),
        # No chunked upload: containers/skopeo#1101, kubernetes-sigs/promo-tools#1271
        Quirks(ways=_WHOLE, trust_offset=False),
    ),
    (
        ("quay.io",),
        # The whole in one: google/go-containerregistry, pkg/v1/remote/write.go
        Quirks(ways=_WHOLE, trust_offset=False),
    ),
    (
        ("public.ecr.aws", "ecr-public.aws.com"),
        # One request a second for strangers, ten after a login: goharbor/harbor#20055
        Quirks(at_once=MappingProxyType(dict.fromkeys((Kind.HEADS, Kind.READS, Kind.BLOBS), 2))),
    ),
    (
        _ECR_HOSTS,
        Quirks(
            # PutImage 10 a second, UploadLayerPart 500: Amazon ECR service quotas
            at_once=MappingProxyType({Kind.WRITES: 4}),
            # A part has at most 20 MiB: ECR API, UploadLayerPart, layerPartBlob
            chunk_bytes=20 * MIB,
            # Blob mounting (opt-in) knows the blobs of images alone: ocync, engine.md
            mounts=Mounts.AFTER_MANIFEST,
            # Range stays at the first chunk: regclient, scheme/reg/blob.go
            trust_offset=False,
            # Amazon ECR user guide, “Repository creation templates”
            on_missing=(
                "Create the repository in ECR, or a repository creation template for its prefix "
                "(applied for: create on push): a push alone creates none."
            ),
        ),
    ),
    (
        ("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
        Quirks(
            # Bodies over some 20 MB: 413 (Azure/acr#866, dotnet/sdk-container-builds#258)
            chunk_bytes=16 * MIB,
            # A chunk sent again is 404: Azure/azure-sdk-for-net#35322
            trust_offset=False,
        ),
    ),
    (
        ("registry.gitlab.com",),
        Quirks(
            one_scope=True,  # the last of several counts: estesp/manifest-tool#53
            digest_tags=False,  # read as the digest: oras-project/oras-go#1396
        ),
    ),
    (
        _ALIYUN_PERSONAL_HOSTS,
        Quirks(
            # One answer for everything: tech-shrimp/docker_image_pusher#86, #309, #337;
            # Alibaba Cloud help, “Container Registry Personal Edition: limits”
            on_denied=(
                "Aliyun says this of four things. Check that the user name is the full account "
                "name; that the password is the one set for the registry, not the account's; that "
                "the namespace exists; and that it may create repositories and is not full "
                "(personal edition: 3 namespaces, 300 repositories)."
            ),
        ),
    ),
    (
        ("ccr.ccs.tencentyun.com", "*.ccs.tencentyun.com", "*.tencentcloudcr.com"),
        # Tencent Cloud documentation, TCR: “Managing namespaces”
        Quirks(
            on_denied="Create the namespace in Tencent's console first, and check the rights.",
            on_missing="Create the namespace in Tencent's console first: a push creates none.",
        ),
    ),
    (
        ("*.jfrog.io",),
        # A path without it is 404: docker/build-push-action#1115
        Quirks(
            on_missing="Begin the namespace with the key of Artifactory's repository: host/KEY/…",
        ),
    ),
)
_DEFAULT = Quirks()


def quirks(host: str) -> Quirks:
    """What is different at `host`, a registry's name as in references, perhaps with a port."""
    name = host.removesuffix(":443")  # another port is another registry
    if _NAME.fullmatch(name) is None:  # `*` would take a foreign host and `:` or `@` in
        return _DEFAULT
    for patterns, row in _TABLE:
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return row
    return _DEFAULT
