"""Who may come in, and what for: logins, read-only, what a server wants before others reach it."""

from __future__ import annotations

import base64
import ssl
from functools import partial
from pathlib import Path

import anyio
import bcrypt
import pytest
from parts import images
from parts.asking import Answer, ask
from parts.processes import run
from parts.registry import Registry

from asyncsync.model.errors import ConfigurationError
from asyncsync.server import Address, Limits, Served, serving
from asyncsync.server.access import Htpasswd, read_htpasswd
from asyncsync.server.errors import Refused

HERE = Address("127.0.0.1", 0)


def line(user: str, password: str, cost: int = 4) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "users"
    path.write_text(text)
    return path


def login(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def asked(served: Served, method: str, path: str, **options: object) -> Answer:
    call = partial(ask, str(served.address), method, path, **options)  # type: ignore[arg-type]
    return await anyio.to_thread.run_sync(call)


async def test_a_right_login_comes_in_and_no_other(tmp_path: Path) -> None:
    users = read_htpasswd(written(tmp_path, f"# ours\n\n{line('alice', 's3cret:of ours')}"))
    for _ in range(2):  # as it is seen for the first time, and as it is known
        await users.check(login("alice", "s3cret:of ours"))
        for wrong in (
            None, "", "Basic", "Basic ", "Basic %%%", "Bearer x", "Basic " + "A" * 10_000,
            f"Basic {base64.b64encode(b'alice').decode()}",
            f"Basic {base64.b64encode(bytes([0xFF, 0x3A, 0x3A])).decode()}",
            login("alice", "wrong"), login("alice", ""), login("bob", "s3cret:of ours"),
            login("", "s3cret:of ours"), login("alice", "s3cret:of ours\0"),
        ):  # fmt: skip
            with pytest.raises(Refused) as caught:
                await users.check(wrong)
            assert caught.value.status == 401
            assert "s3cret" not in str(caught.value)


async def test_a_password_that_is_longer_than_bcrypt_looks_at_is_no_error(tmp_path: Path) -> None:
    users = read_htpasswd(written(tmp_path, line("alice", "x" * 72)))
    await users.check(login("alice", "x" * 100))
    with pytest.raises(Refused):
        await users.check(login("alice", "y" * 100))


async def test_many_who_come_at_once_with_one_login_cost_little_more_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = read_htpasswd(written(tmp_path, line("alice", "secret")))
    hashed: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed_password: bytes) -> bool:
        hashed.append(password)
        return real(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(users.check, login("alice", "secret"))
    assert len(hashed) <= 2


async def test_a_user_who_is_not_there_costs_as_much_as_one_who_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = read_htpasswd(written(tmp_path, line("alice", "secret", 5)))
    costs: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed_password: bytes) -> bool:
        costs.append(hashed_password[4:6])
        return real(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    for user in ("alice", "nobody"):
        with pytest.raises(Refused):
            await users.check(login(user, "wrong"))
    assert costs == [b"05", b"05"]


@pytest.mark.registry  # for its htpasswd
def test_what_htpasswd_writes_is_read(tmp_path: Path) -> None:
    made = run("htpasswd", "-Bbn", "alice", "secret").stdout
    assert isinstance(read_htpasswd(written(tmp_path, made)), Htpasswd)


async def test_a_file_of_users_may_begin_as_editors_on_windows_write_it(tmp_path: Path) -> None:
    users = read_htpasswd(written(tmp_path, f"\ufeff{line('alice', 'secret').strip()}\r\n"))
    await users.check(login("alice", "secret"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alice:$apr1$x$yyyyyyyyyyyyyyyyyyyyy1\n", "line 1 is no user with a bcrypt hash"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "line 1 is no user with a bcrypt hash"),
        ("alice:plain\n", "line 1 is no user with a bcrypt hash"),
        (f"#\n{line('a', 'b')}nobody\n", "line 3 is no user with a bcrypt hash"),
        (f"a:$2y$31${'a' * 53}\n", "line 1 has a cost outside 4 to 14"),
        ("", "names no user"),
        ("# nobody\n", "names no user"),
    ],
)
def test_a_file_of_users_that_is_none_is_told_by_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_htpasswd(written(tmp_path, text))
    assert "htpasswd -B" in str(caught.value)
    assert "W6ph5" not in str(caught.value)


def test_a_file_of_users_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_htpasswd(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no UTF-8"):
        read_htpasswd(tmp_path / "bytes")


async def test_without_a_login_nothing_is_told_and_nothing_done(tmp_path: Path) -> None:
    users = written(tmp_path, line("alice", "secret"))
    async with serving(tmp_path / "layout", HERE, htpasswd=users) as served:
        for method, path in (
            ("GET", "/v2/"), ("GET", "/v2/a/tags/list"), ("POST", "/v2/a/blobs/uploads/"),
            ("GET", "/v2/UPPER/nothing"), ("DELETE", "/v2/a/manifests/b"), ("GET", "/"),
        ):  # fmt: skip
            refused = await asked(served, method, path)
            assert (refused.status, refused.codes) == (401, ["UNAUTHORIZED"])
            assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert refused.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert (await asked(served, "GET", "/v2/", login=("alice", "secret"))).status == 200
        assert (await asked(served, "GET", "/v2/", login=("alice", "wrong"))).status == 401


async def test_read_only_gives_and_takes_nothing(tmp_path: Path) -> None:
    blob = b"a blob"
    digest = images.digest_of(blob)
    layout = tmp_path / "layout"
    async with serving(layout, HERE) as served:
        path = f"/v2/a/blobs/uploads/?digest={digest}"
        assert (await asked(served, "POST", path, body=blob)).status == 201
    async with serving(layout, HERE, read_only=True) as served:
        assert (await asked(served, "GET", f"/v2/a/blobs/{digest}")).body == blob
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/b"),
            ("DELETE", f"/v2/a/blobs/{digest}"), ("DELETE", "/v2/a/manifests/b"),
            ("PATCH", f"/v2/a/blobs/uploads/{'a' * 32}"),
        ):  # fmt: skip
            refused = await asked(served, method, path, body=b"")
            assert (refused.status, refused.codes) == (405, ["UNSUPPORTED"])
            assert set(refused.headers["Allow"].split(", ")) <= {"GET", "HEAD", ""}


async def test_a_folder_that_nobody_may_write_can_be_served_read_only(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    async with serving(layout, HERE):
        pass
    before = sorted(path.name for path in layout.rglob("*"))
    async with serving(layout, HERE, read_only=True) as served:
        assert (await asked(served, "GET", "/v2/")).status == 200
    assert sorted(path.name for path in layout.rglob("*")) == before
    with pytest.raises(ConfigurationError, match="There is no folder"):
        async with serving(tmp_path / "none", HERE, read_only=True):
            pass
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["0.0.0.0:0", "[::]:0", "192.0.2.1:5000"])
async def test_beyond_this_machine_it_wants_a_login_or_read_only(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--htpasswd.*--read-only.*TLS"):
        async with serving(tmp_path / "layout", Address.parse(text)):
            pass
    assert not (tmp_path / "layout").exists()


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0"])
async def test_on_this_machine_it_wants_neither(tmp_path: Path, text: str) -> None:
    async with serving(tmp_path / "layout", Address.parse(text)) as served:
        assert served.address.port > 0
        assert (await asked(served, "GET", "/v2/")).status == 200


@pytest.mark.parametrize(
    "text",
    ["", "5000", ":5000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", "a.b:1",
     "::1:5000", "[127.0.0.1]:1", "[::1]", "[::1:5000", "http://127.0.0.1:5000", "1.2.3:4"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 127\.0\.0\.1:5000"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:5000", "[::1]:5000", "0.0.0.0:0"])
def test_an_address_is_read_back_from_its_own_text(text: str) -> None:
    assert str(Address.parse(text)) == text


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path / "one", HERE) as served:
        with pytest.raises(ConfigurationError, match=r"Address already in use.*another address"):
            async with serving(tmp_path / "two", served.address):
                pass


async def test_two_servers_may_have_one_folder(tmp_path: Path) -> None:
    blob = b"a blob"
    digest = images.digest_of(blob)
    layout = tmp_path / "layout"
    async with serving(layout, HERE) as first, serving(layout, HERE) as second:
        path = f"/v2/a/blobs/uploads/?digest={digest}"
        assert (await asked(first, "POST", path, body=blob)).status == 201
        assert (await asked(second, "GET", f"/v2/a/blobs/{digest}")).body == blob


async def test_with_a_certificate_it_speaks_tls_alone(
    tmp_path: Path, tls_registry: Registry
) -> None:
    folder = tls_registry.folder
    cert, key = folder / "server.pem", folder / "server.key"
    blob = b"x" * 3_000_000
    digest = images.digest_of(blob)
    async with serving(tmp_path / "layout", HERE, tls_cert=cert, tls_key=key) as served:
        assert served.url == f"https://{served.address}"
        context = ssl.create_default_context(cafile=str(tls_registry.ca_file))
        stream = await anyio.connect_tcp(
            "127.0.0.1", served.address.port, ssl_context=context, tls_hostname="localhost",
            tls_standard_compatible=False,
        )  # fmt: skip
        async with stream:
            head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\n"
            await stream.send(f"{head}Content-Length: {len(blob)}\r\n\r\n".encode() + blob)
            assert (await stream.receive()).startswith(b"HTTP/1.1 201 ")
            head = f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            await stream.send(head.encode())
            data = b""
            with pytest.raises(anyio.EndOfStream):
                while True:
                    data += await stream.receive()
            assert images.digest_of(data.partition(b"\r\n\r\n")[2]) == digest


async def test_who_never_greets_is_not_waited_for(tmp_path: Path, tls_registry: Registry) -> None:
    folder = tls_registry.folder
    cert, key = folder / "server.pem", folder / "server.key"
    limits = Limits(idle_seconds=0.2)
    async with (
        serving(tmp_path / "layout", HERE, tls_cert=cert, tls_key=key, limits=limits) as served,
        await anyio.connect_tcp("127.0.0.1", served.address.port) as stream,
    ):
        with anyio.fail_after(20), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


async def test_certificates_that_are_none_are_told(tmp_path: Path, tls_registry: Registry) -> None:
    folder = tls_registry.folder
    cert, key, other = folder / "server.pem", folder / "server.key", folder / "ca.key"
    text, none = written(tmp_path, "no PEM"), tmp_path / "none"
    locked = tmp_path / "locked.key"
    run("openssl", "pkey", "-in", key, "-out", locked, "-aes256", "-passout", "pass:secret")
    curve, short, weak = tmp_path / "curve.key", tmp_path / "short.key", tmp_path / "weak.pem"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", curve)
    made = ("req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=x", "-days", "1")
    run("openssl", *made, "-keyout", short, "-out", weak)
    for given, says in (
        ((cert, None), "--tls-cert and --tls-key belong together"),
        ((None, key), "--tls-cert and --tls-key belong together"),
        ((none, key), f"--tls-cert: the file {none} is not there"),
        ((cert, none), f"--tls-key: the file {none} is not there"),
        ((cert, tmp_path), "--tls-key: the file .* cannot be read"),
        ((text, key), "are no certificate and key in PEM"),
        ((cert, text), "are no certificate and key in PEM"),
        ((cert, other), "is not the key of"),
        ((cert, curve), "is not the key of"),
        ((weak, short), f"OpenSSL refuses {weak}: ee key too small"),
        ((cert, locked), "wants a password"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            async with serving(tmp_path / "layout", HERE, tls_cert=given[0], tls_key=given[1]):
                pass
