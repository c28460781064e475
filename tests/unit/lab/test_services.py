"""The lab's services: what runs is what we started, whatever else takes connections."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.lab import machine, services


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab's directory, and somebody who listens where its hub would."""
    monkeypatch.setattr(machine, "work", lambda: tmp_path)
    (tmp_path / "services").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(services, "SERVICE", "127.0.0.1")
        monkeypatch.setattr(services, "_PORTS", {"hub": listener.getsockname()[1]})
        yield tmp_path / "services"


def test_somebody_elses_listener_is_no_service_of_ours(place: Path) -> None:
    assert not services.running("hub")
    (place / "hub.pid").write_text("1 no-such-program")
    assert not services.running("hub")
    (place / "hub.pid").write_text("cut o")
    assert not services.running("hub")


def test_our_process_runs_until_it_is_stopped(place: Path) -> None:
    words = ["/bin/sh", "-c", "echo; read nothing"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # just after its start the kernel doesn't have its command line yet
        (place / "hub.pid").write_text(f"{process.pid} /bin/sh")
        assert services.running("hub")
        services.stop("hub")
        assert process.wait(10) == -15
    assert not services.running("hub")
    assert not (place / "hub.pid").exists()
