from __future__ import annotations

import base64

import pytest

from asyncsync.model.access import Access, Credential

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


def test_registries_are_reached_over_tls_and_without_proxy_unless_asked() -> None:
    assert Access() == Access(plain_http=frozenset(), ca_file=None, proxies={})
