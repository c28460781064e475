"""What a prune takes from a host of the lab, and what it leaves: Docker, the file system and the hub are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.lab import lab, services
from tests.lab.operator_ import Fleet

SMALL = "Qwen/Qwen2.5-VL-3B-Instruct"
ON = ("--hosts", "h2", "--yes")
MODELS = "/srv/models"


def _on_h2(script: str) -> str:
    return lab.run(lab.host("h2"), script)


def _here() -> set[str]:
    """The revisions and images on the host."""
    return set(_on_h2(f"ls -d {MODELS}/*/rev-*; docker image ls --quiet --no-trunc").split())


def test_a_model_that_was_only_staged_and_given_up_goes_and_what_serves_stays(
    raised: dict[str, Any], tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path / "home")
    fleet("provision", *ON)  # nothing to do where another test brought it up
    small = {"name": "qwen-vl", "model": SMALL, "served_name": "Qwen2.5-VL-7B", "api_key": "lab-key-0123456789"}
    document = {"all": {"children": {"gpu-cluster": {"vars": {"instances": [small]}}}}}
    fleet.told(tmp_path / "small.yml", document)("provision", *ON)
    fleet("releases.prune", *ON)  # what other tests left goes; the new model is in a release that is kept
    before = _here()
    gone = [path for path in before if "3B" in path]
    assert len(gone) == 1
    name = gone[0].removeprefix(f"{MODELS}/")
    assert fleet("releases.prune", *ON)["hosts"]["h2"]["goes"] == []

    _on_h2(f"cd /etc/fleet/instances/qwen-vl/releases && rm -r $(grep -l {SMALL} */release.json | cut -d/ -f1)")
    assert name in [one["name"] for one in fleet("releases.prune", "--hosts", "h2", "--dry-run")["hosts"]["h2"]["goes"]]
    assert _here() == before
    serving = fleet("status", "--hosts", "h2")

    assert fleet("releases.prune", *ON)["hosts"]["h2"]["removed"] == [name]
    assert _here() == before - {*gone}
    assert fleet("releases.prune", *ON)["hosts"]["h2"]["goes"] == []
    services.fault({})  # the hub's log begins anew
    fleet("provision", *ON)
    assert services.hub_log() == []
    assert fleet("status", "--hosts", "h2") == serving
