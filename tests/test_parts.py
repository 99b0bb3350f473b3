"""The parts that other tests stand on do what they promise."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from anyio import to_thread
from parts import images
from parts.commands import Command, docker_config, skopeo
from parts.engine import Engine
from parts.gateway import gateway
from parts.podman import PodmanService
from parts.processes import PartFailed
from parts.registry import Registry
from parts.relay import Relay


@pytest.mark.parametrize("oci", [True, False], ids=["oci", "docker"])
def test_an_image_put_into_the_registry_is_pulled_by_an_engine(
    registry: Registry, engine: Engine, namespace: str, oci: bool
) -> None:
    put = registry.put_image(f"{namespace}/app", "v1", layers=3, oci=oci)
    name = f"{registry.host}/{namespace}/app"
    pulled = engine.docker("pull", f"{name}:v1").stdout
    assert f"Digest: {put.digest}" in pulled
    assert {f"{name}:v1", f"{name}@{put.digest}"} <= engine.images()


async def test_a_gateway_passes_on_a_header_as_often_as_it_came(
    registry: Registry, engine: Engine, namespace: str
) -> None:
    put = registry.put_image(f"{namespace}/app", "v1", oci=True)  # an engine's second Accept
    async with gateway(registry.host) as server:
        name = f"{server.host}/{namespace}/app:v1"
        pulled = await to_thread.run_sync(engine.docker, "pull", name)
    assert f"Digest: {put.digest}" in pulled.stdout


def test_skopeo_reads_what_was_put_into_the_registry(registry: Registry, namespace: str) -> None:
    put = registry.put_image(f"{namespace}/app", "v1", platform="linux/arm/v7")
    name = f"docker://{registry.host}/{namespace}/app:v1"
    seen = json.loads(skopeo("inspect", "--tls-verify=false", name).stdout)
    assert (seen["Digest"], seen["Layers"]) == (put.digest, list(put.layer_digests))
    assert (seen["Os"], seen["Architecture"]) == ("linux", "arm")
    assert registry.digest_of(f"{namespace}/app", "v1") == put.digest
    assert registry.config_digest_of(f"{namespace}/app", "v1") == put.config_digest
    assert registry.tags(f"{namespace}/app") == ["v1"]


def test_what_is_not_in_the_registry_is_none_or_empty(registry: Registry, namespace: str) -> None:
    assert registry.digest_of(f"{namespace}/app", "v1") is None
    assert registry.config_digest_of(f"{namespace}/app", "v1") is None
    assert registry.tags(f"{namespace}/app") == []


def test_a_deleted_image_is_gone(registry: Registry, namespace: str) -> None:
    put = registry.put_image(f"{namespace}/app", "v1")
    registry.delete(f"{namespace}/app", put.digest)
    assert registry.digest_of(f"{namespace}/app", "v1") is None


def test_an_engine_takes_its_own_platform_out_of_an_index(
    registry: Registry, engine: Engine, namespace: str
) -> None:
    put = registry.put_index(f"{namespace}/app", "v1", attestation=True)
    name = f"{registry.host}/{namespace}/app:v1"
    assert f"Digest: {put.digest}" in engine.docker("pull", name).stdout
    assert set(put.children) == {"linux/amd64", "linux/arm64"}
    manifest = registry.manifest(f"{namespace}/app", "v1")
    assert manifest is not None
    assert len(manifest["manifests"]) == 4  # two images, each with its attestation
    assert engine.docker("image", "inspect", "-f", "{{.Os}}", name).stdout == "linux\n"


def test_images_share_the_layers_that_they_are_told_to_share(
    registry: Registry, namespace: str
) -> None:
    base = [images.layer("base")]
    one = registry.put_image(f"{namespace}/one", "v1", layers=1, shared_layers=base)
    two = registry.put_image(f"{namespace}/two", "v1", layers=1, shared_layers=base)
    assert one.layer_digests[0] == two.layer_digests[0]
    assert one.layer_digests[1] != two.layer_digests[1]


def test_images_of_the_same_seed_are_the_same(registry: Registry, namespace: str) -> None:
    one = registry.put_image(f"{namespace}/one", "v1", seed="x")
    two = registry.put_image(f"{namespace}/two", "v2", seed="x")
    assert one == two


def test_requests_of_others_are_counted_and_our_own_are_not(
    registry: Registry, namespace: str
) -> None:
    registry.put_image(f"{namespace}/app", "v1")
    source = f"docker://{registry.host}/{namespace}/app:v1"
    mark = registry.mark()
    skopeo("inspect", "--raw", "--tls-verify=false", source)
    manifests = f"{namespace}/app/manifests/"
    assert [r.status for r in registry.requests("GET", manifests, since=mark)] == [200]
    assert registry.requests("PUT", since=mark) == []
    assert registry.requests(since=registry.mark()) == []


def test_a_registry_that_was_killed_comes_back_with_port_and_images(own_registry: Registry) -> None:
    put = own_registry.put_image("app", "v1")
    host = own_registry.host
    own_registry.kill()
    with pytest.raises(ConnectionRefusedError):
        own_registry.digest_of("app", "v1")
    own_registry.start()
    assert (own_registry.host, own_registry.digest_of("app", "v1")) == (host, put.digest)


def test_a_locked_registry_wants_a_login(
    locked_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    locked_registry.put_image(f"{namespace}/app", "v1")
    name = f"docker://{locked_registry.host}/{namespace}/app:v1"
    login = f"{locked_registry.user}:{locked_registry.password}"
    inspect = ("inspect", "--tls-verify=false")
    with pytest.raises(PartFailed, match=r"unauthorized|authentication required"):
        skopeo(*inspect, name)
    skopeo(*inspect, "--creds", login, name)
    config = docker_config(tmp_path, {locked_registry.host: ("tester", locked_registry.password)})
    skopeo(*inspect, "--authfile", config / "config.json", name)


def test_an_engine_logs_in_by_its_clients_docker_config(
    locked_registry: Registry, engine: Engine, namespace: str, tmp_path: Path
) -> None:
    locked_registry.put_image(f"{namespace}/app", "v1")
    name = f"{locked_registry.host}/{namespace}/app:v1"
    config = docker_config(tmp_path, {locked_registry.host: ("tester", locked_registry.password)})
    assert engine.docker("pull", name, check=False).returncode != 0
    assert engine.docker("pull", name, config=config).returncode == 0


def test_a_tls_registry_is_trusted_by_its_own_ca_alone(
    tls_registry: Registry, namespace: str
) -> None:
    put = tls_registry.put_image(f"{namespace}/app", "v1")
    url = f"https://{tls_registry.host}/v2/{namespace}/app/manifests/{put.digest}"
    asked = urllib.request.Request(url, headers={"Accept": images.OCI_MANIFEST})
    context = ssl.create_default_context(cafile=str(tls_registry.ca_file))
    with _opened(asked, context) as response:
        assert images.digest_of(response.read()) == put.digest
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        _opened(asked, ssl.create_default_context())


def test_a_relay_counts_what_goes_through_it(
    registry: Registry, relay: Relay, engine: Engine, namespace: str
) -> None:
    put = registry.put_image(f"{namespace}/app", "v1", size=100_000)
    engine.docker("pull", f"{relay.host}/{namespace}/app:v1")
    assert put.size <= relay.down < put.size + 20_000
    down, up = relay.down, relay.up
    engine.docker("tag", f"{relay.host}/{namespace}/app:v1", f"{relay.host}/{namespace}/copy:v1")
    engine.docker("push", f"{relay.host}/{namespace}/copy:v1")
    assert registry.config_digest_of(f"{namespace}/copy", "v1") == put.config_digest
    assert relay.opened > 0
    assert relay.up > up
    assert relay.down - down < 20_000


def test_a_throttled_relay_passes_so_many_bytes_a_second(
    registry: Registry, relay: Relay, namespace: str
) -> None:
    blob = registry.put_blob(namespace, bytes(200_000))
    url = f"http://{relay.host}/v2/{namespace}/blobs/{blob}"
    relay.throttle(400_000)
    begun = time.monotonic()
    assert len(_fetched(url)) == 200_000
    assert time.monotonic() - begun > 0.45
    relay.throttle(None)


def test_a_delayed_relay_makes_round_trips_long(registry: Registry, relay: Relay) -> None:
    relay.delay(0.1)
    begun = time.monotonic()
    _fetched(f"http://{relay.host}/v2/")
    assert time.monotonic() - begun > 0.19  # one to connect, one to ask


def test_a_relay_can_be_cut_in_the_middle(registry: Registry, relay: Relay, namespace: str) -> None:
    blob = registry.put_blob(namespace, bytes(3_000_000))
    url = f"http://{relay.host}/v2/{namespace}/blobs/{blob}"
    relay.cut_after(1_000_000)
    with pytest.raises(ConnectionResetError):
        _fetched(url)
    assert relay.up + relay.down == 1_000_000
    assert len(_fetched(url)) == 3_000_000  # it cuts once


def test_a_relay_can_be_cut_more_than_once(
    registry: Registry, relay: Relay, namespace: str
) -> None:
    blob = registry.put_blob(namespace, bytes(3_000_000))
    url = f"http://{relay.host}/v2/{namespace}/blobs/{blob}"
    relay.cut_after(1_000_000, times=2)
    for cut in (1, 2):
        with pytest.raises(ConnectionResetError):
            _fetched(url)
        assert relay.up + relay.down == cut * 1_000_000
    assert len(_fetched(url)) == 3_000_000


def test_a_relay_pauses_by_itself_in_the_middle(
    registry: Registry, relay: Relay, namespace: str
) -> None:
    blob = registry.put_blob(namespace, bytes(3_000_000))
    url = f"http://{relay.host}/v2/{namespace}/blobs/{blob}"
    relay.pause_after(1_000_000)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(_fetched, url)
        assert _becomes(lambda: relay.paused)
        assert relay.up + relay.down == 1_000_000
        assert not fetching.done()
        relay.resume()
        assert len(fetching.result()) == 3_000_000


def test_a_cut_resets_both_sides(relay: Relay) -> None:
    with socket.create_connection(_address(relay.host), 5) as client:
        client.sendall(b"GET ")
        assert _becomes(lambda: relay.open == 1)
        relay.cut()
        assert relay.open == 0
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_paused_relay_passes_nothing_until_it_goes_on(relay: Relay) -> None:
    relay.pause()
    with socket.create_connection(_address(relay.host), 5) as client:
        client.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5)
        relay.resume()
        assert client.recv(4) == b"HTTP"


def test_a_refusing_relay_comes_back_at_the_same_port(relay: Relay) -> None:
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(_address(relay.host), 5)
    relay.accept()
    _fetched(f"http://{relay.host}/v2/")


def test_an_engine_that_was_killed_comes_back_with_its_images(own_engine: Engine) -> None:
    own_engine.import_tiny("tiny:v1")
    own_engine.kill()
    assert not own_engine.running
    with pytest.raises(OSError, match=r"refused|No such file"):
        own_engine.images()
    own_engine.start()
    assert "tiny:v1" in own_engine.images()


def test_an_engine_builds_without_a_network(engine: Engine) -> None:
    engine.build("built:v1", 'FROM scratch\nCOPY file /\nCMD ["/file"]\n', {"file": b"content"})
    assert "built:v1" in engine.images()


def test_images_of_the_test_before_are_removed(engine: Engine) -> None:
    assert "built:v1" not in engine.images()


def test_open_connections_of_an_engine_are_counted(engine: Engine) -> None:
    assert _becomes(lambda: engine.open_connections() == 0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(engine.socket))
        assert _becomes(lambda: engine.open_connections() == 1)
    assert _becomes(lambda: engine.open_connections() == 0)


@pytest.mark.engine
def test_an_engine_on_a_small_disk_fills_it(
    own_registry: Registry, tmp_path: Path, namespace: str
) -> None:
    own_registry.put_image("small", "v1")
    own_registry.put_image("large", "v1", layers=1, size=80_000_000)
    with Engine(tmp_path / "dockerd.log", tmpfs="60m") as engine:
        engine.docker("pull", f"{own_registry.host}/small:v1")
        failed = engine.docker("pull", f"{own_registry.host}/large:v1", check=False)
        assert "no space left on device" in failed.stderr


def test_podman_pulls_from_the_registry(
    podman: PodmanService, registry: Registry, namespace: str
) -> None:
    put = registry.put_image(f"{namespace}/app", "v1")
    name = f"{registry.host}/{namespace}/app"
    podman.pull(f"{name}:v1")
    assert {f"{name}:v1", f"{name}@{put.digest}"} <= podman.images()


def test_the_command_runs_in_an_environment_of_its_own(
    asyncsync_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY", "registry.example")
    environment = asyncsync_command.environment()
    assert "REGISTRY" not in environment
    assert environment["DOCKER_HOST"].endswith("no-engine.sock")
    version = asyncsync_command("--version")
    assert version.returncode == 0, version.stderr


def test_a_started_command_can_be_sent_signals(asyncsync_command: Command) -> None:
    with asyncsync_command.started("--version") as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    assert process.returncode in (0, -signal.SIGKILL)


def _fetched(url: str) -> bytes:
    with _opened(url) as response:
        return bytes(response.read())


def _opened(
    asked: str | urllib.request.Request, context: ssl.SSLContext | None = None
) -> http.client.HTTPResponse:
    """Ask a relay or registry of ours, whatever proxy this machine has for others."""
    none = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(none, urllib.request.HTTPSHandler(context=context))
    answer: http.client.HTTPResponse = opener.open(asked, timeout=20)
    return answer


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    return name, int(port)


def _becomes(what: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
