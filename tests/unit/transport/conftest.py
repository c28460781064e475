"""Private SSH servers on loopback, with keys and users of their own: what the promises about SSH are held against."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.secret import Secret
from fleet.transport.login import Login
from fleet.transport.ssh import SshTransport, auth

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None or os.geteuid() != 0 or not shutil.which("sudo") or not shutil.which("useradd"),
    reason="wants root, openssh-server and sudo: it starts SSH servers and makes users of its own",
)
PASSWORD = "Corr3ct' horse\\ \"batt€ry"  # all that a shell or a terminal could stumble over


@dataclass
class Server:
    """One sshd on loopback."""

    path: Path
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def known(self) -> str:
        """Its line for a known_hosts file."""
        kind, key = (self.path / "host_key.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    @property
    def log(self) -> str:
        """What it wrote down."""
        return (self.path / "log").read_text()

    def cut(self) -> None:
        """Kill the connections that are open, as a network that goes does; the server itself stays."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def start(path: Path, authorized: Path, *options: str, port: int = 0) -> Server:
    """Start an sshd that lets ``authorized`` keys and passwords in."""
    path.mkdir(exist_ok=True)
    if not (path / "host_key").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path / "host_key"], check=True)
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {path}/host_key", f"AuthorizedKeysFile {authorized}",
        "StrictModes no", "UsePAM yes", "PasswordAuthentication yes", "KbdInteractiveAuthentication no",
        "PermitRootLogin yes", "PidFile none", "LogLevel VERBOSE", "AcceptEnv LANG LC_*", "MaxAuthTries 20",
        "MaxStartups 100", *options,
    ]  # fmt: skip
    (path / "config").write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (path / "log").open("ab") as log:
        process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", path / "config"], stderr=log)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return Server(path, port, process)
        time.sleep(0.05)
    process.kill()
    process.wait(5)
    pytest.fail(f"sshd didn't start: {(path / 'log').read_text()}")


def stop(server: Server) -> None:
    """End a server and its connections."""
    server.cut()
    end(server.process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, kindly first: one that is left would warn in whatever test comes next."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@pytest.fixture(scope="session")
def keys() -> Iterator[Path]:
    """ed25519, rsa and a locked key, and the file that lets them in; where sshd may read it as any user."""
    path = Path(tempfile.mkdtemp(prefix="fleet-keys-"))
    for name, kind, phrase in (("ed", "ed25519", ""), ("rsa", "rsa", ""), ("locked", "ed25519", "open sesame")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", phrase, "-f", path / name], check=True)
    (path / "authorized").write_text("".join((path / f"{n}.pub").read_text() for n in ("ed", "rsa", "locked")))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Server]:
    """A host that everybody shares."""
    running = start(tmp_path_factory.mktemp("sshd"), keys / "authorized")
    yield running
    stop(running)


@pytest.fixture(scope="session")
def users() -> Iterator[dict[str, str]]:
    """Two users: ``free`` may sudo without a password, ``asked`` with it."""
    names = {"free": f"fleet-free-{os.getpid()}", "asked": f"fleet-asked-{os.getpid()}"}
    rules = Path(f"/etc/sudoers.d/fleet-test-{os.getpid()}")
    for name in names.values():
        subprocess.run(["useradd", "--no-create-home", "--home-dir", "/tmp", "--shell", "/bin/sh", name], check=True)
        subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}\n".encode(), check=True)
    rules.write_text(
        f"Defaults timestamp_timeout=0\n{names['free']} ALL=(ALL) NOPASSWD: ALL\n{names['asked']} ALL=(ALL) ALL\n"
    )
    rules.chmod(0o440)
    yield names
    rules.unlink()
    for name in names.values():
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)  # its last session may still end


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, without keys, agent or configuration; nothing parsed before is remembered."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(auth, "_config", [])
    monkeypatch.setattr(auth, "_keys", {})
    return home


@pytest.fixture
def login(server: Server, keys: Path, at_home: Path) -> Login:
    """A way in as root that works; tests replace parts of it."""
    known = at_home / "known"
    known.write_text(server.known)
    return Login(
        "h1", "127.0.0.1", server.port, "root", key_files=(str(keys / "ed"),), known_hosts=(str(known),), timeout=5.0
    )


Connect = Callable[[Login], SshTransport]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connections that are closed at the end."""
    opened: list[SshTransport] = []

    def make(login: Login) -> SshTransport:
        opened.append(SshTransport(login))
        return opened[-1]

    yield make
    for transport in opened:
        transport.close()


def password() -> Secret:
    """The users' password."""
    return Secret(PASSWORD)
