from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.prune import Goes, LocalFile, LocalImage, Needs, Place, Seen, goes, only

ROOT = "/srv/models"
NOTHING = Needs()


def image(n: int, *tags: str, size: int = 100, layers: tuple[str, ...] = ()) -> LocalImage:
    """The image of digest ``n``, as a pull of ours leaves it."""
    return LocalImage(
        f"sha256:id{n}", size, (f"fleet.local/vllm:{n:016x}", *tags), (f"r.example/vllm@sha256:{n:064x}",), layers
    )


def revision(n: int, *files: LocalFile, model: str = "me/tiny") -> Place:
    content = f"{n:064x}"[::-1]
    return Place(model.replace("/", "--"), f"rev-{content[:12]}", model, content, True, files)


def names(going: tuple[Goes, ...]) -> list[str]:
    return [one.name for one in going]


def needs(*things: LocalImage | Place) -> Needs:
    """What a release of these would name."""
    images = [one for one in things if isinstance(one, LocalImage)]
    return Needs(
        frozenset(one.tags[0] for one in images),
        frozenset(one.digests[0].partition("@")[2] for one in images if one.digests),
        frozenset(one.content[:12] for one in things if isinstance(one, Place)),
    )


def test_what_neither_release_nor_inventory_nor_container_uses_goes_with_all_its_names() -> None:
    seen = Seen(ROOT, needs(image(1), revision(1)), images=(image(1), image(2)), places=(revision(1), revision(2)))
    weights, old = goes(seen, NOTHING)
    assert (weights.kind, weights.name, old.kind, old.name) == ("weights", revision(2).path, "image", "sha256:id2")
    assert old.references == (f"r.example/vllm@sha256:{2:064x}", f"fleet.local/vllm:{2:016x}")  # ours is the last one
    assert old.label == f"fleet.local/vllm:{2:016x}"


def test_what_the_inventory_wants_stays_also_half_fetched() -> None:
    partial = replace(revision(3), name=revision(3).name.replace("rev-", "partial-"), model="", content="")
    other = replace(partial, name="partial-ffffffffffff")
    seen = Seen(ROOT, images=(image(1),), places=(partial, other))
    assert names(goes(seen, needs(image(1), revision(3)))) == [other.path]


def test_an_image_is_known_by_its_digest_also_where_a_release_calls_it_otherwise() -> None:
    wanted = Needs(digests=frozenset({f"sha256:{1:064x}"}))
    assert goes(Seen(images=(image(1),)), wanted) == ()


@pytest.mark.parametrize("used", ["sha256:id1", f"fleet.local/vllm:{1:016x}", f"r.example/vllm@sha256:{1:064x}"])
def test_what_a_container_uses_stays_by_whatever_name(used: str) -> None:
    assert goes(Seen(used=frozenset({used}), images=(image(1),)), NOTHING) == ()


@pytest.mark.parametrize(
    "strange",
    [
        LocalImage("sha256:a", 9, ("ubuntu:24.04",), ("ubuntu@sha256:1",)),
        LocalImage("sha256:a", 9, (), ("r.example/vllm@sha256:1",)),  # somebody's pull by digest
        LocalImage("sha256:a", 9),  # a layer of somebody's build
        image(1, "theirs:latest"),  # ours, and somebody gave it another name
        image(1, "fleet.local/was-here:0000000000000001"),  # here before us
        LocalImage("sha256:a", 9, ("fleet.localhost/vllm:1",)),
    ],
)
def test_an_image_that_we_did_not_bring_stays(strange: LocalImage) -> None:
    assert goes(Seen(images=(strange,)), NOTHING) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"marked": False},
        {"content": ""},
        {"content": "ab" * 32},
        {"model": "you/tiny"},
        {"directory": "tiny"},
        {"directory": "../etc--x"},
        {"name": "rev-mine"},
        {"name": "current"},
        {"name": "rev-0123456789ab/.."},
        {"name": ".trash-mine"},
        {"name": "partial-0123456789ab", "marked": False},
    ],
)
def test_a_directory_that_is_not_ours_by_its_names_and_its_own_word_stays(change: dict[str, object]) -> None:
    assert goes(Seen(ROOT, places=(replace(revision(1), **change),)), NOTHING) == ()  # type: ignore[arg-type]  # each is a field's own type
    assert goes(Seen(ROOT, places=(revision(1),)), NOTHING) != ()


@pytest.mark.parametrize(
    ("mount", "stays"),
    [
        (f"{ROOT}/{revision(1).path}", True),
        (f"{ROOT}/{revision(1).path}/config.json", True),
        (ROOT, True),
        ("/", True),
        (f"{ROOT}/me--tiny", True),
        (f"{ROOT}/me--tiny/current", True),  # it may have led here when the container was made
        (f"{ROOT}/{revision(2).path}", False),
        (f"{ROOT}/{revision(1).path}-old", True),  # no name of ours: whatever it is, it is beside it
        (f"{ROOT}/me--other/current", False),
        ("/srv/models-of-others", False),
    ],
)
def test_weights_that_a_container_has_stay(mount: str, stays: bool) -> None:
    assert (goes(Seen(ROOT, mounts=(mount,), places=(revision(1),)), NOTHING) == ()) is stays


def test_what_a_removal_left_goes_and_says_so() -> None:
    left = Place("me--tiny", ".trash-rev-0123456789ab-17")
    (one,) = goes(Seen(ROOT, places=(left,)), NOTHING)
    assert "cut off" in one.why


def test_files_that_a_revision_shares_with_one_that_stays_free_nothing() -> None:
    shared, own = LocalFile("1:1", 2, 1000), LocalFile("1:2", 1, 7)
    seen = Seen(ROOT, needs(revision(1)), places=(revision(1, shared), revision(2, shared, own)))
    (one,) = goes(seen, NOTHING)
    assert (one.size, "shares" in one.why) == (7, True)
    assert sum(one.size for one in goes(replace(seen, releases=NOTHING), NOTHING)) == 1007  # both go: counted once


def test_an_image_that_shares_layers_says_at_most() -> None:
    seen = Seen(
        releases=needs(image(1)),
        images=(image(1, layers=("a", "b")), image(2, layers=("a", "c")), image(3, layers=("d",))),
    )
    assert {one.name: one.at_most for one in goes(seen, NOTHING)} == {"sha256:id2": True, "sha256:id3": False}


def test_what_was_built_on_another_image_goes_before_it() -> None:
    base = image(1)
    built = LocalImage("sha256:built", 5, (f"{base.tags[0]}-0123456789abcdef",))
    assert names(goes(Seen(images=(base, built)), NOTHING)) == ["sha256:built", "sha256:id1"]


def test_only_what_was_shown_goes() -> None:
    going = goes(Seen(ROOT, images=(image(1),), places=(revision(1),)), NOTHING)
    assert only(going, {("image", "sha256:id1"), ("image", "sha256:new")}) == going[1:]


IMAGES = [image(n) for n in range(5)]
PLACES = [revision(n, LocalFile(f"1:{n // 2}", 2, 10)) for n in range(5)]
THINGS = st.lists(st.sampled_from([*IMAGES, *PLACES]), unique=True)
MOUNTS = st.lists(st.sampled_from([f"{ROOT}/{place.path}" for place in PLACES]), unique=True)


@given(THINGS, THINGS, THINGS, st.lists(st.sampled_from([one.id for one in IMAGES])), MOUNTS)
def test_nothing_that_anybody_needs_ever_goes_and_twice_is_once(
    there: list[LocalImage | Place],
    kept: list[LocalImage | Place],
    wanted: list[LocalImage | Place],
    used: list[str],
    mounts: list[str],
) -> None:
    seen = Seen(
        ROOT, needs(*kept), frozenset(used), tuple(mounts),
        tuple(one for one in there if isinstance(one, LocalImage)),
        tuple(one for one in there if isinstance(one, Place)),
    )  # fmt: skip
    going = {one.name for one in goes(seen, needs(*wanted))}
    needed = {one.id if isinstance(one, LocalImage) else one.path for one in (*kept, *wanted)}
    needed |= {*used, *(mount.removeprefix(f"{ROOT}/") for mount in mounts)}
    here = {one.id if isinstance(one, LocalImage) else one.path for one in there}
    assert going == here - needed  # and all that nobody needs does
    left = replace(
        seen,
        images=tuple(one for one in seen.images if one.id not in going),
        places=tuple(one for one in seen.places if one.path not in going),
    )
    assert goes(left, needs(*wanted)) == ()
