"""The same image in a form that a target may take, which refused the image as it is.

Layers and configs keep their bytes; manifests are called by other names, or an index loses its
attestations. What comes out is the same each time, so that a later run knows it as unchanged by
its digest; the annotation that names the source, in OCI's types, is for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE_CONFIGS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    Index,
)
from asyncsync.transports.direct.graph import (
    Graph,
    Node,
    became,
    counted,
    rebuilt,
    stamped,
)

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
# OCI image-spec, “Compatibility Matrix”.
_TO_DOCKER = {
    OCI_INDEX: DOCKER_LIST,
    OCI_MANIFEST: DOCKER_MANIFEST,
    OCI_CONFIG: DOCKER_CONFIG,
    _OCI_LAYER: _DOCKER_LAYER,
    f"{_OCI_LAYER}+gzip": f"{_DOCKER_LAYER}.gzip",
    _OCI_FOREIGN: _DOCKER_FOREIGN,
    f"{_OCI_FOREIGN}+gzip": f"{_DOCKER_FOREIGN}.gzip",
}
# zstd is BuildKit's own name among Docker's types; OCI alone has one that others read.
_TO_OCI = {docker: oci for oci, docker in _TO_DOCKER.items()} | {
    f"{_DOCKER_LAYER}.zstd": f"{_OCI_LAYER}+zstd"
}
_LAYERS = frozenset(_TO_DOCKER.keys() | _TO_DOCKER.values())


class NotAdaptable(ValueError):
    """Why an image has no other form."""


def other_form(graph: Graph, refused: Node) -> Graph | None:
    """The form to try once where the target refused the manifest `refused`; None without any."""
    if (
        not isinstance(refused.parsed, Index)
        and refused.parsed.config.media_type not in IMAGE_CONFIGS
    ):
        return without_attestations(graph)
    try:
        return as_docker(graph) if refused.raw.media_type in _TO_DOCKER else as_oci(graph)
    except NotAdaptable:
        return None


def other_forms(graph: Graph) -> Iterator[Graph]:
    """All its other forms: what an earlier run may have had to make of it."""
    for make in (without_attestations, as_docker, as_oci):
        with suppress(NotAdaptable):
            if (form := make(graph)) is not None:
                yield form


def without_attestations(graph: Graph) -> Graph | None:
    """The image without what BuildKit says about it; None if there is nothing, or nothing else.

    Aliyun's personal registries refuse attestations, as manifests with the empty config.
    """
    attestations = _attestations(graph)
    if not attestations:
        return None
    root = _rebuilt(graph, attestations)
    return _made(graph, root, _left_out(attestations))


def as_docker(graph: Graph) -> Graph:
    """The image in Docker's types. Raises NotAdaptable where they have no room for it.

    Attestations stay away: they speak of digests that the image no longer has.
    """
    attestations = _attestations(graph)
    for node in graph.nodes():
        if node.raw.digest not in attestations and (why := _why_not_docker(node.parsed)):
            raise NotAdaptable(f"{node.raw.digest} has no form in Docker's types: {why}")
    return _converted(graph, attestations, _TO_DOCKER, "Docker")


def as_oci(graph: Graph) -> Graph:
    """The image in OCI's types, its root naming the source. Raises NotAdaptable if it has them.

    Attestations stay away: they speak of digests that the image no longer has.
    """
    return _converted(graph, _attestations(graph), _TO_OCI, "OCI")


def _why_not_docker(image: Index | ImageManifest) -> str | None:
    if image.subject:
        return "it refers to another image"
    if isinstance(image, Index):
        return None
    if image.artifact_type or image.config.media_type not in IMAGE_CONFIGS:
        return "it is an artifact, not an image"
    if any(layer.media_type.endswith("zstd") for layer in image.layers):
        return "its layers are packed with zstd"
    if any(layer.media_type not in _LAYERS for layer in image.layers):
        return "its layers are no archives of files"
    return None


def _attestations(graph: Graph) -> frozenset[Digest]:
    """The attestations to leave out: none where nothing would stay."""
    children = [child for node in graph.nodes() for child in node.named]
    found = frozenset(child.digest for child in children if child.is_attestation)
    return found if len(found) < len({child.digest for child in children}) else frozenset()


def _converted(
    graph: Graph, dropped: frozenset[Digest], types: Mapping[str, str], whose: str
) -> Graph:
    root = _rebuilt(graph, dropped, types)
    if root.raw == _rebuilt(graph, dropped).raw:
        raise NotAdaptable(f"it has {whose}'s types already")
    words = [_left_out(dropped)] if dropped else []
    return _made(graph, root, " and ".join([*words, f"converted to {whose}'s types"]))


def _rebuilt(
    graph: Graph, dropped: frozenset[Digest], types: Mapping[str, str] | None = None
) -> Node:
    try:
        root = rebuilt(graph.root, lambda child: child.digest not in dropped, types)
        return stamped(root, graph.source, graph.platforms)
    except ValueError as error:
        raise NotAdaptable(str(error)) from error


def _left_out(attestations: frozenset[Digest]) -> str:
    return f"left out {counted(len(attestations), 'attestation')}"


def _made(graph: Graph, root: Node, what: str) -> Graph:
    told = f"{what}: {became(graph.root.raw.digest, root)}"
    return replace(graph, root=root, left_out=(*graph.left_out, told))
