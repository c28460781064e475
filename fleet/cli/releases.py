"""``./inv releases``: what each instance was brought to, when, by whom, why, and what it could go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from fleet import releases as host_releases
from fleet import report
from fleet.cli.program import CONNECTING, each_as_json, end_badly_if, verb
from fleet.cli.prune import prune_with
from fleet.cli.session import Options, open_session
from fleet.errors import FleetError
from fleet.releases import Known
from fleet.resources.release import KEPT
from fleet.survey import Role


@verb(common=CONNECTING)
def releases(
    c: Context,
    hosts: str = "all",
    inventory: list[str] | None = None,
    limit: str = "",
    json: bool = False,
    forks: int = 50,
    timeout: float = 10.0,
) -> None:
    """Show the last releases of every instance, newest first: number, image, model, what differs, who, when, why.

    Example: ./inv releases --hosts h1
    """
    options = Options(hosts, tuple(inventory or []), limit, json, int(forks), float(timeout))
    with open_session(options, (), doing="releases", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: host_releases.ask(transport))
    if json:
        report.result_json(each_as_json(seen, as_json))
    else:
        columns = ["host", "instance", "no.", "release", "image", "model", "what differs", "", "when", "who", "why"]
        report.table(columns, [row for name, found in seen.items() for row in _rows(name, found)])
    end_badly_if(seen)


def as_json(known: Sequence[Known]) -> dict[str, list[dict[str, Any]]]:
    """Instance → its last releases, newest first."""
    return {
        instance: [
            {
                "number": release.number,
                "release": release.release,
                "current": release.current,
                "good": release.good,
                "staged_at": release.staged_at,
                "switched": release.switched.as_json() if release.switched else None,
                "differs": host_releases.differences(before, release),
                **{name: release.about.get(name) for name in ("image", "digest", "model", "content_id", "args")},
            }
            for release, before in pairs
        ]
        for instance, pairs in _last(known).items()
    }


def _last(known: Sequence[Known]) -> Mapping[str, list[tuple[Known, Known | None]]]:
    """Instance → its last releases, each with the one before it."""
    found: dict[str, list[tuple[Known, Known | None]]] = {}
    for instance in dict.fromkeys(release.instance for release in known):
        own = [release for release in known if release.instance == instance]
        found[instance] = list(zip(own, [*own[1:], None], strict=True))[:KEPT]
    return found


def _rows(host: str, found: Sequence[Known] | FleetError) -> list[list[object]]:
    if isinstance(found, FleetError):
        return [[host, "", "", f"({found.message})", *[""] * 7]]
    rows: list[list[object]] = []
    for instance, pairs in _last(found).items():
        for release, before in pairs:
            about, switched = release.about, release.switched
            model = f"{about.get('model', '')}@{str(about.get('content_id', ''))[:12]}"
            marks = ", ".join(word for word in ("current", "good") if getattr(release, word))
            by = [switched.time, switched.who, switched.why] if switched else ["", "", ""]
            tag = str(about.get("image", "")).rpartition("/")[2]
            differs = "; ".join(host_releases.differences(before, release))
            rows.append([host, instance, release.number or "-", release.release, tag, model, differs, marks, *by])
    return rows


def collection_with(roles: Sequence[Role]) -> Collection:
    """The verbs, for hosts that must be what ``roles`` say: what they want is never pruned."""
    made = Collection("releases")
    made.add_task(releases, name="releases", default=True)
    made.add_task(prune_with(roles), name="prune")
    return made
