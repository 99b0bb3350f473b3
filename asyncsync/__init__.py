"""Copies a list of container images into the registry you can use: in parallel, verified.

    report = await asyncsync.sync("images.yaml", to="registry.example/team", concurrency=8)
    report.raise_for_failures()

This module is the public door; nothing else is promised. It is lazy (PEP 562): importing it loads
neither aiohttp nor structlog.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncsync.api import SyncRun, open_sync, plan, sync
    from asyncsync.model.access import Access, Credential
    from asyncsync.model.digest import Digest
    from asyncsync.model.errors import (
        AsyncsyncError,
        AuthenticationFailed,
        ConfigurationError,
        CopyError,
        DigestMismatch,
        DiskFull,
        EngineLost,
        EngineUnavailable,
        ListError,
        NoSuchPlatform,
        NotFound,
        PermissionDenied,
        PlanError,
        RateLimited,
        RefusedByTarget,
        RegistryUnavailable,
        TargetClosed,
        TargetFull,
        TimedOut,
        TlsError,
        UnsupportedManifest,
        Where,
    )
    from asyncsync.model.events import (
        Advised,
        BytesMoved,
        Chosen,
        Ended,
        Event,
        Noted,
        Observe,
        Retried,
        Spared,
        StepEnded,
        StepStarted,
        Waited,
        Walked,
        Warned,
    )
    from asyncsync.model.job import CopyJob, Destination, Plan, Shard, Step
    from asyncsync.model.outcome import Outcome, Report, Status, SyncFailed
    from asyncsync.model.place import Layout, Registry
    from asyncsync.model.platform import Platform
    from asyncsync.model.reference import Reference
    from asyncsync.model.spec import ListWarning, Mistake, Position
    from asyncsync.settings import Options, Settings

__version__ = "0.1.0"

_HOME = {
    "asyncsync.api": ("SyncRun", "open_sync", "plan", "sync"),
    "asyncsync.model.access": ("Access", "Credential"),
    "asyncsync.model.errors": (
        "AsyncsyncError",
        "AuthenticationFailed",
        "ConfigurationError",
        "CopyError",
        "DigestMismatch",
        "DiskFull",
        "EngineLost",
        "EngineUnavailable",
        "ListError",
        "NoSuchPlatform",
        "NotFound",
        "PermissionDenied",
        "PlanError",
        "RateLimited",
        "RefusedByTarget",
        "RegistryUnavailable",
        "TargetClosed",
        "TargetFull",
        "TimedOut",
        "TlsError",
        "UnsupportedManifest",
        "Where",
    ),
    "asyncsync.model.events": (
        "Advised",
        "BytesMoved",
        "Chosen",
        "Ended",
        "Event",
        "Noted",
        "Observe",
        "Retried",
        "Spared",
        "StepEnded",
        "StepStarted",
        "Waited",
        "Walked",
        "Warned",
    ),
    "asyncsync.model.digest": ("Digest",),
    "asyncsync.model.job": ("CopyJob", "Destination", "Plan", "Shard", "Step"),
    "asyncsync.model.outcome": ("Outcome", "Report", "Status", "SyncFailed"),
    "asyncsync.model.place": ("Layout", "Registry"),
    "asyncsync.model.platform": ("Platform",),
    "asyncsync.model.reference": ("Reference",),
    "asyncsync.model.spec": ("ListWarning", "Mistake", "Position"),
    "asyncsync.settings": ("Options", "Settings"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Access",
    "Advised",
    "AsyncsyncError",
    "AuthenticationFailed",
    "BytesMoved",
    "Chosen",
    "ConfigurationError",
    "CopyError",
    "CopyJob",
    "Credential",
    "Destination",
    "Digest",
    "DigestMismatch",
    "DiskFull",
    "Ended",
    "EngineLost",
    "EngineUnavailable",
    "Event",
    "Layout",
    "ListError",
    "ListWarning",
    "Mistake",
    "NoSuchPlatform",
    "NotFound",
    "Noted",
    "Observe",
    "Options",
    "Outcome",
    "PermissionDenied",
    "Plan",
    "PlanError",
    "Platform",
    "Position",
    "RateLimited",
    "Reference",
    "RefusedByTarget",
    "Registry",
    "RegistryUnavailable",
    "Report",
    "Retried",
    "Settings",
    "Shard",
    "Spared",
    "Status",
    "Step",
    "StepEnded",
    "StepStarted",
    "SyncFailed",
    "SyncRun",
    "TargetClosed",
    "TargetFull",
    "TimedOut",
    "TlsError",
    "UnsupportedManifest",
    "Waited",
    "Walked",
    "Warned",
    "Where",
    "open_sync",
    "plan",
    "sync",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
