"""Container images: pulled by digest, or built on top of such a one with some more pip packages."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.resource import KNOWN_AFTER_APPLY, Change, Job, Observation, Step
from fleet.resources import scripts
from fleet.secret import Secret
from fleet.shell import quote

#: Images of ours are known on a host by names that no registry answers to, so that nothing is ever pulled by them.
LOCAL: Final = "fleet.local"
#: One more name for an image that somebody else had brought before us: it is never removed.
FOUND: Final = f"{LOCAL}/was-here"
#: Room that an image wants under Docker's root: what travels, and what it unpacks to (measured: 2 to 2.5 times).
_UNPACKED: Final = 3.5
_RECIPE: Final = "fleet.recipe"


def local_name(repository: str, digest: str) -> str:
    """The name of a pulled image on the host: ``fleet.local/vllm:3f2a…``; the same digest, the same name."""
    return f"{LOCAL}/{repository.rpartition('/')[2]}:{digest.removeprefix('sha256:')[:16]}"


def _inspect(name: str, template: str) -> str:
    """A probe of one image: ``docker=no`` where Docker isn't there or doesn't answer."""
    return f"""if i=$(timeout 20 docker image inspect --format {quote(template)} {quote(name)} 2>/dev/null)
then printf 'image=%s\\n' "$i"
elif timeout 20 docker version >/dev/null 2>&1; then echo image=; else echo docker=no; fi"""


@dataclass(frozen=True)
class Image:
    """``ref`` as people know it, ``digest`` as it is pulled, from the first of ``candidates`` that gives it.

    ``size`` is in bytes, compressed, as the registry tells it (0: unknown, then no room is asked for beforehand);
    ``login`` is ``registry``, user and password, in the form of Docker's own configuration.
    """

    ref: str
    digest: str
    candidates: tuple[str, ...]
    size: int = 0
    login: tuple[str, str, Secret] | None = None

    @property
    def id(self) -> str:
        """``image:REF``."""
        return f"image:{self.ref}"

    @property
    def name(self) -> str:
        """Its name on the host."""
        return local_name(self.candidates[-1], self.digest)

    def probe(self) -> str:
        """The image that bears our name, and the digests that it is known by."""
        return _inspect(self.name, "{{range .RepoDigests}}{{.}} {{end}}")

    def diff(self, seen: Observation) -> Change | None:
        """A pull, unless the image with our name has our digest."""
        if any(known.endswith("@" + self.digest) for known in seen.get("image").split()):
            return None
        size = f", {self.size / 2**30:.1f} GiB to fetch" if self.size else ""
        why = f"{self.digest[:19]}…{size}, from {self.candidates[0]}"
        if seen.get("docker") == "no":
            why = f"{KNOWN_AFTER_APPLY}: Docker isn't there yet; {why}"
        return Change(self.id, "pull", why)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One job that goes on without us."""
        need = int(self.size * _UNPACKED / 1024)
        told = {"local": self.name, "digest": self.digest, "found": f"{FOUND}:{self.name.rpartition(':')[2]}"}
        script = scripts.shell("pull.sh", *self.candidates, **told, need_kib=need)
        name = f"image-{self.digest.removeprefix('sha256:')[:16]}"
        return [Job(name, script, f"pull of {self.ref}", self._files(), timeout=5 * 3600)]

    def _files(self) -> dict[str, str | Secret]:
        if not self.login:
            return {}
        registry, user, password = self.login
        auth = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
        address = "https://index.docker.io/v1/" if registry == "docker.io" else registry
        return {"config.json": Secret(json.dumps({"auths": {address: {"auth": auth}}}))}


@dataclass(frozen=True)
class DerivedImage:
    """``base`` (a name on the host) with ``packages`` (pip requirements) on top; built once, named by its recipe.

    ``dockerfile`` is the recipe; ``arguments`` (proxies, the pip mirror) and ``ca`` say how to get there and are no
    part of the name: another mirror builds nothing anew.
    """

    base: str
    packages: tuple[str, ...]
    dockerfile: str
    arguments: tuple[str, ...] = ()
    ca: str = ""

    @property
    def id(self) -> str:
        """``derived-image:NAME``."""
        return f"derived-image:{self.base.rpartition('/')[2]}"

    @property
    def recipe(self) -> str:
        """16 hexadecimal digits of what the image is made from."""
        return hashlib.sha256("\0".join((self.base, self.dockerfile, *self.packages)).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Its name on the host."""
        return f"{self.base}-{self.recipe}"

    def probe(self) -> str:
        """The recipe of the image that bears our name."""
        return _inspect(self.name, f'{{{{index .Config.Labels "{_RECIPE}"}}}}')

    def diff(self, seen: Observation) -> Change | None:
        """A build, unless an image of this very recipe is there."""
        if seen.get("image") == self.recipe:
            return None
        why = f"with {', '.join(self.packages)}"
        if seen.get("docker") == "no":
            why = f"{KNOWN_AFTER_APPLY}: Docker isn't there yet; {why}"
        return Change(self.id, "build", why)

    def apply(self, seen: Observation) -> Sequence[Step]:
        """One job that goes on without us."""
        given = [word for argument in self.arguments for word in ("--build-arg", argument)]
        script = scripts.shell("build.sh", "--label", f"{_RECIPE}={self.recipe}", *given, local=self.name)
        files = {
            "Dockerfile": self.dockerfile,
            "requirements.txt": "".join(f"{package}\n" for package in self.packages),
            "ca.pem": self.ca,
        }
        return [Job(f"build-{self.recipe}", script, f"build of {self.name}", files, timeout=3 * 3600)]
