from __future__ import annotations

import pytest

from fleet.resources import Service
from fleet.resources.reload import STILL_GPUS
from tests.local_host import LocalHost

#: A Docker with two containers of ours; `lost` beside it names those whose GPUs are gone, `bare` those that cannot say.
DOCKER = """
s=$(dirname $0); has() { grep -qs "^$2$" "$s/$1"; }
case "$*" in
  'ps --quiet --filter label=fleet.instance') printf 'c1\\nc2\\n';;
  inspect*) echo "/fleet-${4#c}";;
  exec*) [ -e $s/down ] && exit 126
    if has bare $2; then exit 0; elif has lost $2; then echo 'Unknown Error'; exit 255; fi;;
esac"""


@pytest.fixture
def docker(host: LocalHost) -> None:
    host.program("docker", DOCKER)


@pytest.mark.usefixtures("docker")
def test_containers_that_still_see_their_gpus_are_well(host: LocalHost) -> None:
    (host.bin / "bare").write_text("c2\n")
    reply = host.sh(STILL_GPUS)
    assert (reply.status, reply.stderr) == (0, "")
    assert [call.split()[2] for call in host.calls if call.startswith("docker exec")] == ["c1", "c2"]


@pytest.mark.usefixtures("docker")
def test_one_that_lost_them_is_named_with_what_to_do(host: LocalHost) -> None:
    (host.bin / "lost").write_text("c2\n")
    reply = host.sh(STILL_GPUS)
    assert reply.status == 1
    assert "no GPU is seen any more in: fleet-2." in reply.stderr
    assert "fleet-1" not in reply.stderr
    assert "runtime.gpu_access" in reply.stderr


def test_a_host_without_docker_is_well(host: LocalHost) -> None:
    host.program("docker", "exit 127")
    assert host.sh(f"set -e\n{STILL_GPUS}").status == 0


@pytest.mark.usefixtures("docker")
def test_a_service_asks_after_systemd_has_read_its_units_again(host: LocalHost) -> None:
    host.program("systemctl", 'case "$*" in *LoadState*) echo LoadState=loaded; echo ActiveState=active;'
                 " echo NeedDaemonReload=yes;; is-enabled*) echo enabled;; esac")  # fmt: skip
    (host.bin / "lost").write_text("c1\n")
    reply = host.apply(Service("x.service"))
    assert reply.status == 1
    assert "fleet-1" in reply.stderr
