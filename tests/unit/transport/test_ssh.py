"""Promises about SSH, held against real servers on loopback."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from fleet import lock
from fleet.errors import AuthError, HostError, HostKeyError, LockHeld, Unreachable
from fleet.lock import HostLock, Owner
from fleet.secret import Secret
from fleet.transport.logged import LoggedTransport
from fleet.transport.login import Login
from fleet.transport.ssh import remember, scan
from tests.unit.transport.conftest import PASSWORD, Connect, Server, end, needs_sshd, password, start, stop

pytestmark = needs_sshd
LONG = "# " + "x" * 150_000 + "\n"


# -- who the host is ---------------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_the_command_that_trusts_it(login: Login, connect: Connect) -> None:
    Path(login.known_hosts[0]).write_text("")
    with pytest.raises(HostKeyError, match=r"unknown: SHA256:.* \(ED25519\)") as refused:
        connect(login).run("true")
    assert "./inv trust --hosts h1" in refused.value.hint


def test_a_changed_host_key_is_refused_until_it_is_trusted(
    login: Login, connect: Connect, keys: Path, server: Server
) -> None:
    other = (keys / "rsa.pub").read_text().split()[1]
    mine = (keys / "locked.pub").read_text().split()[1]
    file = Path(login.known_hosts[0])
    file.write_text(f"# mine\nelsewhere ssh-rsa {other}\n[127.0.0.1]:{server.port} ssh-ed25519 {mine}\n")
    with pytest.raises(HostKeyError, match="has changed") as refused:
        connect(login).run("true")
    assert "./inv trust --hosts h1" in refused.value.hint

    shown = scan(login)
    assert shown.state == "changed"
    remember(shown)
    assert file.read_text().splitlines()[:2] == ["# mine", f"elsewhere ssh-rsa {other}"]
    assert len(file.read_text().splitlines()) == 3
    assert scan(login).state == "known"
    assert connect(login).run("echo in").stdout == "in\n"


def test_trust_finds_hashed_names(login: Login) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", login.known_hosts[0]], check=True, capture_output=True)
    assert "127.0.0.1" not in Path(login.known_hosts[0]).read_text()
    assert scan(login).state == "known"


def test_an_unknown_host_is_scanned_as_unknown(login: Login) -> None:
    Path(login.known_hosts[0]).unlink()
    shown = scan(login)
    assert shown.state == "unknown"
    remember(shown)
    assert Path(login.known_hosts[0]).stat().st_mode & 0o777 == 0o600
    assert scan(login).state == "known"


# -- who we are --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ed", "rsa"])
def test_a_key_is_parsed_once_a_process(
    login: Login, connect: Connect, keys: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[object] = []
    real = paramiko.PKey.from_path

    def counted(path: Path) -> paramiko.PKey:
        parsed.append(path)
        return real(path)

    monkeypatch.setattr(paramiko.PKey, "from_path", counted)
    for _ in range(3):
        assert connect(replace(login, key_files=(str(keys / name),))).run("id -u").stdout == "0\n"
    assert len(parsed) == 1


@pytest.fixture
def agent(tmp_path: Path, keys: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that holds the locked key."""
    place = tmp_path / "agent"
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho open sesame\n")
    ask.chmod(0o700)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        env = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        until = time.monotonic() + 10
        while True:  # its socket is there a moment before it takes connections
            words = ["ssh-add", "-q", str(keys / "locked")]
            added = subprocess.run(words, env=env, capture_output=True, check=False, stdin=subprocess.DEVNULL)
            if not added.returncode:
                break
            assert time.monotonic() < until, added.stderr
            time.sleep(0.05)
        yield
    finally:
        end(process)


def test_the_agent_lets_us_in(login: Login, connect: Connect, agent: None) -> None:
    assert connect(replace(login, key_files=())).run("true").ok


def test_a_key_with_a_passphrase_is_left_to_the_agent(login: Login, connect: Connect, keys: Path, agent: None) -> None:
    assert connect(replace(login, key_files=(str(keys / "locked"),))).run("true").ok


def test_a_key_with_a_passphrase_and_no_agent_says_so(login: Login, connect: Connect, keys: Path) -> None:
    with pytest.raises(AuthError, match="wants a passphrase") as refused:
        connect(replace(login, key_files=(str(keys / "locked"),))).run("true")
    assert "ssh-add" in refused.value.hint


def test_a_password_lets_us_in_and_a_wrong_one_does_not(
    login: Login, connect: Connect, users: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    way = replace(login, key_files=(), user=users["free"], password=password())
    assert connect(way).run("id -un").stdout.strip() == users["free"]
    with pytest.raises(AuthError, match="login was refused") as refused:
        connect(replace(way, password=Secret("wrong-password"))).run("true")
    assert "wrong-password" not in str(refused.value)


def test_the_users_ssh_configuration_fills_what_the_inventory_leaves_open(
    login: Login, connect: Connect, server: Server, keys: Path, at_home: Path
) -> None:
    (at_home / ".ssh/config").write_text(
        f"Host box\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n  IdentityFile {keys}/ed\n"
    )
    assert connect(Login("box", known_hosts=login.known_hosts)).run("id -u").stdout == "0\n"


# -- the way there -----------------------------------------------------------------------------------------------------


def test_a_bastion_stands_in_between(
    login: Login, connect: Connect, tmp_path: Path, keys: Path, at_home: Path, server: Server
) -> None:
    bastion = start(tmp_path / "bastion", keys / "authorized")
    try:
        Path(login.known_hosts[0]).write_text(server.known + bastion.known)
        through = connect(replace(login, jump=f"root@127.0.0.1:{bastion.port}"))
        assert through.run("echo $SSH_CONNECTION").stdout.split()[3] == str(server.port)
        assert "Accepted publickey for root" in bastion.log
        through.close()

        Path(login.known_hosts[0]).write_text(server.known)
        with pytest.raises(HostKeyError) as refused:
            connect(replace(login, jump=f"root@127.0.0.1:{bastion.port}")).run("true")
        assert refused.value.where == "127.0.0.1", "the bastion is named, not the host behind it"
    finally:
        stop(bastion)


def test_a_proxy_command_is_used(login: Login, connect: Connect) -> None:
    relay = (
        "python3 -c 'import socket,sys,threading,os\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        'send=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b"")]\n'
        "threading.Thread(target=send,daemon=True).start()\n"
        ""
        'for d in iter(lambda:s.recv(65536),b""): os.write(1,d)\' %h %p'
    )
    assert connect(replace(login, proxy_command=relay)).run("echo through").stdout == "through\n"


def test_small_packets_are_sent_at_once(login: Login, connect: Connect) -> None:
    transport = connect(login)
    transport.run("true")
    sock = transport._connection.client.get_transport().sock  # type: ignore[union-attr] # connected by the line above
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_host_that_is_down_is_tried_twice_and_named(login: Login, connect: Connect) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="refused") as down:
            connect(replace(login, port=nobody.getsockname()[1])).run("true")
    assert down.value.where == "h1"


def test_a_host_that_accepts_and_says_nothing_ends_in_a_time_out(login: Login, connect: Connect) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(Unreachable):
            connect(replace(login, port=mute.getsockname()[1], timeout=1)).run("true")


# -- sudo --------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["root", "free", "asked"])
def become(request: pytest.FixtureRequest, login: Login, users: dict[str, str]) -> Login:
    """Root by each of the three ways."""
    if request.param == "root":
        return login
    asked = password() if request.param == "asked" else None
    return replace(login, user=users[request.param], become=True, become_password=asked)


def test_every_way_ends_as_root_and_leaves_the_input_to_the_command(become: Login, connect: Connect) -> None:
    data = os.urandom(5 << 20)
    transport = connect(become)
    reply = transport.run("id -u; sha256sum", data)
    assert reply.stdout.split()[:2] == ["0", hashlib.sha256(data).hexdigest()]
    assert transport.run("cat").stdout == "", "no input is an empty input, and no password"
    assert transport.connections == 1


def test_a_probe_above_100_kib_goes_on_standard_input(become: Login, connect: Connect) -> None:
    assert connect(become).run(LONG + "id -u; ( cat ) </dev/null; exit 3").status == 3
    wide = "# " + "€" * 60_000 + "\nid -u"  # 180 KB in 60000 letters: a limit counts bytes
    assert connect(become).run(wide).stdout == "0\n"


def test_large_output_comes_whole(become: Login, connect: Connect) -> None:
    reply = connect(become).run("head -c 5000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' e >&2")
    assert (len(reply.stdout), len(reply.stderr)) == (5_000_000, 300_000)


def test_a_wrong_sudo_password_is_an_error_in_seconds(
    login: Login, connect: Connect, users: dict[str, str], tmp_path: Path
) -> None:
    way = replace(login, user=users["asked"], become=True, become_password=Secret("not-this-one"))
    began = time.monotonic()
    with pytest.raises(AuthError, match="sudo refused the password") as refused:
        connect(way).run(f"cat > {tmp_path}/never", b"data\n" * 10)
    assert time.monotonic() - began < 15
    assert not (tmp_path / "never").exists()
    assert "ansible_become_password" in refused.value.hint


def test_a_missing_sudo_password_is_asked_for(login: Login, connect: Connect, users: dict[str, str]) -> None:
    with pytest.raises(AuthError) as refused:
        connect(replace(login, user=users["asked"], become=True)).run("true")
    assert "give ansible_become_password" in refused.value.hint


def test_a_remark_of_sudo_is_no_refusal(login: Login, connect: Connect, users: dict[str, str]) -> None:
    way = replace(login, user=users["free"], become=True)
    reply = connect(way).run("echo 'sudo: unable to resolve host h1: Name or service not known' >&2; exit 4")
    assert reply.status == 4


def test_no_secret_stands_in_argv_or_in_the_logs(
    login: Login, connect: Connect, users: dict[str, str], tmp_path: Path
) -> None:
    way = replace(login, user=users["asked"], become=True, become_password=password())
    logged = LoggedTransport(connect(way), tmp_path / "log")
    seen = logged.run(
        "cat >/dev/null; ps -eo args; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '", b"s3cret-data"
    ).stdout
    assert "ps -eo args" in seen
    for text in (seen, (tmp_path / "log").read_text()):
        assert PASSWORD not in text
        assert "s3cret-data" not in text
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


# -- when it breaks ----------------------------------------------------------------------------------------------------


def test_a_command_that_takes_too_long_has_the_status_minus_one(login: Login, connect: Connect) -> None:
    transport = connect(login)
    reply = transport.run("echo begun; sleep 30", timeout=0.5)
    assert (reply.stdout, reply.status) == ("begun\n", -1)
    assert "no end after 0.5 s" in reply.stderr
    assert transport.run("echo next").stdout == "next\n", "the connection serves the next command"
    assert transport.connections == 1


def test_a_connection_that_dies_in_a_command_is_unreachable_and_nothing_runs_twice(
    login: Login, connect: Connect, tmp_path: Path, keys: Path
) -> None:
    own = start(tmp_path / "own", keys / "authorized")
    try:
        Path(login.known_hosts[0]).write_text(own.known)
        transport = connect(replace(login, port=own.port))
        transport.run("true")
        threading.Timer(0.7, own.cut).start()
        with pytest.raises(Unreachable, match="broke while a command ran") as broke:
            transport.run(f"echo ran >> {tmp_path}/times; sleep 5")
        assert "run again" in broke.value.hint
        assert (tmp_path / "times").read_text() == "ran\n"
        assert transport.run("echo back").stdout == "back\n", "the next command makes a new connection"
        assert transport.connections == 2

        own.cut()
        time.sleep(0.3)
        assert transport.run(f"echo ran >> {tmp_path}/times").ok, "a connection that died in between is made anew"
        assert (tmp_path / "times").read_text() == "ran\nran\n"
    finally:
        stop(own)


def test_a_closed_connection_stays_closed(login: Login, connect: Connect) -> None:
    transport = connect(login)
    transport.run("true")
    transport.drop()
    assert transport.run("true").ok, "dropped is not closed: a rebooted host is reached again"
    transport.close()
    with pytest.raises(HostError, match="closed"):
        transport.run("true")


# -- the host's lock ---------------------------------------------------------------------------------------------------

_ME = Owner("me@here", "2030-01-01T00:00:00+00:00", "a test")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock's directories, in the test's own place."""
    monkeypatch.setattr(lock, "_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(lock, "_KEPT", str(tmp_path / "held"))
    monkeypatch.setattr(lock, "_LIB", str(tmp_path))
    return tmp_path


def test_a_lock_has_one_owner_and_the_next_is_told_his_name(become: Login, connect: Connect, place: Path) -> None:
    with HostLock(connect(become), _ME) as held:
        held.check()
        with (
            pytest.raises(LockHeld, match=r"locked by me@here since 2030.*a test"),
            HostLock(connect(become), Owner("you", "", "")),
        ):
            pytest.fail("two owners")
        assert lock.status(connect(become)) == _ME
    until = time.monotonic() + 5
    while lock.status(connect(become)) is not None and time.monotonic() < until:
        time.sleep(0.1)
    assert lock.status(connect(become)) is None


def test_a_lock_whose_owner_was_killed_is_free(login: Login, connect: Connect, place: Path, keys: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom fleet import lock\nfrom fleet.transport.login import Login\n"
        "from fleet.transport.ssh import SshTransport\n"
        f"lock._DIR, lock._KEPT = {str(place / 'run')!r}, {str(place / 'held')!r}\n"
        f"t = SshTransport({login!r})\n"
        "with lock.HostLock(t, lock.Owner('gone', 's', 'd')):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    here = connect(login)
    with subprocess.Popen([".venv/bin/python", "-c", script], stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"locked\n"
            found = lock.status(here)
            assert found is not None
            assert found.who == "gone"
        finally:
            owner.kill()
    until = time.monotonic() + 5
    while lock.status(here) is not None and time.monotonic() < until:
        time.sleep(0.1)
    with HostLock(here, _ME):
        pass


def test_a_lock_that_is_kept_outlives_its_connection_until_it_is_released(
    login: Login, connect: Connect, place: Path
) -> None:
    first = connect(login)
    lock.keep(first, _ME)
    first.close()
    second = connect(login)
    assert lock.status(second) == _ME
    with pytest.raises(LockHeld, match="me@here"):
        lock.keep(second, Owner("you", "", ""))
    with pytest.raises(LockHeld, match="me@here"), HostLock(second, Owner("you", "", "")):
        pass
    assert lock.release(second) is True
    assert lock.release(second) is False
    assert lock.status(second) is None


def test_a_lock_released_by_hand_ends_its_owners_run(login: Login, connect: Connect, place: Path) -> None:
    with HostLock(connect(login), _ME) as mine:
        assert lock.release(connect(login)) is True
        time.sleep(0.3)
        with pytest.raises(LockHeld, match="released by hand"):
            mine.check()


def test_a_lock_lost_with_its_connection_is_taken_again(login: Login, connect: Connect, place: Path) -> None:
    transport = connect(login)
    with HostLock(transport, _ME) as mine:
        transport.drop()
        time.sleep(0.3)
        mine.check()
        assert lock.status(connect(login)) == _ME


def test_a_lock_without_heartbeats_is_let_go_by_the_host(
    login: Login, connect: Connect, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_HEARTBEAT_SECONDS", 0.2)  # the host waits for six of them
    with HostLock(connect(login), _ME) as mine:
        time.sleep(2.5)
        assert lock.status(connect(login)) == _ME, "it beats"
        mine._done.set()
        time.sleep(2.5)
        assert lock.status(connect(login)) is None, "it doesn't any more"
