"""A real registry (docker-registry) on a loopback port: filled, asked and counted over HTTP."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from parts import images
from parts.images import Blob, Image, Layer
from parts.processes import PartFailed, Process, program, run

_AGENT = "asyncsync-tests"  # our own requests; they are not counted
_ACCEPT = ", ".join(
    (images.OCI_INDEX, images.OCI_MANIFEST, images.DOCKER_LIST, images.DOCKER_MANIFEST)
)
_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::\]):(\d+)")
_ACCESS = re.compile(
    r'^\S+ \S+ \S+ \[[^]]*\] "(?P<method>\S+) (?P<path>\S+) [^"]*" '
    r'(?P<status>\d{3}) (?P<bytes>\d+|-) "[^"]*" "(?P<agent>[^"]*)"$',
    re.MULTILINE,
)
_FROM = re.compile(
    r'http\.request\.remoteaddr="(?P<client>[^"]+)".* '
    r'http\.request\.useragent="?(?P<agent>[^" ]*)'
)
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the registry answered, as its access log tells it."""

    method: str
    path: str
    status: int
    bytes: int
    agent: str


@dataclass(frozen=True, slots=True)
class PutImage:
    """An image that was put into a registry. `size`: bytes of its layers and its config."""

    digest: str
    config_digest: str
    layer_digests: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class PutIndex:
    """An index that was put into a registry, with its images by platform."""

    digest: str
    children: Mapping[str, PutImage]


class Registry:
    """docker-registry with its data under `folder`. It keeps port and data when started again.

    With `user`, it wants a login (htpasswd); with `tls`, it speaks TLS alone, with a certificate
    for 127.0.0.1 and localhost by a CA of its own (`ca_file`). `tmpfs="6m"` gives its data a disk
    of that size, to be full. `read_only`: it takes nothing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        user: str | None = None,
        password: str = "",
        tls: bool = False,
        tmpfs: str | None = None,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self.folder, self.user, self.password = folder, user, password
        self.data, self._tmpfs = folder / "data", tmpfs
        self.ca_file = folder / "ca.pem" if tls else None
        self.log = folder / "registry.log"
        self._port = 0  # the kernel's choice, at the first start
        self._process: Process | None = None
        self._marks = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        if tls:
            _make_certificates(folder)
        if user is not None:
            line = run("htpasswd", "-Bbn", user, password).stdout
            (folder / "htpasswd").write_text(line)
        self._context = ssl.create_default_context(cafile=str(self.ca_file)) if tls else None

    def __enter__(self) -> Self:
        if self._tmpfs:
            self.data.mkdir()
            run("mount", "-t", "tmpfs", "-o", f"size={self._tmpfs}", "tmpfs", self.data)
        try:
            self.start()
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._unmount()

    @property
    def host(self) -> str:
        """Where it listens: `127.0.0.1:PORT`, the same for its whole life."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, or start it again at the same port; ready when this returns."""
        if self._process is not None:
            raise PartFailed("the registry is running")
        config = self.folder / "config.json"
        config.write_text(json.dumps(self._config()))  # JSON is YAML
        executable = program("docker-registry") or "docker-registry"
        process = Process(executable, "serve", config, log=self.log)
        self._port = process.wait_for(lambda: _port(process.logged()))
        self._process = process

    def stop(self) -> None:
        """End it in order. Nothing happens if it is down."""
        if self._process is not None:
            self._process.stop(3)
            self._process = None

    def kill(self) -> None:
        """SIGKILL: its open connections break."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def put_image(
        self,
        repository: str,
        tag: str | None,
        *,
        layers: int = 2,
        size: int = 16 * 1024,
        seed: str | None = None,
        platform: str = "linux/amd64",
        oci: bool = True,
        shared_layers: Sequence[Layer] = (),
    ) -> PutImage:
        """Put an image of `shared_layers` and then `layers` more of `size` bytes each.

        The same seed makes the same image; by default it is repository, tag and platform.
        Without a tag the image is there by its digest alone.
        """
        seed = f"{repository}:{tag} {platform}" if seed is None else seed
        own = [images.layer(f"{seed} {number}", size) for number in range(layers)]
        return self._put(repository, tag, images.image([*shared_layers, *own], platform, oci=oci))

    def put_index(
        self,
        repository: str,
        tag: str,
        platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
        *,
        attestation: bool = False,
        artifact: bool = False,
        layers: int = 1,
        size: int = 16 * 1024,
        seed: str | None = None,
        oci: bool = True,
    ) -> PutIndex:
        """Put an image for each platform, and an index of them, with attestations as buildx's.

        `artifact`: as newer ones of it make them, with the empty config.
        """
        seed = f"{repository}:{tag}" if seed is None else seed
        children = {
            platform: images.image(
                [images.layer(f"{seed} {platform} {number}", size) for number in range(layers)],
                platform,
                oci=oci,
            )
            for platform in platforms
        }
        notes = {
            platform: images.attestation(child, platform, artifact=artifact)
            for platform, child in children.items()
            if attestation
        }
        put = {platform: self._put(repository, None, child) for platform, child in children.items()}
        for note in notes.values():
            self._put(repository, None, note)
        index = images.index(children, notes, oci=oci)
        self.put_manifest(repository, tag, index.media_type, index.data)
        return PutIndex(index.digest, put)

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> str:
        """Put these very bytes as a manifest, and return their digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        self._ask("PUT", path, data, {"Content-Type": media_type}, expect=(201,))
        return images.digest_of(data)

    def put_blob(self, repository: str, data: bytes) -> str:
        """Put a blob, unless it is there, and return its digest."""
        digest = images.digest_of(data)
        known = self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", expect=(200, 404))
        if known.status == 404:
            begun = self._ask("POST", f"/v2/{repository}/blobs/uploads/", expect=(202,))
            where = urlsplit(begun.headers["Location"])
            path = f"{where.path}?{where.query}&digest={digest}"
            self._ask("PUT", path, data, {"Content-Type": "application/octet-stream"}, (201,))
        return digest

    def digest_of(self, repository: str, reference: str) -> str | None:
        """The digest that the registry names for a tag; None if it has no such tag."""
        answer = self._ask("HEAD", f"/v2/{repository}/manifests/{reference}", expect=(200, 404))
        return answer.headers["Docker-Content-Digest"] if answer.status == 200 else None

    def manifest(self, repository: str, reference: str) -> dict[str, Any] | None:
        """The manifest of a tag or digest; None if there is none."""
        answer = self._ask("GET", f"/v2/{repository}/manifests/{reference}", expect=(200, 404))
        return json.loads(answer.body) if answer.status == 200 else None

    def config_digest_of(self, repository: str, reference: str) -> str | None:
        """The config's digest of a tag or digest: what stays when layers are packed anew."""
        manifest = self.manifest(repository, reference)
        return str(manifest["config"]["digest"]) if manifest else None

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository, sorted; empty if there is no such repository."""
        answer = self._ask("GET", f"/v2/{repository}/tags/list", expect=(200, 404))
        return sorted(json.loads(answer.body)["tags"] or ()) if answer.status == 200 else []

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has the blob."""
        path = f"/v2/{repository}/blobs/{digest}"
        return self._ask("HEAD", path, expect=(200, 404)).status == 200

    def delete_blob(self, repository: str, digest: str) -> None:
        """Remove a blob from under the manifests that name it."""
        self._ask("DELETE", f"/v2/{repository}/blobs/{digest}", expect=(202,))

    def delete(self, repository: str, digest: str) -> None:
        """Remove a manifest, and with it every tag that names it."""
        self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", expect=(202,))

    def mark(self) -> int:
        """A point in time for `requests(since=…)`."""
        self._settle()
        return self.log.stat().st_size

    def requests(
        self, method: str | None = None, path_contains: str = "", *, since: int = 0
    ) -> list[Request]:
        """The requests that were answered, without our own; those of this method and path."""
        self._settle()
        return [
            request
            for request in map(_request, _ACCESS.finditer(self._logged(since)))
            if request.agent != _AGENT
            and method in (None, request.method)
            and path_contains in request.path
        ]

    def connections(self, *, since: int = 0) -> int:
        """From how many connections there were requests, without our own."""
        self._settle()
        found = _FROM.finditer(self._logged(since))
        return len({match["client"] for match in found if match["agent"] != _AGENT})

    def _unmount(self) -> None:
        if self._tmpfs:
            run("umount", "--lazy", self.data)

    def _settle(self) -> None:
        # A request is logged a moment after its answer: wait until one of our own is.
        if self._process is None:
            return
        mark, begin = f"/v2/?mark={next(self._marks)}&", self.log.stat().st_size
        self._ask("GET", mark, expect=(200, 401))
        self._process.wait_for(
            lambda: f"GET {mark} " in self._logged(begin) or None, _SETTLE_SECONDS
        )

    def _logged(self, since: int) -> str:
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def _put(self, repository: str, tag: str | None, image: Image) -> PutImage:
        blobs: list[Blob] = [*image.layers, image.config]
        for blob in blobs:
            self.put_blob(repository, blob.data)
        manifest = image.manifest
        digest = manifest.digest
        self.put_manifest(repository, tag or digest, manifest.media_type, manifest.data)
        return PutImage(
            digest,
            image.config.digest,
            tuple(layer.digest for layer in image.layers),
            sum(len(blob.data) for blob in blobs),
        )

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Sequence[int] = (200,),
    ) -> _Answer:
        sent = {"Accept": _ACCEPT, "User-Agent": _AGENT, **(headers or {})}
        if self.user is not None:
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            sent["Authorization"] = f"Basic {login}"
        connection = (
            http.client.HTTPSConnection(self.host, timeout=30, context=self._context)
            if self._context
            else http.client.HTTPConnection(self.host, timeout=30)
        )
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = _Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        if answer.status not in expect:
            raise PartFailed(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "formatter": "text", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": "of the tests"},
        }
        if self.ca_file is not None:
            config["http"]["tls"] = {
                "certificate": str(self.folder / "server.pem"),
                "key": str(self.folder / "server.key"),
            }
        if self.read_only:
            config["storage"]["maintenance"]["readonly"] = {"enabled": True}
        if self.user is not None:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}}
        return config


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Message
    body: bytes


def _port(log: str) -> int | None:
    match = _LISTENING.search(log)
    return int(match[1]) if match else None


def _request(match: re.Match[str]) -> Request:
    size = 0 if match["bytes"] == "-" else int(match["bytes"])
    return Request(match["method"], match["path"], int(match["status"]), size, match["agent"])


def _make_certificates(folder: Path) -> None:
    def openssl(*args: str | Path) -> None:
        run("openssl", *args)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    openssl(
        "req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", "30",
        "-subj", "/CN=CA of the tests", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    request, names = folder / "server.csr", folder / "names.cnf"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(
        "req", *new_key, "-keyout", folder / "server.key", "-out", request,
        "-subj", "/CN=registry of the tests",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
        "-days", "30", "-extfile", names, "-out", folder / "server.pem",
    )  # fmt: skip
