"""A file with its content, mode and owner."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.resource import Change, Observation, Run, Step
from fleet.resources.ownership import describe, mend, ownership_probe
from fleet.secret import MASK, Secret
from fleet.shell import quote, write_file

#: Bytes of a file up to which its old content is fetched to show a diff.
_DIFF_LIMIT = 128 * 1024


@dataclass(frozen=True)
class File:
    """A file, written whole: a reader sees the old bytes or the new ones.

    ``check`` is a command with ``{}`` for the new file, run before it is put in place; where it fails, the old file
    stays. A secret's content is compared by its hash and never shown. Where only mode or owner differ, the content
    isn't touched.
    """

    path: str
    content: str | Secret
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    check: str = ""

    @property
    def id(self) -> str:
        """``file:PATH``."""
        return f"file:{self.path}"

    def probe(self) -> str:
        """Kind, mode, owner, hash; the old content only where it differs, is no secret, and is of a size to read."""
        show = ""
        if not isinstance(self.content, Secret):
            show = (
                f'\n[ "$h" = {self._sha256} ] || [ "$(wc -c < "$p")" -gt {_DIFF_LIMIT} ]'
                ' || printf "content=%s\\n" "$(base64 -w0 "$p")"'
            )
        return (
            f"p={quote(self.path)}\n{ownership_probe()}\n"
            f'if [ -f "$p" ]; then h=$(sha256sum < "$p"); h=${{h%% *}}; echo "sha256=$h"{show}\nfi'
        )

    def diff(self, seen: Observation) -> Change | None:
        """Create, update (with a unified diff), or mend mode and owner."""
        state = seen.get("state")
        if state == "absent":
            return Change(self.id, "create", "it isn't there", self._shown_diff(""))
        if state != "file":
            return Change(self.id, "update", f"it is {describe(seen)}, not a file", self._shown_diff(""))
        if seen.get("sha256") != self._sha256:
            return Change(self.id, "update", "its content differs", self._shown_diff(seen.decoded("content")))
        wrong = mend(seen, self.mode, self.owner, self.group)
        return Change(self.id, "mode", wrong.why) if wrong else None

    def apply(self, seen: Observation) -> Sequence[Step]:
        """Write it, or mend only what is wrong with its mode and owner."""
        if seen.get("state") == "file" and seen.get("sha256") == self._sha256:
            wrong = mend(seen, self.mode, self.owner, self.group)
            return [Run(f"p={quote(self.path)}\n{wrong.script}", what=f"mend {self.path}")] if wrong else []
        script = write_file(self.path, mode=self.mode, owner=self.owner, group=self.group, check=self.check)
        content = self.content if isinstance(self.content, Secret) else self.content.encode()
        return [Run(script, stdin=content, what=f"write {self.path}")]

    @property
    def _sha256(self) -> str:
        content = self.content.reveal() if isinstance(self.content, Secret) else self.content
        return hashlib.sha256(content.encode()).hexdigest()

    def _shown_diff(self, old: str | None) -> str:
        if isinstance(self.content, Secret):
            return f"+ {MASK}" if old == "" else f"- {MASK}\n+ {MASK}"
        if old is None:
            return "(the old content is too large to be shown)"
        return unified(old, self.content, self.path)


def unified(old: str, new: str, path: str) -> str:
    """A unified diff of two texts, with the path named once on each side."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm="", n=2)
    return "\n".join(lines)
