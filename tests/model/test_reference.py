"""Names of images: what is read, in which normal form, and that Docker agrees."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parts.engine import Engine

from asyncsync.model.digest import Digest
from asyncsync.model.naming import NotAReference
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference, is_reference

A64, B128 = "a" * 64, "b" * 128
LONG = "a" * 250


@dataclass(frozen=True)
class Row:
    """A name and its normal form, `None` where it is refused.

    `unlike`: why every engine is meant to answer otherwise. `varies`: why some engines do.
    """

    text: str
    normal: str | None = None
    unlike: str = ""
    varies: str = ""


UPPER = "since 2021 Docker takes an upper-case first component for a registry; it is hardly meant"
UPPER_HOST = "Docker keeps the case of a host, and then knows one registry under two names"
HEX = "Docker 26 takes 64 hex digits for an image Id whatever tag follows, Docker 20.10 does not"
NO_PORT = "Docker reads any digits; no registry can be there"
IPV6 = "engine 20.10 knows no IPv6 address"
LENGTH = "engine 20.10 counts the host, too"

TAKEN = [
    Row("nginx", "docker.io/library/nginx:latest"),
    Row("nginx:1.27", "docker.io/library/nginx:1.27"),
    Row("library/nginx", "docker.io/library/nginx:latest"),
    Row("docker.io/nginx", "docker.io/library/nginx:latest"),
    Row("docker.io/library/nginx:1", "docker.io/library/nginx:1"),
    Row("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
    Row("index.docker.io/team/app:1", "docker.io/team/app:1"),
    Row(
        "registry-1.docker.io/team/app:1",
        "docker.io/team/app:1",
        unlike="it is the host that Docker asks; one registry has one name and one login",
    ),
    Row("team/app", "docker.io/team/app:latest"),
    Row("team/group/app:v1", "docker.io/team/group/app:v1"),
    Row("library/team/app:1", "docker.io/library/team/app:1"),
    Row("ghcr.io/x", "ghcr.io/x:latest"),
    Row("ghcr.io/x/y:1.0", "ghcr.io/x/y:1.0"),
    Row("ghcr.io/x/y/z/app:dev", "ghcr.io/x/y/z/app:dev"),
    Row("quay.io/library/nginx:1", "quay.io/library/nginx:1"),
    Row("localhost/x:1", "localhost/x:1"),
    Row("localhost:5000/x", "localhost:5000/x:latest"),
    Row("localhost:5000", "docker.io/library/localhost:5000"),
    Row("host:5000/x:1", "host:5000/x:1"),
    Row("nginx:5000/x", "nginx:5000/x:latest"),
    Row("x:1/2", "x:1/2:latest"),
    Row("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
    Row("10.0.0.1/x:1", "10.0.0.1/x:1"),
    Row("a-b.example/x:1", "a-b.example/x:1"),
    Row("xn--bcher-kva.example/x:1", "xn--bcher-kva.example/x:1"),
    Row("r.example:65535/x:1", "r.example:65535/x:1"),
    Row("[::1]:5000/x:1", "[::1]:5000/x:1", varies=IPV6),
    Row("[fd00::2]/team/x:1", "[fd00::2]/team/x:1", varies=IPV6),
    Row("a.b", "docker.io/library/a.b:latest"),
    Row("a_b:1", "docker.io/library/a_b:1"),
    Row("a__b:1", "docker.io/library/a__b:1"),
    Row("a-b:1", "docker.io/library/a-b:1"),
    Row("a---b:1", "docker.io/library/a---b:1"),
    Row("1:1", "docker.io/library/1:1"),
    Row("1.20", "docker.io/library/1.20:latest"),
    Row("0x1f", "docker.io/library/0x1f:latest"),
    Row("x:A", "docker.io/library/x:A"),
    Row("x:_", "docker.io/library/x:_"),
    Row("x:1.2.3-rc_4", "docker.io/library/x:1.2.3-rc_4"),
    Row("x:1..2--", "docker.io/library/x:1..2--"),
    Row(f"x:{'t' * 128}", f"docker.io/library/x:{'t' * 128}"),
    Row(f"sha256.{A64}:1", f"docker.io/library/sha256.{A64}:1"),
    Row(f"{A64}:1", f"docker.io/library/{A64}:1", varies=HEX),
    Row(f"{'a' * 63}", f"docker.io/library/{'a' * 63}:latest"),
    Row(f"team/{A64}", f"docker.io/team/{A64}:latest"),
    Row(f"r.example/{LONG}:1", f"r.example/{LONG}:1", varies=LENGTH),
    Row(f"x@sha256:{A64}", f"docker.io/library/x@sha256:{A64}"),
    Row(f"x:1@sha256:{A64}", f"docker.io/library/x:1@sha256:{A64}"),
    Row(f"ghcr.io/x/y@sha512:{B128}", f"ghcr.io/x/y@sha512:{B128}"),
]
REFUSED = [
    Row(""),
    Row(":1"),
    Row("/"),
    Row("/x"),
    Row("x/"),
    Row("x//y"),
    Row("ghcr.io/"),
    Row("ghcr.io//x"),
    Row("x:"),
    Row("x:1:2"),
    Row("x:.1"),
    Row("x:-1"),
    Row("x:1+2"),
    Row(f"x:{'t' * 129}"),
    Row("x y"),
    Row(" x"),
    Row("x "),
    Row("x\n"),
    Row("x:1\n"),
    Row("-x"),
    Row("x-"),
    Row(".x"),
    Row("x."),
    Row("_x"),
    Row("x..y"),
    Row("x___y"),
    Row("x._y"),
    Row("x.-y"),
    Row("é"),
    Row("x：1"),
    Row("٣"),
    Row("x@y"),
    Row("x#y"),
    Row("https://ghcr.io/x"),
    Row("my_host:5000/x"),
    Row("-host.example/x"),
    Row("host-.example/x"),
    Row("host..example/x"),
    Row("host.example./x"),
    Row("host.example:/x"),
    Row("host.example:port/x"),
    Row("[::1/x"),
    Row("[x]:5000/y"),
    Row("[::1]x/y"),
    Row("[:::]/y", varies="newer engines only look at the signs of an IPv6 address"),
    Row(A64),
    Row("Nginx"),
    Row("x/Y"),
    Row("ghcr.io/X/y"),
    Row("X/y", varies=UPPER),
    Row("GHCR.io/x:1", unlike=UPPER_HOST),
    Row("LOCALHOST:5000/x:1", unlike=UPPER_HOST),
    Row("r.example:0/x:1", unlike=NO_PORT),
    Row("r.example:65536/x:1", unlike=NO_PORT),
    Row("r.example:123456789012345678901234567890/x:1", unlike=NO_PORT),
    Row(f"r.example/{LONG}/aaaaa:1"),
    Row(f"{LONG}/aaaaa:1"),
    Row(f"library/{LONG}:1"),
    Row("x@sha256:12"),
    Row("x@"),
    Row(f"x@sha256:{'A' * 64}"),
    Row(f"x@sha256:{A64}a"),
    Row(f"x@sha512:{A64}"),
    Row(f"x@md5:{'a' * 32}"),
    Row(f"@sha256:{A64}"),
]
WITHOUT_DIGEST = [row for row in TAKEN + REFUSED if "@" not in row.text]


def in_short(row: Row) -> str:
    return ascii(row.text.replace(LONG, "LONG").replace(A64, "A64"))


@pytest.mark.parametrize("row", TAKEN, ids=in_short)
def test_a_name_is_completed_as_docker_does(row: Row) -> None:
    assert str(Reference.parse(row.text)) == row.normal


@pytest.mark.parametrize("row", REFUSED, ids=in_short)
def test_what_names_no_image_is_refused(row: Row) -> None:
    with pytest.raises(NotAReference) as refused:
        Reference.parse(row.text)
    assert 0 <= refused.value.offset <= len(row.text)


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_docker_agrees_on_every_name_or_the_table_says_why_not(engine: Engine) -> None:
    engine.import_tiny("asyncsync-test/tagged:0")
    surprises = []
    for row in (row for row in TAKEN + REFUSED if "@" not in row.text):
        docker = tagged_by_docker(engine, "asyncsync-test/tagged:0", row.text)
        agrees = docker == row.normal or (bool(row.varies) and None in (docker, row.normal))
        if agrees is bool(row.unlike):
            surprises.append((row.text, row.normal, docker))
    assert surprises == []


def tagged_by_docker(engine: Engine, image: str, name: str) -> str | None:
    """What Docker makes of `name`, written out; `None` where it refuses it."""
    if engine.docker("tag", "--", image, name, check=False).returncode:
        return None
    tags = engine.docker("image", "inspect", "--format", '{{join .RepoTags " "}}', image)
    (familiar,) = {tag for tag in tags.stdout.split() if tag != image}
    engine.docker("rmi", familiar)
    first, slash, _ = familiar.partition("/")
    if not slash:
        return f"docker.io/library/{familiar}"
    is_host = any(c in first for c in ".:") or first == "localhost" or first != first.lower()
    return familiar if is_host else f"docker.io/{familiar}"


hosts = st.sampled_from(
    ["docker.io", "ghcr.io", "localhost", "localhost:5000", "r.example:443", "[::1]:5000", "a-b.c"]
)
components = st.from_regex(r"[a-z0-9]{1,9}(?:(?:\.|_|__|-|---)[a-z0-9]{1,9}){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
digests = st.binary(max_size=4).flatmap(
    lambda data: st.sampled_from(["sha256", "sha512"]).map(lambda name: Digest.of(data, name))
)
references = st.builds(
    lambda host, path, tag, digest: Reference(
        Registry(host),
        "/".join(["library", *path] if host == "docker.io" and len(path) == 1 else path),
        tag if tag or digest else "latest",
        digest,
    ),
    hosts,
    st.lists(components, min_size=1, max_size=4),
    st.none() | tags,
    st.none() | digests,
)


@given(references)
@example(Reference(Registry("docker.io"), "a.b/c", "1"))
@example(Reference(Registry("docker.io"), "localhost/c", "1"))
@example(Reference(Registry("docker.io"), "library/localhost", "5000"))
@example(Reference(Registry("docker.io"), "library/a/b", "1"))
@example(Reference(Registry("docker.io"), f"library/{A64}", "1"))
@example(Reference(Registry("ghcr.io"), "library/a", "1"))
def test_a_reference_is_read_back_from_its_text_and_from_its_familiar_form(
    reference: Reference,
) -> None:
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


pieces = st.sampled_from(
    [*":/@.-_ #[]", "docker.io", "x", "X", "localhost", "5000", "sha256:", A64]
)


@given(st.text() | st.lists(pieces, max_size=12).map("".join))
def test_any_text_is_a_reference_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except NotAReference as error:
        refused = error
    else:
        assert str(Reference.parse(str(reference))) == str(reference)
        return
    assert 0 <= refused.offset <= len(text)
    assert refused.instead is None or is_reference(refused.instead)


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        (
            "Nginx:1.27",
            0,
            "no image is called 'Nginx:1.27': names are lower case. Write nginx:1.27",
        ),
        ("ghcr.io/Foo/bar:V1", 8, "Write ghcr.io/foo/bar:V1"),
        ("GHCR.io/x", 0, "Write ghcr.io/x"),
        (f"x@sha256:{'A' * 64}", 9, f"Write x@sha256:{A64}"),
        ("x/y$z", 3, "'y$z' is no part of a name"),
        ("x:1/y:$", 6, "'$' is no tag"),
        ("x:", 2, "the tag after ':' is missing"),
        ("x:1:2", 3, "'1:2' is no tag"),
        (f"x:{'t' * 129}", 2, "the tag has 129 characters; at most 128"),
        ("r.example:65536/x", 10, "'65536' is no port: ports go from 1 to 65535"),
        (f"{'h' * 64}.example/x", 0, "is no registry: host or host:port"),
        (f"{'h.' * 127}h:5000/x", 0, "is no registry: host or host:port"),
        ("x@sha256:12", 2, "'sha256:12' is no digest"),
        ("a" * 1025, 0, "1025 characters are too long for an image; at most 1024"),
        (A64, 0, "64 hex digits are an image Id"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_refusal_says_where_and_what_to_write(text: str, offset: int, message: str) -> None:
    with pytest.raises(NotAReference) as refused:
        Reference.parse(text)
    assert message in str(refused.value)
    assert refused.value.offset == offset


def test_a_refusal_can_be_sent_to_another_process() -> None:
    with pytest.raises(NotAReference) as refused:
        Reference.parse("Nginx")
    sent = pickle.loads(pickle.dumps(refused.value))  # noqa: S301  our own bytes
    assert (str(sent), sent.offset) == (str(refused.value), 0)


def test_a_registry_is_asked_by_digest_where_there_is_one() -> None:
    tagged = Reference.parse("x:1")
    digest = Digest.of(b"content")
    assert tagged.identifier == "1"
    assert tagged.by_digest(digest).identifier == str(digest)
    assert str(tagged.by_digest(digest)) == f"docker.io/library/x@{digest}"


@pytest.mark.parametrize("text", ["Ghcr.io", "ghcr.io/x", "", "h:0", "h:", "[::1", "[::g]", "a b"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host names|no registry|no port"):
        Registry.parse(text)
