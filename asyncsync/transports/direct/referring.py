"""What refers to an image, in words, and under which names it is found. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import ATTESTATION
from asyncsync.model.naming import is_tag
from asyncsync.transports.direct.graph import counted

# What cosign keeps at a tag of the digest that it speaks of (sigstore/cosign, “Signature spec”).
_COSIGN = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}
_OTHER = "referrer"
_KINDS: Mapping[str, str] = {
    "application/vnd.cncf.notary.signature": "signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature",
    "application/vnd.dev.cosign.artifact.sbom.v1+json": "SBOM",
    "application/spdx+json": "SBOM",
    "text/spdx+json": "SBOM",
    "application/vnd.cyclonedx+json": "SBOM",
    "application/vnd.in-toto+json": "attestation",
    ATTESTATION: "attestation",
}


def cosign_tags(subject: Digest) -> Iterator[tuple[str, str]]:
    """The tags at which cosign keeps what speaks of `subject`, and what each is."""
    for suffix, kind in _COSIGN.items():
        tag = f"{subject.algorithm}-{subject.hex}.{suffix}"
        if is_tag(tag):  # that of a sha512 is too long
            yield tag, kind


def kind_of(artifact_type: str | None) -> str:
    """What a user calls an artifact of this type."""
    return _KINDS.get(artifact_type or "", _OTHER)


def told(kinds: Counter[str]) -> str:
    """So many of each kind, as `2 signatures, 1 SBOM`; the same words whatever came first."""
    known = [*dict.fromkeys([*_COSIGN.values(), _OTHER])]
    return ", ".join(counted(kinds[kind], kind) for kind in known if kinds[kind])
