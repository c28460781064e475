from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.resource import Observation
from fleet.resources import Guard, Service
from tests.local_host import LocalHost

SYSTEMCTL = """
s=$0.d
get() { cat "$s/$1" 2>/dev/null || echo "$2"; }
case "$*" in
  *LoadState*) echo "LoadState=$(get load loaded)"; echo "ActiveState=$(get active inactive)"
    echo "NeedDaemonReload=$(get reload no)";;
  *InvocationID*) get id;;
  *ActiveEnterTimestamp*) get since;;
  is-enabled*) get enabled disabled;;
  is-active*) get active inactive;;
  daemon-reload) echo no > $s/reload; echo loaded > $s/load;;
  enable*) echo enabled > $s/enabled;;
  disable*) echo disabled > $s/enabled;;
  start*|restart*) [ ! -e $s/broken ] || exit 1
    echo active > $s/active; date -u '+%a %F %T UTC' > $s/since; date +%N > $s/id;;
  stop*) echo inactive > $s/active;;
esac"""


class Systemd:
    """A systemctl that remembers what it was told."""

    def __init__(self, host: LocalHost) -> None:
        self.state = Path(f"{host.program('systemctl', SYSTEMCTL)}.d")
        self.state.mkdir()
        host.program("journalctl", "echo 'the last words of the unit'")

    def set(self, name: str, value: str) -> None:
        (self.state / name).write_text(value + "\n")


@pytest.fixture
def systemd(host: LocalHost) -> Systemd:
    return Systemd(host)


@pytest.fixture
def service(host: LocalHost) -> Service:
    (host.path / "conf").write_text("a = 1")
    return Service("docker.service", inputs=(str(host.path / "conf"),), notes=str(host.path / "notes"))


@pytest.mark.usefixtures("systemd")
def test_it_is_enabled_and_started(host: LocalHost, service: Service) -> None:
    change = host.settle(service)
    assert change
    assert (change.kind, change.why) == ("start", "it is disabled at boot; it is inactive")
    assert "systemctl enable docker.service" in host.calls
    assert not [call for call in host.calls if "daemon-reload" in call], "enable does that by itself"


def test_an_input_that_changed_since_we_started_it_makes_it_stale(
    host: LocalHost, systemd: Systemd, service: Service
) -> None:
    host.settle(service)
    (host.path / "conf").write_text("a = 2")
    change = host.settle(service)
    assert change
    assert change.kind == "restart"
    assert "conf" in change.why


def test_an_input_that_vanished_makes_it_stale_too(host: LocalHost, systemd: Systemd, service: Service) -> None:
    host.settle(service)
    (host.path / "conf").unlink()
    change = service.diff(host.see(service))
    assert change
    assert change.kind == "restart"


def test_somebodys_own_restart_after_the_change_counts(host: LocalHost, systemd: Systemd, service: Service) -> None:
    host.settle(service)
    (host.path / "conf").write_text("a = 2")
    systemd.set("id", "another")
    systemd.set("since", "Mon 2037-01-05 10:00:00 UTC")
    assert service.diff(host.see(service)) is None


def test_a_unit_that_ran_before_us_is_stale_only_where_an_input_is_newer(
    host: LocalHost, systemd: Systemd, service: Service
) -> None:
    for name, value in {"active": "active", "enabled": "enabled", "id": "1"}.items():
        systemd.set(name, value)
    systemd.set("since", "Mon 2037-01-05 10:00:00 UTC")
    assert service.diff(host.see(service)) is None
    systemd.set("since", "Mon 2001-01-01 10:00:00 UTC")
    change = service.diff(host.see(service))
    assert change
    assert change.kind == "restart"


def test_a_restart_names_what_it_would_stop_and_a_start_stops_nothing(
    host: LocalHost, systemd: Systemd, service: Service
) -> None:
    systemd.set("enabled", "enabled")
    guarded = replace(service, guard=Guard(("docker",), "echo qwen"))
    first = guarded.diff(host.see(guarded))
    host.settle(guarded)
    (host.path / "conf").write_text("a = 2")
    then = guarded.diff(host.see(guarded))
    assert first
    assert then
    assert (first.interrupts, then.interrupts) == ((), ("docker",))


def test_with_nothing_running_a_restart_interrupts_nothing(host: LocalHost, systemd: Systemd, service: Service) -> None:
    guarded = replace(service, guard=Guard(("docker",), "no-such-docker ps"))
    host.settle(guarded)
    (host.path / "conf").write_text("a = 2")
    change = guarded.diff(host.see(guarded))
    assert change
    assert change.interrupts == ()


def test_a_start_that_fails_shows_the_units_last_words_and_notes_nothing(
    host: LocalHost, systemd: Systemd, service: Service
) -> None:
    systemd.set("broken", "")
    reply = host.apply(service)
    assert reply.status == 1
    assert "the last words of the unit" in reply.stderr
    assert not (host.path / "notes").exists()


def test_a_changed_unit_file_is_read_again_without_a_restart(
    host: LocalHost, systemd: Systemd, service: Service
) -> None:
    host.settle(service)
    systemd.set("reload", "yes")
    host.path.joinpath("calls").unlink()
    change = host.settle(service)
    assert change
    assert change.kind == "reload"
    assert not [call for call in host.calls if "restart" in call or " start" in call]


@pytest.mark.parametrize("name", ["reload", "enabled"])
def test_reading_all_units_again_waits_for_what_it_may_take_gpus_from(
    host: LocalHost, systemd: Systemd, service: Service, name: str
) -> None:
    host.settle(service)
    systemd.set(name, {"reload": "yes", "enabled": "disabled"}[name])
    guarded = replace(service, guard=Guard(("docker",), "echo qwen"))
    change = guarded.diff(host.see(guarded))
    assert change
    assert change.interrupts == ("docker",)


def test_a_unit_that_must_not_run_is_stopped_and_disabled(host: LocalHost, systemd: Systemd) -> None:
    systemd.set("active", "active")
    systemd.set("enabled", "enabled")
    host.settle(Service("x.service", enabled=False, running=False))
    assert "systemctl stop x.service" in host.calls


def test_a_unit_that_a_package_will_bring_is_known_only_then(service: Service) -> None:
    change = service.diff(Observation("LoadState=not-found\nActiveState=inactive"))
    assert change
    assert "known after apply" in change.why
    absent = replace(service, enabled=False, running=False)
    assert absent.diff(Observation("LoadState=not-found")) is None


def test_a_masked_unit_is_said_to_be_forbidden(service: Service) -> None:
    change = service.diff(Observation("LoadState=masked"))
    assert change
    assert "masked" in change.why


def test_it_follows_the_resources_that_write_its_unit_and_its_inputs() -> None:
    unit = "file:/etc/systemd/system/x.service"
    assert Service("x.service", inputs=("/etc/a",)).follows == (unit, "file:/etc/a", "json:/etc/a", "absent:/etc/a")
