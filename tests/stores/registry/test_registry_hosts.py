from __future__ import annotations

import base64
import traceback
from pathlib import Path

import pytest
from yarl import URL

from asyncsync.model.access import Access
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.place import Registry
from asyncsync.stores.registry.hosts import api_host, proxy_for, proxy_login, schemes

CA = Path("ca.pem")


def test_docker_hub_answers_at_another_name_than_its_own() -> None:
    assert api_host(Registry("docker.io")) == "registry-1.docker.io"
    assert api_host(Registry("ghcr.io")) == "ghcr.io"


@pytest.mark.parametrize(
    ("host", "access", "expected"),
    [
        ("r.example", Access(), ("https",)),
        ("10.0.0.1:5000", Access(), ("https",)),
        ("127.0.0.1:5000", Access(), ("https", "http")),
        ("127.8.8.8", Access(), ("https", "http")),
        ("[::1]:5000", Access(), ("https", "http")),
        ("localhost:5000", Access(), ("https", "http")),
        ("localhost", Access(), ("https", "http")),
        ("localhost.example", Access(), ("https",)),
        ("127.0.0.1:5000", Access(ca_file=CA), ("https",)),
        ("r.example", Access(plain_http=frozenset({"r.example"})), ("http",)),
        ("r.example:81", Access(plain_http=frozenset({"r.example"})), ("https",)),
        (
            "localhost:5000",
            Access(plain_http=frozenset({"localhost:5000"}), ca_file=CA),
            ("http",),
        ),
    ],
)
def test_a_registry_is_spoken_to_over_tls_unless_it_is_here_or_said_to_be_plain(
    host: str, access: Access, expected: tuple[str, ...]
) -> None:
    assert schemes(Registry(host), access) == expected


@pytest.mark.parametrize(
    ("url", "proxies", "expected"),
    [
        ("https://r.example/", {}, None),
        ("https://r.example/", {"https": "http://p.example:3128"}, "http://p.example:3128"),
        ("https://r.example/", {"https": "p.example:3128"}, "http://p.example:3128"),
        ("https://r.example/", {"http": "http://p.example:3128"}, None),
        ("https://r.example/", {"all": "http://p.example:3128"}, "http://p.example:3128"),
        ("https://r.example/", {"https": "http://p", "no": "r.example"}, None),
        ("https://a.r.example/", {"https": "http://p", "no": ".r.example"}, None),
        ("https://r.example:8443/", {"https": "http://p", "no": "r.example:8443"}, None),
        ("https://r.example/", {"https": "http://p", "no": "*"}, None),
        ("https://r.example/", {"https": "http://p", "no": "other.example"}, "http://p"),
        ("https://r.example:8443/", {"https": "http://p", "no": "r.example:443"}, "http://p"),
        ("https://r.example/", {"https": "http://p", "no": "r.example:443"}, None),
        ("https://a.r.example:8443/", {"https": "http://p", "no": ".r.example:8443"}, None),
        ("https://notr.example/", {"https": "http://p", "no": "r.example"}, "http://p"),
        ("https://a.r.example/", {"https": "http://p", "no": "*.r.example"}, None),
        ("https://R.example./", {"https": "http://p", "no": "r.EXAMPLE"}, None),
        ("https://r.example/", {"https": "http://p", "no": "a.example,*"}, None),
        ("https://r.example/", {"https": "http://p", "no": " a.example , r.example "}, None),
        ("https://r.example/", {"https": "http://p", "no": "a.example r.example"}, None),
        ("https://r.example/", {"https": "http://p", "no": ",.,:443,/8,[]"}, "http://p"),
        ("https://10.1.2.3/", {"https": "http://p", "no": "10.0.0.0/8"}, None),
        ("https://10.1.2.3/", {"https": "http://p", "no": "10.1.2.9/24"}, None),
        ("https://11.1.2.3/", {"https": "http://p", "no": "10.0.0.0/8"}, "http://p"),
        ("https://r.example/", {"https": "http://p", "no": "0.0.0.0/0"}, "http://p"),
        ("https://10.1.2.3:8443/", {"https": "http://p", "no": "10.1.2.3:8443"}, None),
        ("https://10.1.2.3:8443/", {"https": "http://p", "no": "10.1.2.3:443"}, "http://p"),
        ("https://[fd00::2]:8443/", {"https": "http://p", "no": "fd00::2"}, None),
        ("https://[fd00::2]:8443/", {"https": "http://p", "no": "[fd00:0::2]"}, None),
        ("https://[fd00::2]:8443/", {"https": "http://p", "no": "[fd00::2]:8443"}, None),
        ("https://[fd00::2]:8443/", {"https": "http://p", "no": "[fd00::2]:443"}, "http://p"),
        ("https://[fd00::2]/", {"https": "http://p", "no": "fd00::/16"}, None),
        ("https://[fd00::2]/", {"https": "http://p", "no": "10.0.0.0/8"}, "http://p"),
        ("http://127.0.0.1:5000/", {"http": "http://p"}, None),
        ("http://localhost:5000/", {"http": "http://p"}, None),
        ("http://[::1]:5000/", {"http": "http://p"}, None),
    ],
)
def test_a_proxy_is_used_as_its_variables_say_but_never_for_this_machine(
    url: str, proxies: dict[str, str], expected: str | None
) -> None:
    proxy = proxy_for(URL(url), proxies)
    assert (str(proxy).rstrip("/") if proxy else None) == expected


def test_a_proxy_that_is_no_http_proxy_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="a socks5 proxy") as caught:
        proxy_for(URL("https://r.example/"), {"https": "socks5://user:s3cret@p.example"})
    assert "s3cret" not in str(caught.value)


def test_a_proxy_for_all_schemes_that_is_no_http_proxy_is_told_by_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"for https \(ALL_PROXY\) is a socks5 proxy"):
        proxy_for(URL("https://r.example/"), {"all": "socks5://p.example", "http": "p.example"})


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        ("", None),
        ("user@", b"user:"),
        ("user:secret@", b"user:secret"),
        ("mr%20smith:p%40ss%3Aw%2Frd%231@", b"mr smith:p@ss:w/rd#1"),
        ("CORP%5Cuser:p+w@", b"CORP\\user:p+w"),
        ("a%3Ab:c@", b"a:b:c"),
        ("j%C3%BCrg:%E2%82%AC@", "jürg:€".encode()),
        ("jürg:€@", "jürg:€".encode()),
        ("j%FCrg:c@", "jürg:c".encode("latin-1")),
    ],
)
def test_the_login_of_a_proxy_is_sent_byte_for_byte(login: str, sent: bytes | None) -> None:
    proxy = proxy_for(URL("https://r.example/"), {"https": f"http://{login}p.example:3128"})
    assert proxy is not None
    header = proxy_login(proxy).get("Proxy-Authorization")
    assert header == (f"Basic {base64.b64encode(sent).decode()}" if sent is not None else None)


def test_a_proxy_at_a_host_that_cannot_be_one_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="cannot be one") as caught:
        proxy_for(URL("https://r.example/"), {"https": "http://user:s3cret@p..example:3128"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[bad", "p.example:99999", "p.example:abc", "u:s3cret@", "u:s3cret/w@p.example"]
)
def test_a_proxy_that_has_no_address_is_told_without_its_password(text: str) -> None:
    for proxy in (text, f"http://{text}"):
        with pytest.raises(ConfigurationError, match="write http://host:port") as caught:
            proxy_for(URL("https://r.example/"), {"https": proxy})
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))
