"""A certificate authority that the whole host trusts (for own mirrors and registries)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fleet.resource import Change, Observation, Run, Step
from fleet.shell import quote, write_file

#: Where a family's tools look for further authorities, what collects them, and the bundle that comes of it.
_PLACES: Final = {
    "debian": ("/usr/local/share/ca-certificates", "update-ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
    "rhel": ("/etc/pki/ca-trust/source/anchors", "update-ca-trust", "/etc/pki/tls/certs/ca-bundle.crt"),
}


@dataclass(frozen=True)
class TrustedCa:
    """PEM certificates among those that the host's programs trust. The bundle is looked into, not only the file."""

    name: str
    pem: str
    family: Literal["debian", "rhel"]
    root: str = ""

    @property
    def id(self) -> str:
        """``ca:NAME``."""
        return f"ca:{self.name}"

    @property
    def path(self) -> str:
        """Where the certificates lie."""
        return f"{self.root}{_PLACES[self.family][0]}/fleet-{self.name}.crt"

    def probe(self) -> str:
        """The file's hash, and whether the first certificate's first line of base64 is in the bundle."""
        bundle = f"{self.root}{_PLACES[self.family][2]}"
        return f"""f={quote(self.path)}; [ -f "$f" ] && printf 'sha256=%s\\n' "$(sha256sum < "$f" | cut -d' ' -f1)"
grep -qF -- {quote(self._mark)} {quote(bundle)} 2>/dev/null && echo trusted=yes; :"""

    def diff(self, seen: Observation) -> Change | None:
        """Trust it."""
        if seen.get("sha256") == hashlib.sha256(self.pem.encode()).hexdigest() and seen.get("trusted") == "yes":
            return None
        return Change(self.id, "create", "the host doesn't trust this authority yet", f"+ {self.path}")

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write the certificates and let the host's own tool collect them."""
        tool = _PLACES[self.family][1]
        return [
            Run(write_file(self.path), stdin=self.pem.encode(), what=f"write {self.path}"),
            Run(f"{tool} >&2", what=tool),
        ]

    @property
    def _mark(self) -> str:
        """A line that only this certificate has: the last whole one of its base64 (the first ones are alike)."""
        body = [line for line in self.pem.strip().splitlines() if line and not line.startswith("-----")]
        return body[-2] if len(body) > 1 else self.pem
