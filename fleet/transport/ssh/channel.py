"""One conversation on an SSH channel: a command, its standard input, what it prints, how it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import paramiko

from fleet.transport.base import Reply


def converse(channel: paramiko.Channel, line: str, payload: bytes | None, timeout: float) -> Reply:
    """Run ``line``; a command that doesn't end in ``timeout`` seconds has the status -1."""
    deadline = time.monotonic() + timeout
    channel.settimeout(timeout)
    channel.exec_command(line)
    errors: list[bytes] = []
    threads = [threading.Thread(target=_drain, args=(channel.recv_stderr, errors), daemon=True)]
    if payload is not None:
        threads.append(threading.Thread(target=_send, args=(channel, payload), daemon=True))
    else:
        channel.shutdown_write()
    for thread in threads:
        thread.start()
    output: list[bytes] = []
    try:
        while data := channel.recv(65536):
            output.append(data)
            channel.settimeout(max(0.01, deadline - time.monotonic()))
        while not channel.exit_status_ready() and not channel.closed and time.monotonic() < deadline:
            time.sleep(0.002)
        status = channel.recv_exit_status() if channel.exit_status_ready() else -1
    except TimeoutError:
        channel.close()
        errors.append(f"\nno end after {timeout:g} s".encode())
        status = -1
    for thread in threads:
        thread.join(1)
    return Reply(b"".join(output).decode(errors="replace"), b"".join(errors).decode(errors="replace"), status)


def _drain(receive: Callable[[int], bytes], into: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := receive(65536):
            into.append(data)


def _send(channel: paramiko.Channel, payload: bytes) -> None:
    with contextlib.suppress(OSError):  # a command that ends before it has read all is its own affair
        channel.sendall(payload)
        channel.shutdown_write()


class HeldChannel:
    """A command that runs as long as its channel is open."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def alive(self) -> bool:
        """Whether it still runs; each look is a heartbeat as well."""
        try:
            self._channel.sendall(b".")
        except OSError:
            return False
        return not self._channel.closed and not self._channel.exit_status_ready()

    def release(self) -> None:
        """Close the channel: the command sees the end of its input."""
        self._channel.close()
