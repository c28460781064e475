"""A model's files on a host: fetched once, checked byte by byte, switched to in one rename, looked at cheaply after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet.mirrors import pip_environment
from fleet.resource import Change, Job, Observation, Run, Step
from fleet.resources import scripts
from fleet.secret import Secret
from fleet.shell import quote
from fleet.target import Manifest

#: How weights.py writes its stamp, asked of coreutils: bytes, modified, changed, inode, name; sorted by bytes.
STAMP: Final = "find . -path ./.fleet -prune -o -type f -exec stat -c '%s %.9Y %.9Z %i %n' {} + | sort"


@dataclass(frozen=True)
class Reach:
    """The way from a host to hubs and package indexes: proxies, the pip index, a CA (PEM text) of one's own."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    pip: str = ""
    ca: str = ""

    def files(self, **more: str | Secret | None) -> dict[str, str | Secret]:
        """``env`` (in Docker's form, for root only) and ``ca.pem``, for a job."""
        values = {**self.proxies, **pip_environment(self.pip)}
        lines = [f"{name}={value}" for name, value in values.items()]
        lines += [f"{n}={v.reveal() if isinstance(v, Secret) else v}" for n, v in more.items() if v]
        return {"env": Secret("".join(f"{line}\n" for line in lines)), "ca.pem": self.ca}


@dataclass(frozen=True)
class Tools:
    """Python packages, pinned by hash, installed for ``image``'s python3 into ``root``, outside of any image."""

    name: str
    image: str
    requirements: str
    reach: Reach = field(default_factory=Reach)
    root: str = "/var/lib/fleet/tools"

    @property
    def id(self) -> str:
        """``tools:NAME``."""
        return f"tools:{self.name}"

    @property
    def key(self) -> str:
        """16 hexadecimal digits of what is installed, and for whom."""
        return hashlib.sha256(f"{self.image}\0{self.requirements}".encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """The directory that holds the packages."""
        return f"{self.root}/{self.name}/{self.key}"

    def probe(self) -> str:
        """Whether the installation was finished."""
        return f"[ -f {quote(self.path)}/.complete ] && echo tools=yes || echo tools=no"

    def diff(self, seen: Observation) -> Change | None:
        """An installation, where there is none."""
        if seen.get("tools") == "yes":
            return None
        return Change(self.id, "install", f"for the image's python3, into {self.path}")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One job that goes on without us."""
        script = scripts.shell("tools.sh", root=f"{self.root}/{self.name}", key=self.key, image=self.image)
        files = {"requirements.txt": self.requirements, **self.reach.files()}
        return [Job(f"tools-{self.key}", script, f"installation of {self.name}", files, timeout=3600)]


@dataclass(frozen=True)
class Weights:
    """The files of ``manifest`` under ``root/OWNER--NAME/rev-ID``, where ID is their content id's first 12 digits.

    The look that every run takes (L0) is cheap: sizes, times and inodes against the stamp that was written after the
    full check. ``link`` lets ``current`` beside it lead there; containers mount the revision itself, never ``current``.
    """

    manifest: Manifest
    root: str
    image: str
    tools: str
    endpoint: str
    token: Secret | None = None
    reach: Reach = field(default_factory=Reach)
    link: bool = True

    @property
    def id(self) -> str:
        """``weights:MODEL@REVISION``."""
        return f"weights:{self.manifest.model}@{self.manifest.revision}"

    @property
    def directory(self) -> str:
        """Where all revisions of this model lie."""
        return model_directory(self.root, self.manifest.model)

    @property
    def path(self) -> str:
        """Where this revision lies."""
        return revision_directory(self.root, self.manifest)

    def probe(self) -> str:
        """``state``: ok, absent, changed (with ``what``); ``room`` where it isn't ok; where ``current`` leads."""
        need = self.manifest.size // 1024
        return f"""d={quote(self.directory)}; r={quote(self.path)}; s=absent
if [ -d "$r" ]; then s=changed
  if [ ! -f "$r/.fleet/stamp" ]; then echo what=no stamp
  else w=$(cd "$r" && {STAMP} | comm -3 - .fleet/stamp | tr -d '\\t' | cut -d' ' -f5- | sort -u | head -n 5)
    if [ -z "$w" ]; then s=ok; else printf 'what=%s\\n' "$(printf %s "$w" | base64 -w0)"; fi
  fi
fi
echo "state=$s"; printf 'current=%s\\n' "$(readlink "$d/current" 2>/dev/null)"
if [ "$s" != ok ]; then
  p=$d; while [ ! -d "$p" ]; do p=$(dirname "$p"); done
  have=0; for x in "$d"/partial-{self._short} "$r"; do
    [ -d "$x" ] && have=$((have + $(du -sk "$x" 2>/dev/null | cut -f1))); done
  [ $(( $(df -Pk "$p" | awk 'NR==2 {{print $4}}') + have )) -ge {need} ] && echo room=yes || echo room=no
fi"""

    def diff(self, seen: Observation) -> Change | None:
        """A download, a repair, or only the link."""
        size = f"{len(self.manifest.files)} files, {self.manifest.size / 2**30:.1f} GiB"
        room = "" if seen.get("room") != "no" else "; the file system has no room for it"
        state = seen.get("state")
        if state == "changed":
            what = (seen.decoded("what") or "never checked").replace("\n", ", ")
            return Change(self.id, "repair", f"not as it was when it was checked: {what}{room}")
        if state != "ok":
            return Change(self.id, "download", f"{size} from {self.endpoint} into {self.path}{room}")
        if self.link and seen.get("current") != self._name:
            leads = seen.get("current") or "nothing"
            return Change(self.id, "link", f"current leads to {leads}", f"- {leads}\n+ {self._name}")
        return None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One job that goes on without us; or a link."""
        if seen.get("state") == "ok":
            script = f"""cd {quote(self.directory)} || exit 1
ln -sfn {quote(self._name)} .current.new && mv -fT .current.new current"""
            return [Run(script, what=f"let {self.directory}/current lead to {self._name}")]
        spec = {
            "model": self.manifest.model,
            "revision": self.manifest.revision,
            "source": self.manifest.source,
            "endpoint": self.endpoint,
            "content_id": self.manifest.content_id,
            "link": self.link,
            "files": [[file.path, file.size, file.sha256] for file in self.manifest.files],
        }
        name = f"weights-{self._short}"
        script = scripts.shell(
            "weights.sh", dir=self.directory, image=self.image, tools=self.tools, name=f"fleet-{name}"
        )
        key = "MODELSCOPE_API_TOKEN" if self.manifest.source == "modelscope" else "HF_TOKEN"
        files = {
            "weights.py": scripts.text("weights.py"),
            "spec.json": json.dumps(spec),
            **self.reach.files(**{key: self.token}),
        }
        return [Job(name, script, f"download of {self.manifest.model}", files, timeout=24 * 3600)]

    @property
    def _short(self) -> str:
        return self.manifest.content_id[:12]

    @property
    def _name(self) -> str:
        return f"rev-{self._short}"


def model_directory(root: str, model: str) -> str:
    """``ROOT/OWNER--NAME``."""
    return f"{root.rstrip('/')}/{model.replace('/', '--')}"


def revision_directory(root: str, manifest: Manifest) -> str:
    """Where the files of ``manifest`` lie under ``root``."""
    return f"{model_directory(root, manifest.model)}/rev-{manifest.content_id[:12]}"
