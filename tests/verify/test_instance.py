"""An instance: what runs is what the inventory wants, and it answers as users will ask it."""

from __future__ import annotations

import ipaddress
import json
from pathlib import PurePosixPath

import pytest
from testinfra.host import Host

from fleet.errors import FleetError
from fleet.resources.release import INSTANCES
from fleet.resources.weights import revision_directory
from fleet.settings import Instance
from fleet.target import Target
from roles import vllm_image, vllm_service
from tests.verify.seen import Answers, answers, container, inspected, manifest_of, ok, reached, said, unit

#: Small files (configurations, tokenizers) are hashed here; big ones by size and by the stamp of their full check.
HASHED_BELOW = 16 * 2**20


def test_unit(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """Enabled, running, and not in a loop of restarts: none, or none in the last ten minutes."""
    reached(target)
    seen = unit(host, instance)
    assert seen.get("LoadState") == "loaded", "there is no such unit: provision makes it"
    assert seen["UnitFileState"] == "enabled", f"it is {seen['UnitFileState'] or 'unknown'} at boot"
    assert (seen["ActiveState"], seen["SubState"]) == ("active", "running"), f"it is {seen['ActiveState']}"
    restarts, seconds = int(seen["NRestarts"] or 0), int(seen["seconds"] or 0)
    assert restarts == 0 or seconds > 600, f"started {restarts + 1} times, the last time {seconds} s ago"


def test_release(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """What runs is what is staged as current, was seen healthy, and is what the inventory wants."""
    wanted = vllm_service.release_of(reached(target), instance)
    base = f"{INSTANCES}/{instance.name}"
    current = PurePosixPath(said(host, "no release is staged", "readlink %s", f"{base}/current")).name
    good = PurePosixPath(said(host, "no release was seen healthy yet", "readlink %s", f"{base}/good")).name
    running = inspected(host, instance)["Config"]["Labels"].get("fleet.release")
    assert running == current, f"release {running} runs, {current} is current"
    assert running == good, f"release {running} runs, {good} was the last seen healthy"
    assert wanted is not None, "what the inventory wants can't be worked out: see ./inv plan"
    assert running == wanted.release, f"release {running} runs, the inventory wants {wanted.release}: ./inv rollout"


def test_gpus_inside(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """The container sees its own GPUs, and no other's."""
    given = {gpu.uuid for gpu in reached(target).assignment.gpus.get(instance.name, ())}
    inspected(host, instance)
    shown = host.run("timeout 60 docker exec %s nvidia-smi -L", container(instance))
    assert shown.rc == 0, f"nvidia-smi fails inside: {(shown.stdout + shown.stderr).strip()[:200]}"
    uuids = {line.rpartition("UUID: ")[2].rstrip(")") for line in shown.stdout.splitlines() if line.startswith("GPU ")}
    assert uuids == given, f"it sees {', '.join(sorted(uuids)) or 'none'}, it was given {', '.join(sorted(given))}"


def test_privileges(target: Target | FleetError, host: Host, instance: Instance) -> None:
    reached(target)
    assert not inspected(host, instance)["HostConfig"]["Privileged"], "the container is privileged"


def test_port(target: Target | FleetError, instance: Instance) -> None:
    """It listens where it should, and nowhere else."""
    found = {_plain(item.address) for item in reached(target).facts.listeners if item.port == instance.port}
    everywhere = {"0.0.0.0", "*", "::"}
    wanted = everywhere if instance.listen in everywhere else {_plain(instance.listen)}
    if instance.listen == "localhost":
        wanted = {"127.0.0.1", "::1"}
    assert found, f"nothing listens on port {instance.port}"
    assert found <= wanted, f"port {instance.port} listens on {', '.join(sorted(found))}, told is {instance.listen}"


def test_health(target: Target | FleetError, host: Host, instance: Instance) -> None:
    ok(_asked(target, host, instance), "health")


def test_models(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """It serves the model under its name, with the length that it was told."""
    models = {model["id"]: model for model in ok(_asked(target, host, instance), "models")["data"]}
    assert instance.served_name in models, f"it serves {', '.join(models)}, not {instance.served_name}"
    release = json.loads(
        said(host, "no release is staged", "cat %s", f"{INSTANCES}/{instance.name}/current/release.json")
    )
    told = {name.replace("_", "-"): value for name, value in release["args"].items()}.get("max-model-len")
    served = models[instance.served_name].get("max_model_len")
    if isinstance(told, int):
        assert served == told, f"max_model_len is {served}, told is {told}"
    assert served, "it doesn't say its max_model_len"


def test_text(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """A chat is answered with one token."""
    _one_token(ok(_asked(target, host, instance), "text"))


def test_image(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """A chat about a picture is answered with one token, by a model that has eyes."""
    asked = _asked(target, host, instance)
    if "image" not in asked:
        pytest.skip("the model takes no pictures")
    _one_token(ok(asked, "image"))


def test_key(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """Without its key, or with a wrong one, every path that must have it answers 401."""
    if not instance.api_key:
        pytest.skip("the instance has no key")
    asked = _asked(target, host, instance)
    assert asked["health"]["status"], "not asked: /health doesn't answer"
    statuses = asked.get("without_key")
    assert statuses, "the server runs without a key: VLLM_API_KEY isn't in its environment"
    leaks = [f"{path} ({status})" for path, status in statuses.items() if status != 401]
    assert not leaks, f"answered without the key: {', '.join(leaks[:5])}"


def test_secret_files(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """The environment, where the key lies, is for root only."""
    reached(target)
    found = said(
        host,
        "no release is staged",
        "find %s -name env -exec stat -c '%%a %%U:%%G %%n' {} +",
        f"{INSTANCES}/{instance.name}/releases/",
    ).splitlines()
    assert found, "there is no environment file: provision makes it"
    wrong = [line for line in found if not line.startswith("600 root:root ")]
    assert not wrong, f"not 0600 root:root: {'; '.join(wrong)}"


def test_weights(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """Every file is there with its size; the stamp of its full check is this manifest's; small ones by their hash."""
    told = reached(target)
    manifest = manifest_of(told, instance)
    directory = revision_directory(told.settings.weights.root, manifest)
    found = host.run("cd %s && find . -path ./.fleet -prune -o -type f -printf '%%s %%P\\n'", directory)
    assert found.rc == 0, f"{directory} isn't there: provision fetches it"
    sizes = {path: int(size) for size, path in (line.split(" ", 1) for line in found.stdout.splitlines())}
    wrong = [file.path for file in manifest.files if sizes.get(file.path) != file.size]
    assert not wrong, f"missing or of another size: {', '.join(wrong[:5])}"
    assert host.run("test -f %s", f"{directory}/.fleet/stamp").rc == 0, "no stamp: the files were never checked"
    small = {file.path: file.sha256 for file in manifest.files if file.size < HASHED_BELOW}
    hashes = host.run(
        f"cd {host.backend.quote('%s', directory)} && sha256sum -- "
        + " ".join(host.backend.quote("%s", p) for p in small)
    )
    read = {line[66:]: line[:64] for line in hashes.stdout.splitlines()}
    damaged = [path for path, sha256 in small.items() if read.get(path) != sha256]
    assert not damaged, f"damaged: {', '.join(damaged[:5])}"


def test_image_digest(target: Target | FleetError, host: Host, instance: Instance) -> None:
    """The container's image is the one that is locked, or was built on it."""
    told = reached(target)
    pulled = vllm_image.pulled_image(told)
    assert pulled is not None, "the image's digest isn't known: see images.lock"
    runs = inspected(host, instance)["Image"]
    wanted = json.loads(said(host, "the image isn't there", "docker image inspect %s", vllm_image.image_name(told)))[0][
        "Id"
    ]
    assert runs == wanted, f"image {runs[:19]} runs, {wanted[:19]} is wanted"
    digests = json.loads(said(host, "the pulled image isn't there", "docker image inspect %s", pulled.name))[0][
        "RepoDigests"
    ]
    known = [digest.rpartition("@")[2] for digest in digests]
    assert told.image_digest in known, (
        f"it is known by {', '.join(known) or 'no digest'}, locked is {told.image_digest}"
    )


def _asked(target: Target | FleetError, host: Host, instance: Instance) -> Answers:
    told = reached(target)
    inspected(host, instance)
    return answers(told, host, instance)


def _plain(address: str) -> str:
    """An address in its one short form, without brackets and interface; a name or ss's ``*`` as it is."""
    bare = address.strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def _one_token(answer: Answers) -> None:
    used = answer.get("usage", {}).get("completion_tokens")
    assert answer.get("choices"), f"no choice in the answer: {str(answer)[:200]}"
    assert used == 1, f"asked for one token, got {used}"
