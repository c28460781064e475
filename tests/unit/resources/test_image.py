from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fleet.resource import KNOWN_AFTER_APPLY, Job, Observation
from fleet.resources import DerivedImage, Image
from fleet.secret import Secret
from tests.local_host import LocalHost

DIGEST = "sha256:" + "ab" * 32
FAKE = Path(__file__).parents[2] / "fake_docker.py"
IMAGE = Image("r.example/egs/vllm:0.8.2", DIGEST, ("m.example/egs/vllm", "r.example/egs/vllm"), 2**30)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    (tmp_path / "docker" / "images").mkdir(parents=True)
    monkeypatch.setenv("FAKE_DOCKER", str(tmp_path / "docker"))
    made = LocalHost(tmp_path)
    made.program("docker", f'exec {sys.executable} {FAKE} "$@"')
    made.program("sleep", "exec /bin/sleep 0.05")
    return made


def _serving(host: LocalHost, *repositories: str) -> None:
    (host.path / "docker" / "registries").write_text(json.dumps(repositories))


def test_an_image_is_pulled_by_digest_and_known_by_our_own_name(host: LocalHost) -> None:
    _serving(host, "m.example/egs/vllm")
    change = host.settle(IMAGE)
    assert change
    assert (change.id, change.kind) == ("image:r.example/egs/vllm:0.8.2", "pull")
    assert change.why == "sha256:abababababab…, 1.0 GiB to fetch, from m.example/egs/vllm"
    assert f"docker pull m.example/egs/vllm@{DIGEST}" in host.calls
    assert f"docker tag m.example/egs/vllm@{DIGEST} fleet.local/vllm:abababababababab" in host.calls


def test_when_the_mirror_fails_the_registry_is_asked(host: LocalHost) -> None:
    _serving(host, "r.example/egs/vllm")
    host.settle(IMAGE)
    pulls = [call for call in host.calls if call.startswith("docker pull")]
    assert pulls == [f"docker pull {name}@{DIGEST}" for name in IMAGE.candidates]


def test_when_all_fail_each_is_tried_three_times_and_its_words_are_told(host: LocalHost) -> None:
    _serving(host)
    reply = host.apply(IMAGE)
    assert reply.status == 1
    assert sum(call.startswith("docker pull") for call in host.calls) == 6
    assert "from r.example/egs/vllm: Error response from daemon: r.example/egs/vllm: connection refused" in reply.stderr


def test_an_image_that_is_here_by_another_name_is_only_named(host: LocalHost) -> None:
    _serving(host, "r.example/egs/vllm")
    host.settle(IMAGE)
    (host.path / "docker" / "images" / "fleet.local%vllm:abababababababab").unlink()
    host.settle(IMAGE)
    assert sum(call.startswith("docker pull") for call in host.calls) == 2


def test_our_name_on_another_image_is_seen() -> None:
    change = IMAGE.diff(Observation(f"image=r.example/egs/vllm@sha256:{'0' * 64} "))
    assert change
    assert change.kind == "pull"


def test_before_docker_is_there_the_pull_is_known_after_apply(host: LocalHost) -> None:
    host.program("docker", "exit 127")
    change = IMAGE.diff(host.see(IMAGE))
    assert change
    assert KNOWN_AFTER_APPLY in change.why


def test_no_room_is_told_before_anything_is_pulled(host: LocalHost) -> None:
    _serving(host, "m.example/egs/vllm")
    reply = host.apply(Image(IMAGE.ref, DIGEST, IMAGE.candidates, size=2**60))
    assert reply.status == 1
    assert reply.stderr.startswith("no space left on device: the image needs")
    assert not any(call.startswith("docker pull") for call in host.calls)


def test_a_pull_that_stands_still_is_given_up_for_the_next_registry(host: LocalHost) -> None:
    (host.path / "docker" / "registries").write_text('["r.example/egs/vllm"]')
    host.program(
        "docker", f'case "$*" in "pull m."*) exec /bin/sleep 60;; esac\nexec {sys.executable} {FAKE} "$@"'
    )  # fmt: skip
    (job,) = IMAGE.apply(Observation("image="))
    assert isinstance(job, Job)
    reply = host.sh("patience=10\n" + job.script, env={"JOB": str(host.path)})
    assert reply.status == 0, reply
    assert "nothing came from m.example/egs/vllm for 10 s" in reply.stderr


def test_a_login_lies_in_a_file_for_root_and_never_in_the_script() -> None:
    (job,) = Image(IMAGE.ref, DIGEST, IMAGE.candidates, login=("r.example", "me", Secret("p4ss"))).apply(
        Observation("")
    )
    assert isinstance(job, Job)
    config = job.files["config.json"]
    assert isinstance(config, Secret)
    assert json.loads(config.reveal()) == {"auths": {"r.example": {"auth": "bWU6cDRzcw=="}}}
    assert "p4ss" not in str(job)
    assert "bWU6" not in str(job)


DERIVED = DerivedImage("fleet.local/vllm:abab", ("qwen-vl-utils[decord]",), "FROM x\n", ("PIP_INDEX_URL=http://m",))


def test_a_recipe_names_its_image_and_the_way_to_it_does_not() -> None:
    other_way = DerivedImage(DERIVED.base, DERIVED.packages, DERIVED.dockerfile, (), "a CA")
    assert other_way.name == DERIVED.name
    for other in (
        DerivedImage("fleet.local/vllm:cdcd", DERIVED.packages, DERIVED.dockerfile),
        DerivedImage(DERIVED.base, ("qwen-vl-utils",), DERIVED.dockerfile),
        DerivedImage(DERIVED.base, DERIVED.packages, "FROM y\n"),
    ):
        assert other.recipe != DERIVED.recipe


def test_a_derived_image_is_built_from_its_files_and_labelled_by_its_recipe(host: LocalHost) -> None:
    image = host.path / "docker" / "images" / DERIVED.name.replace("/", "%")
    host.program(
        "docker",
        f'case "$1" in build) cat context/requirements.txt > {host.path}/built; echo {DERIVED.recipe} > {image};;\n'
        f'*) exec {sys.executable} {FAKE} "$@";; esac',
    )
    change = host.settle(DERIVED)
    assert change
    assert change.why == "with qwen-vl-utils[decord]"
    assert (host.path / "built").read_text() == "qwen-vl-utils[decord]\n"
    (build,) = [call for call in host.calls if call.startswith("docker build")]
    assert f"--label fleet.recipe={DERIVED.recipe} --build-arg PIP_INDEX_URL=http://m" in build


def test_a_build_that_fails_shows_its_last_lines(host: LocalHost) -> None:
    host.program("docker", "echo 'No matching distribution found for qwen-vl-utils'; exit 1")
    reply = host.apply(DERIVED)
    assert reply.status == 1
    assert "No matching distribution" in reply.stderr


@pytest.mark.parametrize(("tags", "marked"), [("", True), ("theirs:latest ", True), ("fleet.local/vllm-x:1 ", False)])
def test_an_image_that_somebody_else_brought_is_marked_so_that_no_prune_takes_it(
    host: LocalHost, tags: str, *, marked: bool
) -> None:
    (host.path / "docker" / "images" / f"r.example%egs%vllm@{DIGEST}").write_text(tags + f"r.example/egs/vllm@{DIGEST}")
    assert host.apply(IMAGE).status == 0
    assert not any(call.startswith("docker pull") for call in host.calls)
    call = f"docker tag r.example/egs/vllm@{DIGEST} fleet.local/was-here:abababababababab"
    assert (call in host.calls) is marked
