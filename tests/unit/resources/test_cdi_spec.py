from __future__ import annotations

from pathlib import Path

import pytest

from fleet.resource import KNOWN_AFTER_APPLY, Observation
from fleet.resources import CdiSpec
from tests.local_host import LocalHost

#: As a real nvidia-smi answers, for as many GPUs as the file `gpus` says and the driver that `driver` says.
SMI = """
d=$(dirname $0); [ -e $d/gpus ] || { echo "couldn't communicate with the NVIDIA driver" >&2; exit 9; }
i=0; while [ $i -lt $(cat $d/gpus) ]; do
  case $1 in
    -L) echo "GPU $i: NVIDIA A10 (UUID: GPU-0000000$i-aaaa-bbbb-cccc-dddddddddddd)";;
    *) echo "$i, GPU-0000000$i-aaaa-bbbb-cccc-dddddddddddd, $(cat $d/driver)";;
  esac
  i=$((i + 1))
done"""
#: As nvidia-ctk writes them: devices by index, `all`, and the driver's libraries by their version.
CTK = """
d=$(dirname $0); [ ! -e $d/broken ] || { echo 'failed to initialize NVML' >&2; exit 1; }
case "$*" in 'cdi generate --output='*.yaml) ;; *) exit 2;; esac
out=${3#--output=}
{ echo '---'; echo 'cdiVersion: 0.5.0'; echo 'devices:'; i=0
  while [ $i -lt $(cat $d/gpus) ]; do echo '- containerEdits:'; echo "  name: \\"$i\\""; i=$((i + 1)); done
  echo '- containerEdits:'; echo '  name: all'; echo 'kind: nvidia.com/gpu'
  echo "# libcuda.so.$(cat $d/driver)"; } > "$out"
"""


@pytest.fixture
def gpus(host: LocalHost) -> Path:
    """The directory in which the simulated driver keeps its state: four GPUs at first."""
    host.program("nvidia-smi", SMI)
    host.program("nvidia-ctk", CTK)
    (host.bin / "gpus").write_text("4")
    (host.bin / "driver").write_text("580.95.05")
    return host.bin


def spec(host: LocalHost) -> CdiSpec:
    return CdiSpec(str(host.path / "cdi" / "nvidia.yaml"))


def test_it_is_made_and_then_left_alone(host: LocalHost, gpus: Path) -> None:
    change = host.settle(spec(host))
    assert change
    assert (change.kind, change.why) == ("create", "it isn't there")
    made = host.path / "cdi" / "nvidia.yaml"
    assert made.stat().st_mode & 0o777 == 0o644
    assert 'name: "3"' in made.read_text()
    assert [p.name for p in made.parent.iterdir()] == ["nvidia.yaml"], "nothing beside it that Docker would read"


@pytest.mark.parametrize(("what", "value"), [("gpus", "2"), ("gpus", "8"), ("driver", "590.44.01")])
def test_other_gpus_or_another_driver_make_it_stale(host: LocalHost, gpus: Path, what: str, value: str) -> None:
    host.settle(spec(host))
    (gpus / what).write_text(value)
    change = host.settle(spec(host))
    assert change
    assert change.kind == "update"


def test_one_that_somebody_else_made_is_made_anew(host: LocalHost, gpus: Path) -> None:
    (host.path / "cdi").mkdir()
    (host.path / "cdi" / "nvidia.yaml").write_text("devices:\n- name: all\nkind: nvidia.com/gpu\n")
    change = host.settle(spec(host))
    assert change
    assert "other GPUs or another driver" in change.why


def test_one_that_lost_a_gpu_by_an_edit_is_made_anew(host: LocalHost, gpus: Path) -> None:
    host.settle(spec(host))
    made = host.path / "cdi" / "nvidia.yaml"
    made.write_text(made.read_text().replace('name: "2"', 'name: "12"'))
    change = host.settle(spec(host))
    assert change
    assert change.why == "it doesn't name GPU 2"


def test_before_driver_or_toolkit_it_is_known_after_apply(host: LocalHost, gpus: Path) -> None:
    (gpus / "nvidia-ctk").unlink()
    change = spec(host).diff(host.see(spec(host)))
    assert change
    assert change.why == f"{KNOWN_AFTER_APPLY}: when the container toolkit is there"
    host.program("nvidia-ctk", CTK)
    (gpus / "gpus").unlink()
    change = spec(host).diff(host.see(spec(host)))
    assert change
    assert change.why == f"{KNOWN_AFTER_APPLY}: when nvidia-smi answers"


def test_where_it_cannot_be_made_the_old_one_stays_and_the_reason_is_said(host: LocalHost, gpus: Path) -> None:
    host.settle(spec(host))
    made = host.path / "cdi" / "nvidia.yaml"
    before = made.read_text()
    (gpus / "gpus").write_text("2")
    (gpus / "broken").touch()
    reply = host.apply(spec(host))
    assert reply.status == 1
    assert "failed to initialize NVML" in reply.stderr
    assert made.read_text() == before
    assert [p.name for p in made.parent.iterdir()] == ["nvidia.yaml"]


def test_what_a_killed_run_left_beside_is_cleared_away(host: LocalHost, gpus: Path) -> None:
    (host.path / "cdi" / ".fleet-new-abc123").mkdir(parents=True)
    host.settle(spec(host))
    assert [p.name for p in (host.path / "cdi").iterdir()] == ["nvidia.yaml"]


def test_a_probe_that_said_nothing_is_a_change_not_a_crash() -> None:
    assert CdiSpec().diff(Observation("")) is not None
