"""What sizing refuses ends the whole run with 2, after the facts and before any change, on every host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from fleet.cli import rollout, session
from fleet.plan import plan_host
from fleet.resource import Observation, Resource
from fleet.settings import HostSettings
from fleet.sizing import catalog
from fleet.survey import Lookups, Survey
from fleet.target import Target
from roles import vllm_service
from tests.hub import Hub
from tests.server import serve
from tests.targets import MODEL, facts, gpu


class Untouched:
    """A host that was looked at and is asked for nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def run(self, command: str, *_: object, **__: object) -> None:
        """Write down what was asked."""
        self.asked.append(command)
        raise AssertionError(command)

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Untouched]:
    """Hosts of three A10, looked at by the real role, with a transport that takes no command."""
    opened: dict[str, Untouched] = {}

    def connector(*_: object) -> Any:
        return lambda name: opened.setdefault(name, Untouched(name))

    def survey(
        transport: Untouched, told: HostSettings, lookups: Lookups, _: Sequence[object], key: bytes, **__: object
    ) -> Survey:
        gpus = tuple(gpu(n, "NVIDIA A10", "8.6", 23028) for n in range(3))
        known = facts(docker_version="26.1.5", driver_loaded="580.95.05", gpus=gpus, memory_kib=256 << 20)
        target = Target(transport.name, told, known, lookups.digests, lookups.manifests)
        wanted: tuple[Resource, ...] = tuple(vllm_service.resources(target))
        seen: Mapping[str, Observation] = {resource.id: Observation("") for resource in wanted}
        problems = tuple(vllm_service.problems(target))
        return Survey(target, wanted, plan_host(transport.name, wanted, seen, problems, key))

    monkeypatch.setattr(session, "connector", connector)
    monkeypatch.setattr(session, "survey", survey)
    return opened


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """``good`` may run its model, ``bad`` is told to split 28 heads in three."""
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    config = json.dumps(dict(catalog.find(MODEL).config)).encode()
    with serve(Hub({MODEL: {"config.json": config, "model.safetensors": b"\0"}})) as server:
        document = {
            "all": {
                "hosts": {"good": {}, "bad": {"vllm_args": {"tensor-parallel-size": 3}}},
                "vars": {
                    "image": {"ref": "vllm/vllm-openai:v0.8.2", "digest": f"sha256:{'0' * 64}", "cuda": "12.4"},
                    "weights": {"endpoint": f"http://127.0.0.1:{server.port}"},
                    "instances": [{"name": "qwen", "model": MODEL}],
                },
            }
        }
        file = tmp_path / "hosts.yml"
        file.write_text(json.dumps(document))
        yield [str(file)]


@pytest.mark.parametrize("verb", [tasks.provision, rollout.rollout], ids=["provision", "rollout"])
def test_a_run_that_would_change_hosts_ends_with_2_before_it_changes_any(
    verb: Any, hosts: dict[str, Untouched], inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended:
        verb(Context(), inventory=inventory, yes=True, json=True)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["where"] == "bad"
    assert "bad: instance 'qwen' can't run on 3×NVIDIA A10: 28 attention heads" in told.err
    assert "what runs here: args: {tensor-parallel-size: " in told.err
    assert {name: host.asked for name, host in hosts.items()} == {"good": [], "bad": []}


def test_the_plan_shows_it_beside_what_could_be_done_and_ends_with_2(
    hosts: dict[str, Untouched], inventory: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as ended:
        tasks.plan(Context(), inventory=inventory)
    assert ended.value.code == 2
    shown = capsys.readouterr().out
    assert "✗ instance 'qwen' can't run on 3×NVIDIA A10" in shown
    assert "# max-model-len " in shown
    with pytest.raises(Exit) as ended:
        tasks.plan(Context(), inventory=inventory, json=True)
    told = capsys.readouterr()
    problems = {name: plan["problems"] for name, plan in json.loads(told.out)["hosts"].items()}
    assert (problems["good"], problems["bad"][0]["kind"], ended.value.code) == ([], "input", 2)
    assert "28 attention heads" in told.err


def test_a_problem_of_the_host_itself_stops_that_host_alone(
    hosts: dict[str, Untouched],
    inventory: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = getattr(session, "survey")  # noqa: B009 — what the fixture put there

    def with_trouble(*args: Any, **more: Any) -> Survey:
        seen: Survey = told(*args, **more)
        mended = tuple(replace(problem, kind="host") for problem in seen.plan.problems)
        changed: Survey = replace(seen, plan=replace(seen.plan, problems=mended))
        return changed

    monkeypatch.setattr(session, "survey", with_trouble)
    with pytest.raises(Exit) as ended:
        tasks.plan(Context(), inventory=inventory)
    assert ended.value.code == 1
    capsys.readouterr()
    with pytest.raises(Exit) as ended:
        rollout.rollout(Context(), hosts="bad", inventory=inventory, yes=True)
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert "What waits is not known of bad" in told.out
    assert not [words for words in ("Nothing waits", "nothing was to do") if words in told.out + told.err]
