"""From a verb's options to hosts that can be talked to: inventory, settings, logins, look-ups, logs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fleet import home, quarantine, report
from fleet.cli.around import Around, without_quarantined
from fleet.cli.beside import beside
from fleet.cli.commandline import at_least
from fleet.cli.masking import remember_secrets, remember_vaults
from fleet.crew import Crew
from fleet.errors import FleetError, SettingsError, UsageError
from fleet.gateway.models import check_gateways
from fleet.inventory import Host, Inventory, load
from fleet.inventory.connection import ssh_options
from fleet.lock import Owner
from fleet.plan import inputs_of
from fleet.progress import Progress
from fleet.settings import HostSettings, all_settings
from fleet.survey import Lookups, Role, Survey, survey, wrong_input
from fleet.target import ROOT
from fleet.transport import Transport
from fleet.transport.logged import LoggedTransport
from fleet.transport.login import Login


@dataclass(frozen=True)
class Options:
    """What verbs that connect are given."""

    hosts: str = "all"
    inventory: tuple[str, ...] = ()
    limit: str = ""
    json: bool = False
    forks: int = 50
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Raises UsageError for numbers that can't be."""
        at_least(1, forks=self.forks)
        at_least(0.1, timeout=self.timeout)


def sources(given: Sequence[str]) -> list[Path]:
    """The inventory's sources: as given, or ``FLEET_INVENTORY``, or what pyproject.toml names.

    Raises:
        UsageError: one is empty: it would be the working directory, all of whose programs would be run.
    """
    if not all(part.strip() for part in given):
        hint = "is the variable in its place set? without --inventory the default counts"
        raise UsageError("--inventory needs a value", hint=hint)
    chosen = list(given) or [part for part in os.environ.get("FLEET_INVENTORY", "").split(os.pathsep) if part]
    return [Path(part) for part in chosen] if chosen else [ROOT / _configured()]


def lock_directory(options: Options) -> Path:
    """Where images.lock, models.lock and quarantine.json lie: beside the first source of the inventory.

    Beside a directory too, never in it: whoever reads that as an inventory (Ansible, or we) would read them as well.
    Several inventories in one directory keep theirs apart by a directory of their own, ``lab.lock/`` for lab.yml.
    """
    first = sources(options.inventory)[0]
    own = first.with_suffix(".lock")
    return own if own.is_dir() else first.parent


def open_inventory(options: Options) -> tuple[Inventory, list[Host]]:
    """The inventory and the hosts that ``--hosts`` and ``--limit`` pick.

    Raises:
        UsageError: no host matches.
        InventoryError: it can't be read.
    """
    inventory = load(sources(options.inventory))
    for words in inventory.warnings:
        report.warn(str(words))
    names = inventory.names(options.hosts, options.limit or None)
    if not names:
        pattern = options.hosts + (f" with --limit {options.limit}" if options.limit else "")
        some = ", ".join(inventory.names("all")[:8]) or "none at all"
        raise UsageError(
            f"no host matches {pattern!r}", where="--hosts", hint=f"there are: {some}; see ./inv inventory --graph"
        )
    return inventory, [inventory.host(name) for name in names]


@dataclass
class Session:
    """One run over some hosts. ``with`` closes every connection at its end.

    ``gateways`` are all gateways of the inventory with their settings, whether picked or not: ``crew`` reaches them,
    so that a rollout over one host can drain it everywhere. ``peers`` are all its hosts with instances, where it has a
    gateway.
    """

    options: Options
    hosts: Sequence[Host]
    settings: Mapping[str, HostSettings]
    lookups: Lookups
    roles: Sequence[Role]
    crew: Crew
    progress: Progress
    owner: Owner
    logs: Path
    inputs: Mapping[str, str]
    key: bytes
    allow_docker_restart: bool = False
    gateways: Mapping[str, HostSettings] = field(default_factory=dict)
    peers: Mapping[str, HostSettings] = field(default_factory=dict)
    beside: Callable[[Collection[str]], Mapping[str, HostSettings]] = lambda but: {}

    @cached_property
    def quarantined(self) -> Collection[str]:
        """The hosts in quarantine, as it was when somebody first asked."""
        return quarantine.current(lock_directory(self.options)).keys()

    @cached_property
    def others(self) -> Mapping[str, HostSettings]:
        """Who serves beside the picked hosts: ``peers``; without a gateway as told, and nobody in quarantine."""
        return self.peers if self.gateways else self.beside({*self.names, *self.quarantined})

    @property
    def names(self) -> list[str]:
        """The hosts' names, in Ansible's order."""
        return [host.name for host in self.hosts]

    @property
    def run_name(self) -> str:
        """The run's name, as logs and audit lines have it."""
        return self.logs.name

    def survey(self, name: str, transport: Transport) -> Survey:
        """Look at one host."""
        return survey(
            transport,
            self.settings.get(name) or self.gateways[name],
            self.lookups,
            self.roles,
            self.key,
            allow_docker_restart=self.allow_docker_restart,
        )

    def survey_all(self, *, refuse: bool = True) -> dict[str, Survey | FleetError]:
        """Look at all hosts.

        Raises:
            InputError: with ``refuse``, where something is asked of a host that can't be; nothing was changed anywhere.
        """
        surveys = self.survey_these(self.names)
        if refuse and (wrong := wrong_input(surveys)):
            raise wrong
        return surveys

    def survey_these(self, names: Sequence[str]) -> dict[str, Survey | FleetError]:
        """Look at some hosts, gateways that weren't picked among them."""

        def look(name: str, transport: Transport) -> Survey:
            self.progress.doing(name, "looking")
            try:
                return self.survey(name, transport)
            finally:
                self.progress.finished(name)

        return self.crew.each(names, look)

    def __enter__(self) -> Session:
        self.progress.__enter__()
        return self

    def __exit__(self, *ended: Any) -> None:
        self.progress.__exit__(*ended)
        self.crew.close()


def open_session(
    options: Options,
    roles: Sequence[Role],
    *,
    doing: str,
    look_up: bool = True,
    allow_docker_restart: bool = False,
    quiet: bool = False,
    leave_out_quarantined: bool = False,
) -> Session:
    """Read and check everything that can be known before any connection; all findings at once.

    With ``leave_out_quarantined`` the session is about the other hosts alone; who is left out, and why, is said.

    Raises:
        InputError: what is wrong, with file and line; no host was touched.
    """
    inventory, hosts = open_inventory(options)
    if leave_out_quarantined:
        hosts = without_quarantined(hosts, lock_directory(options))
    around = Around.of(inventory, hosts)
    remember_vaults(around.hosts)
    everybody, warnings = all_settings(around.hosts, gateway=bool(around.gateways))
    settings = {host.name: everybody[host.name] for host in hosts}
    gateways = {name: everybody[name] for name in around.gateways}
    peers = {name: told for name, told in everybody.items() if told.instances} if gateways else {}
    warnings.extend(check_gateways(gateways, peers))
    for words in warnings:
        report.warn(words)
    logins = {h.name: login_of(h, options.timeout) for h in around.hosts if h.name in settings or h.name in gateways}
    remember_secrets(everybody, logins)
    key = home.hash_key()
    logs = home.new_run()
    lookups = Lookups({}, {}, _authorities(settings))
    if look_up:
        from fleet.lookups import resolve

        serving = {name: told for name, told in settings.items() if told.instances or name not in gateways}
        lookups = resolve(serving, lock_directory(options), ca=lookups.ca, say=report.note)
    lookups = replace(lookups, peers=peers, gateways=tuple(gateways))
    inputs = inputs_of(
        {"inventory": sources(options.inventory), "roles": [ROOT / "roles"], "templates": [ROOT / "templates"]}
    )
    return Session(
        options=options,
        hosts=hosts,
        settings=settings,
        lookups=lookups,
        roles=roles,
        crew=Crew(connector(logins, logs), options.forks),
        progress=Progress(quiet=quiet or (options.json and not sys.stderr.isatty())),
        owner=Owner.me(doing),
        logs=logs,
        inputs=inputs,
        key=key,
        allow_docker_restart=allow_docker_restart,
        gateways=gateways,
        peers=peers,
        beside=partial(beside, inventory),
    )


def connector(logins: Mapping[str, Login], logs: Path) -> Callable[[str], Transport]:
    """How to open a host's connection, written down in the run's logs. paramiko is imported at the first one."""

    def connect(name: str) -> Transport:
        from fleet.transport.ssh import SshTransport

        return LoggedTransport(SshTransport(logins[name]), logs / f"{name}.log")

    return connect


def login_of(host: Host, timeout: float) -> Login:
    """The way into a host, from its connection variables (Ansible's names)."""
    connection = host.connection()
    return Login(
        name=host.name,
        host=connection.host,
        port=connection.port or 0,
        user=connection.user or "",
        password=connection.password,
        key_files=(connection.key_file,) if connection.key_file else (),
        jump=connection.proxy_jump or "",
        proxy_command=connection.proxy_command or "",
        known_hosts=tuple((ssh_options(connection.common_args).get("userknownhostsfile") or "").split()),
        become=connection.become,
        become_password=connection.become_password or connection.password,
        timeout=float(connection.timeout or timeout),
    )


def _authorities(settings: Mapping[str, HostSettings]) -> str:
    """The PEM texts of all ``mirrors.ca`` files, one after another."""
    texts = []
    for path in dict.fromkeys(told.mirrors.ca for told in settings.values() if told.mirrors.ca):
        file = Path(path).expanduser()
        file = file if file.is_absolute() else ROOT / file
        try:
            texts.append(file.read_text())
        except OSError as error:
            raise SettingsError(
                f"mirrors.ca: {file} can't be read: {error.strerror}", hint="name a PEM file on this machine"
            ) from error
    return "\n".join(texts)


def _configured() -> str:
    """``tool.fleet.inventory`` of pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]  # 3.10 has it under this name
    try:
        with (ROOT / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["tool"]["fleet"]["inventory"])
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("no inventory is named", where="pyproject.toml", hint="give --inventory FILE") from error
