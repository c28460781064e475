from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.resource import Job, Observation, Run
from fleet.resources import Reach, Tools, Weights
from fleet.secret import Secret
from fleet.target import Manifest, ModelFile
from fleet.weights.hub import content_id
from tests.hub import Hub, sha256
from tests.local_host import LocalHost
from tests.server import Request, Response, Server, serve

BIG = bytes(range(256)) * 4000
FILES = {"config.json": b"{}", "model-00001-of-00002.safetensors": BIG, "sub dir/tokenizer.json": b"tok"}
FAKE = Path(__file__).parents[2] / "fake_docker.py"


def _manifest(files: dict[str, bytes], source: str = "modelscope") -> Manifest:
    rows = tuple(ModelFile(path, len(data), sha256(data)) for path, data in sorted(files.items()))
    return Manifest("me/tiny", "master", source, content_id(rows), rows)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    (tmp_path / "docker" / "images").mkdir(parents=True)
    monkeypatch.setenv("FAKE_DOCKER", str(tmp_path / "docker"))
    made = LocalHost(tmp_path)
    made.program("docker", f'exec {sys.executable} {FAKE} "$@"')
    return made


class Place:
    """A hub that serves ``FILES``, and what a host would be told of it."""

    def __init__(self, host: LocalHost, hub: Hub, server: Server) -> None:
        self.root, self.hub, self.server = host.path / "models", hub, server

    def weights(self, files: dict[str, bytes] | None = None, source: str = "modelscope", **more: object) -> Weights:
        # The tools are this environment's own: the client is installed here.
        tools = next(p for p in sys.path if p.endswith("site-packages"))
        endpoint = f"http://127.0.0.1:{self.server.port}"
        manifest = _manifest(FILES if files is None else files, source)
        return Weights(manifest, str(self.root), "image", tools, endpoint, **more)  # type: ignore[arg-type]  # as told

    def fetched(self, path: str) -> int:
        return sum(r.query.get("FilePath") == path or r.path.endswith(path) for r in self.server.asked)


@pytest.fixture
def place(host: LocalHost) -> Iterator[Place]:
    hub = Hub({"me/tiny": FILES})
    with serve(hub) as server:
        yield Place(host, hub, server)


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_model_comes_whole_checked_and_by_its_name(host: LocalHost, place: Place, source: str) -> None:
    weights = place.weights(source=source)
    change = host.settle(weights)
    assert change
    assert (change.kind, change.why[:7]) == ("download", "3 files")
    assert {p: (Path(weights.path) / p).read_bytes() for p in FILES} == FILES
    left = {p.name for p in Path(weights.directory).iterdir()}
    assert left == {".lock", "current", f"rev-{weights.manifest.content_id[:12]}"}
    assert Path(weights.directory, "current").readlink() == Path(Path(weights.path).name)
    assert (Path(weights.path) / "config.json").stat().st_mode & 0o777 == 0o444
    inside = {p.relative_to(weights.path).as_posix() for p in Path(weights.path).rglob("*") if p.is_file()}
    assert inside == {*FILES, ".fleet/stamp", ".fleet/manifest.json"}


def test_a_damaged_byte_on_the_way_is_fetched_again(host: LocalHost, place: Place) -> None:
    bad = Response(b"\xff" + BIG[1:])
    place.hub.faults["model-00001-of-00002.safetensors"] = [bad]
    host.settle(place.weights(source="huggingface"))
    assert place.fetched("model-00001-of-00002.safetensors") == 2


def test_a_connection_that_breaks_is_gone_on_with(host: LocalHost, place: Place) -> None:
    place.hub.faults["model-00001-of-00002.safetensors"] = [Response(BIG, cut=500_000)]
    host.settle(place.weights(source="huggingface"))
    ranges = [r.headers.get("Range") for r in place.server.asked if r.path.endswith(".safetensors")]
    assert ranges == [None, "bytes=500000-"]


def test_what_never_comes_right_is_never_installed(host: LocalHost, place: Place) -> None:
    place.hub.models["me/tiny"] = {**FILES, "config.json": b"[]"}  # the branch moved since it was locked
    weights = place.weights()
    reply = host.apply(weights)
    assert reply.status == 1
    assert "config.json" in reply.stderr
    assert "moved" in reply.stderr
    assert not Path(weights.path).exists()
    place.hub.models["me/tiny"] = FILES
    place.server.asked.clear()
    host.settle(weights)
    assert place.fetched("config.json") == 1
    assert place.fetched("model-00001-of-00002.safetensors") == 0  # what was good is kept


@pytest.mark.parametrize("how", ["content", "gone", "more", "put back"])
def test_what_was_touched_on_disk_is_seen_and_only_that_is_fetched(host: LocalHost, place: Place, how: str) -> None:
    weights = place.weights(source="huggingface")
    host.settle(weights)
    place.server.asked.clear()
    path = Path(weights.path) / "config.json"
    if how == "gone":
        path.unlink()
    elif how == "more":
        path = path.with_name("stray")
        path.write_text("x")
    else:
        before = path.stat()
        path.chmod(0o644)
        path.write_bytes(b"[]")
        if how == "put back":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    change = host.settle(weights)
    assert change
    assert change.kind == "repair"
    assert f"./{path.name}" in change.why
    assert place.fetched("config.json") == (0 if how == "more" else 1)
    assert place.fetched("model-00001-of-00002.safetensors") == 0
    assert not (Path(weights.path) / "stray").exists()


def test_a_new_revision_fetches_only_what_is_new_and_leaves_the_old_one_well(host: LocalHost, place: Place) -> None:
    old = place.weights(source="huggingface")
    host.settle(old)
    place.server.asked.clear()
    files = {**FILES, "config.json": b'{"a": 1}'}
    place.hub.models["me/tiny"] = files
    new = place.weights(files, source="huggingface")
    host.settle(new)
    assert place.fetched("model-00001-of-00002.safetensors") == 0
    shard = "model-00001-of-00002.safetensors"
    assert (Path(new.path) / shard).stat().st_ino == (Path(old.path) / shard).stat().st_ino
    assert host.see(old).get("state") == "ok"
    change = old.diff(host.see(old))
    assert change
    assert change.kind == "link"  # to go back is to let current lead back
    host.settle(old)


def test_killed_half_way_it_goes_on_with_what_it_had(host: LocalHost, place: Place) -> None:
    weights = place.weights(source="huggingface")
    (job,) = weights.apply(host.see(weights))
    assert isinstance(job, Job)
    directory, spec = Path(weights.directory), host.path / "spec.json"
    directory.mkdir(parents=True)
    spec.write_text(str(job.files["spec.json"]))
    (host.path / "weights.py").write_text(str(job.files["weights.py"]))
    held, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.path.endswith(".safetensors") and not go_on.is_set():
            held.set()
            go_on.wait(30)

    place.hub.before = hold
    words = [sys.executable, str(host.path / "weights.py"), str(directory), str(spec)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        assert held.wait(30)
        while not list(directory.glob("partial-*/config.json")):
            time.sleep(0.01)
        process.kill()
    go_on.set()
    assert not Path(weights.path).exists()
    place.server.asked.clear()
    host.settle(weights)
    assert place.fetched("config.json") == 0
    assert place.fetched(".safetensors") == 1


def test_no_room_is_told_at_once(host: LocalHost, place: Place) -> None:
    rows = (ModelFile("huge.safetensors", 10**16, "0" * 64),)
    huge = Weights(Manifest("me/huge", "master", "modelscope", "f" * 64, rows), str(place.root), "i", "/t", "http://x")
    change = huge.diff(host.see(huge))
    assert change
    assert "no room" in change.why
    reply = host.apply(huge)
    assert (reply.status, reply.stderr.startswith("no space left on device")) == (1, True)


def test_the_token_travels_in_a_file_for_root_and_reaches_the_hub(host: LocalHost, place: Place) -> None:
    place.hub.token = "hub-t0ken"
    weights = place.weights(token=Secret("hub-t0ken"))
    (job,) = weights.apply(Observation("state=absent"))
    assert isinstance(job, Job)
    assert "hub-t0ken" not in job.script
    assert isinstance(job.files["env"], Secret)
    assert "hub-t0ken" not in str(job)
    host.settle(weights)


def test_only_the_link_is_mended_without_a_job(host: LocalHost, place: Place) -> None:
    weights = place.weights(source="huggingface")
    host.settle(weights)
    Path(weights.directory, "current").unlink()
    steps = weights.apply(host.see(weights))
    assert [type(step) for step in steps] == [Run]
    host.settle(weights)


@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox isn't installed")
def test_an_empty_host_is_seen_the_same_by_busybox(tmp_path: Path) -> None:
    weights = Weights(_manifest(FILES), str(tmp_path / "none"), "image", "/t", "http://x")
    seen = LocalHost(tmp_path, ("busybox", "sh")).see(weights)
    assert seen.text.strip() == "state=absent\ncurrent=\nroom=yes"


def test_tools_are_installed_once_by_hash(host: LocalHost) -> None:
    tools = Tools("client", "image", "x==1 --hash=sha256:0\n", Reach(pip="http://mirror/simple"), str(host.path / "t"))
    host.program("python3", f'echo "$PIP_INDEX_URL $PIP_TRUSTED_HOST $*" >> {host.path}/pip; exit 0')
    change = host.settle(tools)
    assert change
    assert change.kind == "install"
    asked = (host.path / "pip").read_text()
    assert asked.startswith("http://mirror/simple mirror -m pip install --require-hashes --no-deps --only-binary :all:")
    other = Tools("client", "another-image", tools.requirements, tools.reach, tools.root)
    host.settle(other)
    assert [p.name for p in (host.path / "t" / "client").iterdir()] == [other.key]


def test_an_installation_that_fails_leaves_nothing_that_counts(host: LocalHost) -> None:
    tools = Tools("client", "image", "x==1\n", root=str(host.path / "t"))
    host.program("python3", "echo 'hashes do not match' >&2; exit 1")
    assert host.apply(tools).status != 0
    assert tools.diff(host.see(tools))
