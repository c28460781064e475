"""Take from a host what :mod:`fleet.prune` finds that nobody needs: after one more look, under the host's lock.

Docker removes an image name by name, never by force: what a container uses it doesn't give up, whatever we believe.
A directory of weights first gets a name that nobody takes for a model (``.trash-…``), then it is deleted: what a kill
leaves behind is found by the next prune, or by the next download of that model. Revisions share files by hard links;
a link that goes changes its file's change time, which is part of a stamp, so those that stay are stamped anew.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet import audit
from fleet.errors import CommandFailed, FleetError, HostError
from fleet.lock import HostLock, Owner
from fleet.prune import Goes, LocalFile, LocalImage, Needs, Place, Seen, goes, only
from fleet.resource import Change
from fleet.resources import DerivedImage, Image, Weights
from fleet.resources.release import INSTANCES
from fleet.resources.weights import STAMP
from fleet.rollout import marker
from fleet.shell import PREAMBLE, quote, words
from fleet.survey import Survey
from fleet.transport import Transport

#: Bytes go quickly, but a disk that is slow and full may take its time.
_PATIENCE: Final = 900.0


def look_script(root: str, instances: str = INSTANCES) -> str:
    """Prints what :func:`read` reads: all releases, what all containers use, all images, all weights below ``root``."""
    return f"""[ -e {marker.PATH} ] && echo rollout=yes
told() {{ sed -n 's/^ "'"$1"'": "\\([A-Za-z0-9._/-]*\\)".*/\\1/p' "$2" 2>/dev/null | head -n 1; }}
for d in {quote(instances)}/*/releases/*/; do
  [ -d "$d" ] && printf 'release+=%s %s %s\\n' "${{d%/}}" "$(base64 -w0 2>/dev/null < "$d/release.json")" \\
    "$(base64 -w0 2>/dev/null < "$d/before-start")"
done
if ! command -v docker >/dev/null 2>&1; then echo docker=none
elif ! timeout 20 docker version >/dev/null 2>&1; then echo docker=no
else
  i=0; while :; do # a container that went between the two questions fails the second one
    u=; c=$(timeout 60 docker ps --all --quiet --no-trunc) && {{ [ -z "$c" ] || u=$(timeout 60 docker inspect \\
      --type container --format '{_CONTAINER}' $c 2>/dev/null); }} && break
    i=$((i + 1)); [ "$i" -lt 5 ] || {{ echo containers=unknown; break; }}; sleep 1
  done
  printf '%s\\n' "$u" | while IFS= read -r l; do
    printf '%s\\n' "$l"; case $l in mount+=/*) printf 'mount+=%s\\n' "$(readlink -f "${{l#mount+=}}")";; esac
  done
  g=$(timeout 60 docker image ls --quiet --no-trunc | sort -u)
  [ -z "$g" ] || timeout 120 docker image inspect --format '{_IMAGE}' $g 2>/dev/null || echo images=unknown
fi
p=$(cd {quote(root)} 2>/dev/null && pwd -P) && printf 'root=%s\\n' "$p" && cd "$p" && for d in *--*/; do
  d=${{d%/}}; case $d in *[!A-Za-z0-9._-]*) continue;; esac
  for n in "$d"/rev-* "$d"/partial-* "$d"/.trash-*; do
    [ -d "$n" ] && [ ! -L "$n" ] && [ ! -L "$d" ] || continue
    m=$n/.fleet/manifest.json; k=no; n=${{n#*/}}; case $n in *[!a-z0-9.-]*) continue;; esac
    case $n in rev-*) [ -f "$d/$n/.fleet/stamp" ] && k=yes;; *) [ -d "$d/$n/.fleet" ] && k=yes;; esac
    printf 'place+=%s %s %s %s %s\\n' "$d" "$n" "$k" "$(told content_id "$m" | grep . || echo -)" "$(told model "$m")"
    find "./$d/$n" -xdev -type f -exec stat -c 'file+=%d:%i %h %s' {{}} +
  done
done
echo end=yes"""


_CONTAINER: Final = (
    "used+={{.Image}}{{println}}used+={{.Config.Image}}{{println}}{{range .Mounts}}mount+={{.Source}}{{println}}{{end}}"
)
_IMAGE: Final = (
    "image+={{.Id}}|{{.Size}}|{{range .RepoTags}}{{.}},{{end}}|{{range .RepoDigests}}{{.}},{{end}}|"
    "{{range .RootFS.Layers}}{{.}},{{end}}"
)


def read(answer: str, where: str = "") -> Seen:
    """What a host said to :func:`look_script`.

    Raises:
        CommandFailed: it isn't whole, or something in it can't be known: then nothing may go.
    """
    lines = answer.splitlines()
    if "end=yes" not in lines:
        raise _unknown("what is there", where, "is /bin/sh a POSIX shell there?")
    if "docker=no" in lines:
        raise _unknown("what containers use", where, "Docker is installed and doesn't answer: systemctl status docker")
    if "containers=unknown" in lines or "images=unknown" in lines:
        raise _unknown("what containers use", where, "containers and images come and go there just now: try again")
    rows = [line.partition("=")[::2] for line in lines]
    releases = Needs()
    for kind, text in rows:
        if kind == "release+":
            releases |= _release(text, where)
    return Seen(
        root=next((text for kind, text in rows if kind == "root"), ""),
        releases=releases,
        used=frozenset(text for kind, text in rows if kind == "used+" and text),
        mounts=tuple(dict.fromkeys(text for kind, text in rows if kind == "mount+" and text.startswith("/"))),
        images=tuple(_image(text) for kind, text in rows if kind == "image+"),
        places=tuple(_places(rows)),
    )


def _release(text: str, where: str) -> Needs:
    path, about, start = (*text.split(" "), "", "")[:3]
    try:
        told = json.loads(base64.b64decode(about))
        names = re.findall(r"^docker image inspect (\S+)", base64.b64decode(start).decode(), re.MULTILINE)
        content, digest = str(told["content_id"])[:12], str(told["digest"])
        if names and re.fullmatch(r"[0-9a-f]{12}", content) and digest.startswith("sha256:"):
            return Needs(frozenset(names), frozenset({digest}), frozenset({content}))
    except (ValueError, KeyError, TypeError):
        pass
    raise _unknown(
        f"what the release {path} needs", where, "its release.json or before-start is damaged; remove that directory"
        " if nobody is to go back to it",
    )  # fmt: skip


def _image(text: str) -> LocalImage:
    found, size, tags, digests, layers = (text.split("|") + [""] * 5)[:5]
    split = (tuple(filter(None, part.split(","))) for part in (tags, digests, layers))
    return LocalImage(found, int(size or 0), *split)


def _places(rows: Iterable[Sequence[str]]) -> Iterator[Place]:
    about: list[str] = []
    files: list[LocalFile] = []
    for kind, text in [*rows, ("place+", "")]:
        if kind == "file+":
            inode, links, size = text.split(" ")
            files.append(LocalFile(inode, int(links), int(size)))
        elif kind == "place+":
            if about:
                directory, name, marked, content, model = (*about, *[""] * 5)[:5]
                yield Place(directory, name, model, content, marked == "yes", tuple(files))
            about, files = text.split(" ") if text else [], []


def wanted_of(seen: Survey) -> Needs:
    """What the inventory wants on this host.

    Raises:
        HostError: something that it wants isn't known.
    """
    told = seen.target.settings.instances
    if told and not (seen.target.image_digest and all(seen.target.manifest(instance) for instance in told)):
        raise HostError(
            "what the inventory wants there isn't known", where=seen.target.name, hint="./inv plan shows what is amiss"
        )
    images = [one for one in seen.resources if isinstance(one, (Image, DerivedImage))]
    contents = {one.manifest.content_id[:12] for one in seen.resources if isinstance(one, Weights)}
    digests = {one.digest for one in images if isinstance(one, Image)}
    return Needs(frozenset(one.name for one in images), frozenset(digests), frozenset(contents))


@dataclass(frozen=True)
class Found:
    """What may go from a host, and where its weights lie (no symbolic link in it; empty where there are none)."""

    root: str
    going: tuple[Goes, ...]


def look(transport: Transport, seen: Survey) -> Found:
    """What may go from the host.

    Raises:
        HostError: it can't be asked, something isn't known, or somebody is in the middle of something there.
    """
    root = seen.target.settings.weights.root
    reply = transport.run(f"{PREAMBLE}\n( {look_script(root)}\n) </dev/null", timeout=_PATIENCE)
    if "rollout=yes" in reply.stdout.splitlines():
        told = marker.read(transport)
        raise HostError(
            f"it is in the middle of {f'the rollout {told.run} of {told.who}' if told else 'a rollout'}:"
            " what was before may be needed to go back",
            where=transport.name, hint="./inv rollout.watch shows it; rollout.resume or rollout.abort ends it",
        )  # fmt: skip
    if seen.target.facts.jobs:
        raise HostError(
            f"work is under way there: {', '.join(seen.target.facts.jobs)}", where=transport.name,
            hint="./inv provision follows it to its end",
        )  # fmt: skip
    there = read(reply.stdout, transport.name)
    return Found(there.root, goes(there, wanted_of(seen)))


@dataclass
class Pruned:
    """What came of a host."""

    removed: list[Goes] = field(default_factory=list)
    failed: list[tuple[Goes, FleetError]] = field(default_factory=list)


@dataclass(frozen=True)
class Pruning:
    """How to go about it: who looks at a host, who does it, in which run, who is told."""

    survey: Callable[[str, Transport], Survey]
    owner: Owner
    run: str
    say: Callable[[str, str], None]

    def host(self, name: str, transport: Transport, shown: Collection[tuple[str, str]]) -> Pruned:
        """Remove what was shown and still nobody needs, under the host's lock; what fails doesn't stop the rest.

        Raises:
            HostError: the host can't be asked, or somebody else is at work there; nothing more was removed.
        """
        done = Pruned()
        with HostLock(transport, self.owner) as lock:
            found = look(transport, self.survey(name, transport))
            for one in only(found.going, shown):
                lock.check()
                self.say(name, f"removing {one.label}")
                script = image_gone(one) if one.kind == "image" else weights_gone(found.root, one.name)
                reply = transport.run(f"{PREAMBLE}\n( {script}\n) </dev/null", timeout=_PATIENCE)
                change = Change(f"{one.kind}:{one.label}", "remove", one.why)
                audit.write(transport, change, self.owner, self.run, "done" if reply.ok else "failed")
                if reply.ok:
                    done.removed.append(one)
                    continue
                error = CommandFailed(
                    f"{one.label} can't be removed: {reply.stderr.strip()[-500:] or 'no answer'}", command="(prune)",
                    status=reply.status, stderr=reply.stderr, where=name, hint="mend the cause and prune again",
                )  # fmt: skip
                done.failed.append((one, error))
        return done


def image_gone(image: Goes) -> str:
    """Take away all its names, ours last: with the last one Docker deletes what no other image has."""
    return f"""e=; for r in {words(*image.references)}; do
  e="$e $(timeout 600 docker image rm "$r" 2>&1 >/dev/null)"
done
timeout 20 docker image inspect {quote(image.name)} >/dev/null 2>&1 || exit 0
echo "$e" >&2; exit 1"""


def weights_gone(root: str, path: str) -> str:
    """Take away ``root/path``; the revisions beside it that were well are well afterwards.

    What has other names goes between two looks at those revisions, after the rest: the moment in which a kill would
    leave a stamp behind that no longer fits (which means a check of that revision, no download) is as short as can be.
    """
    directory, _, name = path.partition("/")
    if not (root.startswith("/") and _BELOW.fullmatch(path)):  # computed once, checked twice: this deletes
        msg = f"{root}/{path} is no directory of weights"
        raise ValueError(msg)
    return f"""set -e; umask 022; r={quote(root)}; d={quote(directory)}; n={quote(name)}
cd "$r/$d"; [ "$(pwd -P)" = "$r/$d" ] || {{ echo "$r/$d leads elsewhere" >&2; exit 1; }}
exec 9> .lock; flock -n 9 || {{ echo "a download is at work in $r/$d" >&2; exit 1; }}
stamp() {{ ( cd "./$1" && {STAMP} ); }}
[ ! -L "$n" ] || {{ echo "$r/$d/$n leads elsewhere" >&2; exit 1; }}
[ -d "$n" ] || exit 0
t=$n
case $n in .trash-*) ;; *)
  t=.trash-$n-$(date +%s)$$; mv -T "./$n" "./$t"
  [ "$(readlink current)" != "$n" ] || rm -f current
  sync . 2>/dev/null || sync;;
esac
find "./$t" -xdev -type f -links 1 -exec rm -f {{}} +
well=; for k in rev-*; do
  [ -f "$k/.fleet/stamp" ] && [ ! -L "$k" ] && stamp "$k" | cmp -s - "$k/.fleet/stamp" && well="$well $k"
done
find "./$t" -xdev -type f -exec rm -f {{}} +
for k in $well; do
  stamp "$k" | cmp -s - "$k/.fleet/stamp" && continue
  stamp "$k" > "$k/.fleet/stamp.new"; sync "$k/.fleet/stamp.new" 2>/dev/null || sync
  mv -f "$k/.fleet/stamp.new" "$k/.fleet/stamp"
done
rm -rf "./$t"; [ ! -e "$t" ]"""


_BELOW: Final = re.compile(
    r"[A-Za-z0-9][\w.-]*--[A-Za-z0-9][\w.-]*/(?:(?:\.trash-)?(?:rev|partial)-[0-9a-f]{12}(?:-[0-9]+)?)", re.ASCII
)


def _unknown(what: str, where: str, hint: str) -> CommandFailed:
    return CommandFailed(
        f"{what} can't be known, so nothing may go", command="(prune)", status=1, where=where, hint=hint
    )
