from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import ConfigurationError
from asyncsync.settings import Settings

SECRET = "pass&word<1>??>"


@pytest.mark.parametrize(
    "credential",
    [
        Credential(username="u", password=SECRET),
        Credential(username="u", identity_token=SECRET),
        Credential(registry_token=SECRET),
    ],
)
def test_a_credential_shows_no_secret_in_its_repr(credential: Credential) -> None:
    assert SECRET not in repr(credential)
    assert SECRET not in f"{credential}"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        "pass%26word%3C1%3E%3F%3F%3E",
        "pass&amp;word&lt;1&gt;??&gt;",
        base64.b64encode(f"u:{SECRET}".encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(f"u:{SECRET}".encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_known_in_each_form_in_which_a_server_can_send_it_back(form: str) -> None:
    assert form in Credential(username="u", password=SECRET).secrets


def test_nobody_has_no_secrets() -> None:
    assert Credential(username="u").secrets == ()


@pytest.mark.parametrize("texts", [("u", None), (None, "p"), (b"u", "p"), ("u", "p", None)])
def test_a_login_that_is_no_text_as_of_an_unset_variable_is_refused(texts: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^A login is made of texts: Credential\("):
        Credential(*texts)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ca_file", 3),
        ("ca_file", b"ca.pem"),
        ("proxies", f"http://u:{SECRET}@proxy.example"),
        ("proxies", {"https": None}),
        ("proxies", [("https", SECRET)]),
        ("mirrors", None),
        ("mirrors", ["docker.io=https://mirror.example"]),
        ("mirrors", {"docker.io": "https://mirror.example"}),
        ("mirrors", {"docker.io": [None]}),
        ("mirrors", {3: ["https://mirror.example"]}),
    ],
)
def test_what_an_access_does_not_take_is_told_with_what_it_takes(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{option} is ") as caught:
        Access(**{option: value})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("login", "sent"),
    [("u:p%40ss", b"u:p@ss"), ("u:p%C3%BCss", "u:püss".encode()), ("u:p%FCss", b"u:p\xfcss")],
)
def test_the_login_of_a_proxy_is_a_secret_in_the_form_in_which_it_is_sent(
    login: str, sent: bytes
) -> None:
    access = Access(proxies={"https": f"http://{login}@proxy.example"})
    assert base64.b64encode(sent).decode().rstrip("=") in access.secrets


def test_an_access_shows_no_password_of_a_proxy_in_its_repr() -> None:
    access = Access(proxies={"https": f"http://u:{SECRET}@proxy.example"})
    assert SECRET not in repr(access)
    assert SECRET not in repr(Settings(access=access))


def test_registries_are_reached_over_tls_and_without_proxy_unless_asked() -> None:
    assert Access() == Access(
        plain_http=frozenset(), ca_file=None, proxies={}, insecure=frozenset(), mirrors={}
    )


def test_hosts_are_taken_from_anything_that_has_several_and_read_as_registries() -> None:
    for several in (["r.example:81", "index.docker.io"], {"r.example:81", "docker.io"}):
        access = Access(plain_http=several, insecure=several)
        assert access.plain_http == access.insecure == frozenset({"r.example:81", "docker.io"})
    one_by_one: Any = iter(["r.example:81"])
    assert Access(insecure=one_by_one).insecure == frozenset({"r.example:81"})


@pytest.mark.parametrize("option", ["plain_http", "insecure"])
@pytest.mark.parametrize("hosts", ["r.example:81", "", b"r.example", None, 5, [None], [b"r"]])
def test_a_text_is_no_list_of_hosts_or_each_part_of_its_name_would_be_one(
    option: str, hosts: Any
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{option} is a list of hosts, as \['registry"):
        Access(**{option: hosts})


def test_what_is_no_host_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^insecure: 'https://r\.example' is no registry"):
        Access(insecure=["https://r.example"])
    with pytest.raises(ConfigurationError, match=r"^plain_http: '99999' is no port"):
        Access(plain_http=["r.example:99999"])


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://mirror.example", "https://mirror.example"),
        ("https://mirror.example/", "https://mirror.example"),
        ("HTTPS://mirror.example:8443/hub/cache//", "https://mirror.example:8443/hub/cache"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:5000/hub", "http://[::1]:5000/hub"),
        ("http://plain.example:81/hub", "http://plain.example:81/hub"),
    ],
)
def test_a_mirror_is_a_host_over_https_or_a_plain_one_that_is_here_or_named(
    url: str, read: str
) -> None:
    access = Access(plain_http=frozenset({"plain.example:81"}), mirrors={"docker.io": (url,)})
    assert access.mirrors == {"docker.io": (read,)}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mirror.example", "a mirror is written https://mirror.example"),
        ("ftp://mirror.example", "a mirror is written https://mirror.example"),
        ("https://", "is no registry"),
        ("https:///hub", "is no registry"),
        ("https://Mirror.example", "lower case"),
        ("https://mirror.example:0", "is no port"),
        ("https://mirror.example/Hub", "a prefix is lower case"),
        ("https://mirror.example/hub:1", "has no ':'"),
        ("https://mirror.example/h%75b", "is no part of a name"),
        ("https://mirror.example/../x", "is no part of a name"),
        ("https://mirror.example/v2", "written without /v2"),
        ("https://mirror.example/v2/hub", "written without /v2"),
        ("http://mirror.example", "is not https"),
        ("http://localhost.example", "is not https"),
        ("http://plain.example", "add --plain-http plain.example"),
        ("https://me:s3cret@mirror.example", "no '@'"),
        ("https://mirror.example/hub?token=s3cret", "neither"),
        ("https://mirror.example#s3cret", "neither"),
    ],
)
def test_what_cannot_be_a_mirror_says_why_and_never_shows_a_login(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)) as caught:
        Access(plain_http=frozenset({"plain.example:81"}), mirrors={"docker.io": (url,)})
    assert "s3cret" not in str(caught.value)


def test_mirrors_belong_to_a_registry_under_any_of_its_names_in_their_order() -> None:
    access = Access(
        mirrors={
            "index.docker.io": ("https://b.example", "https://a.example"),
            "docker.io": ("https://b.example/", "https://c.example"),
        }
    )
    urls = ("https://b.example", "https://a.example", "https://c.example")
    assert access.mirrors == {"docker.io": urls}
    with pytest.raises(ConfigurationError, match="is no registry"):
        Access(mirrors={"https://docker.io": ("https://a.example",)})
