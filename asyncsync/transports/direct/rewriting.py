"""Manifests written anew, always as the same bytes: what was made once is known again.

The form is fixed, or tomorrow's digest would not be today's: JSON in ASCII without blanks, keys in
the order in which they came, new ones at the end, a key that came twice as its last value. Values
that need no change stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import MANIFEST_BYTES_MAX, RawManifest


def rewritten(
    raw: RawManifest,
    *,
    children: Mapping[Digest, RawManifest | None] | None = None,
    types: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> RawManifest:
    """Write `raw` with other `children`, `types` or more `annotations`; as it is without a change.

    `children` says what becomes of an index's entries (None: they go), `types` how the manifest,
    its config and its layers are called. `raw` has to be one that `parse_manifest` reads. Raises
    ValueError where JSON or a registry's bound has no room for the result.
    """
    types = types or {}
    body = _read(raw)
    media_type = types.get(raw.media_type, raw.media_type)
    new = dict(body)
    if media_type != raw.media_type:
        new["mediaType"] = media_type
    if "manifests" in body:
        entries = [_child(entry, children or {}) for entry in body["manifests"]]
        new["manifests"] = [entry for entry in entries if entry is not None]
    else:
        new["config"] = _renamed(body["config"], types)
        new["layers"] = [_renamed(entry, types) for entry in body["layers"]]
    if annotations:
        new["annotations"] = {**(body.get("annotations") or {}), **annotations}
    return raw if new == body else written(media_type, new)


def _child(
    entry: dict[str, Any], children: Mapping[Digest, RawManifest | None]
) -> dict[str, Any] | None:
    digest = Digest.parse(entry["digest"])
    child = children.get(digest)
    if child is None:
        return None if digest in children else entry
    if child.digest == digest:
        return entry
    named = {"mediaType": child.media_type, "digest": str(child.digest), "size": len(child.data)}
    # An inline copy of the content would be the old one.
    return {key: value for key, value in (entry | named).items() if key != "data"}


def _renamed(entry: dict[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    return entry | {"mediaType": types.get(entry["mediaType"], entry["mediaType"])}


def _read(raw: RawManifest) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(raw.data)
    except RecursionError as error:
        raise ValueError("the manifest is nested too deeply") from error
    return body


def written(media_type: str, body: Mapping[str, Any]) -> RawManifest:
    """The manifest that says `body`. Raises ValueError as `rewritten` does."""
    try:
        # No NaN: Python alone reads it. What could be read can be too deep to write elsewhere.
        data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError("the manifest holds what JSON cannot say") from error
    if len(data) > MANIFEST_BYTES_MAX:
        raise ValueError(f"written anew, it is larger than {MANIFEST_BYTES_MAX >> 20} MiB")
    return RawManifest(media_type, data, Digest.of(data))
