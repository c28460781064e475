"""Commands over SSH: Fabric's connections, made strict and quick. The only package that knows fabric and paramiko.

What Fabric leaves open is closed here (measured, see docs/design.md): unknown and changed host keys are refused,
TCP_NODELAY is set (52 → 5 ms a command), private keys are parsed once a process, standard input is ours alone.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Collection
from types import TracebackType
from typing import Any, Final

import fabric
import paramiko

from fleet.errors import AuthError, HostError, Unreachable
from fleet.shell import quote
from fleet.transport.base import Held, Reply
from fleet.transport.login import Login, default_user
from fleet.transport.ssh.auth import Refuse, Strategy, as_our_errors, jump_login, ssh_config
from fleet.transport.ssh.channel import HeldChannel, converse

#: A command longer than this goes on standard input: one argument may have 128 KiB on Linux.
LONGEST_COMMAND: Final = 100 * 1024
KEEP_ALIVE_SECONDS: Final = 15
#: Stands between sudo's password and what the command itself reads; sudo takes the first line, or leaves it.
_MARK: Final = "--fleet-stdin--"
_SUDO: Final = "exec env LC_ALL=C sudo"  # its words in English: they are looked at below
#: What sudo says when it refuses; whatever else starts with ``sudo:`` (an unknown host name) is only a remark.
_WRONG_PASSWORD: Final = re.compile(r"sorry, try again|incorrect password attempt|no password was provided", re.I)
_REFUSED: Final = re.compile(
    r"^sudo: .*(password is required|terminal is required|must have a tty)|is not in the sudoers file|"
    r"is not allowed to (execute|run)|^env: .*sudo.*: no such file",
    re.I | re.M,
)


class _Proxy(paramiko.ProxyCommand):
    """A proxy command that is waited for at its end, pipes closed: paramiko only sends it a signal."""

    def close(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


class SshTransport:
    """One host's connection: opened at the first command, tried twice, closed by :meth:`close`."""

    def __init__(self, login: Login) -> None:
        self.name = login.name
        self.commands = 0
        self.connections = 0
        self._login = login
        self._connection: fabric.Connection | None = None
        self._jumps: list[SshTransport] = []
        self._closed = False

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """Run ``command`` as root by ``sh -c``."""
        self.commands += 1
        line, payload = self._line(command, stdin)
        channel = self._open_channel()
        try:
            with as_our_errors(self.name):  # never tried again from here on: the command may have run
                reply = converse(channel, line, payload, timeout)
        finally:
            channel.close()
        self._check_sudo(reply)
        if reply.status == -1 and not self._alive():
            raise Unreachable(
                "the connection broke while a command ran",
                where=self.name,
                hint="run again: what was under way on the host goes on there and is picked up",
                stderr=reply.stderr,
            )
        return reply

    def hold(self, command: str) -> tuple[Held, str]:
        """Start ``command``, read its first line, leave it running as long as this connection lives."""
        self.commands += 1
        line, payload = self._line(command, None)
        channel = self._open_channel()
        channel.settimeout(30)
        first = b""
        with as_our_errors(self.name), contextlib.suppress(TimeoutError):
            channel.exec_command(line)
            if payload:
                channel.sendall(payload)
            while not first.endswith(b"\n"):
                data = channel.recv(1)
                if not data:
                    break
                first += data
        return HeldChannel(channel), first.decode(errors="replace").rstrip("\n")

    def close(self) -> None:
        """End the connection for good: a command that comes later is refused."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """End the connection and the bastions' that it went through; the next command makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for jump in self._jumps:
            jump.close()
        self._jumps.clear()

    def __enter__(self) -> SshTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def scan(self, prefer: Collection[str] = ()) -> paramiko.PKey:
        """The key that the host shows, trusted or not: for ``trust``, which asks a person.

        ``prefer`` names kinds of keys that are known already: a host with several is asked for one of those first.
        """
        config = ssh_config(self._login)
        with as_our_errors(self.name):
            transport = paramiko.Transport(self._socket(config))
            try:
                options = transport.get_security_options()
                options.key_types = sorted(options.key_types, key=lambda kind: kind not in prefer)
                transport.start_client(timeout=self._login.timeout)
                return transport.get_remote_server_key()
            finally:
                transport.close()
                self.drop()

    # -- how a command is wrapped ------------------------------------------------------------------------------------

    def _line(self, command: str, stdin: bytes | None) -> tuple[str, bytes | None]:
        """The command line for sshd, and what goes on its standard input."""
        sudo, password = self._sudo()
        if password is not None:
            skip = f'while IFS= read -r l; do [ "$l" = {_MARK} ] && break; done; '
            head = f"{password}\n{_MARK}\n".encode()
            line = f"{sudo}sh -c {quote(skip + command)}"
            if len(line.encode()) > LONGEST_COMMAND and stdin is None:
                return f"{sudo}sh -c {quote(skip + 'exec sh -s')}", head + command.encode()
            return line, head + (stdin or b"")
        line = f"{sudo}sh -c {quote(command)}"
        if len(line.encode()) > LONGEST_COMMAND and stdin is None:
            return f"{sudo}sh -s", command.encode()
        return line, stdin

    def _sudo(self) -> tuple[str, str | None]:
        user = self._login.user or ssh_config(self._login).get("user", default_user())
        if user == "root" or not self._login.become:
            return "exec ", None
        if self._login.become_password:
            return f"{_SUDO} -S -p '' -- ", self._login.become_password.reveal()
        return f"{_SUDO} -n -- ", None

    def _check_sudo(self, reply: Reply) -> None:
        if not self._login.become or reply.ok:
            return
        wrong = _WRONG_PASSWORD.search(reply.stderr)
        if wrong or _REFUSED.search(reply.stderr):
            raise AuthError(
                "sudo refused the password" if wrong else f"sudo refused: {reply.stderr.strip().splitlines()[-1]}",
                where=self.name,
                hint="check ansible_become_password for this host" if wrong or self._login.become_password else
                "give ansible_become_password, or let this user run sudo without a password",
                stderr=reply.stderr,
            )  # fmt: skip

    # -- how the connection comes about ------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise HostError("the connection was closed: the run was ended", where=self.name, hint="run again")

    def _alive(self) -> bool:
        transport = self._connection.client.get_transport() if self._connection else None
        return bool(transport and transport.is_active())

    def _open_channel(self) -> paramiko.Channel:
        for attempt in (1, 2):
            try:
                self._check_open()
                if not self._alive():
                    self._connect()
                with as_our_errors(self.name):
                    transport = self._connection.client.get_transport() if self._connection else None
                    if transport is None:
                        raise Unreachable("no connection", where=self.name)
                    channel: paramiko.Channel = transport.open_session(timeout=self._login.timeout)
                    return channel
            except Unreachable:
                self.drop()
                if attempt == 2:
                    raise
                time.sleep(0.5)
            except HostError:
                self.drop()
                raise
        raise Unreachable("no connection", where=self.name)

    def _connect(self) -> None:
        config = ssh_config(self._login)
        user = self._login.user or config.get("user", default_user())
        with as_our_errors(self.name):
            connection = fabric.Connection(
                config.get("hostname", self._login.host or self.name),
                user=user,
                port=int(self._login.port or config.get("port", 22)),
                config=fabric.Config(overrides={"load_ssh_configs": False}),
                connect_kwargs={
                    "sock": self._socket(config),
                    "auth_strategy": Strategy(user, self._login, config),
                    "timeout": self._login.timeout,
                    "banner_timeout": max(self._login.timeout, 15),
                },
            )
            for path in self._login.known_hosts_files:
                if path.is_file():
                    connection.client.load_host_keys(str(path))
            connection.client.set_missing_host_key_policy(Refuse(self.name))
            try:
                connection.open()
                connection.client.get_transport().set_keepalive(KEEP_ALIVE_SECONDS)
            except BaseException:
                connection.client.close()  # its socket and thread, which Fabric leaves behind
                raise
        self.connections += 1
        self._connection = connection

    def _socket(self, config: dict[str, Any]) -> Any:
        """A connected socket with TCP_NODELAY, or what a bastion or a proxy command gives instead."""
        host = str(config.get("hostname", self._login.host or self.name))
        port = int(self._login.port or config.get("port", 22))
        proxy = self._login.proxy_command or config.get("proxycommand", "")
        jump = self._login.jump or config.get("proxyjump", "")
        if proxy and proxy != "none":
            user = self._login.user or str(config.get("user", default_user()))
            return _Proxy(proxy.replace("%h", host).replace("%p", str(port)).replace("%r", user))
        if jump and jump != "none":
            before, _, last = jump.rpartition(",")
            bastion = SshTransport(jump_login(last, before, self._login))
            self._jumps.append(bastion)
            channel = bastion._direct(host, port)
            channel.settimeout(self._login.timeout)
            return channel
        sock = socket.create_connection((host, port), self._login.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _direct(self, host: str, port: int) -> paramiko.Channel:
        self._connect()
        transport = self._connection.client.get_transport() if self._connection else None
        if transport is None:
            raise Unreachable("no connection to the bastion", where=self.name)
        channel: paramiko.Channel = transport.open_channel(
            "direct-tcpip", (host, port), ("", 0), timeout=self._login.timeout
        )
        return channel
