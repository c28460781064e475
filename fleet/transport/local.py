"""This machine as a host: ``sh`` in a child process. For tests of scripts, and for a fleet of one."""

from __future__ import annotations

import subprocess
from types import TracebackType

from fleet.transport.base import Held, Reply


class LocalTransport:
    """Runs commands here, by the shell that is named (``sh``, ``dash``, ``busybox sh``)."""

    def __init__(self, name: str = "localhost", *, shell: tuple[str, ...] = ("sh",)) -> None:
        self.name = name
        self.commands = 0
        self._shell = shell
        self._held: list[_HeldProcess] = []

    def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
        """Run ``command``; a time-out gives the status -1."""
        self.commands += 1
        try:
            done = subprocess.run(
                [*self._shell, "-c", command], input=stdin or b"", capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            return Reply(_text(error.stdout), f"no end after {timeout:g} s", -1)
        return Reply(_text(done.stdout), _text(done.stderr), done.returncode)

    def hold(self, command: str) -> tuple[Held, str]:
        """Start ``command`` and read its first line."""
        self.commands += 1
        process = subprocess.Popen(
            [*self._shell, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        held = _HeldProcess(process)
        self._held.append(held)
        line = process.stdout.readline() if process.stdout else b""
        return held, _text(line).rstrip("\n")

    def drop(self) -> None:
        """Nothing to forget: this machine is always here."""

    def close(self) -> None:
        """Let go of everything that is held."""
        for held in self._held:
            held.release()

    def __enter__(self) -> LocalTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _HeldProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def alive(self) -> bool:
        return self._process.poll() is None

    def release(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
