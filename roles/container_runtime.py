"""Docker and NVIDIA's container toolkit: how containers come to run here, and how they get their GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import urlsplit

from fleet import registry
from fleet.mirrors import mirrors_of
from fleet.resource import Pending, Problem, Resource
from fleet.resources import (
    DOCKER,
    RUNNING_CONTAINERS,
    Absent,
    CdiSpec,
    File,
    Guard,
    JsonKeys,
    Packages,
    Repository,
    Service,
)
from fleet.secret import Secret
from fleet.target import TEMPLATES, Target
from fleet.templates import render

Access = Literal["cdi", "hook", "none"]
Package = Literal["docker-ce", "docker.io", "moby"]

DAEMON_JSON: Final = "/etc/docker/daemon.json"
PROXY: Final = "/etc/systemd/system/docker.service.d/fleet-proxy.conf"
TOOLKIT: Final = (
    "nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1",
)  # fmt: skip
#: Docker's major version from which on it knows CDI, and the oldest whose `docker run` knows all that we say.
CDI_SINCE: Final = 25
OLDEST: Final = 20


def resources(target: Target) -> Iterator[Resource]:
    """The toolkit first: Docker looks for its hook only when it starts."""
    if not target.facts.family or target.only_gateway:
        return
    yield from _authorities(target)
    yield from _toolkit(target)
    yield from _docker(target)
    yield _proxy(target)
    yield _daemon(target)
    yield Service("docker.service", inputs=(DAEMON_JSON, PROXY), guard=_guard(target))
    if gpu_access(target) == "cdi":
        yield CdiSpec() if target.facts.gpus else Pending(CdiSpec().id, "the driver")


def problems(target: Target) -> Iterator[Problem]:
    """A Docker that can't be worked with, two of them, or another one than told."""
    facts, told = target.facts, target.settings.runtime
    there = dict(facts.runtime_packages)
    engines = [name for name in ("docker-ce", "docker.io", "moby-engine", "moby") if name in there]
    if not facts.family or target.only_gateway:
        return  # of the first host_baseline says so
    if "podman-docker" in there:
        yield Problem("`docker` is podman here (package podman-docker)", "remove podman-docker, or leave this host out")
    if len(engines) > 1:
        yield Problem(f"more than one Docker is installed: {', '.join(engines)}", "remove all but one")
    if facts.docker_root.startswith("/var/snap/"):
        yield Problem("Docker comes from a snap here, which sees only its own files", "snap remove docker")
    if told.package != "respect" and engines and engines[0] not in _names(told.package, target):
        yield Problem(
            f"{engines[0]} is installed, runtime.package says {told.package}",
            f"set runtime.package to respect, or remove {engines[0]}: that stops its containers, so it isn't done here",
        )
    if told.package == "docker.io" and facts.family != "debian":
        yield Problem("docker.io is a package of Debian and Ubuntu", "set runtime.package to docker-ce or moby")
    version = _docker_version(target)
    if version and _major(version) < OLDEST:
        yield Problem(f"Docker {version} is too old, {OLDEST}.10 is the oldest that will do", "upgrade it")
    if told.gpu_access == "cdi" and version and _major(version) < CDI_SINCE:
        yield Problem(f"Docker {version} doesn't know CDI, {CDI_SINCE} does", "set runtime.gpu_access to auto")
    if facts.docker_error:
        yield Problem(f"Docker is here and doesn't answer: {facts.docker_error}", "see journalctl -u docker", "warning")
    if facts.docker_root and "data_root" in told.model_fields_set and facts.docker_root != told.data_root:
        words = f"Docker's data move from {facts.docker_root} to {told.data_root}: what lies there isn't taken along"
        yield Problem(words, "images are pulled anew; remove the old directory when all is well", "warning")
    needed = _package(target) == "docker-ce" and not engines
    if needed and mirrors_of(target.settings).source("docker", facts) is None:
        yield Problem(f"Docker's vendor has no packages for {facts.os_name}", "set runtime.package, or install Docker")
    if _has_gpus(target) and mirrors_of(target.settings).source("toolkit", facts) is None:
        yield Problem(f"NVIDIA has no container toolkit for {facts.os_name}", "the systems known are in docs/")


def gpu_access(target: Target) -> Access:
    """How containers get GPUs: ``cdi`` or ``hook``; ``none`` where the host has no NVIDIA GPUs.

    As told, else CDI where Docker knows it. Before Docker is there this isn't the last word.
    """
    if not _has_gpus(target):
        return "none"
    told = target.settings.runtime.gpu_access
    if told != "auto":
        return told
    return "cdi" if _major(_docker_version(target)) >= CDI_SINCE else "hook"


def _authorities(target: Target) -> Iterator[Resource]:
    """The mirrors' CA, for Docker: of what the whole host trusts it reads only what was there when it started."""
    if not target.ca:
        return
    image = target.settings.image
    places = registry.candidates(image.ref, mirrors_of(target.settings).registries, image.fallbacks)
    hosts = [registry.parse(place).registry for place in places]
    for host in dict.fromkeys([*hosts, *(urlsplit(mirror).netloc for mirror in _hub_mirrors(target))]):
        yield File(f"/etc/docker/certs.d/{host}/ca.crt", target.ca)


def _toolkit(target: Target) -> Iterator[Resource]:
    """NVIDIA's four packages at one version: as told, as installed, or what the repository has."""
    if not _has_gpus(target):
        return
    yield from _repository("toolkit", target)
    told = target.settings.runtime.toolkit_version
    version = told if told is None or "-" in told else f"{told}-1"
    version = version or dict(target.facts.runtime_packages).get(TOOLKIT[0])
    names = tuple(f"{name}={version}" for name in TOOLKIT) if version else TOOLKIT
    yield Packages(_manager(target), names, hold=True, guard=_reload_guard(target))


def _docker(target: Target) -> Iterator[Resource]:
    """The engine, kept at the version that is there: an unattended upgrade would stop everything that runs."""
    package = _package(target)
    if package is None:
        return
    there = dict(target.facts.runtime_packages)
    names = _names(package, target)
    if package == "docker-ce" and (names[0] not in there or target.settings.runtime.package != "respect"):
        yield from _repository("docker", target)
    kept = tuple(f"{name}={there[name]}" if name in there else name for name in names)
    yield Packages(_manager(target), kept, hold=True, guard=_guard(target))


def _daemon(target: Target) -> Resource:
    """Docker's configuration: what is ours in it. The rest belongs to whoever wrote it."""
    told, version = target.settings.runtime, _docker_version(target)
    if not version:
        return Pending(f"json:{DAEMON_JSON}", "Docker's version")
    values: dict[str, object] = {"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "3"}}
    if not target.facts.swarm:  # Docker refuses the two together
        values["live-restore"] = True  # what serves outlives a crash or an upgrade of the daemon
    if "data_root" in told.model_fields_set:
        values["data-root"] = told.data_root
    if mirrors := _hub_mirrors(target):
        values["registry-mirrors"] = list(mirrors)
    access = gpu_access(target)
    if access == "cdi":
        values["features"] = {"cdi": True}
    elif access == "hook":  # systemd's cgroups would lose the devices at each daemon-reload
        values["exec-opts"] = ["native.cgroupdriver=cgroupfs"]
        values["runtimes"] = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    check = "dockerd --validate --config-file={}" if _major(version) >= 23 else ""
    return JsonKeys(DAEMON_JSON, values, check=check)


def _hub_mirrors(target: Target) -> tuple[str, ...]:
    """Mirrors of Docker Hub as the daemon wants them said (URLs): those told, else the profile's."""
    if target.settings.runtime.registry_mirrors:
        return target.settings.runtime.registry_mirrors
    mirror = mirrors_of(target.settings).registries.get(registry.HUB)
    if not mirror or "/" in mirror.removeprefix("https://").rstrip("/"):  # the daemon takes no paths
        return ()
    return (mirror if "://" in mirror else f"https://{mirror}",)


def _proxy(target: Target) -> Resource:
    """Docker's own way out. A proxy's password is for root only."""
    told = target.settings.proxy
    if not told.http and not told.https:
        return Absent(PROXY, "no proxy is told")
    said = {"HTTP_PROXY": told.http, "HTTPS_PROXY": told.https, "NO_PROXY": ",".join(told.no_proxy)}
    variables = [(name, value.replace("%", "%%")) for name, value in said.items() if value]  # % is systemd's own
    text = render(TEMPLATES / "container_runtime" / "proxy.conf.j2", {"variables": variables})
    return File(PROXY, Secret(text), 0o600) if "@" in text else File(PROXY, text)


def _repository(tree: Literal["docker", "toolkit"], target: Target) -> Iterator[Resource]:
    source = mirrors_of(target.settings).source(tree, target.facts)
    if source:
        yield Repository(
            _manager(target), tree, source.url, source.key_url, source.fingerprint, source.suite, source.components,
            source.signed,
        )  # fmt: skip


def _package(target: Target) -> Package | None:
    """Which Docker: what is told or there; else the distribution's own, or the vendor's where that has none.

    None where one is there that no package manager knows of: it is respected.
    """
    told, facts = target.settings.runtime.package, target.facts
    if told != "respect":
        return told
    there = dict(facts.runtime_packages)
    if "docker-ce" in there:
        return "docker-ce"
    if "docker.io" in there:
        return "docker.io"
    if "moby-engine" in there or "moby" in there:
        return "moby"
    if facts.docker_version:
        return None
    if facts.family == "debian":
        return "docker.io"
    return "moby" if facts.os_id == "alinux" and not facts.release else "docker-ce"


def _names(package: Package, target: Target) -> tuple[str, ...]:
    """A Docker's packages. Debian's client is one of its own from 13 on; moby comes from the host's own sources."""
    facts = target.facts
    if package == "docker-ce":
        return ("docker-ce", "docker-ce-cli", "containerd.io")
    if package == "docker.io":
        return (
            ("docker.io", "docker-cli")
            if facts.os_id == "debian" and _major(facts.os_version) >= 13
            else ("docker.io",)
        )
    return ("moby",) if facts.os_id == "alinux" else ("moby-engine", "moby-cli")


def _docker_version(target: Target) -> str:
    """Docker's version as the daemon says it, or, where that is down, the package's; empty where there is none."""
    if target.facts.docker_version:
        return target.facts.docker_version
    there = dict(target.facts.runtime_packages)
    found = next((there[name] for name in ("docker-ce", "docker.io", "moby-engine", "moby") if name in there), "")
    return found.rpartition(":")[2]


def _guard(target: Target) -> Guard | None:
    return None if target.allow_docker_restart else DOCKER


def _reload_guard(target: Target) -> Guard | None:
    """What an installation would stop that has systemd read its units again, as the toolkit's does (its 1.18 and on).

    With systemd's cgroups that takes the GPUs from containers that were given them by the hook: ours where that is our
    way, and any of others, whose way isn't known.
    """
    facts = target.facts
    others = any(c.state == "running" and not c.instance for c in facts.containers)
    harms = facts.cgroup_driver == "systemd" and (gpu_access(target) == "hook" or others)
    return Guard(("GPUs of running containers",), RUNNING_CONTAINERS) if harms else None


def _has_gpus(target: Target) -> bool:
    return bool(target.facts.gpus or [gpu for gpu in target.facts.pci_gpus if not gpu.is_nvswitch])


def _manager(target: Target) -> Literal["apt", "dnf"]:
    return "apt" if target.facts.family == "debian" else "dnf"


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
