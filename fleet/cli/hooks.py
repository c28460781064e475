"""``hooks`` and ``hooks.try``: who is told of a rollout, and whether a message gets there."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report, webhooks
from fleet.cli.masking import remember_secrets, remember_vaults
from fleet.cli.program import verb
from fleet.cli.session import Options, open_inventory
from fleet.errors import HookFailed, UsageError
from fleet.hooks import Event, check, fire, hooks_of
from fleet.lock import Owner
from fleet.settings import all_settings, nearest
from fleet.settings.hooks import EVENTS, Hook

_PICKING = "hosts inventory limit json"


@verb(common=_PICKING)
def show(
    c: Context, hosts: str = "all", inventory: list[str] | None = None, limit: str = "", json: bool = False
) -> None:
    """Show who is told of what: each hook of the hosts once, without its address. Nothing is sent.

    Example: ./inv hooks
    """
    found = _hooks(Options(hosts, tuple(inventory or []), limit, json))
    if json:
        report.result_json([_about(hook) for hook in found])
    else:
        rows = [[webhooks.label(hook), ", ".join(hook.events), "yes" if hook.required else ""] for hook in found]
        report.table(["hook", "told of", "required"], rows)


@verb(common=_PICKING, help={"event": "Which event to make up (default: for each hook the first that it is told of)"})
def try_(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    event: str = "",
) -> None:
    """Send each hook one made-up event that says so, and tell whether it got there.

    Example: ./inv hooks.try --event failure
    """
    if event and event not in EVENTS:
        raise UsageError(f"there is no event {event!r}", where="--event", hint=nearest(event, EVENTS))
    found = [
        hook
        for hook in _hooks(Options(hosts, tuple(inventory or []), limit, json))
        if not event or event in hook.events
    ]
    check(found)
    who, results = Owner.me("hooks.try").who, []
    for hook in found:
        about = {"host": "example-host", "wave": "canary 1", "note": "nothing happened: this is ./inv hooks.try"}
        made = Event.of(event or hook.events[0], about, run="hooks.try", who=who, why='a "trial", 试一试')
        try:
            words = "; ".join(fire([hook], made))
        except HookFailed as error:
            words = error.message
        words = words.removeprefix(f"{webhooks.label(hook)}: ")
        results.append({"hook": webhooks.label(hook), "event": made.name, "ok": not words, "words": words})
    if json:
        report.result_json(results)
    else:
        report.table(["hook", "event", ""], [[one["hook"], one["event"], one["words"] or "taken"] for one in results])
    if not found:
        report.note("no hook is told of this; see ./inv hooks")
    if not all(one["ok"] for one in results):
        raise Exit(code=1)


def _hooks(options: Options) -> list[Hook]:
    """The hooks of the picked hosts, their secrets known to the report."""
    _, picked = open_inventory(options)
    remember_vaults(picked)
    settings, warnings = all_settings(picked)
    remember_secrets(settings, {})
    for words in warnings:
        report.warn(words)
    return hooks_of(settings)


def _about(hook: Hook) -> dict[str, Any]:
    kind = {"kind": "executable", "required": hook.required} if hook.run else {"kind": "webhook", "body": hook.body}
    return {"hook": webhooks.label(hook), "events": list(hook.events), **kind}


collection = Collection("hooks")
collection.add_task(show, name="show", default=True)
collection.add_task(try_, name="try")
