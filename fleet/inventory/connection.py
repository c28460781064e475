"""How to reach a host, from Ansible's connection variables and their synonyms."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fleet.errors import InventoryError
from fleet.inventory.values import Origin
from fleet.secret import Secret

#: Variables that hold a password, also where it stands in clear.
PASSWORDS = frozenset(
    {
        "ansible_password",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_become_password",
        "ansible_become_pass",
        "ansible_sudo_pass",
    }
)
_YES, _NO = ("yes", "on", "1", "true", "y", "t"), ("no", "off", "0", "false", "n", "f")


@dataclass(frozen=True)
class Connection:
    """How to reach a host. What isn't set is None, or what Ansible takes then; ``timeout`` is in seconds."""

    host: str
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    key_file: str | None = None
    kind: str = "ssh"
    common_args: tuple[str, ...] = ()
    proxy_jump: str | None = None
    proxy_command: str | None = None
    timeout: int | None = None
    become: bool = False
    become_user: str = "root"
    become_method: str = "sudo"
    become_password: Secret | None = None


class Described(Protocol):
    """What is needed of a host here."""

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        ...

    def has(self, variable: str) -> bool:
        """Whether it is set."""
        ...

    def resolve(self, variable: str) -> object:
        """Its value."""
        ...

    def origin(self, variable: str, *path: str | int) -> Origin | None:
        """Where it stands."""
        ...


def connection_of(host: Described) -> Connection:
    """``host``'s connection. Raises InventoryError for a value of the wrong kind, TemplateError, VaultError."""
    read = _Reader(host)
    common = (*read.words("ansible_ssh_common_args"), *read.words("ansible_ssh_extra_args"))
    options = ssh_options(common)
    return Connection(
        host=read.text("ansible_host", "ansible_ssh_host") or host.name,
        port=read.number("ansible_port", "ansible_ssh_port"),
        user=read.text("ansible_user", "ansible_ssh_user"),
        password=read.secret("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
        key_file=read.text("ansible_ssh_private_key_file", "ansible_private_key_file"),
        kind=read.text("ansible_connection") or "ssh",
        common_args=common,
        proxy_jump=options.get("proxyjump"),
        proxy_command=options.get("proxycommand"),
        timeout=read.number("ansible_ssh_timeout", "ansible_timeout"),
        become=read.truth("ansible_become"),
        become_user=read.text("ansible_become_user") or "root",
        become_method=read.text("ansible_become_method") or "sudo",
        become_password=read.secret("ansible_become_password", "ansible_become_pass"),
    )


def ssh_options(words: tuple[str, ...]) -> dict[str, str]:
    """What ``-o Name=value`` and ``-J host`` among ssh's arguments set, by small names; the first counts, as in ssh."""
    options: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        if word[:2] not in ("-o", "-J"):
            continue
        text = word[2:] or next(waiting, "")
        if word[:2] == "-J":
            text = f"ProxyJump={text}"
        name, _, value = text.partition("=") if "=" in text else text.partition(" ")
        options.setdefault(name.strip().lower(), value.strip())
    return options


class _Reader:
    """Reads one host's variables; of several names for the same, the first that is set counts."""

    def __init__(self, host: Described) -> None:
        self._host = host

    def text(self, *names: str) -> str | None:
        name, value = self._value(*names)
        if isinstance(value, Secret):
            value = value.reveal()
        if isinstance(value, (Mapping, list)):
            raise self._wrong(name, "a text")
        return None if value is None or value == "" else str(value)

    def secret(self, *names: str) -> Secret | None:
        text = self.text(*names)
        return None if text is None else Secret(text)

    def number(self, *names: str) -> int | None:
        text = self.text(*names)
        try:
            return None if text is None else int(text)
        except ValueError:
            raise self._wrong(self._value(*names)[0], "a whole number") from None

    def truth(self, name: str) -> bool:
        text = (self.text(name) or "no").lower()
        if text not in (*_YES, *_NO):
            raise self._wrong(name, "yes or no")
        return text in _YES

    def words(self, name: str) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self.text(name) or ""))
        except ValueError:
            raise self._wrong(name, "words as a shell splits them") from None

    def _value(self, *names: str) -> tuple[str, object]:
        for name in names:
            if self._host.has(name) and (value := self._host.resolve(name)) is not None:
                return name, value
        return names[0], None

    def _wrong(self, name: str, kind: str) -> InventoryError:
        return InventoryError(
            f"{name} of {self._host.name} must be {kind}", where=str(self._host.origin(name) or ""),
            hint=f"./inv inventory --explain {name} --hosts {self._host.name} shows its value, and what it beat",
        )  # fmt: skip
