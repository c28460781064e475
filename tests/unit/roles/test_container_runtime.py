from __future__ import annotations

from typing import Any

import pytest

from fleet import facts
from fleet.plan import plan_host
from fleet.resource import KNOWN_AFTER_APPLY, Observation, Pending, Resource
from fleet.resources import DOCKER, Absent, CdiSpec, File, JsonKeys, Packages, Repository, Service
from fleet.secret import Secret
from fleet.settings import HostSettings
from fleet.target import Target
from roles import container_runtime
from roles.container_runtime import TOOLKIT, gpu_access

PCI = ("pci+=0000:00:06.0 3D controller [0302]: NVIDIA Corporation Device [10de:2236]",)
GPU = ("gpu+=0, GPU-0, NVIDIA A10, 00000000:00:06.0, 23028, 0, 580.95.05, 8.6, [N/A]",)
NEW = ("docker=26.1.5|systemd|/var/lib/docker|false|{}", "runtime_package+=docker.io 26.1.5+dfsg1-9+b9")
OLD = ("docker=20.10.24|cgroupfs|/var/lib/docker|false|{}", "runtime_package+=docker.io 20.10.24+dfsg1-1")
TRIXIE = "packages=apt os_id=debian os_version=13 os_codename=trixie arch=x86_64"
BOOKWORM = "packages=apt os_id=debian os_version=12 os_codename=bookworm arch=x86_64"
ROCKY = "packages=dnf os_id=rocky os_version=9.4 arch=x86_64"
ALINUX = "packages=dnf os_id=alinux os_version=3 os_like=rhel arch=x86_64"


def target(*lines: str, system: str = TRIXIE, ca: str = "", restart: bool = False, **told: Any) -> Target:
    """A host of that system, with these lines from its facts script and these settings."""
    seen = facts.read("\n".join([*system.split(), *lines, "facts_end=yes"]))
    settings = HostSettings.model_validate(told)
    return Target("h1", settings, seen, ca=ca, allow_docker_restart=restart)


def wanted(host: Target) -> dict[str, Resource]:
    return {resource.id: resource for resource in container_runtime.resources(host)}


def daemon(host: Target) -> dict[str, object]:
    found = wanted(host)["json:/etc/docker/daemon.json"]
    assert isinstance(found, JsonKeys)
    return dict(found.values)


def engine(host: Target) -> tuple[str, ...]:
    """The packages of the Docker that is wanted."""
    found = [r for r in wanted(host).values() if isinstance(r, Packages) and r.names[0].split("=")[0] != TOOLKIT[0]]
    return found[0].names if found else ()


def words(host: Target) -> list[str]:
    return [f"{problem.level}: {problem.words}" for problem in container_runtime.problems(host)]


def test_a_fresh_gpu_host_gets_the_toolkit_before_docker_and_the_rest_when_the_version_is_known() -> None:
    assert list(wanted(target(*PCI))) == [
        "repository:toolkit",
        "packages:nvidia-container-toolkit+3",
        "packages:docker.io+1",
        "absent:/etc/systemd/system/docker.service.d/fleet-proxy.conf",
        "json:/etc/docker/daemon.json",
        "service:docker.service",
    ]
    pending = wanted(target(*PCI))["json:/etc/docker/daemon.json"]
    assert isinstance(pending, Pending)
    change = pending.diff(Observation(""))
    assert change
    assert KNOWN_AFTER_APPLY in change.why


def test_the_ids_of_what_is_pending_are_those_of_what_comes_of_it() -> None:
    before, after = wanted(target(*PCI, *NEW)), wanted(target(*PCI, *GPU, *NEW))
    assert isinstance(before["cdi:/etc/cdi/nvidia.yaml"], Pending)
    assert list(before) == list(after)
    assert not any(isinstance(resource, Pending) for resource in after.values())


@pytest.mark.parametrize(
    ("lines", "told", "access"),
    [
        ((*GPU, *NEW), "auto", "cdi"),
        ((*GPU, *OLD), "auto", "hook"),
        ((*GPU, *NEW), "hook", "hook"),
        ((*PCI, *NEW), "auto", "cdi"),
        (NEW, "auto", "none"),
        (NEW, "cdi", "none"),
        (("pci+=0000:00:07.0 Bridge [0680]: NVIDIA Corporation NVSwitch [10de:1af1]", *NEW), "auto", "none"),
        ((*GPU, "runtime_package+=docker-ce 5:28.3.3-1~debian.13~trixie", "docker_error=it is down"), "auto", "cdi"),
    ],
)
def test_gpus_come_by_cdi_where_docker_knows_it(lines: tuple[str, ...], told: str, access: str) -> None:
    assert gpu_access(target(*lines, runtime={"gpu_access": told})) == access


def test_with_cdi_docker_is_told_so_and_keeps_its_cgroups() -> None:
    host = target(*GPU, *NEW)
    assert daemon(host) == {
        "log-driver": "json-file",
        "log-opts": {"max-size": "50m", "max-file": "3"},
        "live-restore": True,
        "features": {"cdi": True},
    }
    assert isinstance(list(wanted(host).values())[-1], CdiSpec)


def test_with_the_hook_docker_does_cgroups_itself_so_that_a_daemon_reload_takes_no_gpu_away() -> None:
    host = target(*GPU, *OLD, system=BOOKWORM)
    assert daemon(host)["exec-opts"] == ["native.cgroupdriver=cgroupfs"]
    assert daemon(host)["runtimes"] == {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    assert "features" not in daemon(host)
    assert "cdi:/etc/cdi/nvidia.yaml" not in wanted(host)


def test_a_host_without_gpus_gets_docker_and_nothing_of_nvidia() -> None:
    host = target(*NEW)
    assert not [id_ for id_ in wanted(host) if "nvidia" in id_ or "toolkit" in id_]
    assert set(daemon(host)) == {"log-driver", "log-opts", "live-restore"}


@pytest.mark.parametrize(
    ("system", "lines", "told", "names"),
    [
        (TRIXIE, (), "respect", ("docker.io", "docker-cli")),
        (BOOKWORM, (), "respect", ("docker.io",)),
        (TRIXIE, (*NEW, "runtime_package+=docker-cli 26.1.5+dfsg1-9+b9"), "respect",
         ("docker.io=26.1.5+dfsg1-9+b9", "docker-cli=26.1.5+dfsg1-9+b9")),
        (TRIXIE, ("runtime_package+=moby-engine 25.0.3-1", "docker=25.0.3||||"), "respect",
         ("moby-engine=25.0.3-1", "moby-cli")),
        (TRIXIE, ("docker=27.0.1||||",), "respect", ()),  # by no package: a static binary
        (TRIXIE, (), "docker-ce", ("docker-ce", "docker-ce-cli", "containerd.io")),
        (ROCKY, (), "respect", ("docker-ce", "docker-ce-cli", "containerd.io")),
        (ALINUX, (), "respect", ("docker-ce", "docker-ce-cli", "containerd.io")),
        (ALINUX.replace("version=3", "version=4"), (), "respect", ("moby",)),
    ],
)  # fmt: skip
def test_docker_is_what_is_there_or_told_or_the_systems_own(
    system: str, lines: tuple[str, ...], told: str, names: tuple[str, ...]
) -> None:
    assert engine(target(*lines, system=system, runtime={"package": told})) == names


def test_the_vendors_repository_comes_only_where_its_packages_are_to_be_installed() -> None:
    there = "runtime_package+=docker-ce 5:28.3.3-1~debian.13~trixie"
    assert "repository:docker" not in wanted(target(there, "docker=28.3.3||||"))
    assert "repository:docker" not in wanted(target())
    found = wanted(target(runtime={"package": "docker-ce"}))["repository:docker"]
    assert isinstance(found, Repository)
    assert (found.url, found.suite, found.components) == (
        "https://download.docker.com/linux/debian", "trixie", ("stable",)
    )  # fmt: skip
    assert found.fingerprint == "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"


@pytest.mark.parametrize(
    ("lines", "told", "version"),
    [
        ((), None, ""),
        ((), "1.17.8", "=1.17.8-1"),
        ((), "1.17.8-1", "=1.17.8-1"),
        (("runtime_package+=nvidia-container-toolkit 1.18.0-1",), None, "=1.18.0-1"),
        (("runtime_package+=nvidia-container-toolkit 1.18.0-1",), "1.17.8", "=1.17.8-1"),
    ],
)
def test_the_toolkits_four_packages_have_one_version_and_are_held(
    lines: tuple[str, ...], told: str | None, version: str
) -> None:
    found = wanted(target(*PCI, *lines, runtime={"toolkit_version": told}))["packages:nvidia-container-toolkit+3"]
    assert isinstance(found, Packages)
    assert found.names == tuple(f"{name}{version}" for name in TOOLKIT)
    assert found.hold


def test_a_restart_or_an_upgrade_of_docker_waits_while_containers_run_unless_told() -> None:
    for restart, guard in ((False, DOCKER), (True, None)):
        found = wanted(target(*NEW, restart=restart)).values()
        assert [r.guard for r in found if isinstance(r, (Packages, Service))] == [guard, guard]


@pytest.mark.parametrize(
    ("docker", "access", "container", "waits"),
    [
        ("20.10.24|systemd", "auto", "fleet-q|running|i|q|id", True),
        ("20.10.24|cgroupfs", "auto", "fleet-q|running|i|q|id", False),
        ("26.1.5|systemd", "auto", "fleet-q|running|i|q|id", False),
        ("26.1.5|systemd", "hook", "fleet-q|running|i|q|id", True),
        ("26.1.5|systemd", "auto", "theirs|running|i||id", True),
        ("26.1.5|systemd", "auto", "theirs|exited|i||id", False),
    ],
)
def test_the_toolkits_installation_waits_where_its_daemon_reload_would_take_gpus_from_containers(
    docker: str, access: str, container: str, waits: bool
) -> None:
    host = target(*GPU, f"docker={docker}|/d|false|{{}}", f"container+={container}", runtime={"gpu_access": access})
    found = wanted(host)["packages:nvidia-container-toolkit+3"]
    assert isinstance(found, Packages)
    assert (found.guard is not None) == waits


def test_the_service_restarts_for_its_configuration_and_its_proxy() -> None:
    service = wanted(target(*NEW))["service:docker.service"]
    assert isinstance(service, Service)
    assert {"json:/etc/docker/daemon.json", f"file:{container_runtime.PROXY}"} <= set(service.follows)


def test_data_root_is_only_said_where_the_inventory_says_it() -> None:
    assert "data-root" not in daemon(target(*NEW))
    assert daemon(target(*NEW, runtime={"data_root": "/data/docker"}))["data-root"] == "/data/docker"
    assert daemon(target(*NEW, runtime={"data_root": "/var/lib/docker"}))["data-root"] == "/var/lib/docker"


def test_registry_mirrors_are_those_told_else_the_profiles() -> None:
    assert "registry-mirrors" not in daemon(target(*NEW))
    assert daemon(target(*NEW, mirrors={"profile": "cn"}))["registry-mirrors"] == ["https://docker.m.daocloud.io"]
    told = {"registry_mirrors": ["https://mirror.example"]}
    assert daemon(target(*NEW, mirrors={"profile": "cn"}, runtime=told))["registry-mirrors"] == told["registry_mirrors"]
    with_path = {"registries": {"docker.io": "m.daocloud.io/docker.io"}}
    assert "registry-mirrors" not in daemon(target(*NEW, mirrors=with_path)), "the daemon takes no paths"


def test_the_daemons_configuration_is_checked_where_docker_can() -> None:
    for lines, check in ((NEW, "dockerd --validate --config-file={}"), (OLD, "")):
        found = wanted(target(*lines))["json:/etc/docker/daemon.json"]
        assert isinstance(found, JsonKeys)
        assert found.check == check


def test_a_proxy_reaches_docker_and_its_password_only_root() -> None:
    plain = wanted(target(*NEW, proxy={"http": "http://p:3128", "no_proxy": ["localhost", "10.0.0.0/8"]}))
    file = plain[f"file:{container_runtime.PROXY}"]
    assert isinstance(file, File)
    assert file.mode == 0o644
    assert isinstance(file.content, str)
    assert file.content.splitlines()[1:] == [
        "[Service]", 'Environment="HTTP_PROXY=http://p:3128"', 'Environment="NO_PROXY=localhost,10.0.0.0/8"'
    ]  # fmt: skip
    secret = wanted(target(*NEW, proxy={"https": "http://me:a%20b@p:3128"}))[f"file:{container_runtime.PROXY}"]
    assert isinstance(secret, File)
    assert secret.mode == 0o600
    assert isinstance(secret.content, Secret)
    assert '"HTTPS_PROXY=http://me:a%%20b@p:3128"' in secret.content.reveal(), "% is systemd's own"


def test_a_proxy_that_is_no_longer_told_is_taken_away() -> None:
    assert isinstance(wanted(target(*NEW))[f"absent:{container_runtime.PROXY}"], Absent)


def test_the_plan_that_takes_a_proxy_away_names_dockers_restart() -> None:
    """Docker would go on with the old proxy, and the next run would find something to do."""
    found = wanted(target(*NEW))
    absent, service = found[f"absent:{container_runtime.PROXY}"], found["service:docker.service"]
    seen = {
        absent.id: Observation("state=file\nmode=644\nowner=root\ngroup=root"),
        service.id: Observation("LoadState=loaded\nActiveState=active\nenabled=enabled\nstale=no"),
    }
    planned = plan_host("h1", [absent, service], seen, (), b"key")
    assert [change.id for change in planned.changes] == [absent.id, service.id]


def test_the_mirrors_ca_is_trusted_by_docker_for_each_registry_of_the_image() -> None:
    image = {"ref": "vllm/vllm-openai:v0.8.2", "cuda": "12.4", "fallbacks": ["reg.example:5000/vllm:v0.8.2"]}
    found = wanted(target(*NEW, ca="PEM", image=image, mirrors={"registries": {"docker.io": "hub.example/hub"}}))
    assert [id_.removeprefix("file:/etc/docker/certs.d/") for id_ in found if "certs.d" in id_] == [
        "hub.example/ca.crt", "docker.io/ca.crt", "reg.example:5000/ca.crt"
    ]  # fmt: skip
    assert not [id_ for id_ in wanted(target(*NEW)) if "certs.d" in id_]


def test_the_mirrors_ca_is_trusted_for_the_mirrors_that_docker_itself_goes_to() -> None:
    told = target(*NEW, ca="PEM", runtime={"registry_mirrors": ["https://hub.example:5000"]})
    assert "file:/etc/docker/certs.d/hub.example:5000/ca.crt" in wanted(told)
    profile = target(
        *NEW, ca="PEM", image={"ref": "vllm/vllm-openai:v0.8.2", "cuda": "12.4"}, mirrors={"profile": "cn"}
    )
    assert "file:/etc/docker/certs.d/docker.m.daocloud.io/ca.crt" in wanted(profile)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (target("runtime_package+=podman-docker 4.9", system=ROCKY), "error: `docker` is podman here"),
        (target(*NEW, "runtime_package+=docker-ce 5:28.3.3-1"), "error: more than one Docker is installed: docker-ce"),
        (target("docker=24.0.5||/var/snap/docker/common/var-lib-docker||"), "error: Docker comes from a snap"),
        (
            target(*NEW, runtime={"package": "docker-ce"}),
            "error: docker.io is installed, runtime.package says docker-ce",
        ),
        (target(system=ROCKY, runtime={"package": "docker.io"}), "error: docker.io is a package of Debian"),
        (target("docker=19.03.8||||"), "error: Docker 19.03.8 is too old"),
        (target(*GPU, *OLD, runtime={"gpu_access": "cdi"}), "error: Docker 20.10.24 doesn't know CDI"),
        (target("docker_error=no socket", NEW[1]), "warning: Docker is here and doesn't answer: no socket"),
        (target(*NEW, runtime={"data_root": "/data"}), "warning: Docker's data move from /var/lib/docker to /data"),
        (
            target(system="packages=dnf os_id=fedora os_version=43 arch=x86_64"),
            "error: Docker's vendor has no packages",
        ),
        (target(*PCI, *NEW, system=TRIXIE.replace("x86_64", "riscv64")), "error: NVIDIA has no container toolkit"),
    ],
)
def test_what_cannot_be_worked_with_is_said_before_anything_is_touched(host: Target, said: str) -> None:
    found = words(host)
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize("system", [TRIXIE, BOOKWORM, ROCKY, ALINUX])
@pytest.mark.parametrize("lines", [(), PCI, (*PCI, *GPU)])
def test_a_host_that_can_be_prepared_has_no_problems(system: str, lines: tuple[str, ...]) -> None:
    assert words(target(*lines, system=system)) == []


def test_on_an_unknown_system_nothing_is_wanted() -> None:
    assert wanted(target(system="os_id=nixos")) == {}
    assert words(target(system="os_id=nixos")) == [], "the host's own role says so"


def test_what_serves_outlives_the_daemon_save_in_a_swarm_which_docker_refuses_beside_it() -> None:
    assert daemon(target(*GPU, *NEW))["live-restore"] is True
    line = next(line for line in NEW if line.startswith("docker="))
    version, cgroups, root, _, runtimes = line.split("|", 4)
    host = target(*GPU, "|".join([version, cgroups, root, "false active", runtimes]))
    assert "live-restore" not in daemon(host)
