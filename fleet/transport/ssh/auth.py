"""Who we are to a host and who it is to us: keys, passwords, known hosts, and what goes wrong with them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, Password

from fleet.errors import AuthError, HostError, HostKeyError, Unreachable
from fleet.transport.login import Login

_keys: dict[str, paramiko.PKey] = {}
_keys_lock = threading.Lock()


class Strategy(AuthStrategy):
    """The named keys or else the usual ones, the agent's keys, the password.

    A key file that wants a passphrase is left to the agent; where nothing else lets us in, it is named.
    """

    def __init__(self, user: str, login: Login, config: dict[str, Any]) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._user = user
        self._login = login
        self._files = [*login.key_files, *config.get("identityfile", [])]
        self._only = str(config.get("identitiesonly", "no")) == "yes" or bool(login.key_files)

    def get_sources(self) -> Iterator[AuthSource]:
        """What to try, in order."""
        files = self._files or [f"~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        locked: AuthError | None = None
        for file in files:
            try:
                key = _key(file)
            except LockedKey as error:
                locked = error
                continue
            if key is not None:
                yield InMemoryPrivateKey(self._user, key)
        if locked or not self._only:
            agent = paramiko.Agent()
            try:
                for agent_key in agent.get_keys():
                    yield InMemoryPrivateKey(self._user, agent_key)
            finally:
                agent.close()
        if self._login.password:
            password = self._login.password.reveal()
            yield Password(self._user, lambda: password)
        if locked:
            raise locked


class LockedKey(AuthError):
    """A private key that wants a passphrase, which only an agent may ask for."""


class Refuse(paramiko.MissingHostKeyPolicy):
    """An unknown host key is never taken on faith."""

    def __init__(self, name: str) -> None:
        self._name = name

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Refuse."""
        raise HostKeyError(
            f"the host key of {hostname} is unknown: {fingerprint(key)}",
            where=self._name,
            hint=f"compare the fingerprint, then trust it: ./inv trust --hosts {self._name}",
        )


def fingerprint(key: paramiko.PKey) -> str:
    """As ``ssh-keygen -l`` writes it: ``SHA256:… (ED25519)``."""
    return f"{key.fingerprint} ({key.get_name().removeprefix('ssh-').upper()})"


def _key(file: str) -> paramiko.PKey | None:
    """A private key, parsed once a process (94 ms for RSA); None where there is no such file.

    Raises:
        AuthError: the file is no key, or wants a passphrase.
    """
    path = Path(file).expanduser()
    with _keys_lock:
        if str(path) not in _keys:
            if not path.is_file():
                return None
            try:
                _keys[str(path)] = paramiko.PKey.from_path(path)
            except (paramiko.PasswordRequiredException, TypeError) as error:
                raise LockedKey(
                    f"the key {path} wants a passphrase", hint=f"load it into your agent: ssh-add {path}"
                ) from error
            except (paramiko.SSHException, ValueError, OSError) as error:
                raise AuthError(f"{path} can't be read as a private key: {error}", hint="name another key") from error
        return _keys[str(path)]


def ssh_config(login: Login) -> dict[str, Any]:
    """What ``~/.ssh/config`` and ``/etc/ssh/ssh_config`` say of this host."""
    return dict(_user_config().lookup(login.host or login.name))


_config: list[paramiko.SSHConfig] = []


def _user_config() -> paramiko.SSHConfig:
    if not _config:
        config = paramiko.SSHConfig()
        for path in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
            if path.is_file():
                with path.open() as lines, contextlib.suppress(paramiko.ConfigParseError):
                    config.parse(lines)
        _config.append(config)
    return _config[0]


def jump_login(text: str, before: str, login: Login) -> Login:
    """The login of the last bastion in a ProxyJump; ``before`` are those in front of it."""
    user, _, place = text.strip().rpartition("@")
    host, _, port = place.partition(":") if place.count(":") == 1 else (place.strip("[]"), "", "")
    return Login(
        name=host,
        host=host,
        port=int(port or 0),
        user=user,
        key_files=login.key_files,
        jump=before,
        known_hosts=login.known_hosts,
        timeout=login.timeout,
    )


@contextlib.contextmanager
def as_our_errors(name: str) -> Iterator[None]:
    """Paramiko's and the socket's errors as ours, each with what to do next."""
    try:
        yield
    except HostError as error:
        error.where = error.where or name
        raise
    except paramiko.BadHostKeyException as error:
        raise HostKeyError(
            f"the host key of {error.hostname} has changed: it shows {fingerprint(error.key)}, "
            f"known is {fingerprint(error.expected_key)}",
            where=name,
            hint=f"if the host was reinstalled: ./inv trust --hosts {name}; if not, somebody may be in between",
        ) from error
    except paramiko.AuthenticationException as error:
        raise AuthError(
            f"login was refused: {' '.join(str(error).split())}",
            where=name,
            hint="check ansible_user, the key and the agent (ssh-add -l)",
        ) from error
    except socket.gaierror as error:
        raise Unreachable(f"nobody knows this name: {error}", where=name, hint="check ansible_host and DNS") from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        words = str(error) or type(error).__name__
        raise Unreachable(f"no connection: {words}", where=name, hint="is it up, and is this its port?") from error
