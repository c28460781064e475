"""A package repository of apt or dnf, with its signing key checked by fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.file import unified
from fleet.shell import quote, write_file

#: gpg as a reader of key files: no keyring, nothing written anywhere, no agent started.
GPG: Final = "gpg --batch --no-options --homedir / --no-keyring --trust-model always --no-autostart"
#: The fingerprints of all primary keys in a file, one a line.
_PRIMARY: Final = 'awk -F: \'$1 == "pub" {p = 1; next} $1 == "fpr" {if (p) print $10; p = 0}\' | sort -u'


@dataclass(frozen=True)
class Repository:
    """Where packages come from: a ``fleet-NAME`` source, and in a file of its own the one key that may sign for it.

    ``fingerprint`` (40 hexadecimal digits, upper case) is checked before the key is put in place; a file with any other
    primary key in it is refused. ``suite`` and ``components`` are apt's (``/`` is a flat repository), ``signed`` is
    dnf's: ``lists`` (repo_gpgcheck) or ``packages`` (gpgcheck). Entries of others for the same address would make apt
    refuse both (conflicting Signed-By): they are commented out, their file kept as ``….fleet-old``.
    """

    manager: Literal["apt", "dnf"]
    name: str
    url: str
    key_url: str
    fingerprint: str
    suite: str = "/"
    components: tuple[str, ...] = ()
    signed: Literal["lists", "packages"] = "lists"
    etc: str = "/etc"

    @property
    def id(self) -> str:
        """``repository:NAME``."""
        return f"repository:{self.name}"

    @property
    def path(self) -> str:
        """The file that defines it."""
        if self.manager == "apt":
            return f"{self.etc}/apt/sources.list.d/fleet-{self.name}.sources"
        return f"{self.etc}/yum.repos.d/fleet-{self.name}.repo"

    @property
    def key_path(self) -> str:
        """The file of its key: binary for apt (which goes by the ending), armoured for rpm (which wants that)."""
        if self.manager == "apt":
            return f"{self.etc}/apt/keyrings/fleet-{self.name}.gpg"
        return f"{self.etc}/pki/rpm-gpg/RPM-GPG-KEY-fleet-{self.name}"

    @property
    def definition(self) -> str:
        """The content of that file."""
        if self.manager == "apt":
            parts = f"Components: {' '.join(self.components)}\n" if self.components else ""
            return (
                f"# Written by vllm-fleet.\nTypes: deb\nURIs: {self.url}\nSuites: {self.suite}\n{parts}"
                f"Signed-By: {self.key_path}\n"
            )
        lists, packages = int(self.signed == "lists"), int(self.signed == "packages")
        return (
            f"# Written by vllm-fleet.\n[fleet-{self.name}]\nname={self.name} (vllm-fleet)\nbaseurl={self.url}\n"
            f"enabled=1\nrepo_gpgcheck={lists}\ngpgcheck={packages}\ngpgkey=file://{self.key_path}\n"
        )

    def probe(self) -> str:
        """The definition, the fingerprints of a key file that all may read (apt does as _apt), others' entries."""
        return f"""d={quote(self.path)}; k={quote(self.key_path)}
[ -f "$d" ] && printf 'definition=%s\\n' "$(base64 -w0 "$d")"
if [ -f "$k" ] && [ "$(stat -c %a "$k")" = 644 ]; then
  printf 'keys=%s\\n' "$({GPG} --with-colons --show-keys "$k" 2>/dev/null | {_PRIMARY} | tr '\\n' ' ')"
fi
printf 'others=%s\\n' "$({self._others()} | tr '\\n' ' ')\""""

    def diff(self, seen: Observation) -> Change | None:
        """Create or update it; entries of others that go are named."""
        found = seen.decoded("definition") or ""
        why = []
        if found != self.definition:
            why.append("its definition differs" if found else "it isn't there")
        if seen.get("keys").split() != [self.fingerprint]:
            held = seen.get("keys").split()
            why.append(f"its key file holds {', '.join(held)}" if held else "no key that all may read is there")
        others = seen.get("others").split()
        if others:
            why.append(f"other entries for the same address would conflict: {', '.join(others)}")
        if not why:
            return None
        lines = [unified(found, self.definition, self.path)] if found != self.definition else []
        lines += [f"+ key {self.fingerprint} from {self.key_url}"] * (seen.get("keys").split() != [self.fingerprint])
        lines += [f"- {path} (kept as {path}.fleet-old)" for path in others]
        return Change(self.id, "update" if found else "create", "; ".join(why), "\n".join(lines))

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Fetch the key and check it, silence entries of others, write the definition: trust before use."""
        steps: list[Step] = []
        if seen.get("keys").split() != [self.fingerprint]:
            steps.append(Run(self._fetch_key(), timeout=180, what=f"fetch the key of {self.name}"))
        if seen.get("others").split():
            steps.append(Run(self._silence(), what=f"comment out other entries for {self.url}"))
        if seen.decoded("definition") != self.definition:
            steps.append(Run(write_file(self.path), stdin=self.definition.encode(), what=f"write {self.path}"))
        return steps

    def _fetch_key(self) -> str:
        """Apt's own downloader, or curl as dnf hosts have it, each with the proxy that the package manager has."""
        if self.manager == "apt":
            fetch = (
                "/usr/lib/apt/apt-helper -o Acquire::Retries=3 -o Acquire::http::Timeout=20"
                f' -o Acquire::https::Timeout=20 download-file {quote(self.key_url)} "$w/raw" >&2'
            )
            convert = (
                f'case $(head -c5 "$w/raw") in -----) {GPG} -o "$w/key" --dearmor "$w/raw";;'
                ' *) cp "$w/raw" "$w/key";; esac'
            )
        else:
            fetch = (
                "p=$(sed -n 's/^proxy *= *//p' /etc/dnf/dnf.conf | head -n1)\n"
                f'curl -fsSL --retry 3 --connect-timeout 20 ${{p:+--proxy "$p"}} -o "$w/raw" {quote(self.key_url)}'
            )
            convert = 'cp "$w/raw" "$w/key"'
        return f"""set -e
command -v gpg >/dev/null || {{ echo "gpg isn't installed: keys can't be checked without it" >&2; exit 1; }}
w=$(mktemp -d); trap 'rm -rf "$w"' EXIT
{fetch}
f=$({GPG} --with-colons --show-keys "$w/raw" | {_PRIMARY})
[ "$f" = {self.fingerprint} ] || {{
  echo {quote(self.key_url)} holds the key "${{f:-(none)}}", not {self.fingerprint}: it is not trusted >&2; exit 1; }}
{convert}
k={quote(self.key_path)}
( umask 022; mkdir -p "$(dirname "$k")"; cp "$w/key" "$k.new" )
chmod 0644 "$k.new"; mv -f "$k.new" "$k\""""

    def _others(self) -> str:
        """Sh that lists files of others with an active entry for the same address. Only apt minds."""
        if self.manager != "apt":
            return ":"
        lists = quote(f"{self.etc}/apt/sources.list")
        return (
            f"for f in {lists} {lists}.d/*; do case $f in {quote(self.path)}) ;; *.list|*.sources)"
            f' grep -v "^[[:space:]]*#" "$f" 2>/dev/null | grep -qE {quote(self._pattern)} && echo "$f";; esac; done'
        )

    def _silence(self) -> str:
        """Comment out the lines of a .list; a .sources file with such a stanza goes as a whole."""
        comment = quote(rf"\#{self._pattern}#s/^[^#]/# vllm-fleet: &/")
        return f"""set -e
for f in $({self._others()}); do
  cp -p "$f" "$f.fleet-old"
  case $f in *.list) sed -E -i {comment} "$f";; *) rm -f "$f";; esac
done"""

    @property
    def _pattern(self) -> str:
        """The address as an extended regular expression; apt also takes $(ARCH) for the architecture."""
        plain = "".join(f"\\{c}" if c in r".+*?()[]{}^$|\\" else c for c in self.url.rstrip("/"))
        for arch in ("amd64", "arm64"):
            if plain.endswith(f"/{arch}"):
                plain = plain.removesuffix(arch) + rf"({arch}|\$\(ARCH\))"
        return f"{plain}/?([[:space:]]|$)"
