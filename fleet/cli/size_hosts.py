"""``size --hosts``: the instances of hosts (or one model on each), judged by what the hosts are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fleet import facts, report, sizing
from fleet.assign import assign
from fleet.cli.session import Options, lock_directory, open_session
from fleet.cli.size_ask import EXIT, Format, ask
from fleet.errors import CatalogError, FleetError
from fleet.judgement import question
from fleet.lockfiles import Models, read_models
from fleet.settings import HostSettings
from fleet.sizing import Aim, Answer, Request, size, words
from fleet.survey import gather

#: What is asked, under the name of an instance (or the model); an error where it can't even be asked.
Asked = tuple[str, "Request | FleetError"]


def on_hosts(options: Options, how: Format, model: str, args: str | None, aim: Aim, *, explain: bool) -> int:
    """Every instance of the picked hosts (or ``model`` on each) by the host's facts; the worst verdict's exit code.

    What the models are is taken from models.lock where they stand there already; no hub is asked.
    """
    manifests = read_models(lock_directory(options))
    with open_session(options, (), doing="size", look_up=False) as session:
        seen = session.crew.each(session.names, lambda _, transport: gather(transport))
        settings = session.settings
    document: dict[str, object] = {}
    rows, code = [], 0
    for name, found in seen.items():
        if isinstance(found, FleetError):
            report.error(str(found))
            document[name], code = {"error": found.as_json()}, max(code, 1)
            continue
        answers: dict[str, Any] = {}
        for label, asked in asked_of(settings[name], found, model, args, aim, manifests):
            answer = _answer(asked)
            answers[label] = {"error": answer.as_json()} if isinstance(answer, FleetError) else answer.as_json()
            if isinstance(answer, FleetError) or isinstance(asked, FleetError):
                report.warn(f"{name} {label}: {answer}")
                code = max(code, EXIT["unknown"])
                continue
            rows.append(
                {"host": name, "instance": label, "GPUs": f"{asked.count}×{asked.gpu.name}", **words.row(answer)}
            )
            code = max(code, EXIT[answer.verdict])
            if explain and not how.json:
                report.note(f"{name} {label}:\n" + "\n".join(words.reasons(answer, explain=True)))
        document[name] = answers
    if how.json:
        report.result_json(document)
    else:
        how.rows(rows)
    return code


def asked_of(
    told: HostSettings, known: facts.Facts, model: str, args: str | None, aim: Aim, manifests: Models | None = None
) -> Iterator[Asked]:
    """What is asked for one host: each instance on the GPUs that are its own, judged as ``plan`` judges it.

    With ``model`` instead: it on all GPUs of a kind, one question for each kind that the host has.
    ``manifests`` says what the instances' models are, where that was looked up already.
    """
    if model:
        yield from _one_model(told, known, model, args, aim)
        return
    assigned = assign(told.instances, known.gpus, known.remembered_gpus)
    for instance in told.instances if known.gpus else ():
        gpus = assigned.gpus.get(instance.name, ())
        if not gpus:
            why = next((text for text in assigned.problems if repr(instance.name) in text), "it has no GPUs")
            yield instance.name, CatalogError(why, hint="see ./inv facts, and `gpus` of the host's instances")
            continue
        try:
            manifest = (manifests or {}).get((instance.model, instance.revision))
            yield instance.name, question(told, instance, gpus, known.memory_kib, manifest)
        except CatalogError as error:
            yield instance.name, error


def _one_model(told: HostSettings, known: facts.Facts, model: str, args: str | None, aim: Aim) -> Iterator[Asked]:
    kinds = _kinds(known.gpus)
    for kind, gpus in kinds:
        request = ask(model, kind, len(gpus), told.image.vllm or "", args, aim)
        label = model if len(kinds) == 1 else f"{model} on {kind.name}"
        memory = known.memory_kib / (1 << 20) or None
        yield label, replace(request, host_memory_gib=memory, driver=gpus[0].driver or None, cuda=told.image.cuda)


def _kinds(gpus: Sequence[facts.Gpu]) -> list[tuple[sizing.Gpu, list[facts.Gpu]]]:
    """The GPUs by kind, in the order of their first one."""
    found: dict[sizing.Gpu, list[facts.Gpu]] = {}
    for gpu in gpus:
        kind = sizing.from_smi(gpu.name, gpu.memory_mib, gpu.compute_capability)
        found.setdefault(kind, []).append(gpu)
    return list(found.items())


def _answer(asked: Request | FleetError) -> Answer | FleetError:
    try:
        return asked if isinstance(asked, FleetError) else size(asked)
    except CatalogError as error:
        return error
