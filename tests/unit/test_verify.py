"""The suite that ships, on hosts that exist only here: each check finds what it is for, and only that."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from fleet import facts as facts_module
from fleet.crew import Crew
from fleet.errors import FleetError, Unreachable
from fleet.progress import Progress
from fleet.settings import HostSettings
from fleet.survey import Lookups
from fleet.target import Manifest, ModelFile, Target
from fleet.transport import Reply
from fleet.transport.fake import FakeTransport
from fleet.verify import Checks, Verified, targets, verify
from roles import vllm_image, vllm_service
from tests.verify import test_instance as checks

MODEL, DIGEST, SHA = "Qwen/Qwen2.5-VL-7B-Instruct", "sha256:" + "ab" * 32, hashlib.sha256(b"{}").hexdigest()
FILES = (ModelFile("config.json", 2, SHA), ModelFile("model.safetensors", 16 * 10**9, "d" * 64))
MANIFEST = Manifest(MODEL, "master", "modelscope", "c0ffee" * 4, FILES)
LISTEN = "port+=127.0.0.1:8000 users:((vllm))"
FACTS = f"""packages=apt
os_id=debian
os_version=13
docker=26.1.5|systemd|/var/lib/docker|false|{{}}
nvidia_modinfo=580.95.05
pci+=0000:00:06.0 3D controller [0302]: NVIDIA Corporation Device [10de:2236]
gpu+=0, GPU-0, NVIDIA A10, 00000000:00:06.0, 23028, 0, 580.95.05, 8.6, [N/A]
{LISTEN}
instance+=qwen
facts_end=yes
"""
TOLD = HostSettings.model_validate(
    {
        "driver": {"branch": 580},
        "instances": [
            {"name": "qwen", "model": MODEL, "port": 8000, "gpus": "all", "api_key": "sk-hidden", "served_name": "vl",
             "args": {"max-model-len": 2048}}
        ],
    }
)  # fmt: skip
LOOKUPS = Lookups({TOLD.image.ref: DIGEST}, {(MODEL, "master"): MANIFEST})
ANSWER = {"choices": [{}], "usage": {"completion_tokens": 1}}


def _wanted() -> Target:
    return Target("h1", TOLD, facts_module.read(FACTS), LOOKUPS.digests, LOOKUPS.manifests)


@dataclass
class World:
    """All that a healthy host says; a test changes one thing in it."""

    facts: str = FACTS
    unit: dict[str, Any] = field(
        default_factory=lambda: {
            "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
            "NRestarts": 0, "ActiveEnterTimestampMonotonic": 60_000_000, "up": "100.5",
        }
    )  # fmt: skip
    links: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    running: bool = True
    privileged: bool = False
    image: str = "sha256:image"
    digests: list[str] = field(default_factory=lambda: [f"reg.example/vllm@{DIGEST}"])
    gpus: str = "GPU 0: NVIDIA A10 (UUID: GPU-0)\n"
    asked: dict[str, Any] = field(
        default_factory=lambda: {
            "health": {"status": 200, "body": ""},
            "models": {"status": 200, "body": {"data": [{"id": "vl", "max_model_len": 2048}]}},
            "text": {"status": 200, "body": ANSWER},
            "image": {"status": 200, "body": ANSWER},
            "without_key": {"GET /v1/models": 401, "POST /v1/completions": 401},
        }
    )
    env: str = "600 root:root /etc/fleet/instances/qwen/releases/x/env\n"
    files: str = "2 config.json\n16000000000 model.safetensors\n"
    stamp: bool = True
    hashes: str = f"{SHA}  config.json\n"
    enabled: bool = True

    def __post_init__(self) -> None:
        told = _wanted()
        release = vllm_service.release_of(told, told.settings.instances[0])
        assert release
        for name in ("current", "good"):
            self.links.setdefault(name, f"releases/{release.release}")
        self.labels = self.labels or {"fleet.instance": "qwen", "fleet.release": release.release}

    def transport(self, name: str) -> FakeTransport:
        """The host."""
        pulled = vllm_image.pulled_image(_wanted())
        assert pulled
        container = {
            "State": {"Running": self.running}, "Config": {"Labels": self.labels}, "Image": self.image,
            "HostConfig": {"Privileged": self.privileged},
        }  # fmt: skip
        image = json.dumps([{"Id": "sha256:image", "RepoDigests": self.digests}])
        return FakeTransport(
            name,
            [
                ("facts_version", self.facts),
                ("systemctl show", "\n".join(f"{key}={value}" for key, value in self.unit.items())),
                ("systemctl is-enabled", Reply("enabled\n" if self.enabled else "disabled\n", "", not self.enabled)),
                ("readlink .*/current", self.links["current"]),
                ("readlink .*/good", self.links["good"]),
                ("cat .*/release.json", json.dumps({"args": {"max-model-len": 2048}})),
                ("docker inspect --type container", json.dumps([container])),
                ("docker image inspect", image),
                ("docker exec fleet-qwen nvidia-smi -L", self.gpus),
                ("cat .*/config.json", '{"vision_config": {}}'),
                ("docker exec --interactive fleet-qwen python3 -", json.dumps(self.asked)),
                ("find .* -name env", self.env),
                ("find . -path ./.fleet", self.files),
                (r"test -f .*\.fleet/stamp", Reply("", "", 0 if self.stamp else 1)),
                ("sha256sum --", self.hashes),
            ],
        )


def check(connect: Callable[[str], FakeTransport], *names: str, junit: str = "") -> Verified:
    """Run the suite that ships."""
    told = dict.fromkeys(names or ("h1",), TOLD)
    with Crew(connect) as crew:
        seen = targets(crew, told, LOOKUPS, Progress(quiet=True))
        return verify(Checks(crew, seen, told), junit=junit)


def test_a_healthy_host_passes_every_check() -> None:
    found = check(World().transport)
    assert found.reasons == {}
    assert found.count("passed") == len(found.hosts["h1"]) == 19


def _facts(old: str, new: str) -> dict[str, str]:
    assert old in FACTS
    return {"facts": FACTS.replace(old, new)}


def _unit(**changed: object) -> dict[str, Any]:
    return {"unit": {**World().unit, **changed}}


def _asked(**changed: object) -> dict[str, Any]:
    return {"asked": {**World().asked, **changed}}


#: What is wrong on a host, the one check that must fail there, and words that it must say.
WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    (_facts("facts_end", "pci+=0000:00:07.0 3D controller [0302]: NVIDIA [10de:2236]\nfacts_end"), "gpus",
     "2 GPUs"),
    (_facts("nvidia_modinfo=580.95.05", "nvidia_modinfo=590.44.01"), "driver", "590.44.01 is on disk: reboot"),
    (_facts("facts_end", "reboot_required=yes\nfacts_end"), "no_reboot_is_pending", "asks for a reboot"),
    ({"enabled": False}, "docker", "disabled"),
    (_facts("instance+=qwen", "instance+=qwen\ninstance+=old"), "nothing_is_left_of_former_instances", "old"),
    (_unit(UnitFileState="disabled"), "qwen: unit", "disabled at boot"),
    (_unit(ActiveState="failed", SubState="failed"), "qwen: unit", "it is failed"),
    (_unit(NRestarts=3), "qwen: unit", "started 4 times, the last time 40 s ago"),
    ({"links": {"current": "releases/0123"}}, "qwen: release", "0123 is current"),
    ({"links": {"good": "releases/0123"}}, "qwen: release", "0123 was the last seen healthy"),
    ({"gpus": "GPU 0: NVIDIA A10 (UUID: GPU-0)\nGPU 1: NVIDIA A10 (UUID: GPU-1)\n"}, "qwen: gpus_inside", "GPU-1"),
    ({"privileged": True}, "qwen: privileges", "privileged"),
    (_facts(LISTEN, LISTEN.replace("127.0.0.1", "0.0.0.0")), "qwen: port", "told is 127.0.0.1"),
    (_facts(LISTEN, ""), "qwen: port", "nothing listens on port 8000"),
    (_asked(health={"status": 503, "body": ""}), "qwen: health", "503"),
    (_asked(models={"status": 200, "body": {"data": [{"id": "other"}]}}), "qwen: models", "it serves other"),
    (_asked(models={"status": 200, "body": {"data": [{"id": "vl", "max_model_len": 4096}]}}), "qwen: models",
     "max_model_len is 4096, told is 2048"),
    (_asked(text={"status": 0, "body": "refused"}), "qwen: text", "no answer"),
    (_asked(image={"status": 400, "body": "no eyes"}), "qwen: image", "400: no eyes"),
    (_asked(without_key={"GET /v1/models": 200}), "qwen: key", "answered without the key: GET /v1/models (200)"),
    (_asked(without_key={}), "qwen: key", "runs without a key"),
    ({"env": "644 root:root /x/env\n"}, "qwen: secret_files", "644 root:root"),
    ({"files": "2 config.json\n7 model.safetensors\n"}, "qwen: weights", "another size: model.safetensors"),
    ({"stamp": False}, "qwen: weights", "never checked"),
    ({"hashes": f"{'0' * 64}  config.json\n"}, "qwen: weights", "damaged: config.json"),
    ({"image": "sha256:other"}, "qwen: image_digest", "sha256:other"),
    ({"digests": ["x@sha256:1"]}, "qwen: image_digest", "locked is"),
)  # fmt: skip


@pytest.fixture(scope="module")
def wrong() -> Verified:
    """All of them checked in one run: hosts named 0, 1, …"""
    worlds = {str(number): World(**changed) for number, (changed, _, _) in enumerate(WRONG)}
    return check(lambda name: worlds[name].transport(name), *worlds)


@pytest.mark.parametrize(
    ("number", "failed", "words"), [(str(number), failed, words) for number, (_, failed, words) in enumerate(WRONG)]
)
def test_one_thing_that_is_wrong_fails_its_own_check_in_words(
    wrong: Verified, number: str, failed: str, words: str
) -> None:
    assert {name: end for name, end in wrong.hosts[number].items() if end != "passed"} == {failed: "failed"}
    assert words in wrong.reasons[number][failed]


@pytest.mark.parametrize(
    ("listen", "seen", "end"),
    [
        ("localhost", "127.0.0.1", "passed"),
        ("localhost", "[::1]", "passed"),
        ("localhost", "0.0.0.0", "failed"),
        ("fd00:0:0::7", "[fd00::7]", "passed"),
        ("10.0.0.7", "10.0.0.7%eth0", "passed"),
        ("0.0.0.0", "*", "passed"),
        ("10.0.0.7", "*", "failed"),
    ],
)
def test_an_address_is_the_same_however_it_is_written(listen: str, seen: str, end: str) -> None:
    """What is told, what ss prints, and whether the port check passes."""
    told = _wanted()
    instance = told.settings.instances[0].model_copy(update={"listen": listen})
    facts = facts_module.read(FACTS.replace(LISTEN, f"port+={seen}:8000 users:((vllm))"))
    if end == "passed":
        checks.test_port(replace(told, facts=facts), instance)
    else:
        with pytest.raises(AssertionError, match="told is"):
            checks.test_port(replace(told, facts=facts), instance)


def test_a_container_that_is_not_there_fails_what_needs_it_and_nothing_else() -> None:
    found = check(World(running=False).transport)
    well = {name for name, outcome in found.hosts["h1"].items() if outcome == "passed"}
    assert {"gpus", "docker", "qwen: unit", "qwen: weights", "qwen: secret_files"} <= well
    assert found.reasons["h1"]["qwen: text"] == "container fleet-qwen doesn't run"


def test_a_host_that_does_not_answer_fails_once_and_spoils_no_other() -> None:
    class Gone(FakeTransport):
        def run(self, command: str, stdin: bytes | None = None, *, timeout: float = 60.0) -> Reply:
            raise Unreachable("no route to host", where="h2", hint="is it on?")

    found = check(lambda name: Gone(name) if name == "h2" else World().transport(name), "h1", "h2")
    assert set(found.hosts["h1"].values()) == {"passed"}
    assert found.hosts["h2"].pop("connection") == "failed"
    assert set(found.hosts["h2"].values()) == {"skipped"}
    assert found.reasons["h2"]["connection"] == "no route to host (is it on?)"


def test_hosts_are_checked_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)

    def connect(name: str) -> FakeTransport:
        host = World().transport(name)

        def gpus(command: str, stdin: bytes | None) -> str:
            together.wait()  # ends only when all three hosts are at this check
            return World().gpus

        host.answers = [("nvidia-smi -L", gpus), *host.answers]
        return host

    found = check(connect, "h1", "h2", "h3")
    assert found.count("passed") == 3 * 19


def test_an_instance_is_asked_once_and_the_key_is_in_no_command() -> None:
    host = World().transport("h1")
    check(lambda _: host)
    commands = [command for command, _ in host.asked]
    assert len([command for command in commands if "--interactive" in command]) == 1
    assert not [command for command in commands if "sk-hidden" in command]


def test_a_server_that_hangs_is_waited_for_once_not_by_each_check() -> None:
    host = World().transport("h1")
    host.answers = [("--interactive", Reply("", "", 124)), *host.answers]
    found = check(lambda _: host)
    assert {name for name, end in found.hosts["h1"].items() if end == "failed"} == {
        "qwen: health", "qwen: models", "qwen: text", "qwen: image", "qwen: key"
    }  # fmt: skip
    assert "no answer within 110 s" in found.reasons["h1"]["qwen: key"]
    assert len([command for command, _ in host.asked if "--interactive" in command]) == 1


def test_a_server_that_is_down_is_not_said_to_run_without_its_key() -> None:
    unasked = {"status": 0, "body": "not asked: /health doesn't answer"}
    asked = {"health": {"status": 0, "body": "refused"}, "models": unasked, "text": unasked, "image": unasked}
    assert check(World(asked=asked).transport).reasons["h1"]["qwen: key"] == "not asked: /health doesn't answer"


def test_junit_has_each_check_and_no_settings(tmp_path: Path) -> None:
    file = tmp_path / "verify.xml"
    check(World(privileged=True).transport, junit=str(file))
    suite = ET.parse(file).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("19", "1")
    assert not re.search("settings=|sk-hidden", file.read_text())


def test_the_json_document_counts_what_it_lists() -> None:
    found = Verified()
    found.add("h1", "gpus", "passed", "")
    found.add("h1", "qwen: key", "skipped", "no key")
    found.add("h2", "gpus", "failed", "none")
    assert found.as_json() == {
        "hosts": {"h1": {"gpus": "passed", "qwen: key": "skipped"}, "h2": {"gpus": "failed"}},
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "reasons": {"h1": {"qwen: key": "no key"}, "h2": {"gpus": "none"}},
    }


def test_a_suite_that_cannot_be_run_is_an_error_not_a_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\n")
    monkeypatch.setattr("fleet.verify.CHECKS", tmp_path)
    with pytest.raises(FleetError, match="could not be run"):
        check(World().transport)


def test_ctrl_c_ends_it_as_such() -> None:
    def interrupted(command: str, stdin: bytes | None) -> str:
        raise KeyboardInterrupt

    def connect(name: str) -> FakeTransport:
        host = World().transport(name)
        host.answers = [("systemctl is-enabled", interrupted), *host.answers]
        return host

    with pytest.raises(KeyboardInterrupt):
        check(connect)
