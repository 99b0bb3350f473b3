"""What is known of which registry, by its host; and that nobody else's host passes for one."""

from __future__ import annotations

import pytest

from asyncsync.model.place import Registry
from asyncsync.stores.registry.hosts import api_host
from asyncsync.stores.registry.quirks import Mounts, Quirks, Way, quirks
from asyncsync.stores.registry.rates import Kind

MIB = 1024 * 1024

DOCKER_HUB = ["docker.io"]
GHCR = ["ghcr.io", "ghcr.io:443"]
GOOGLE = ["gcr.io", "eu.gcr.io", "mirror.gcr.io", "europe-west1-docker.pkg.dev"]
QUAY = ["quay.io"]
ECR_PUBLIC = ["public.ecr.aws", "ecr-public.aws.com"]
ECR = [
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "123456789012.dkr-ecr.us-west-2.on.aws",
    "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
]
AZURE = ["team.azurecr.io", "team.azurecr.cn"]
GITLAB = ["registry.gitlab.com"]
ALIYUN = [
    "registry.cn-hangzhou.aliyuncs.com",
    "registry-vpc.cn-hangzhou.aliyuncs.com",
    "registry-internal.cn-hangzhou.aliyuncs.com",
    "crpi-abcdefgh12345678.cn-shanghai.personal.cr.aliyuncs.com",
]
TENCENT = ["ccr.ccs.tencentyun.com", "hkccr.ccs.tencentyun.com", "team.tencentcloudcr.com"]
ARTIFACTORY = ["team.jfrog.io"]

KNOWN = [
    *(DOCKER_HUB + GHCR + GOOGLE + QUAY + ECR_PUBLIC + ECR),
    *(AZURE + GITLAB + ALIYUN + TENCENT + ARTIFACTORY),
]
PLAIN = [
    "r.example",
    "localhost:5000",
    "[::1]:5000",
    "harbor.example",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "team-registry.cn-hangzhou.cr.aliyuncs.com",  # Aliyun's enterprise edition
    "registry-1.docker.io.example",
]


def test_of_docker_hub_the_host_the_quota_and_the_ways_are_known() -> None:
    assert api_host(Registry("docker.io")) == "registry-1.docker.io"
    assert quirks("docker.io").quota_by_429
    assert [host for host in KNOWN + PLAIN if quirks(host).quota_by_429] == DOCKER_HUB
    assert [host for host in KNOWN + PLAIN if quirks(host).api_host] == DOCKER_HUB


@pytest.mark.parametrize("host", DOCKER_HUB + GHCR + GOOGLE + QUAY)
def test_some_registries_are_never_sent_chunks(host: str) -> None:
    assert quirks(host).ways == (Way.PUT, Way.PATCH)


@pytest.mark.parametrize("host", ECR + AZURE + GITLAB + ALIYUN + PLAIN)
def test_elsewhere_the_whole_is_tried_first_and_what_docker_does_is_tried_last(host: str) -> None:
    assert quirks(host).ways == (Way.PUT, Way.CHUNKS, Way.PATCH)


@pytest.mark.parametrize("host", GHCR + GOOGLE + QUAY + ECR + AZURE)
def test_some_registries_do_not_tell_truly_what_they_have_of_an_upload(host: str) -> None:
    assert not quirks(host).trust_offset


@pytest.mark.parametrize("host", ECR)
def test_ecr_mounts_what_a_manifest_names_and_takes_small_parts_and_few_manifests(
    host: str,
) -> None:
    row = quirks(host)
    assert row.mounts is Mounts.AFTER_MANIFEST
    assert 5 * MIB <= row.chunk_bytes <= 20 * MIB
    assert row.at_once[Kind.WRITES] < 10
    assert "Create the repository" in row.on_missing


@pytest.mark.parametrize("host", AZURE)
def test_azure_takes_chunks_below_its_limit_on_bodies(host: str) -> None:
    assert 8 * MIB <= quirks(host).chunk_bytes <= 16 * MIB


@pytest.mark.parametrize("host", ECR_PUBLIC)
def test_ecr_public_is_asked_little_at_once(host: str) -> None:
    assert set(quirks(host).at_once) == {Kind.HEADS, Kind.READS, Kind.BLOBS}
    assert set(quirks(host).at_once.values()) == {2}


def test_gitlab_hears_one_scope_and_takes_some_tags_for_digests() -> None:
    row = quirks("registry.gitlab.com")
    assert row.one_scope
    assert not row.digest_tags


@pytest.mark.parametrize("host", ALIYUN)
def test_aliyuns_one_refusal_is_explained_by_its_four_causes(host: str) -> None:
    advice = quirks(host).on_denied
    assert all(word in advice for word in ("user name", "password", "namespace", "full"))


@pytest.mark.parametrize("host", TENCENT)
def test_tencent_wants_the_namespace_first(host: str) -> None:
    assert "namespace" in quirks(host).on_denied
    assert "namespace" in quirks(host).on_missing


@pytest.mark.parametrize("host", ARTIFACTORY)
def test_artifactory_wants_its_repository_key_in_the_path(host: str) -> None:
    assert "KEY" in quirks(host).on_missing


@pytest.mark.parametrize("host", PLAIN)
def test_of_other_registries_nothing_is_known(host: str) -> None:
    assert quirks(host) == Quirks()


@pytest.mark.parametrize("host", KNOWN)
def test_each_known_registry_is_known_for_something(host: str) -> None:
    assert quirks(host) != Quirks()


@pytest.mark.parametrize("host", [host for host in KNOWN if ":" not in host])
@pytest.mark.parametrize(
    "disguise",
    ["{}.example", "{}-example.com", "evil-{}.example", "{}:5000", "evil.example:{}", "{}.", ""],
)
def test_a_host_that_only_looks_like_a_known_one_is_none(host: str, disguise: str) -> None:
    assert quirks(disguise.format(host)) == Quirks()


@pytest.mark.parametrize(
    "host",
    [
        "evil-ghcr.io",
        "evilghcr.io",
        "sub.ghcr.io",
        "GHCR.IO",
        "ghcr.io\n",
        "evil-docker.io",
        "index.docker.io.evil.example",
        "evilgcr.io",
        "docker.pkg.dev",
        "europe-docker.pkg.dev.evil.example",
        "evilazurecr.io",
        ".azurecr.io.example",
        "registry.aliyuncs.com",
        "evil-registry.cn-hangzhou.aliyuncs.com",
        "123456789012.dkr.ecr.eu-central-1.evilamazonaws.com",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example",
        "*",
        "[a-z]*",
    ],
)
def test_look_alikes_get_what_strangers_get(host: str) -> None:
    assert quirks(host) == Quirks()
