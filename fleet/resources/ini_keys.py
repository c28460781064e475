"""Some keys of an INI file that others write to as well (dnf.conf)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, ownership_probe
from fleet.secret import MASK, Secret
from fleet.shell import quote, write_file


@dataclass(frozen=True)
class IniKeys:
    """These keys in one section of an INI file; every other line stays as it is, comments too.

    None takes a key away. A missing file or section is made. The mode of the file stays, but a secret makes it 0600.
    """

    path: str
    section: str
    values: Mapping[str, str | Secret | None]

    @property
    def id(self) -> str:
        """``ini:PATH``."""
        return f"ini:{self.path}"

    def probe(self) -> str:
        """Kind, mode and the whole content."""
        return (
            f"p={quote(self.path)}\n{ownership_probe(follow=True)}\n"
            'if [ -f "$p" ]; then printf "content=%s\\n" "$(base64 -w0 "$p")"; fi'
        )

    def diff(self, seen: Observation) -> Change | None:
        """Our keys, old and new, one a line."""
        if seen.get("state") not in ("file", "absent"):
            return Change(self.id, "update", f"{self.path} is {describe(seen)}, not a file: this will fail")
        text = seen.decoded("content") or ""
        found = _section(text, self.section)
        lines = []
        for key, value in self.values.items():
            wanted = value.reveal() if isinstance(value, Secret) else value
            if found.get(key) != wanted:
                lines += [f"- {key}={MASK if '@' in found[key] else found[key]}"] if key in found else []
                lines += [f"+ {key}={value}"] if value is not None else []
        return Change(self.id, "update", f"[{self.section}] differs", "\n".join(lines)) if lines else None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write the file with our keys set."""
        plain = {key: v.reveal() if isinstance(v, Secret) else v for key, v in self.values.items()}
        text = with_keys(seen.decoded("content") or "", self.section, plain)
        secret = any(isinstance(value, Secret) for value in self.values.values())
        mode = 0o600 if secret else int(seen.get("mode") or "644", 8)
        content = Secret(text) if secret else text.encode()
        return [Run(write_file(self.path, mode=mode), stdin=content, what=f"write {self.path}")]


def with_keys(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """``text`` with these keys of ``section`` set (None: taken away), every other line as it was."""
    lines: list[str] = []
    left = {key: value for key, value in values.items() if value is not None}
    inside = seen = False
    for line in text.splitlines():
        if header := re.match(r"\s*\[([^]]+)\]", line):
            if inside:
                lines += [f"{key}={value}" for key, value in left.items()]
                left = {}
            inside = header[1] == section
            seen = seen or inside
        key = line.partition("=")[0].strip()
        if inside and "=" in line and key in values:
            if key in left:
                lines.append(f"{key}={left.pop(key)}")
            continue
        lines.append(line)
    if left:
        lines += [] if inside or seen else [f"[{section}]"]
        lines += [f"{key}={value}" for key, value in left.items()]
    return "".join(f"{line}\n" for line in lines)


def _section(text: str, section: str) -> dict[str, str]:
    """The keys of one section; the last of several counts, as configparser and dnf have it."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if header := re.match(r"\s*\[([^]]+)\]", line):
            inside = header[1] == section
        elif inside and "=" in line and not line.lstrip().startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
    return found
