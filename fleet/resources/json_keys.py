"""Some keys of a JSON file that others write to as well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, mend, ownership_probe
from fleet.shell import quote, write_file


@dataclass(frozen=True)
class JsonKeys:
    """These keys with these values in a JSON object on disk; whatever else stands there stays.

    Objects are merged key by key, everything else (lists too) is replaced; None takes a key away. A file that isn't
    there or is empty counts as ``{}``. One that isn't JSON, or no object, is never overwritten: the change fails and
    says where it is broken. The diff shows our keys only: what others keep there may be secret. ``check`` is
    as a File's.
    """

    path: str
    values: Mapping[str, object]
    mode: int = 0o644
    check: str = ""

    @property
    def id(self) -> str:
        """``json:PATH``."""
        return f"json:{self.path}"

    def probe(self) -> str:
        """Kind, mode, and the whole content."""
        return (
            f"p={quote(self.path)}\n{ownership_probe()}\n"
            'if [ -f "$p" ]; then printf "content=%s\\n" "$(base64 -w0 "$p")"; fi'
        )

    def diff(self, seen: Observation) -> Change | None:
        """Our keys' old and new values, one a line; or why the file can't be touched."""
        found = _read(seen)
        if isinstance(found, str):
            return Change(self.id, "update", f"{found}; it won't be overwritten, so this will fail: mend it by hand")
        lines = [f"{sign} {name}: {json.dumps(value, ensure_ascii=False)}" for sign, name, value in self._diff(found)]
        if lines:
            kind = "create" if seen.get("state") == "absent" else "update"
            return Change(self.id, kind, f"{self.path}: keys differ", "\n".join(lines))
        wrong = mend(seen, self.mode, "root", "root") if seen.get("state") == "file" else None
        return Change(self.id, "mode", wrong.why) if wrong else None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write the merged whole; a broken file is refused in words."""
        found = _read(seen)
        if isinstance(found, str):
            return [Run(f"echo {quote(f'{self.path}: {found}')} >&2; exit 1", what=f"read {self.path}")]
        if not any(self._diff(found)):
            wrong = mend(seen, self.mode, "root", "root")
            return [Run(f"p={quote(self.path)}\n{wrong.script}", what=f"mend {self.path}")] if wrong else []
        text = json.dumps(merged(found, self.values), indent=2, ensure_ascii=False) + "\n"
        return [
            Run(write_file(self.path, mode=self.mode, check=self.check), stdin=text.encode(), what=f"write {self.path}")
        ]

    def _diff(self, found: Mapping[str, Any]) -> Iterator[tuple[str, str, object]]:
        wanted = merged(found, self.values)
        yield from _compare(found, wanted, "")


def merged(under: Mapping[str, Any], over: Mapping[str, object]) -> dict[str, Any]:
    """``over`` laid on ``under``: objects key by key, everything else replaced, None takes away."""
    result = dict(under)
    for key, value in over.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = list(value) if isinstance(value, tuple) else value
    return result


def _read(seen: Observation) -> dict[str, Any] | str:
    """The object in the file, or what is wrong with it."""
    if seen.get("state") not in ("absent", "file", "link"):
        return f"it is {describe(seen)}, not a file"
    text = seen.decoded("content") or ""
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        return f"not JSON ({error})"
    return found if isinstance(found, dict) else "its JSON is no object"


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, object]]:
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if key in old and key in new and before == after and type(before) is type(after):
            continue
        name = f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _compare(before, after, f"{name}.")
            continue
        if key in old:
            yield "-", name, before
        if key in new:
            yield "+", name, after
