"""Tell others what happens to the fleet: executables on this side, and webhooks.

Nothing here holds a rollout up: a webhook has 10 seconds, an executable its own timeout, and what fails is a warning.
Only an executable that is ``required`` can stop the rollout, for that is what it was asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from fleet import report, webhooks
from fleet.errors import Findings, HookFailed, InputError, SettingsError
from fleet.secret import mask
from fleet.settings import HostSettings
from fleet.settings.hooks import EVENTS, EventName, Hook
from fleet.target import ROOT

#: Between two waves: a refusal leaves the rollout open, with no host in the middle of its turn.
_BETWEEN: Final = ("wave-begins", "wave-ends", "paused", "promotion")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Event:
    """What happened, in which run, to which host or wave, by whom, and why.

    ``details`` is what else belongs to it (hosts, the gate that failed, log lines, what to type); it is sent as it is.
    """

    name: EventName
    run: str = ""
    host: str = ""
    wave: str = ""
    who: str = ""
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    time: str = field(default_factory=_now)

    @classmethod
    def of(cls, name: str, about: Mapping[str, Any], *, run: str, who: str, why: str) -> Event:
        """From an event's name and what belongs to it: ``host`` and ``wave`` have their places, the rest is details.

        Raises:
            ValueError: there is no such event.
        """
        if name not in EVENTS:
            raise ValueError(f"there is no event {name!r}")
        rest = {key: value for key, value in about.items() if key not in ("host", "wave")}
        return cls(name, run, str(about.get("host", "")), str(about.get("wave", "")), who, why, rest)

    def as_json(self) -> dict[str, Any]:
        """What executables read and webhooks send, secrets masked: it goes to others."""
        told = {
            "event": self.name, "time": self.time, "run": self.run, "host": self.host, "wave": self.wave,
            "who": self.who, "why": self.why, "details": dict(self.details),
        }  # fmt: skip
        return {name: _fit(value) for name, value in told.items()}


def hooks_of(settings: Mapping[str, HostSettings], host: str = "") -> list[Hook]:
    """The hooks that ``host`` is told; without one, those of all hosts, each once."""
    told = [settings[host]] if host in settings else list(settings.values())
    return list(dict.fromkeys(hook for each in told for hook in each.hooks))


def check(hooks: Sequence[Hook]) -> None:
    """That all executables and templates are there and a message can be made, before anything is begun.

    Raises:
        Findings: what is wrong, all of it.
    """
    wrong: list[InputError] = []
    for hook in hooks:
        try:
            if hook.url:
                webhooks.body_of(hook, Event("failure").as_json())
                if hook.secret and not webhooks.kind_of(hook).get("sign"):
                    words = f"{webhooks.label(hook)}: only DingTalk and Feishu sign their messages"
                    wrong.append(SettingsError(words, where="hooks", hint="take `secret` out"))
            elif not os.access(_path(hook), os.X_OK) or _path(hook).is_dir():
                words = f"{webhooks.label(hook)}: there is no such executable on this machine"
                wrong.append(SettingsError(words, where="hooks", hint=f"looked for {_path(hook)}"))
        except InputError as error:
            wrong.append(error)
    if wrong:
        raise Findings(wrong)


def fire(hooks: Sequence[Hook], event: Event, *, ca: str = "") -> list[str]:
    """Tell each hook that wants to know of it; warnings in words. ``ca`` are CAs of one's own, as PEM.

    Webhooks are told all at once, executables one after another, in their order.

    Raises:
        HookFailed: a required one failed.
    """
    told = event.as_json()
    meant = list(dict.fromkeys(hook for hook in hooks if event.name in hook.events))
    sending = [_Sending(hook, told, ca) for hook in meant if hook.url]
    warnings: list[str] = []
    refused: list[str] = []
    for hook in meant:
        try:
            words = _execute(hook, told) if hook.run else ""
        except OSError as error:  # no room for what it says
            words = f"it can't be run: {error.strerror}"
        if words:
            (refused if hook.required else warnings).append(f"{webhooks.label(hook)}: {words}")
    for one in sending:
        if words := one.came_of_it():
            warnings.append(f"{webhooks.label(one.hook)}: {words}")
    if refused:
        hint = f"it is `required`: mend what it found, or take it out of hooks; then {_then(event)}"
        raise HookFailed("; ".join([*refused, *warnings]), where=event.host, hint=hint)
    return warnings


def _then(event: Event) -> str:
    """What to type once a required hook has nothing against it any more: what it stopped tells."""
    if event.name == "rollout-begins":
        return "./inv rollout begins it: nothing was begun"
    if event.name in _BETWEEN:
        run = f" --run {event.run}" if event.run else ""
        return f"./inv rollout.resume{run} goes on, or ./inv rollout.abort{run} ends it"
    return "./inv rollout.resume goes on where the rollout is still open, ./inv rollout begins another"


class _Sending:
    """A message on its way, in a thread that nobody has to wait for: a server may send one byte a second for ever."""

    def __init__(self, hook: Hook, told: Mapping[str, Any], ca: str) -> None:
        self.hook = hook
        self._words = f"no answer within {webhooks.DEADLINE:.0f} s"
        self._until = time.monotonic() + webhooks.DEADLINE
        self._thread = threading.Thread(target=self._send, args=(told, ca), daemon=True)
        self._thread.start()

    def _send(self, told: Mapping[str, Any], ca: str) -> None:
        try:
            self._words = webhooks.send(self.hook, told, ca=ca)
        except Exception as error:  # a bug in here must not look like a message that was sent, nor end a rollout
            self._words = f"it could not be told: {type(error).__name__}"

    def came_of_it(self) -> str:
        self._thread.join(max(0.0, self._until - time.monotonic()))
        return self._words


def _execute(hook: Hook, told: Mapping[str, Any]) -> str:
    """Run the executable; what went wrong, or nothing. Its whole process group ends with its time."""
    names = ("event", "run", "host", "wave", "who", "why")
    own = {f"FLEET_{name.upper()}": str(told[name]).replace("\0", "") for name in names}
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
    ):  # files: nobody waits for a pipe's other end
        given.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
        given.seek(0)
        try:
            process = subprocess.Popen(
                [_path(hook)], stdin=given, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **own},
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return f"it can't be run: {error.strerror}"
        try:
            status = process.wait(hook.timeout)
            words = f"it ended with {status}" if status else ""
        except subprocess.TimeoutExpired:
            words = f"it took longer than {hook.timeout} s and was ended"
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    return mask(": ".join([words, *last]), report.secrets) if words else ""


def _path(hook: Hook) -> Path:
    return ROOT / Path(hook.run or "").expanduser()


def _fit(value: object) -> Any:
    """``value`` as JSON has it, with secrets masked; the mask is shortened, for templates take it for a slip."""
    if isinstance(value, str):
        text = mask(value, report.secrets).encode(errors="replace").decode()
        return re.sub(r"\*{4,}", "***", text)
    if isinstance(value, Mapping):
        return {str(_fit(str(name))): _fit(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_fit(item) for item in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    return _fit(str(report.plain(value)))
