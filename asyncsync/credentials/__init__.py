"""Who we are at a registry: what the caller says, what docker and podman have stored."""

from __future__ import annotations

import base64
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from asyncsync.credentials.docker_helper import ask_helper
from asyncsync.credentials.files import (
    LoginFile,
    credential_key,
    keys_for,
    read_logins,
    server_of,
    user_home,
)
from asyncsync.credentials.flights import Flight
from asyncsync.model.access import Credential
from asyncsync.model.place import Registry

__all__ = ["Credentials", "engine_auth", "user_home"]

_NOBODY: Mapping[str, Credential] = MappingProxyType({})


class Credentials:
    """Finds who we are at a registry, as docker finds it. Many tasks call it at once.

    What the caller says explicitly wins for its host. A helper runs once for each host and run,
    however many images ask, and whether it succeeds or not.
    """

    def __init__(
        self,
        explicit: Mapping[str, Credential] = _NOBODY,
        files: Sequence[LoginFile] = (),
        *,
        environ: Mapping[str, str],
    ) -> None:
        self._explicit = {credential_key(host): who for host, who in explicit.items()}
        self._files = files
        self._environ = environ
        self._helped: dict[tuple[str, str], Credential | None] = {}
        self._flights: defaultdict[tuple[str, str], Flight[Credential | None]] = defaultdict(
            lambda: Flight(keeps_failures=True)
        )

    @classmethod
    def load(
        cls,
        explicit: Mapping[str, Credential] = _NOBODY,
        *,
        docker_config: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Read the files in which docker and podman keep logins, now and once.

        `docker_config` is a folder or a file to read in place of the search. Missing files are
        fine; raises ConfigurationError that names the file which is there and wrong.
        """
        return cls(explicit, read_logins(docker_config, environ), environ=environ)

    async def find(self, place: Registry, repository: str) -> Credential | None:
        """Who we are at `place` for `repository`; None is anonymous.

        Raises AuthenticationFailed, with the registry alone, if a helper fails.
        """
        if place.host in self._explicit:
            return self._explicit[place.host]
        for file in self._files:
            if helper := file.helpers.get(place.host):
                found = await self._help(helper, place, file)
            else:
                found = file.login(keys_for(place.host, repository))
                if found is None and file.store:
                    found = await self._help(file.store, place, file)
            if found is not None:
                return found
        return None

    async def _help(self, helper: str, place: Registry, file: LoginFile) -> Credential | None:
        key = (helper, place.host)
        if key not in self._helped:

            async def ask() -> Credential | None:
                return await ask_helper(helper, place, named_in=file.name, environ=self._environ)

            self._helped[key] = await self._flights[key].join(ask)
        return self._helped[key]


def engine_auth(credential: Credential | None, place: Registry) -> str:
    """The value of X-Registry-Auth, with which an engine logs in for us (Docker Engine API)."""
    fields: dict[str, str] = {}
    if credential is not None:
        if credential.registry_token:
            fields = {"registrytoken": credential.registry_token}
        elif credential.identity_token:
            fields = {
                "identitytoken": credential.identity_token,
                "serveraddress": server_of(place.host),
            }
        else:
            fields = {
                "username": credential.username,
                "password": credential.password,
                "serveraddress": server_of(place.host),
            }
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
