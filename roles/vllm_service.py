"""The instances: for each one systemd unit, one container on its own GPUs, and a release that can be gone back to."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fleet.facts import Gpu
from fleet.gateway.balancer import key_id
from fleet.resource import Pending, Problem, Resource
from fleet.resources import Current, File, Release, Removed, Serving
from fleet.resources.release import CACHES, INSTANCES, RELEASE, unit_name
from fleet.resources.weights import revision_directory
from fleet.secret import Secret
from fleet.settings import Instance
from fleet.shell import quote
from fleet.sizing.options import render_args
from fleet.systemd import exec_line
from fleet.target import TEMPLATES, Manifest, Target
from fleet.templates import render
from roles import vllm_image
from roles.container_runtime import gpu_access

GPUS: Final = "/var/lib/fleet/gpus.json"
#: Seconds that a server has to end by itself before Docker kills it.
STOP_SECONDS: Final = 60
#: What every server is told: no way out to hubs and no telemetry, its caches where they outlive the container.
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "XDG_CACHE_HOME": "/cache",
    "HF_HOME": "/cache/huggingface",
    "VLLM_CACHE_ROOT": "/cache/vllm",
    "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
    "TRITON_CACHE_DIR": "/cache/triton",
}


def resources(target: Target) -> Iterator[Resource]:
    """What left the inventory, who has which GPUs, and then each instance: its release, the switch, its service."""
    told = target.settings.instances
    names = [instance.name for instance in told]
    for name in target.facts.instances:
        if name not in names:
            yield Removed(name)
    if told and not _known(target):
        yield Pending(f"file:{GPUS}", "the driver and Docker come first")
    elif told:
        held = target.facts.remembered_gpus
        given = {name: list(held[name]) for name in target.facts.instances if name in held}  # until it is removed
        given |= {name: [gpu.uuid for gpu in gpus] for name, gpus in target.assignment.gpus.items()}
        yield File(GPUS, json.dumps(given, sort_keys=True) + "\n")
    for instance in told:
        release = release_of(target, instance) if _known(target) else None
        if release is None:
            yield Pending(f"release:{instance.name}", "the driver and Docker come first")
            yield Pending(f"current:{instance.name}", f"release:{instance.name}", "switch")
            yield Pending(f"serving:{instance.name}", f"current:{instance.name}", "start")
            continue
        yield release
        yield Current(instance.name, release.release, _behind(target, instance), _reload_harms(target))
        patience = target.settings.rollout.start_deadline or _patience(target.manifest(instance))
        yield Serving(instance.name, patience)


def problems(target: Target) -> Iterator[Problem]:
    """GPUs, ports and addresses that can't be had, and strangers who are in the way."""
    facts = target.facts
    for instance in target.settings.instances:
        own = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"}  # noqa: S104 — compared with, not bound to
        own |= {address.partition("/")[0] for _, address in facts.addresses}
        if facts.addresses and instance.listen not in own:
            yield Problem(
                f"instance {instance.name!r} is to listen on {instance.listen}, which this host doesn't have",
                f"it has {', '.join(sorted(a.partition('/')[0] for _, a in facts.addresses))}",
            )
        yield from _strangers(target, instance)
    if _known(target):
        for words in target.assignment.problems:
            yield Problem(words, "see ./inv facts, and `gpus` of the host's instances")
        for instance in target.settings.instances:
            yield from _refused_by_sizing(target, instance)


def release_of(target: Target, instance: Instance) -> Release | None:
    """The release that ``instance`` must have, or None while image, model or GPUs aren't known."""
    manifest, image = target.manifest(instance), vllm_image.image_name(target)
    gpus = target.assignment.gpus.get(instance.name)
    if manifest is None or not image or not gpus:
        return None
    judged = target.judgements[instance.name]
    arguments = judged.args
    words = render_args(target.settings.image.vllm or "", arguments)
    weights = revision_directory(target.settings.weights.root, manifest)
    cache = hashlib.sha256("\0".join([image, *words]).encode()).hexdigest()[:12]
    container = unit_name(instance.name).removesuffix(".service")
    values: dict[str, object] = {
        "name": instance.name,
        "served_name": instance.served_name,
        "release": RELEASE,
        "base": f"{INSTANCES}/{instance.name}",
        "container": container,
        "image": image,
        "digest": target.image_digest,
        "content_id": manifest.content_id,
        "weights": quote(weights),
        "cache": f"{CACHES}/{instance.name}/{cache}",
        "gpus": gpus,
        "uuids": "|".join(gpu.uuid for gpu in gpus),
        "url": _url(instance),
        "label": '{{index .Config.Labels "fleet.release"}}',
        "owner": '{{index .Config.Labels "fleet.instance"}}',
        "alive": '{{.State.Running}} {{index .Config.Labels "fleet.release"}}',
        "stop_seconds": STOP_SECONDS,
    }
    values["command"] = exec_line(_command(target, instance, values, weights, words))
    about = {
        "instance": instance.name, "release": RELEASE, "image": target.settings.image.ref,
        "digest": target.image_digest, "vllm": target.settings.image.vllm, "model": instance.model,
        "revision": instance.revision, "content_id": manifest.content_id, "served_name": instance.served_name,
        "listen": instance.listen, "port": instance.port, "key": key_id(instance.api_key),
        "gpus": [gpu.uuid for gpu in gpus], "args": arguments, "chosen": judged.chosen,
    }  # fmt: skip
    files = {
        unit_name(instance.name): render(TEMPLATES / "vllm_service" / "unit.j2", values),
        "before-start": render(TEMPLATES / "vllm_service" / "before-start.j2", values),
        "stay": render(TEMPLATES / "vllm_service" / "stay.j2", values),
        "health": render(TEMPLATES / "vllm_service" / "health.j2", values),
        "release.json": json.dumps(about, indent=2, ensure_ascii=False, default=str) + "\n",
    }
    return Release(instance.name, files, _environment(instance), notes=judged.notes)


def _command(
    target: Target, instance: Instance, values: Mapping[str, object], weights: str, words: Sequence[str]
) -> list[str]:
    """The container's command line: no privileges, its own GPUs, the model read-only by its resolved revision."""
    model = f"/models/{instance.model}"
    entry = target.settings.image.entrypoint
    serve = [*entry[1:], model] if entry[-1] == "serve" else [*entry[1:], "--model", model]
    return [
        "/usr/bin/docker", "run", "--init", "--pull=never", f"--name={values['container']}",
        f"--label=fleet.instance={instance.name}", f"--label=fleet.release={RELEASE}",
        "--network=host", "--ipc=host", *_limits(target),
        "--security-opt=no-new-privileges", "--log-driver=json-file", "--log-opt=max-size=50m", "--log-opt=max-file=3",
        f"--stop-timeout={STOP_SECONDS}", *_gpu_words(gpu_access(target), target.assignment.gpus[instance.name]),
        f"--env-file={INSTANCES}/{instance.name}/releases/{RELEASE}/env",
        f"--mount=type=bind,src={weights},dst={model},readonly", f"--volume={values['cache']}:/cache",
        f"--entrypoint={entry[0]}", str(values["image"]), *serve,
        "--served-model-name", instance.served_name, "--host", instance.listen, "--port", str(instance.port), *words,
    ]  # fmt: skip


def _limits(target: Target) -> tuple[str, ...]:
    """Limits that NCCL and many connections want; where the host itself may not raise any, Docker's own are kept."""
    if target.facts.limits_fixed:
        return ()
    return ("--ulimit=memlock=-1", "--ulimit=stack=67108864", "--ulimit=nofile=1048576")


def _gpu_words(access: str, gpus: Sequence[Gpu]) -> list[str]:
    """By index for CDI: only newer toolkits name UUIDs there, and before-start holds the indexes to the UUIDs."""
    if access == "cdi":
        return [f"--device=nvidia.com/gpu={gpu.index}" for gpu in gpus]
    return [f'--gpus="device={",".join(gpu.uuid for gpu in gpus)}"']


def _environment(instance: Instance) -> Secret:
    """The environment in Docker's form; the API key is here and nowhere else."""
    values = {**ENVIRONMENT, **instance.env}
    if instance.api_key:
        values["VLLM_API_KEY"] = instance.api_key
    return Secret("".join(f"{name}={_plain(value)}\n" for name, value in values.items()))


def _plain(value: object) -> str:
    return value.reveal() if isinstance(value, Secret) else str(int(value) if isinstance(value, bool) else value)


def _refused_by_sizing(target: Target, instance: Instance) -> Iterator[Problem]:
    """What can't run on these GPUs never reaches them. What sizing doesn't know is left to vLLM itself."""
    judged = target.judgements.get(instance.name)
    if judged is None or not judged.refusals:
        return
    gpus = target.assignment.gpus[instance.name]
    reasons = "; ".join(f"{reason.words} [{reason.rule}]" for reason in judged.refusals)
    kinds = Counter(gpu.name for gpu in gpus)
    on = " and ".join(f"{count}×{name}" for name, count in kinds.items())
    more = f"./inv size --hosts {target.name} --explain says why"
    hint = f"what runs here: {judged.instead}; {more}" if judged.instead else f"nothing runs here; {more}"
    yield Problem(f"instance {instance.name!r} can't run on {on}: {reasons}", hint, kind="input")


def _url(instance: Instance) -> str:
    """Where the instance answers, from inside its own network."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — asked at, not bound to
    host = everywhere.get(instance.listen, instance.listen)
    return f"http://{f'[{host}]' if ':' in host else host}:{instance.port}"


def _patience(manifest: Manifest | None) -> float:
    """Seconds until a server must answer: a quarter of an hour, and its weights at 50 MB/s from a cold disk."""
    return 900.0 + (manifest.size / 50e6 if manifest else 0.0)


def _known(target: Target) -> bool:
    """Whether the host shows its GPUs and a Docker that runs: before that nothing can be worked out."""
    return bool(target.facts.gpus and target.facts.docker_major)


def _reload_harms(target: Target) -> bool:
    """Whether a daemon-reload takes GPUs from containers: the hook with systemd's cgroups (nvidia-docker#1730)."""
    return gpu_access(target) == "hook" and target.facts.cgroup_driver == "systemd"


def _behind(target: Target, instance: Instance) -> tuple[str, ...]:
    """Instances that left the inventory and still hold GPUs of this one."""
    names = {other.name for other in target.settings.instances}
    own = {gpu.uuid for gpu in target.assignment.gpus.get(instance.name, ())}
    held = target.facts.remembered_gpus
    return tuple(sorted(name for name in target.facts.instances if name not in names and own & set(held.get(name, ()))))


def _strangers(target: Target, instance: Instance) -> Iterator[Problem]:
    """Whoever holds the instance's port, name or GPUs and isn't ours; reported, never touched."""
    facts, container = target.facts, unit_name(instance.name).removesuffix(".service")
    for found in facts.containers:
        if found.name == container and found.instance != instance.name:
            yield Problem(f"a container named {container} isn't ours (image {found.image})", "remove or rename it")
    if instance.name in facts.serving:
        return
    for listener in facts.listeners:
        if listener.port == instance.port and _overlap(listener.address, instance.listen):
            level = "warning" if facts.serving else "error"  # it may be one of ours that goes with the next rollout
            holder = re.search(r'"([^"]*)",pid=(\d+)', listener.process)  # ss: users:(("nginx",pid=7,fd=3))
            who = f" by {holder[1]} (process {holder[2]})" if holder else ""
            words = f"port {instance.port} of instance {instance.name!r} is held{who}"
            yield Problem(words, f"end what holds it, or give {instance.name!r} another port", level)
    ours = {uuid for name in facts.serving for uuid in facts.remembered_gpus.get(name, ())}
    wanted = {gpu.uuid: gpu.index for gpu in target.assignment.gpus.get(instance.name, ())}
    for process in facts.gpu_processes:
        if process.gpu_uuid in wanted and process.gpu_uuid not in ours:
            where = f"GPU {wanted[process.gpu_uuid]}, which instance {instance.name!r} is to have"
            words = f"process {process.pid} ({process.name}) uses {process.used_mib} MiB of {where}"
            yield Problem(words, "it isn't ours and is left alone; the start may fail for want of memory", "warning")


def _overlap(held: str, wanted: str) -> bool:
    """Whether two addresses to listen on exclude each other."""
    try:
        one, two = (ipaddress.ip_address(a.partition("%")[0] or "0.0.0.0") for a in (held, wanted))  # noqa: S104 — compared
    except ValueError:  # a name, or ss's `*`
        return True
    return one.is_unspecified or two.is_unspecified or one == two
