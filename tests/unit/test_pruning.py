from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import CommandFailed, HostError
from fleet.plan import HostPlan
from fleet.prune import Goes, LocalFile, Needs, goes
from fleet.pruning import image_gone, look_script, read, wanted_of, weights_gone
from fleet.resources import Weights
from fleet.resources.scripts import weights as engine
from fleet.survey import Survey
from fleet.target import Manifest, ModelFile, Target
from fleet.weights.hub import content_id
from roles import ROLES
from tests.hub import sha256
from tests.local_host import LocalHost
from tests.targets import MANIFEST, target

SHELLS = [("dash",), ("busybox", "sh")]
BIG = b"w" * 5000


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> LocalHost:
    if not shutil.which(request.param[0]):
        pytest.skip(f"{request.param[0]} isn't here")
    made = LocalHost(tmp_path, shell=request.param)
    made.program("docker", "exit 1")
    (tmp_path / "models").mkdir()
    return made


def bring(host: LocalHost, files: dict[str, bytes]) -> Weights:
    """A revision as the engine's own script makes it, with links to what others here have."""
    rows = tuple(ModelFile(path, len(data), sha256(data)) for path, data in sorted(files.items()))
    manifest = Manifest("me/tiny", "master", "huggingface", content_id(rows), rows)
    made = Weights(manifest, str(host.path / "models"), "image", "", "http://x")
    partial = Path(made.directory) / f"partial-{manifest.content_id[:12]}"
    (partial / ".fleet").mkdir(parents=True)
    spec = {
        "model": "me/tiny", "revision": "master", "source": "huggingface", "endpoint": "", "link": True,
        "content_id": manifest.content_id, "files": [[row.path, row.size, row.sha256] for row in rows],
    }  # fmt: skip
    engine.adopt(partial.parent, partial, [engine.File(row.path, row.size, row.sha256) for row in rows])
    for path, data in files.items():
        if not (partial / path).exists():
            (partial / path).write_bytes(data)
    (partial.parent / "spec.json").write_text(json.dumps(spec))
    source = Path(engine.__file__)
    subprocess.run([sys.executable, source, partial.parent, partial.parent / "spec.json"], check=True)
    return made


def look(host: LocalHost) -> str:
    reply = host.sh(look_script(str(host.path / "models"), str(host.path / "instances")))
    assert reply.status == 0, reply
    return reply.stdout


def well(host: LocalHost, weights: Weights) -> bool:
    return host.see(weights).get("state") == "ok"


def remove(host: LocalHost, weights: Weights, script: str = "") -> None:
    path = f"{Path(weights.directory).name}/{Path(weights.path).name}"
    reply = host.sh(script or weights_gone(str(host.path / "models"), path))
    assert reply.status == 0, reply


def test_a_host_tells_its_weights_with_their_files_and_links(host: LocalHost) -> None:
    host.program("docker", 'case "$1" in ps | version) ;; *) exit 0;; esac')
    old, new = bring(host, {"a": BIG, "b": b"1"}), bring(host, {"a": BIG, "b": b"2"})
    (host.path / "models" / "me--tiny" / "rev-of-mine").mkdir()
    (host.path / "models" / "me--tiny" / "rev-000000000000").symlink_to("/etc")
    seen = read(look(host))
    assert seen.root == str(host.path / "models")
    ours = {place.name: place for place in seen.places if place.marked}
    assert {Path(weights.path).name for weights in (old, new)} == {*ours}
    place = ours[Path(old.path).name]
    assert (place.directory, place.model, place.content) == ("me--tiny", "me/tiny", old.manifest.content_id)
    status = (Path(old.path) / "a").stat()
    assert LocalFile(f"{status.st_dev}:{status.st_ino}", 2, 5000) in place.files
    assert {one.name for one in goes(seen, Needs())} == {f"me--tiny/{name}" for name in ours}


def test_a_revision_goes_and_those_that_share_its_files_are_well_and_need_no_second_check(host: LocalHost) -> None:
    old, new = bring(host, {"a": BIG, "b": b"1"}), bring(host, {"a": BIG, "b": b"2"})
    assert (Path(old.path) / "a").samefile(Path(new.path) / "a")
    assert well(host, old)
    assert well(host, new)
    remove(host, old)
    assert well(host, new)
    assert (Path(new.path) / "a").read_bytes() == BIG
    assert {path.name for path in Path(new.directory).iterdir()} == {
        ".lock", "current", "spec.json", Path(new.path).name,
    }  # fmt: skip
    assert Path(new.directory, "current").readlink() == Path(Path(new.path).name)
    remove(host, old)  # what is gone is gone


def test_a_damaged_revision_is_not_called_well_by_the_way(host: LocalHost) -> None:
    old, new = bring(host, {"a": BIG, "b": b"1"}), bring(host, {"a": BIG, "b": b"2"})
    (Path(new.path) / "b").chmod(0o644)
    (Path(new.path) / "b").write_bytes(b"3")
    remove(host, old)
    assert not well(host, new)


def test_the_link_to_a_revision_that_goes_goes_too(host: LocalHost) -> None:
    only = bring(host, {"a": BIG})
    remove(host, only)
    assert not os.path.lexists(f"{only.directory}/current")


@pytest.mark.parametrize("after", ["mv -T", "rm -rf", "-links 1"])
def test_a_kill_leaves_nothing_that_looks_whole_and_the_next_prune_ends_it(host: LocalHost, after: str) -> None:
    old, new = bring(host, {"a": BIG, "b": b"1"}), bring(host, {"a": BIG, "b": b"2"})
    path = f"me--tiny/{Path(old.path).name}"
    lines = weights_gone(str(host.path / "models"), path).splitlines()
    place = next(i for i, line in enumerate(lines) if after in line and not line.startswith("stamp"))
    cut = [*lines[: place + (after != "rm -rf")], ";; esac" if after == "mv -T" else "", "kill -9 $$"]
    host.sh("\n".join(cut))
    assert not Path(old.path).exists()
    assert well(host, new)
    host.program("docker", 'case "$1" in ps | version) ;; *) exit 0;; esac')
    (left,) = [one for one in goes(read(look(host)), Needs()) if ".trash" in one.name]
    remove(host, old, weights_gone(str(host.path / "models"), left.name))
    assert well(host, new)
    assert not list(Path(new.directory).glob(".trash*"))


def test_while_a_download_is_at_work_nothing_goes(host: LocalHost) -> None:
    old = bring(host, {"a": BIG})
    script = weights_gone(str(host.path / "models"), f"me--tiny/{Path(old.path).name}")
    with subprocess.Popen(["flock", f"{old.directory}/.lock", "sh", "-c", "echo; read x"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # fmt: skip
        assert holder.stdout
        holder.stdout.readline()
        reply = host.sh(script)
        holder.communicate(b"\n", timeout=10)
    assert (reply.status, "download is at work" in reply.stderr) == (1, True)
    assert well(host, old)


@pytest.mark.parametrize("what", ["model", "revision"])
def test_what_leads_elsewhere_is_left_alone(host: LocalHost, what: str) -> None:
    precious = host.path / "elsewhere" / "rev-0123456789ab"
    precious.mkdir(parents=True)
    (precious / "a").write_text("x")
    model = host.path / "models" / "me--tiny"
    if what == "model":
        model.symlink_to(precious.parent)
    else:
        model.mkdir()
        (model / precious.name).symlink_to(precious)
    assert host.sh(weights_gone(str(host.path / "models"), f"me--tiny/{precious.name}")).status == 1
    assert (precious / "a").read_text() == "x"


@pytest.mark.parametrize(
    "path",
    ["me--tiny", "", "/", "me--tiny/..", "me--tiny/current", "../x--y/rev-0123456789ab", "me--tiny/rev-0123456789ab/..",
     "a--b/rev-0123456789ab\n"],
)  # fmt: skip
def test_no_other_path_is_ever_deleted(path: str) -> None:
    with pytest.raises(ValueError, match="no directory of weights"):
        weights_gone("/srv/models", path)
    with pytest.raises(ValueError, match="no directory of weights"):
        weights_gone("", "a--b/rev-0123456789ab")


IMAGE = Goes("image", "sha256:id", 1, "", ("r.example/vllm@sha256:1", "fleet.local/vllm:1"))


def test_an_image_loses_its_names_one_by_one_and_never_by_force(host: LocalHost) -> None:
    host.program("docker", 'case "$2" in rm) ;; inspect) exit 1;; esac')
    assert host.sh(image_gone(IMAGE)).status == 0
    assert host.calls == [
        "docker image rm r.example/vllm@sha256:1",
        "docker image rm fleet.local/vllm:1",
        "docker image inspect sha256:id",
    ]


def test_an_image_that_docker_does_not_give_up_is_told_with_its_words(host: LocalHost) -> None:
    host.program("docker", 'case "$2" in rm) echo "conflict: container 4711 uses it" >&2; exit 1;; esac')
    reply = host.sh(image_gone(IMAGE))
    assert (reply.status, "container 4711" in reply.stderr) == (1, True)


def _release(host: LocalHost, **about: object) -> None:
    place = host.path / "instances" / "qwen" / "releases" / "aaa"
    place.mkdir(parents=True)
    told = {"content_id": "c" * 64, "digest": "sha256:" + "d" * 64, **about}
    (place / "release.json").write_text(json.dumps(told))
    (place / "before-start").write_text("docker image inspect fleet.local/vllm:d >/dev/null 2>&1 || fail\n")


def test_a_host_tells_what_its_releases_containers_and_images_are(host: LocalHost) -> None:
    _release(host)
    (host.path / "there").mkdir()
    (host.path / "link").symlink_to("there")
    host.program(
        "docker",
        f"""case "$1 $2" in
  "ps --all") echo c1;;
  "inspect --type") printf 'used+=sha256:i1\\nused+=theirs:1\\nmount+={host.path}/link\\n';;
  "image ls") echo sha256:i1; echo sha256:i1;;
  "image inspect") echo 'image+=sha256:i1|12|theirs:1,|r/x@sha256:9,|l1,l2,';;
esac""",
    )
    seen = read(look(host))
    assert seen.releases.names == {"fleet.local/vllm:d"}
    assert seen.releases.digests == {"sha256:" + "d" * 64}
    assert seen.releases.contents == {"c" * 12}
    assert seen.used == {"sha256:i1", "theirs:1"}
    assert seen.mounts == (f"{host.path}/link", f"{host.path}/there")
    (image,) = seen.images
    assert (image.size, image.tags, image.digests, image.layers) == (12, ("theirs:1",), ("r/x@sha256:9",), ("l1", "l2"))


@pytest.mark.parametrize("about", [{"content_id": None}, {"digest": ""}])
def test_a_release_whose_needs_are_not_known_keeps_everything(host: LocalHost, about: dict[str, object]) -> None:
    _release(host, **about)
    host.program("docker", "exit 0")
    with pytest.raises(CommandFailed, match=r"releases/aaa needs can't be known, so nothing may go"):
        read(look(host))


def test_a_docker_that_does_not_answer_keeps_everything(host: LocalHost) -> None:
    with pytest.raises(CommandFailed, match="what containers use can't be known"):
        read(look(host))
    host.program("docker", '[ "$1" = version ]')  # it answers, and then not
    host.program("sleep", "")
    with pytest.raises(CommandFailed, match="what containers use can't be known"):
        read(look(host))


def test_half_an_answer_keeps_everything() -> None:
    gone = base64.b64encode(b"{}").decode()
    with pytest.raises(CommandFailed, match="what is there can't be known"):
        read(f"release+=/x {gone} {gone}\nimage+=a|1|fleet.local/vllm:1,||\n")


def _surveyed(told: Target) -> Survey:
    plan = HostPlan(told.name, ())
    return Survey(told, tuple(one for role in ROLES for one in role.resources(told)), plan)


def test_the_inventory_wants_its_image_what_is_built_on_it_and_its_models() -> None:
    told = target(
        image={"ref": "r.example/vllm:v0.8.2", "extra_pip": ["qwen-vl-utils"], "digest": "sha256:" + "a" * 64}
    )
    wanted = wanted_of(_surveyed(told))
    assert wanted.contents == {MANIFEST.content_id[:12]}
    assert wanted.digests == {"sha256:" + "a" * 64}
    base, built = sorted(wanted.names, key=len)
    assert base == "fleet.local/vllm:" + "a" * 16
    assert built.startswith(f"{base}-")


def test_where_it_is_not_known_what_the_inventory_wants_nothing_goes() -> None:
    with pytest.raises(HostError, match="what the inventory wants there isn't known"):
        wanted_of(_surveyed(replace(target(), manifests={})))
