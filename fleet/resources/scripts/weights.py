"""Bring one revision of a model into a directory: adopt what is here, fetch the rest, check every byte, switch.

Runs on a host, in the image's python3 (3.10 or newer, standard library only)::

    weights.py DIRECTORY SPEC.json

DIRECTORY is ``<root>/<owner>--<name>``; SPEC has ``model``, ``revision``, ``source``, ``endpoint``, ``content_id``,
``link`` and ``files`` ([path, size, sha256] each). It may be killed at any point and started again: what was checked
is adopted, what was half fetched is gone on with, and the revision appears under its name only when all is well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

GIB = 2**30
ROUNDS = 3
OURS = ".fleet"


class File(NamedTuple):
    """One file as the hub lists it; bytes."""

    path: str
    size: int
    sha256: str


class Failed(Exception):
    """It can't be done, in words."""


class Progress:
    """Says every other second how far it is; nothing is silent for longer."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.words = "beginning"
        self.measure: Any = lambda: 0
        threading.Thread(target=self._tell, daemon=True).start()

    def now(self, words: str, measure: Any) -> None:
        """From here on ``words``, and ``measure()`` bytes of all."""
        self.words, self.measure = words, measure

    def _tell(self) -> None:
        while True:
            done = min(int(self.measure()), self.total)
            say(f"progress: {100 * done // self.total}% {self.words}, {done / GIB:.1f} of {self.total / GIB:.1f} GiB")
            time.sleep(2)


def say(text: str) -> None:
    """One line of the job's log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(directory: Path, spec: dict[str, Any]) -> None:
    """Do all of it."""
    files = [File(*row) for row in spec["files"]]
    short = spec["content_id"][:12]
    partial, revision = directory / f"partial-{short}", directory / f"rev-{short}"
    (partial / OURS).mkdir(parents=True, exist_ok=True)
    progress = Progress(sum(file.size for file in files))
    well = adopt(directory, partial, files)
    good: set[str] = set()
    check(partial, files, good, progress)
    for attempt in range(ROUNDS):
        missing = [file for file in files if file.path not in good]
        if not missing:
            break
        if attempt == 0:
            make_room(partial, missing)
        say(f"fetching {len(missing)} of {len(files)} files")
        progress.now("fetching", lambda: size_of(partial))
        words = fetch(partial, missing, spec)
        check(partial, missing, good, progress)
        if words and len(good) < len(files):
            say(words)
            time.sleep(2 * attempt)
    missing = [file for file in files if file.path not in good]
    if missing:
        names = ", ".join(file.path for file in missing[:5])
        raise Failed(
            f"{len(missing)} of {len(files)} files did not come as models.lock has them: {names}. Is the hub well,"
            f" or has {spec['revision']!r} moved there since models.lock was written?"
        )
    progress.now("syncing", lambda: progress.total)
    finish(partial, files, spec)
    switch(directory, partial, revision, link=spec["link"])
    for known in (revision, *(other for other in well if other != revision)):
        write_stamp(known)  # links that came and went changed the change times of what they share


def adopt(directory: Path, partial: Path, files: list[File]) -> list[Path]:
    """Link what other revisions here (this one's own damaged copy among them) have of the same content.

    Returns the revisions that are as they were when they were checked, and are so still.
    """
    well = []
    for other in sorted(directory.glob("rev-*")):
        try:
            rows = json.loads((other / OURS / "manifest.json").read_text())["files"]
        except (OSError, ValueError, KeyError):
            continue
        by_hash = {row[2]: other / row[0] for row in rows}
        stamp_holds = stamp_of(other) == read_stamp(other)
        for file in files:
            source, target = by_hash.get(file.sha256), partial / file.path
            if source and not target.exists() and source.is_file() and source.stat().st_size == file.size:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target)
        if stamp_holds:
            write_stamp(other)
            well.append(other)
    return well


def check(partial: Path, files: list[File], good: set[str], progress: Progress) -> None:
    """Hash what is there of ``files``; what matches is ``good``, what doesn't is removed (a piece is left to go on)."""
    done = [sum(file.size for file in files if file.path in good)]
    lock = threading.Lock()

    def one(file: File) -> None:
        path = partial / file.path
        if path.is_symlink() or (path.exists() and not path.is_file()):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not path.is_file() or file.path in good:
            return
        if path.stat().st_size == file.size and sha256_of(path, done, lock) == file.sha256:
            with lock:
                good.add(file.path)
            return
        say(f"{file.path} is not as models.lock has it: removed")
        path.unlink()

    progress.now("checking", lambda: done[0])
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, files))


def sha256_of(path: Path, done: list[int], lock: threading.Lock) -> str:
    """The file's sha256; bytes read are added to ``done[0]``."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**22):
            total.update(block)
            with lock:
                done[0] += len(block)
    return total.hexdigest()


def make_room(partial: Path, missing: list[File]) -> None:
    """Refuse at once what can't fit; 2 % of the file system stay free."""
    disk = os.statvfs(partial)
    have = sum(size_of(partial / name) for f in missing for name in (f.path, f"{f.path}.incomplete"))
    need = sum(file.size for file in missing) - have
    free = disk.f_bavail * disk.f_frsize - disk.f_blocks * disk.f_frsize // 50
    if need > free:
        raise Failed(f"no space left on device: {need / GIB:.1f} GiB to fetch, {max(free, 0) / GIB:.1f} GiB to spare")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a directory."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(size_of(Path(entry.path)) for entry in os.scandir(path))
    except OSError:  # gone, or renamed, while we looked
        return 0


def fetch(partial: Path, missing: list[File], spec: dict[str, Any]) -> str:
    """Fetch ``missing``; what went wrong, in words. Nothing is believed here: :func:`check` looks at what came."""
    trust(Path("/job/ca.pem"))
    if spec["source"] == "modelscope":
        return fetch_modelscope(partial, spec)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda file: fetch_plainly(partial / file.path, file, spec), missing))
    except (OSError, urllib.error.URLError) as error:
        return f"the hub {spec['endpoint']}: {error}"
    return ""


def fetch_modelscope(partial: Path, spec: dict[str, Any]) -> str:
    """ModelScope's own client; it goes on with the pieces that it left."""
    start = "from modelscope_hub.cli.main import run_cmd; run_cmd()"
    command = [
        sys.executable, "-c", start, "download", spec["model"], "--revision", spec["revision"],
        "--local-dir", str(partial), "--max-workers", "4",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "MODELSCOPE_ENDPOINT": spec["endpoint"],
        "MODELSCOPE_CACHE": str(partial / OURS / "cache"),
        "HOME": str(partial / OURS),
        "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": "86400",  # per file; the client's hour is too short for 4 GB on slow lines
        "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",  # that route has given empty files
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    tail = [line for line in (done.stdout + done.stderr).replace("\r", "\n").splitlines() if line.strip()][-6:]
    return f"ModelScope's client ended with {done.returncode}:\n" + "\n".join(tail)


def fetch_plainly(path: Path, file: File, spec: dict[str, Any]) -> None:
    """One file from a hub that speaks as Hugging Face does, going on where an earlier try ended."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = path.with_name(path.name + ".incomplete")
    have = piece.stat().st_size if piece.is_file() else 0
    branch = "main" if spec["revision"] == "master" else spec["revision"]
    url = f"{spec['endpoint']}/{quote(spec['model'])}/resolve/{quote(branch, safe='')}/{quote(file.path)}"
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 — the endpoint is the operator's own word
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # the hub's, not its CDN's
    if have < file.size:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 — as above
            mode = "ab" if answer.status == 206 else "wb"
            with piece.open(mode) as out:
                shutil.copyfileobj(answer, out, 2**20)
    if piece.stat().st_size >= file.size:
        piece.rename(path)


def trust(ca: Path) -> None:
    """Trust our own CA beside those that this python and the client know."""
    if not ca.is_file() or not ca.stat().st_size:
        return
    known = [ssl.get_default_verify_paths().cafile or "", "/tools/certifi/cacert.pem", str(ca)]
    together = Path("/tmp/fleet-ca.pem")  # noqa: S108 — inside a container that nobody else writes in
    together.write_text("\n".join(Path(file).read_text() for file in known if file and Path(file).is_file()))
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = str(together)


def finish(partial: Path, files: list[File], spec: dict[str, Any]) -> None:
    """Leave exactly the manifest's files, readable for all and writable for none, on the disk and stamped."""
    wanted = {file.path for file in files}
    for path in sorted(partial.rglob("*"), reverse=True):
        name = path.relative_to(partial).as_posix()
        if name == OURS:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
    for path in [partial, *partial.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o444)
        sync(path)
    (partial / OURS / "manifest.json").write_text(json.dumps({**spec, "link": None}, indent=1))
    write_stamp(partial)
    sync(partial / OURS / "manifest.json")
    sync(partial / OURS)


def stamp_of(directory: Path) -> list[str]:
    """Size, times, inode and name of each file, as ``stat -c '%s %.9Y %.9Z %i %n'`` prints them, sorted by bytes."""
    rows = []
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not path.is_symlink() and not name.startswith(f"{OURS}/"):
            is_ = path.stat()
            times = " ".join(f"{ns // 10**9}.{ns % 10**9:09d}" for ns in (is_.st_mtime_ns, is_.st_ctime_ns))
            rows.append(f"{is_.st_size} {times} {is_.st_ino} ./{name}")
    return sorted(rows, key=os.fsencode)


def read_stamp(directory: Path) -> list[str]:
    """The stamp as it was written; nothing where there is none."""
    try:
        return (directory / OURS / "stamp").read_text().splitlines()
    except OSError:
        return []


def write_stamp(directory: Path) -> None:
    """Write down that this is what was checked, whole or not at all."""
    new = directory / OURS / "stamp.new"
    new.write_text("".join(f"{row}\n" for row in stamp_of(directory)))
    sync(new)
    new.rename(directory / OURS / "stamp")


def switch(directory: Path, partial: Path, revision: Path, *, link: bool) -> None:
    """Give the revision its name. What runs on a damaged copy keeps that open; it is only no longer found."""
    trash = directory / f".trash-{revision.name}-{time.time_ns()}"
    if revision.exists():
        revision.rename(trash)
    partial.rename(revision)
    sync(directory)
    if link:
        new = directory / ".current.new"
        new.unlink(missing_ok=True)
        new.symlink_to(revision.name)
        new.rename(directory / "current")
        sync(directory)
    for old in directory.glob(".trash-*"):
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Have the disk hold what was written."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
    except Failed as error:
        sys.exit(str(error))
