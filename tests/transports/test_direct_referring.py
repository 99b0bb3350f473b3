"""What refers to an image, in words, and cosign's tags for it."""

from __future__ import annotations

from collections import Counter

import pytest

from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.manifest import ATTESTATION
from asyncsync.transports.direct.referring import cosign_tags, kind_of, told

DIGEST = Digest.of(b"an image")


def test_cosign_keeps_three_things_at_tags_of_the_digest() -> None:
    assert list(cosign_tags(DIGEST)) == [
        (f"sha256-{DIGEST.hex}.sig", "signature"),
        (f"sha256-{DIGEST.hex}.att", "attestation"),
        (f"sha256-{DIGEST.hex}.sbom", "SBOM"),
    ]


def test_a_digest_too_long_for_a_tag_has_none() -> None:
    assert list(cosign_tags(Digest.of(b"an image", "sha512"))) == []


def test_the_tag_of_a_list_is_cut_as_the_specification_says() -> None:
    long = Digest.of(b"an image", "sha512")
    assert referrers_tag(DIGEST) == f"sha256-{DIGEST.hex}"
    assert referrers_tag(long) == f"sha512-{long.hex[:64]}"


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/vnd.cncf.notary.signature", "signature"),
        ("application/spdx+json", "SBOM"),
        (ATTESTATION, "attestation"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "referrer"),
        ("", "referrer"),
        (None, "referrer"),
    ],
)
def test_only_what_is_known_has_a_name_of_its_own(artifact_type: str | None, kind: str) -> None:
    assert kind_of(artifact_type) == kind


def test_the_same_things_are_told_in_the_same_words() -> None:
    assert told(Counter(["referrer", "SBOM", "signature", "signature"])) == (
        "2 signatures, 1 SBOM, 1 referrer"
    )
    assert told(Counter(["attestation"] * 2)) == "2 attestations"
