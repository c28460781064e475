from __future__ import annotations

from dataclasses import replace

import pytest

from fleet import facts as facts_module
from fleet.facts import Facts, Gpu, PciGpu
from fleet.resource import Pending, Resource
from fleet.resources import DnfModule, File, Held, Initramfs, NvidiaModule, Packages, Repository, Service
from fleet.settings import HostSettings
from fleet.target import Target
from roles import nvidia_driver

T4 = PciGpu("0000:00:06.0", 0x1EB8, "3D controller [0302]: NVIDIA TU104GL [Tesla T4] [10de:1eb8]")
V100 = PciGpu("0000:00:07.0", 0x1DB1, "3D controller [0302]: NVIDIA GV100GL [Tesla V100 SXM2 16GB] [10de:1db1]")
B200 = PciGpu("0000:00:08.0", 0x2901, "3D controller [0302]: NVIDIA GB100 [B200] [10de:2901]")
SWITCH = PciGpu("0000:00:09.0", 0x1AF1, "Bridge [0680]: NVIDIA GA100 [A100 NVSwitch] [10de:1af1]", is_nvswitch=True)
BARE = replace(
    facts_module.read("facts_end=yes"), os_id="debian", os_version="12", os_codename="bookworm", os_name="Debian 12",
    arch="x86_64", kernel="6.1.0-40-amd64", package_manager="apt", pci_gpus=(T4,),
)  # fmt: skip
NOBLE = replace(BARE, os_id="ubuntu", os_version="24.04", kernel="6.8.0-85-generic")
ALINUX = replace(BARE, os_id="alinux", os_version="3", package_manager="dnf", kernel="5.10.134-19.al8.x86_64")


def gpu(driver: str) -> Gpu:
    return Gpu(0, "GPU-1", "Tesla T4", "0", 15360, 0, driver, "7.5", "[N/A]")


def running(version: str, *, ours: bool = False) -> Facts:
    return replace(
        BARE, gpus=(gpu(version),), driver_loaded=version, driver_on_disk=version, smi=True, nvidia_loaded=True,
        driver_ours=ours,
    )  # fmt: skip


def target(facts: Facts = BARE, cuda: str = "12.8", **driver: object) -> Target:
    image = {"ref": "a/vllm:1", "vllm": "0.8.2", "cuda": cuda}
    instances = [{"name": "qwen", "model": "Qwen/Qwen2.5-VL-7B-Instruct", "port": 8000, "gpus": "all"}]
    values = {"driver": driver, "image": image, "instances": tuple(instances)}
    return Target("gpu-1", HostSettings.model_validate(values), facts)


def resources(*args: object, **driver: object) -> list[Resource]:
    return list(nvidia_driver.resources(target(*args, **driver)))  # type: ignore[arg-type] # as target() takes them


def words(*args: object, **driver: object) -> list[str]:
    found = list(nvidia_driver.problems(target(*args, **driver)))  # type: ignore[arg-type] # as target() takes them
    assert all(problem.hint for problem in found)
    return [f"{problem.level}: {problem.words}" for problem in found]


def test_a_bare_host_gets_all_of_it_in_an_order_that_can_come_about() -> None:
    ids = [resource.id for resource in resources()]
    assert ids == [
        "repository:cuda",
        "file:/etc/modprobe.d/fleet-nvidia.conf",
        "file:/etc/apt/preferences.d/fleet-nvidia",
        "file:/etc/apt/apt.conf.d/52fleet-nvidia",
        "packages:linux-headers-6.1.0-40-amd64",
        "packages:nvidia-open+1",
        "held:nvidia-driver",
        "initramfs",
        "module:nvidia",
        f"file:{nvidia_driver.DROP_IN}",
        "service:nvidia-persistenced.service",
    ]
    assert words() == []


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (BARE, ("nvidia-open=580.*", "nvidia-persistenced=580.*")),
        (NOBLE, ("nvidia-open=580.*",)),
        (ALINUX, ("nvidia-open=580.*",)),
        (replace(BARE, pci_gpus=(T4, V100)), ("cuda-drivers=580.*", "nvidia-persistenced=580.*")),
        (replace(NOBLE, pci_gpus=(T4, SWITCH)), ("nvidia-open=580.*",)),
    ],
)
def test_the_flavour_is_open_where_all_gpus_have_open_modules(facts: Facts, names: tuple[str, ...]) -> None:
    assert nvidia_driver.packages(target(facts)) == names


def test_a_branch_or_an_exact_version_is_pinned_installed_and_held() -> None:
    for driver, version in (({"branch": 570}, "570.*"), ({"version": "570.124.06"}, "570.124.06*")):
        found = resources(**driver)
        pin = next(r for r in found if isinstance(r, File) and "preferences" in r.path)
        assert f"Pin: version {version}\n" in str(pin.content)
        assert f"nvidia-open={version}" in next(r for r in found if r.id == "packages:nvidia-open+1").names  # type: ignore[attr-defined] # it is Packages
        assert next(r for r in found if isinstance(r, Held)).version == version


def test_alibaba_cloud_linux_takes_rhel_8s_tree_and_a_stream_of_the_module() -> None:
    found = resources(ALINUX)
    repository = next(r for r in found if isinstance(r, Repository))
    assert repository.url.endswith("/rhel8/x86_64/")
    assert next(r for r in found if isinstance(r, DnfModule)).stream == "580-open"
    old = resources(replace(ALINUX, pci_gpus=(V100,)))
    assert next(r for r in old if isinstance(r, DnfModule)).stream == "580-dkms"
    assert "packages:kernel-devel-5.10.134-19.al8.x86_64" in [r.id for r in found]


@pytest.mark.parametrize(
    ("version", "cuda", "driver"),
    [("535.183.01", "12.4", {}), ("580.95.05", "13.0", {"branch": 580}), ("570.1", "12.8", {"version": "570.1"})],
)
def test_a_driver_that_works_and_does_is_respected(version: str, cuda: str, driver: dict[str, object]) -> None:
    assert resources(running(version), cuda, **driver) == []
    assert words(running(version), cuda, **driver) == []


@pytest.mark.parametrize(
    ("version", "cuda", "driver", "why"),
    [
        ("535.183.01", "13.0", {}, "the image's CUDA 13.0 needs 580 or newer"),
        ("535.183.01", "12.4", {"branch": 580}, "driver.branch asks for 580"),
        ("580.95.05", "12.4", {"version": "580.105.08"}, "driver.version asks for 580.105.08"),
    ],
)
def test_somebody_elses_driver_that_does_not_do_is_refused_not_replaced(
    version: str, cuda: str, driver: dict[str, object], why: str
) -> None:
    assert words(running(version), cuda, **driver) == [
        f"error: driver {version} was installed here by other means, and {why}"
    ]


def test_a_driver_of_somebody_elses_that_is_broken_is_theirs_to_mend() -> None:
    broken = replace(running("535.1"), gpus=(), smi_error="Driver/library version mismatch")
    assert words(broken) == [
        "error: driver 535.1 was installed here by other means, and nvidia-smi says: Driver/library version mismatch"
    ]


def test_our_own_driver_is_kept_as_told_and_moved_when_told_otherwise() -> None:
    same = resources(running("580.95.05", ours=True))
    assert "packages:nvidia-open+1" in [r.id for r in same]
    other = next(r for r in resources(running("580.95.05", ours=True), branch=590) if r.id == "packages:nvidia-open+1")
    assert isinstance(other, Packages)
    assert other.may_remove
    assert other.guard


def test_a_driver_that_is_not_ours_to_manage_is_only_checked() -> None:
    assert resources(running("535.1"), manage=False) == []
    assert words(running("535.1"), manage=False) == []
    assert words(manage=False) == ["error: driver.manage is false and no driver works here (no nvidia-smi)"]


@pytest.mark.parametrize(
    ("gpus", "driver", "problem"),
    [
        ((V100,), {"flavour": "open"}, "open modules don't run"),
        ((B200,), {"flavour": "proprietary"}, "proprietary modules don't run"),
        ((T4,), {"flavour": "proprietary", "branch": 620}, "branch 620 has no proprietary modules"),
        ((V100,), {"branch": 590}, "branch 590 doesn't run"),
    ],
)
def test_what_nvidia_does_not_make_is_refused_before_anything_is_changed(
    gpus: tuple[PciGpu, ...], driver: dict[str, object], problem: str
) -> None:
    assert any(problem in found for found in words(replace(BARE, pci_gpus=gpus), **driver))


def test_secure_boot_is_refused_in_words_but_not_under_a_driver_that_works() -> None:
    assert words(replace(BARE, secure_boot=True)) == [
        "error: Secure Boot is on: the kernel refuses modules that are built on the host"
    ]
    assert words(replace(running("580.95.05"), secure_boot=True)) == []


def test_no_gpu_on_the_bus_is_an_error_only_where_instances_are_wanted() -> None:
    nothing = replace(BARE, pci_gpus=())
    assert words(nothing) == ["error: no NVIDIA GPU on the bus"]
    idle = Target("cpu-1", HostSettings(), nothing)
    assert list(nvidia_driver.problems(idle)) == []
    assert list(nvidia_driver.resources(idle)) == []


def test_nouveau_without_leave_to_reboot_is_said_beforehand() -> None:
    held = replace(BARE, nouveau_loaded=True)
    assert words(held) == ["warning: nouveau holds the GPUs: a reboot will be needed after the driver is installed"]
    assert words(held, reboot="when-needed") == []
    module = next(r for r in resources(held, reboot="when-needed") if isinstance(r, NvidiaModule))
    assert module.may_reboot


def test_the_fabric_manager_comes_with_nvswitch_only_and_at_the_drivers_very_version() -> None:
    hgx = replace(BARE, pci_gpus=(T4, SWITCH))
    assert isinstance(resources(hgx)[-1], Pending)
    packages, service = resources(replace(hgx, driver_on_disk="580.95.05", driver_ours=True))[-2:]
    assert isinstance(packages, Packages)
    assert isinstance(service, Service)
    assert packages.names == ("nvidia-fabricmanager=580.95.05*",)
    older = resources(replace(hgx, driver_on_disk="570.124.06", driver_ours=True), branch=570)[-2]
    assert isinstance(older, Packages)
    assert older.names == ("nvidia-fabricmanager-570=570.124.06*",)


def test_a_host_that_is_a_container_has_no_kernel_of_its_own() -> None:
    kinds = [type(r) for r in resources(replace(BARE, container="lxc"))]
    assert Initramfs not in kinds
    assert not any("headers" in r.id for r in resources(replace(BARE, container="lxc")))


def test_a_system_that_nvidia_has_no_packages_for_is_said_so() -> None:
    assert any("NVIDIA has no packages" in found for found in words(replace(BARE, os_version="11")))


def test_unattended_upgrades_keep_away_from_the_driver() -> None:
    keep = next(r for r in resources() if r.id == "file:/etc/apt/apt.conf.d/52fleet-nvidia")
    assert isinstance(keep, File)
    assert '"nvidia-";' in str(keep.content)
