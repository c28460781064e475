"""Every error that a user can meet, as one small tree.

::

    FleetError                 has .where (file:line, host, …) and .hint (what to do next)
    ├── InputError             exit 2: found before anything was changed
    │   ├── UsageError         a wrong option or verb
    │   ├── InventoryError     a source is missing, can't be parsed, contradicts itself
    │   ├── VaultError         no password, a wrong one, a damaged value
    │   ├── SettingsError      an unknown key, a wrong type, two instances on one GPU
    │   ├── TemplateError      a template or a {{ reference }} that can't be rendered
    │   ├── CatalogError       a model, GPU or vLLM version that can't be read
    │   ├── PlanError          a plan file that is damaged, or no longer fits
    │   ├── LockFileError      images.lock or models.lock is damaged, or was changed by hand
    │   └── Findings           several of the above at once
    ├── LookupFailed           exit 1: a registry or hub is down, says no, or doesn't have it
    ├── HookFailed             exit 1: a hook that is required said no
    └── HostError              exit 1: one host failed at run time, the others went on
        ├── Unreachable        down, refused, timed out, name unknown
        ├── HostKeyError       an unknown or changed host key
        ├── AuthError          login or sudo refused
        ├── CommandFailed      a command on the host said no
        ├── LockHeld           somebody else is at work there
        └── NotHealthy         an instance that never answered as it should

A user's mistake never ends in a traceback: the launcher prints ``message``, ``where`` and ``hint``.
"""

from __future__ import annotations

from collections.abc import Sequence


class FleetError(Exception):
    """What was wrong (``message``), where (``where``), and what to do next (``hint``)."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    @property
    def kind(self) -> str:
        """The class's name, as ``--json`` gives it."""
        return type(self).__name__

    def as_json(self) -> dict[str, str]:
        """The object that stands under ``error`` in ``--json``."""
        return {"kind": self.kind, "message": self.message, "where": self.where, "hint": self.hint}

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.hint:
            lines.append(f"  → {self.hint}")
        return "\n".join(lines)


class InputError(FleetError):
    """Wrong use or wrong input: nothing was changed anywhere."""

    exit_code = 2


class UsageError(InputError):
    """A verb, option or value that this tool doesn't have."""


class InventoryError(InputError):
    """An inventory source that is missing, can't be parsed, or contradicts itself."""


class VaultError(InputError):
    """A vault password that is missing or wrong, or a damaged vault value."""


class SettingsError(InputError):
    """A setting that is unknown, of the wrong type, or contradicts another."""


class TemplateError(InputError):
    """A template or a reference between variables that can't be rendered."""


class CatalogError(InputError):
    """A model, GPU or vLLM version that can't be read or isn't known."""


class PlanError(InputError):
    """A plan file that is damaged or no longer fits what it was made for."""


class LockFileError(InputError):
    """A lock file (images.lock, models.lock) that is damaged or doesn't say what its own hash says."""


class Findings(InputError):
    """Several input errors at once: nobody should have to fix one to see the next."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = tuple(errors)
        count = len(self.errors)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found")

    def as_json(self) -> dict[str, str]:
        """The first finding's fields, with all of them in the message."""
        first = self.errors[0].as_json() if self.errors else {"where": "", "hint": ""}
        return {"kind": self.kind, "message": str(self), "where": first["where"], "hint": first["hint"]}

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors) or self.message


class LookupFailed(FleetError):
    """A registry or hub that doesn't answer, refuses us, or doesn't have what was asked for."""


class HookFailed(FleetError):
    """An executable that was to be asked before going on failed; the rollout stops."""


class HostError(FleetError):
    """One host failed at run time; the others go on."""

    def __init__(self, message: str, *, where: str = "", hint: str = "", stderr: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.stderr = stderr


class Unreachable(HostError):
    """No connection: down, refused, timed out, or a name that nobody knows."""


class HostKeyError(HostError):
    """The host's key is unknown or has changed."""


class AuthError(HostError):
    """Login or sudo was refused."""


class CommandFailed(HostError):
    """A command on the host ended with something else than 0."""

    def __init__(
        self, message: str, *, command: str, status: int, stderr: str = "", where: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, where=where, hint=hint, stderr=stderr)
        self.command = command
        self.status = status


class LockHeld(HostError):
    """Somebody else is at work on this host."""


class NotHealthy(HostError):
    """An instance that didn't come to answer as it should."""
