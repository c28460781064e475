"""Bring a resource about for real: on this machine, below a temporary directory, by a plain shell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from fleet.resource import Change, Job, Observation, Resource, Run, Wait
from fleet.secret import Secret
from fleet.shell import PREAMBLE, quote
from fleet.transport import Reply
from fleet.transport.local import LocalTransport


class Me(TypedDict):
    """The owner and group that a test may give its files."""

    owner: str
    group: str


class LocalHost:
    """This machine as a host, with programs of the test's own before the real ones."""

    def __init__(self, path: Path, shell: tuple[str, ...] = ("sh",)) -> None:
        self.path = path
        self.bin = path / "bin"
        self.bin.mkdir()
        self._transport = LocalTransport(shell=shell)

    def program(self, name: str, script: str) -> Path:
        """Put a program of this name before the host's own. Its calls are logged in ``calls``."""
        file = self.bin / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.path}/calls\n{script}\n')
        file.chmod(0o755)
        return file

    @property
    def calls(self) -> list[str]:
        """Which of the test's own programs ran, with their arguments."""
        log = self.path / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def sh(self, script: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Reply:
        """Run a script as the engine would."""
        exports = "".join(f"export {k}={quote(v)}\n" for k, v in (env or {}).items())
        return self._transport.run(f"{PREAMBLE}\nPATH={quote(str(self.bin))}:$PATH\n{exports}{script}", stdin)

    def see(self, resource: Resource) -> Observation:
        """What the resource's probe says now."""
        reply = self.sh(f"( {resource.probe()}\n) </dev/null 2>&1")
        return Observation(reply.stdout, reply.status)

    def apply(self, resource: Resource) -> Reply:
        """Do the resource's steps, stopping at the first that fails."""
        reply = Reply("", "", 0)
        for number, step in enumerate(resource.apply(self.see(resource))):
            if isinstance(step, Job):
                job = self.path / f"job-{number}"
                job.mkdir(exist_ok=True)
                for name, content in step.files.items():
                    (job / name).write_text(content.reveal() if isinstance(content, Secret) else content)
                reply = self.sh(step.script, env={"JOB": str(job)})
            elif isinstance(step, Run):
                stdin = step.stdin.reveal().encode() if isinstance(step.stdin, Secret) else step.stdin
                reply = self.sh(step.script, stdin)
            elif isinstance(step, Wait):
                reply = self.sh(step.script)
            if reply.status:
                break
        return reply

    def settle(self, resource: Resource) -> Change | None:
        """The law: a change, applied, leaves no difference. Gives the change that was needed."""
        change = resource.diff(self.see(resource))
        reply = self.apply(resource)
        assert reply.status == 0, reply
        assert resource.diff(self.see(resource)) is None
        return change
