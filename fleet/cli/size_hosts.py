"""``size --hosts``: the instances of hosts (or one model on each), judged by what the hosts are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fleet import report
from fleet.cli.session import Options, open_session
from fleet.cli.size_ask import EXIT, Format, ask
from fleet.errors import CatalogError, FleetError
from fleet.facts import Facts
from fleet.settings import HostSettings
from fleet.sizing import Aim, Request, from_smi, size, words
from fleet.survey import gather


def on_hosts(options: Options, how: Format, model: str, args: str | None, aim: Aim, *, explain: bool) -> int:
    """Every instance of the picked hosts (or ``model`` on each) by the host's facts; the worst verdict's exit code."""
    with open_session(options, (), doing="size", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: gather(transport))
        settings = session.settings
    document: dict[str, object] = {}
    rows, code = [], 0
    for name, facts in seen.items():
        if isinstance(facts, FleetError):
            report.error(f"{name}: {facts}")
            document[name], code = {"error": facts.as_json()}, max(code, 1)
            continue
        answers: dict[str, Any] = {}
        for label, request in _asked_of(settings[name], facts, model, args, aim):
            try:
                answer = size(request)
            except CatalogError as error:
                report.warn(f"{name} {label}: {error}")
                answers[label], code = {"error": error.as_json()}, max(code, EXIT["unknown"])
                continue
            answers[label] = answer.as_json()
            rows.append({"host": name, "instance": label, **words.row(answer)})
            code = max(code, EXIT[answer.verdict])
            if explain and not how.json:
                report.note(f"{name} {label}:\n" + "\n".join(words.reasons(answer, explain=True)))
        document[name] = answers
    if how.json:
        report.result_json(document)
    else:
        how.rows(rows)
    return code


def _asked_of(
    told: HostSettings, facts: Facts, model: str, args: str | None, aim: Aim
) -> Iterator[tuple[str, Request]]:
    """``(instance, request)`` for one host: its GPUs from its facts, its instances from its settings."""
    if not facts.gpus:
        return
    first = facts.gpus[0]
    kind = from_smi(first.name, first.memory_mib, first.compute_capability)
    version = told.image.vllm or ""

    def on_this_host(request: Request) -> Request:
        memory = facts.memory_kib / (1 << 20)
        return replace(request, host_memory_gib=memory, driver=first.driver or None, cuda=told.image.cuda)

    if model:
        yield model, on_this_host(ask(model, kind, len(facts.gpus), version, args, aim))
        return
    for instance in told.instances:
        width = len(facts.gpus) if instance.gpus == "all" or not instance.gpus else instance.gpus
        count = width if isinstance(width, int) else len(width)
        plain = {name: str(value) for name, value in instance.env.items()}
        request = Request(
            instance.model,
            kind,
            count,
            version,
            instance.args,
            plain,
            aim=instance.auto,
            auto=True,
            whole=True,
        )
        yield instance.name, on_this_host(request)
