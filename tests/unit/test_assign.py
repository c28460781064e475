from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fleet.assign import assign
from fleet.facts import Gpu
from fleet.settings import Instance


def gpus(count: int) -> list[Gpu]:
    return [Gpu(n, f"GPU-{n}", "T4", f"0000:0{n}", 15360, 0, "580", "7.5", "Disabled") for n in range(count)]


def instance(name: str, wants: int | str | tuple[int, ...]) -> Instance:
    return Instance(name=name, model="m", gpus=wants)  # type: ignore[arg-type] # any of the three forms


NAMES = st.sampled_from(["a", "b", "c", "d"])
WANTS = st.dictionaries(NAMES, st.integers(1, 4), max_size=4)
BEFORE = st.dictionaries(NAMES, st.lists(st.integers(0, 9).map(lambda n: f"GPU-{n}"), max_size=4).map(tuple))


@given(st.integers(0, 8), WANTS, BEFORE)
def test_no_gpu_is_given_twice_and_each_gets_what_it_wants_or_a_word(
    count: int, wants: dict[str, int], before: dict[str, tuple[str, ...]]
) -> None:
    given_out = assign([instance(n, w) for n, w in wants.items()], gpus(count), before)
    used = Counter(gpu.uuid for chosen in given_out.gpus.values() for gpu in chosen)
    assert all(times == 1 for times in used.values())
    assert all(len(chosen) == wants[name] for name, chosen in given_out.gpus.items())
    assert len(given_out.gpus) + len(given_out.problems) == len(wants)


@given(st.integers(1, 8), WANTS, st.permutations(["a", "b", "c", "d"]))
def test_what_was_given_once_stays_whatever_comes_or_goes(count: int, wants: dict[str, int], order: list[str]) -> None:
    first = assign([instance(n, w) for n, w in wants.items()], gpus(count), {})
    before = {name: tuple(gpu.uuid for gpu in chosen) for name, chosen in first.gpus.items()}
    again = assign([instance(n, wants[n]) for n in order if n in before], gpus(count), before)
    assert again.gpus == first.gpus
    joined = assign([instance("new", 1), *(instance(n, wants[n]) for n in before)], gpus(count), before)
    assert {n: joined.gpus[n] for n in before} == first.gpus


@given(st.integers(2, 8), st.integers(0, 7))
def test_explicit_indexes_come_first(count: int, index: int) -> None:
    given_out = assign(
        [instance("a", 1), instance("b", (index % count,))], gpus(count), {"a": (f"GPU-{index % count}",)}
    )
    assert [gpu.index for gpu in given_out.gpus["b"]] == [index % count]
    assert given_out.gpus["a"][0].index != index % count


def test_one_that_shrinks_or_grows_keeps_its_own() -> None:
    assert [g.index for g in assign([instance("a", 1)], gpus(4), {"a": ("GPU-2", "GPU-3")}).gpus["a"]] == [2]
    grown = assign([instance("a", 2), instance("b", 1)], gpus(4), {"a": ("GPU-3",), "b": ("GPU-0",)})
    assert [g.index for g in grown.gpus["a"]] == [1, 3]
    assert [g.index for g in grown.gpus["b"]] == [0]


def test_a_damaged_memory_gives_nothing_twice() -> None:
    assert len({g.uuid for g in assign([instance("a", 2)], gpus(2), {"a": ("GPU-0", "GPU-0")}).gpus["a"]}) == 2


def test_what_is_not_there_is_said_with_the_numbers() -> None:
    assert "wants GPU [5], but the host has 2: 0 to 1" in assign([instance("a", (0, 5))], gpus(2), {}).problems[0]
    assert "wants 3 GPUs, but 2 of the host's 2 are free" in assign([instance("a", 3)], gpus(2), {}).problems[0]
    assert "shows none" in assign([instance("a", "all")], [], {}).problems[0]
