"""Which images and weights on a host nobody needs any more. Pure: it is told what was seen, and says what may go.

A thing goes only where it is **ours** (it bears our name and our mark) and **nobody needs it**: no release that the
host keeps, of any instance, no container, running or not, and not the inventory. Whatever is in doubt stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from fleet.resources.image import FOUND, LOCAL

REVISION: Final = re.compile(r"rev-([0-9a-f]{12})")
PARTIAL: Final = re.compile(r"partial-([0-9a-f]{12})")
#: What a removal, or a switch to a mended copy, was about to delete; no reader takes it for a model.
TRASH: Final = re.compile(r"\.trash-(?:rev|partial)-[0-9a-f]{12}-[0-9]+")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*--[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Needs:
    """What a release, or the inventory, needs: images by name or digest, weights by the first 12 digits of their id."""

    names: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.names | other.names, self.digests | other.digests, self.contents | other.contents)


@dataclass(frozen=True)
class LocalImage:
    """An image as Docker has it: its id, its bytes, all names that lead to it, and the layers it is made of."""

    id: str
    size: int
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()  #: REPOSITORY@sha256:…
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalFile:
    """A file of a model: which one it is on the disk, how many names it has, its bytes."""

    inode: str
    links: int
    size: int


@dataclass(frozen=True)
class Place:
    """A directory ``ROOT/MODEL/NAME``: a revision, a download that isn't whole, or what is left of a removal.

    ``model`` and ``content`` are what its own manifest says (empty where there is none); ``marked`` is whether it has
    our stamp, or for what isn't whole, our directory in it.
    """

    directory: str
    name: str
    model: str = ""
    content: str = ""
    marked: bool = False
    files: tuple[LocalFile, ...] = ()

    @property
    def path(self) -> str:
        """Below the root of the weights."""
        return f"{self.directory}/{self.name}"


@dataclass(frozen=True)
class Seen:
    """A host: what its releases need, what its containers use (image ids and names; directories), what is there.

    ``root`` is where the weights lie, with no symbolic link in it; so are ``mounts``, which have what a container was
    told beside it.
    """

    root: str = ""
    releases: Needs = field(default_factory=Needs)
    used: frozenset[str] = frozenset()
    mounts: tuple[str, ...] = ()
    images: tuple[LocalImage, ...] = ()
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Goes:
    """What may go: an ``image`` by its id, or ``weights`` by their place; the bytes that come free, and why.

    ``at_most`` says that another image has some of the bytes too: they come free with the last one.
    """

    kind: str
    name: str
    size: int
    why: str
    references: tuple[str, ...] = ()
    at_most: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The same thing, seen again."""
        return self.kind, self.name

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name if self.kind == "weights" else self.references[-1]


def goes(seen: Seen, wanted: Needs) -> tuple[Goes, ...]:
    """All that may go, the weights first; ``wanted`` is what the inventory needs."""
    needed = seen.releases | wanted
    return (*_weights(seen, needed), *_images(seen, needed))


def image_is_ours(image: LocalImage) -> bool:
    """Whether we alone brought it: it has our name, no name by somebody else, and wasn't there before us."""
    ours = [tag for tag in image.tags if tag.startswith(f"{LOCAL}/")]
    return bool(ours) and len(ours) == len(image.tags) and not any(tag.startswith(f"{FOUND}:") for tag in ours)


def place_is_ours(place: Place) -> bool:
    """Whether it is a model's directory of ours by its names, and says so itself."""
    if not _MODEL.fullmatch(place.directory):
        return False
    if TRASH.fullmatch(place.name):
        return True
    if PARTIAL.fullmatch(place.name):
        return place.marked
    found = REVISION.fullmatch(place.name)
    if not found or not place.marked:
        return False
    return place.content.startswith(found[1]) and place.model.replace("/", "--") == place.directory


def _images(seen: Seen, needed: Needs) -> Iterable[Goes]:
    def free(image: LocalImage) -> bool:
        names = {*image.tags, *image.digests}
        return (
            image_is_ours(image)
            and image.id not in seen.used
            and not names & seen.used
            and not names & needed.names
            and not {name.partition("@")[2] for name in image.digests} & needed.digests
        )

    going = [image for image in seen.images if free(image)]
    layers = Counter(layer for image in seen.images for layer in {*image.layers})
    why = "no kept release, no container and not the inventory uses it"
    # What was built on top of another image goes before that one; and of all names ours goes last: while it is there,
    # a removal that was cut off is gone on with.
    for image in sorted(going, key=lambda one: (-max(map(len, one.tags)), one.id)):
        references = (*sorted(image.digests), *sorted(image.tags))
        yield Goes("image", image.id, image.size, why, references, at_most=any(layers[one] > 1 for one in image.layers))


def _weights(seen: Seen, needed: Needs) -> Iterable[Goes]:
    def free(place: Place) -> bool:
        found = REVISION.fullmatch(place.name) or PARTIAL.fullmatch(place.name)
        if found and found[1] in needed.contents:
            return False
        return place_is_ours(place) and not _mounted(f"{seen.root}/{place.path}", seen.mounts)

    going = [place for place in seen.places if seen.root and free(place)]
    names = Counter(file.inode for place in going for file in place.files)
    counted: set[str] = set()
    for place in going:
        size, shared = 0, False
        for file in place.files:
            if names[file.inode] < file.links:
                shared = True  # another revision has it too, and keeps it
            elif file.inode not in counted:
                counted.add(file.inode)
                size += file.size
        yield Goes("weights", place.path, size, _why(place.name) + (_SHARED if shared else ""))


_SHARED: Final = "; files that it shares with what stays are not counted"


def _why(name: str) -> str:
    if name.startswith(".trash-"):
        return "left of a removal that was cut off"
    if name.startswith("partial-"):
        return "a download that was cut off, and nobody wants it any more"
    return "no kept release, no container and not the inventory uses it"


def _mounted(path: str, mounts: Sequence[str]) -> bool:
    """Whether a container has it: it, something in it, something around it; or a name beside it that led to it once."""
    place = PurePosixPath(path)
    for told in mounts:
        mount = PurePosixPath(told)
        if mount == place or mount in place.parents or place in mount.parents:
            return True
        # MODEL/current led to one of the revisions when the container was made, and today perhaps to another.
        if place.parent in mount.parents:
            beside = mount.relative_to(place.parent).parts[0]
            if not REVISION.fullmatch(beside):
                return True
    return False


def only(going: Iterable[Goes], shown: Collection[tuple[str, str]]) -> tuple[Goes, ...]:
    """Of what may go now, what was shown before somebody said yes."""
    return tuple(one for one in going if one.key in shown)
