from __future__ import annotations

import pytest
from yarl import URL

from asyncsync.stores.registry.trust import (
    Reach,
    Refused,
    reach,
    reach_of_name,
    realm_url,
    redirect_url,
    same_origin,
)

PUBLIC, PRIVATE, LINK, LOOP = Reach.PUBLIC, Reach.PRIVATE, Reach.LINK_LOCAL, Reach.LOOPBACK


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", PUBLIC),
        ("2606:4700::1", PUBLIC),
        ("10.0.0.1", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd00::1", PRIVATE),
        ("224.0.0.1", PRIVATE),
        ("169.254.169.254", LINK),
        ("fe80::1%eth0", LINK),
        ("127.0.0.1", LOOP),
        ("127.9.9.9", LOOP),
        ("0.0.0.0", LOOP),  # noqa: S104  an address to judge; nothing binds it
        ("::1", LOOP),
        ("::", LOOP),
        ("::ffff:127.0.0.1", LOOP),
        ("::ffff:10.0.0.1", PRIVATE),
        ("64:ff9b::a00:1", PRIVATE),
        ("64:ff9b::808:808", PUBLIC),
        ("2002:7f00:1::", LOOP),
        ("fec0::1", PRIVATE),
    ],
)
def test_an_address_is_as_far_as_it_can_be_reached_from(address: str, expected: Reach) -> None:
    assert reach(address) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", LOOP),
        ("a.localhost", LOOP),
        ("127.0.0.1", LOOP),
        ("LOCALHOST", LOOP),
        ("localhost.", LOOP),
        ("127.0.0.1.", LOOP),
        ("r.example", None),
        ("localhost.example", None),
    ],
)
def test_a_name_shows_its_reach_only_if_it_is_an_address_or_localhost(
    host: str, expected: Reach | None
) -> None:
    assert reach_of_name(host) is expected


@pytest.mark.parametrize(
    ("realm", "registry", "home", "expected"),
    [
        ("https://auth.example/token?a=%2F%7e", "https://r.example", PUBLIC, None),
        ("https://r.example:8443/t", "https://r.example", PUBLIC, None),
        ("/token", "https://r.example", PUBLIC, "https://r.example/token"),
        ("http://r.example:5000/t", "http://r.example:5000", PUBLIC, None),
        ("https://10.0.0.9/t", "https://10.0.0.1", PRIVATE, None),
        ("https://127.0.0.1:9/t", "https://127.0.0.1:5000", LOOP, None),
    ],
)
def test_a_realm_over_https_or_on_a_plain_registry_itself_is_asked(
    realm: str, registry: str, home: Reach, expected: str | None
) -> None:
    assert str(realm_url(realm, URL(registry), home)) == (expected or realm)


@pytest.mark.parametrize(
    ("realm", "registry", "home", "why"),
    [
        ("http://auth.example/t", "https://r.example", PUBLIC, "not https"),
        ("http://r.example/t", "https://r.example", PUBLIC, "not https"),
        ("http://r.example:81/t", "http://r.example:80", PUBLIC, "not https"),
        ("http://auth.example/t", "http://r.example", PUBLIC, "not https"),
        ("https://10.0.0.1/t", "https://r.example", PUBLIC, "a private address"),
        ("https://169.254.169.254/t", "https://r.example", PUBLIC, "a link-local address"),
        ("https://127.0.0.1/t", "https://r.example", PUBLIC, "a loopback address"),
        ("https://localhost/t", "https://r.example", PUBLIC, "a loopback address"),
        ("https://[::1]/t", "https://r.example", PUBLIC, "a loopback address"),
        ("https://[::ffff:10.0.0.1]/t", "https://r.example", PUBLIC, "a private address"),
        ("https://169.254.169.254/t", "https://10.0.0.1", PRIVATE, "a link-local address"),
        ("https://127.0.0.1/t", "https://10.0.0.1", PRIVATE, "a loopback address"),
        ("https://user:pw@auth.example/t", "https://r.example", PUBLIC, "user name"),
        ("ftp://auth.example/t", "https://r.example", PUBLIC, "no address"),
        ("file:///etc/passwd", "https://r.example", PUBLIC, "no address"),
        ("", "https://r.example", PUBLIC, "no address"),
        ("https://[::1/t", "https://r.example", PUBLIC, "no address"),
        ("https://a.example:99999/t", "https://r.example", PUBLIC, "no address"),
        ("https://a.example/t\r\nX: y", "https://r.example", PUBLIC, "no address"),
        ("https://ä.example/t", "https://r.example", PUBLIC, "no address"),
        ("https://localhost./t", "https://r.example", PUBLIC, "a loopback address"),
        ("https://127.1/t", "https://r.example", PUBLIC, "no address"),
        ("https://2130706433/t", "https://r.example", PUBLIC, "no address"),
        ("https://0177.0.0.1/t", "https://r.example", PUBLIC, "no address"),
        ("https://0x7f000001/t", "https://r.example", PUBLIC, "no address"),
        ("https://a.0x1/t", "https://r.example", PUBLIC, "no address"),
        ("https://127.0.0.1./t", "https://r.example", PUBLIC, "no address"),
        ("https://[2606:4700::1%25eth0]/t", "https://r.example", PUBLIC, "no address"),
        ("https://xn--a.example/t", "https://r.example", PUBLIC, "no address"),
        ("https://a..example/t", "https://r.example", PUBLIC, "no address"),
        ("https://.example/t", "https://r.example", PUBLIC, "no address"),
        (f"https://{'a' * 64}.example/t", "https://r.example", PUBLIC, "no address"),
        (f"https://{'a.' * 127}example/t", "https://r.example", PUBLIC, "no address"),
    ],
)
def test_a_realm_that_is_not_safe_is_refused(
    realm: str, registry: str, home: Reach, why: str
) -> None:
    with pytest.raises(Refused, match=why) as caught:
        realm_url(realm, URL(registry), home)
    assert "pw" not in str(caught.value)
    assert "\n" not in str(caught.value)


SIGNED = "https://cdn.example/b?sig=a%2Bb%2Fc%3D&t=%7E&q=%41+x&Key-Pair-Id=Z~"


@pytest.mark.parametrize(
    ("location", "current", "expected"),
    [
        (SIGNED, "https://r.example/v2/", SIGNED),
        ("/other%2Fpath?x=%7e", "https://r.example/v2/", "https://r.example/other%2Fpath?x=%7e"),
        ("next", "https://r.example/v2/a", "https://r.example/v2/next"),
        ("http://cdn.example/b", "http://r.example/v2/", "http://cdn.example/b"),
        ("https://cdn.example/b#part", "https://r.example/v2/", "https://cdn.example/b"),
        ("https://1.a_b-c.example./b", "https://r.example/v2/", "https://1.a_b-c.example./b"),
        ("https://8.8.8.8/b", "https://r.example/v2/", "https://8.8.8.8/b"),
    ],
)
def test_a_redirect_is_followed_byte_for_byte(location: str, current: str, expected: str) -> None:
    there = redirect_url(location, URL(current), URL("https://r.example"), PUBLIC)
    assert str(there) == expected


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://cdn.example/b", "not https"),
        ("http://r.example/b", "not https"),
        ("https://10.0.0.1/b", "a private address"),
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("//127.0.0.1/b", "a loopback address"),
        ("https://u@cdn.example/b", "user name"),
        ("gopher://cdn.example/", "no address"),
        ("https://cdn.example/a b", "no address"),
    ],
)
def test_a_redirect_to_where_we_do_not_go_is_refused(location: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        redirect_url(location, URL("https://r.example/v2/"), URL("https://r.example"), PUBLIC)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://r.example:443/x", True),
        ("https://r.example:444/", False),
        ("http://r.example/", False),
        ("https://cdn.r.example/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(other: str, same: bool) -> None:
    assert same_origin(URL("https://r.example/v2/"), URL(other)) is same
