"""What a rollout is about to do, written down before it is done: one JSON line a step, safe against every kill.

``.fleet/rollouts/RUN/journal.jsonl``. A line that was cut off never happened. The file is locked (``flock``) by who is
at work on it, so that the kernel tells a rollout that goes on from one that was left.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from fleet.errors import FleetError, UsageError
from fleet.home import home
from fleet.rollout.turn import TOUCHING, At

_NAME: Final = "journal.jsonl"


class JournalBusy(FleetError):
    """Another process is at work on this rollout."""


class JournalLost(FleetError):
    """A line can't be written: the disk here is full, or broken. No reason to leave a host in the middle."""


@dataclass(frozen=True)
class Story:
    """What a journal tells: who began it with which options, how far each host came, and how it stands.

    ``steps`` is host → its last step; ``ends`` is host → how its turn ended, for those that are over; ``before`` is
    host → instance → the release that served when the turn began. ``touched`` are the hosts whose turn got as far as
    the switch and didn't end well, ``back`` those that were on the way to their old release, in any of their tries.
    """

    run: str
    begun: Mapping[str, Any] = field(default_factory=dict)
    waves: Sequence[Mapping[str, Any]] = ()
    steps: Mapping[str, At] = field(default_factory=dict)
    ends: Mapping[str, At] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()
    state: str = "open"  #: open, paused, finished, aborted
    aborting: bool = False  #: an abort was begun, and isn't over
    promoted: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do for anybody; also where it was never begun."""
        return self.state in ("finished", "aborted") or not self.begun

    @property
    def past_canaries(self) -> bool:
        """Whether somebody let it go on after its canaries, or nobody had to: a wave of others was begun."""
        return self.promoted or any(not wave.get("canary") for wave in self.waves)

    @property
    def canaries(self) -> frozenset[str]:
        """Hosts whose turn was begun as a canary's."""
        return frozenset(host for wave in self.waves if wave.get("canary") for host in wave["hosts"])

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Hosts whose turn began and whose end, if there is one, leaves something to do."""
        return tuple(host for host in self.steps if not (host in self.ends and self.ends[host].is_settled))


def read(path: Path) -> Story:
    """The story of the journal in this file; what isn't whole is left out."""
    return told(path.parent.name, lines(path))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The journal's lines, oldest first."""
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "event" in line:
            yield line


def told(run: str, written: Iterator[Mapping[str, Any]]) -> Story:
    """The story that these lines tell. Pure."""
    begun: Mapping[str, Any] = {}
    waves: list[Mapping[str, Any]] = []
    steps: dict[str, At] = {}
    ends: dict[str, At] = {}
    before: dict[str, Mapping[str, str]] = {}
    touched: set[str] = set()
    back: set[str] = set()
    state, aborting, promoted = "open", False, False
    for line in written:
        event = line["event"]
        if event == "begin":
            # Again, where a rollout that was taken over is opened for further hosts.
            begun, state, aborting = line, "open", False
        elif event == "wave":
            waves.append(line)
        elif event == "step":
            host, at = line["host"], At(line["at"])
            steps[host] = at
            ends.pop(host, None)
            before[host] = line.get("before") or before.get(host, {})
            if at in TOUCHING or line.get("touched"):
                touched.add(host)
            if at in (At.GO_BACK, At.CHECK) or line.get("back"):
                back.add(host)
        elif event == "end":
            ends[line["host"]] = At(line["at"])
            if ends[line["host"]].is_settled:
                touched.discard(line["host"])
                back.discard(line["host"])
        elif event in ("paused", "finished", "aborted"):
            state = event
        elif event in ("resumed", "promoted"):
            state, aborting, promoted = "open", bool(line.get("abort")), promoted or event == "promoted"
    return Story(
        run, begun, tuple(waves), steps, ends, before, frozenset(touched), frozenset(back), state, aborting, promoted
    )


def find(run: str = "") -> Path:
    """The journal of a run, or the newest that isn't closed.

    Raises:
        UsageError: there is none.
    """
    if run:
        path = _root() / run / _NAME
        if path.is_file():
            return path
        raise UsageError(f"there is no rollout {run!r}", hint=f"there are: {', '.join(known()[:5]) or 'none at all'}")
    path_or_none = open_one()
    if path_or_none is None:
        raise UsageError("no rollout is open here", hint="./inv rollout begins one")
    return path_or_none


def open_one() -> Path | None:
    """The newest journal that isn't closed, or None."""
    paths = (_root() / run / _NAME for run in known())
    return next((path for path in paths if not read(path).closed), None)


def known() -> list[str]:
    """The runs that have a journal, newest first."""
    return sorted((path.parent.name for path in _root().glob(f"*/{_NAME}")), reverse=True)


def _root() -> Path:
    return home() / "rollouts"


class Journal:
    """Open for writing inside ``with``; nobody else may write to it meanwhile."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.path = _root() / run / _NAME
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise JournalBusy(
                f"the rollout {self.run} is under way in another process", where=str(self.path),
                hint="./inv rollout.watch shows it",
            ) from error  # fmt: skip
        return self

    def _cut_off(self) -> bool:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def write(self, event: str, **fields: Any) -> None:
        """Append a line; when this returns it is on the disk.

        Raises:
            JournalLost: it can't be written, or not whole.
        """
        line = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "event": event, **fields}
        text = json.dumps(line, ensure_ascii=False, default=str) + "\n"
        if self._file is None:
            msg = "the journal isn't open"
            raise RuntimeError(msg)
        with self._lock:
            try:
                if self._cut_off():
                    text = "\n" + text  # a line that was cut off must not swallow this one
                left = memoryview(text.encode())
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise JournalLost(
                    f"the rollout's journal can't be written: {error.strerror}", where=str(self.path),
                    hint="make room on this machine; then ./inv rollout.resume",
                ) from error  # fmt: skip

    def story(self) -> Story:
        """What it tells so far."""
        return read(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()
