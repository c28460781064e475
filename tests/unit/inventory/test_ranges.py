"""Ranges and ports: Ansible's own functions are the judge."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import InventoryError
from fleet.inventory.ranges import MAX_NAMES, expand, split_port

BOUND = st.one_of(
    st.integers(-2, 30).map(str),
    st.integers(0, 30).map(lambda number: f"{number:02}"),
    st.sampled_from([*"abcxyzABZ", "", "01", "001", "ab", "1.5", " 1"]),
)
RANGE = st.lists(BOUND, min_size=1, max_size=4).map(lambda bounds: f"[{':'.join(bounds)}]")
PIECE = st.one_of(
    RANGE, st.sampled_from(["n", "gpu-", ".example.com", "|", "[", "]", ":", ":22", "::1", "10.0.0.", "_", "é", "-"])
)
NAME = st.lists(PIECE, min_size=1, max_size=5).map("".join)


@pytest.mark.parametrize(
    ("pattern", "names", "port"),
    [
        ("gpu[01:03]", ["gpu01", "gpu02", "gpu03"], None),
        ("n[1:5:2]:2222", ["n1", "n3", "n5"], 2222),
        ("r[1:2]c[a:b]", ["r1ca", "r1cb", "r2ca", "r2cb"], None),
        ("[2001:db8::1]:22", ["2001:db8::1"], 22),
        ("2001:db8::1", ["2001:db8::1"], None),
    ],
)
def test_a_pattern_stands_for_names_and_a_port(pattern: str, names: list[str], port: int | None) -> None:
    assert expand(pattern) == (names, port)


@pytest.mark.parametrize("pattern", ["n[1:]", "n[01:100]", "n[c:a]", "n[1:3:0]", "n[x:3]", "n[1", "n[]", "n[1:2:3:4]"])
def test_what_is_no_range_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(InventoryError) as caught:
        expand(pattern)
    assert pattern in caught.value.message


@pytest.mark.parametrize("pattern", ["n[1:999999999]", "n[a:z][a:z][a:z][a:z]", "n[0:9]" + "[0:9]" * 30])
def test_a_range_never_fills_the_memory(pattern: str) -> None:
    with pytest.raises(InventoryError, match=str(MAX_NAMES)):
        expand(pattern)


@settings(deadline=None)  # the first example imports Ansible
@given(NAME)
def test_names_are_expanded_as_ansible_expands_them(pattern: str) -> None:
    theirs = ansible_s("ansible.plugins.inventory", "BaseInventoryPlugin")()
    try:
        expected = theirs._expand_hostpattern(pattern)
    except Exception:
        with pytest.raises(InventoryError):
            expand(pattern)
    else:
        assert expand(pattern) == expected


@settings(deadline=None)
@given(st.one_of(NAME, st.from_regex(r"[0-9a-f:.\[\]]{1,20}", fullmatch=True)))
def test_addresses_are_recognized_as_ansible_recognizes_them(text: str) -> None:
    try:
        expected = ansible_s("ansible.parsing.utils.addresses", "parse_address")(text, allow_ranges=True)
    except Exception:
        expected = None
    assert split_port(text) == expected


def ansible_s(module: str, name: str) -> Any:
    """Something of Ansible's, where it is installed."""
    return getattr(pytest.importorskip(module, exc_type=ImportError), name)
