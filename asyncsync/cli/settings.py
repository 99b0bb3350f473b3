"""All that `sync` was told, by options and by variables, as one value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypedDict, TypeVar, cast

from asyncsync import settings as library
from asyncsync.cli import values
from asyncsync.cli.environment import Variables, credential, destination, variable
from asyncsync.model.access import Access, mirror_host
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.events import Observe
from asyncsync.model.job import Destination, Plan, Shard
from asyncsync.model.place import Layout, Registry
from asyncsync.model.platform import Platform
from asyncsync.reporting.log import Level, LogFormat

T = TypeVar("T")
_DEFAULT = library.Settings()  # the library's; a command has no others


class Given(TypedDict):
    """The options of `sync`, as they were written; None, or nothing, where one was not."""

    to: Destination | None
    from_: Layout | None
    platforms: tuple[Platform, ...]
    shard: Shard | None
    concurrency: int | None
    fail_fast: bool | None
    via: library.Via | None
    user: str | None
    password_stdin: bool
    retries: int | None
    timeout: float | None
    deadline: float | None
    clean: bool | None
    exact: bool | None
    with_referrers: bool
    limit_rate: float | None
    plain_http: tuple[str, ...]
    ca_file: Path | None
    insecure_skip_verify: tuple[str, ...]
    mirrors: tuple[tuple[str, str], ...]
    succeeded_log: Path | None
    failed_list: Path | None
    report: Path | None
    output: Literal["table", "json"]
    log_format: LogFormat | None
    quiet: bool
    verbose: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(library.Settings):
    """What holds for one run of `sync`: the library's settings, read, and the command's own."""

    to: Destination
    from_: Layout | None
    platforms: tuple[Platform, ...]
    shard: Shard | None
    deadline: float | None
    succeeded_log: Path
    failed_list: Path | None
    report: Path | None
    output: Literal["table", "json"]
    quiet: bool

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown."""
        ours = self.credential.secrets if self.credential else ()
        return (*ours, *self.access.secrets)

    @property
    def names(self) -> tuple[str, ...]:
        """Where we go, and as whom: no secrets of ours, but a CI system may hold them as such."""
        user = self.credential.username if self.credential else ""
        return tuple(filter(None, (str(self.to.place), self.to.namespace, user)))

    def options(self, observe: Observe) -> library.Options:
        """What the library is told of it, and who listens."""
        told = {each.name: getattr(self, each.name) for each in fields(library.Settings)}
        return cast(library.Options, told | {"observe": observe})


def settings(
    given: Given,
    variables: Variables,
    *,
    password: str | None = None,
    proxies: Mapping[str, str] | None = None,
) -> Settings:
    """Options before variables before defaults. Raises ConfigurationError.

    `password` came by stdin; `proxies` as `urllib.request.getproxies_environment` gives them.
    """

    def pick(option: T | None, name: str, parse: Callable[[str], T], default: T) -> T:
        found = option if option is not None else variable(variables, name, parse)
        return default if found is None else found

    to = where_to(given["to"], variables)
    yes_or_no = values.yes_or_no
    return Settings(
        to=to,
        from_=given["from_"],
        platforms=which_platforms(given["platforms"], variables),
        shard=given["shard"],
        concurrency=given["concurrency"]
        or variable(variables, "ASYNCSYNC_CONCURRENCY", values.concurrency),
        fail_fast=pick(given["fail_fast"], "ASYNCSYNC_FAIL_FAST", yes_or_no, _DEFAULT.fail_fast),
        via=pick(given["via"], "ASYNCSYNC_VIA", values.via, _DEFAULT.via),
        credential=credential(variables, to, user=given["user"], password=password),
        retries=pick(given["retries"], "ASYNCSYNC_RETRIES", values.retries, _DEFAULT.retries),
        timeout=given["timeout"] or variable(variables, "ASYNCSYNC_TIMEOUT", values.duration),
        deadline=given["deadline"],
        clean=pick(given["clean"], "ASYNCSYNC_CLEAN", yes_or_no, _DEFAULT.clean),
        exact=pick(given["exact"], "ASYNCSYNC_EXACT", yes_or_no, _DEFAULT.exact),
        with_referrers=given["with_referrers"],
        limit_rate=given["limit_rate"],
        access=_access(given, proxies or {}),
        succeeded_log=pick(
            given["succeeded_log"], "ASYNCSYNC_SUCCEEDED_LOG", values.written, Path("succeeded.log")
        ),
        failed_list=given["failed_list"]
        or variable(variables, "ASYNCSYNC_FAILED_LIST", values.written),
        report=given["report"],
        output=given["output"],
        quiet=given["quiet"],
    )


def _access(given: Given, proxies: Mapping[str, str]) -> Access:
    mirrors: dict[str, tuple[str, ...]] = {}
    for host, url in given["mirrors"]:
        mirrors[host] = (*mirrors.get(host, ()), url)
    return Access(
        plain_http=frozenset(given["plain_http"]),
        ca_file=given["ca_file"],
        proxies=proxies,
        insecure=frozenset(given["insecure_skip_verify"]),
        mirrors=mirrors,
    )


def check_hosts(access: Access, plan: Plan) -> None:
    """Raise ConfigurationError for a host that is told without the port it has in the plan.

    A port makes another registry, so what is told of the host would hold for nobody.
    """
    ends = {end.place for job in plan.jobs for end in (job.source, job.target)}
    named = {place.host for place in ends if isinstance(place, Registry)}
    urls = (url for mirrors in access.mirrors.values() for url in mirrors)
    named.update(map(mirror_host, urls))
    for option, told in (
        ("--plain-http", access.plain_http),
        ("--insecure-skip-verify", access.insecure),
        ("--mirror", access.mirrors),
    ):
        for host in sorted({*told} - named):
            if with_port := sorted(other for other in named if other.startswith(f"{host}:")):
                raise ConfigurationError(
                    f"{option} {host} says nothing of {with_port[0]}, which is another registry. "
                    f"Write {option} {with_port[0]}{'=URL' if option == '--mirror' else ''}."
                )


def where_to(option: Destination | None, variables: Variables) -> Destination:
    """The destination. Raises ConfigurationError that says how to name one."""
    to = option or destination(variables)
    if to is None:
        raise ConfigurationError(
            "Where to? Set REGISTRY (and NAMESPACE), or say --to registry.example/team."
        )
    return to


def which_platforms(option: tuple[Platform, ...], variables: Variables) -> tuple[Platform, ...]:
    """The platforms asked for, each once; none: what the way brings by itself."""
    chosen = option or variable(variables, "ASYNCSYNC_PLATFORM", values.platforms) or ()
    return tuple(dict.fromkeys(chosen))


def how_to_log(given: Given, variables: Variables) -> tuple[LogFormat, Level]:
    """Form and level of the log: known before all else, since mistakes are told there too."""
    if given["quiet"] and given["verbose"]:
        raise ConfigurationError("-q and -v contradict each other. Choose one.")
    chosen = given["log_format"] or variable(variables, "ASYNCSYNC_LOG_FORMAT", values.log_format)
    if given["quiet"]:
        return chosen or "console", Level.ERROR
    level = (Level.WARNING, Level.INFO, Level.DEBUG)[min(given["verbose"], 2)]
    return chosen or "console", level
