"""Host patterns: random ones over a random fleet, Ansible's own manager as the judge. Its order is checked by cases."""

import contextlib
import io
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.inventory import Inventory, load
from fleet.inventory.patterns import split

# Hosts stand in at most two levels, where the order in which Ansible walks groups is no accident.
FLEET = "web1,web2,db1,db2.local,gpu01,gpu02,gpu03,10.0.0.1,2001:db8::1,!odd"
GROUPS = {
    "web": ["web1", "web2"],
    "db": ["db1", "db2.local"],
    "gpu": ["gpu01", "gpu02", "gpu03"],
    "web-eu": ["web2", "gpu01"],
}
NAMES = [*FLEET.split(","), *GROUPS, "all", "ungrouped", "nothing", "localhost"]
ATOM = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(["*", "web*", "~web.*", "~(db|gpu)", "gpu0?", "gpu0[12]", "d*", "[", "~[", "w[e]b"]),
    st.text("webdgpu01*?[]~:,!& .-", min_size=1, max_size=6),
)
SUBSCRIPT = st.sampled_from(["", "", "", "[0]", "[-1]", "[1:]", "[0:1]", "[0:0]", "[2-3]", "[7]", "[5:9]"])
TERM = st.tuples(st.sampled_from(["", "", "&", "!"]), ATOM, SUBSCRIPT).map("".join)
PATTERN = st.tuples(st.lists(TERM, min_size=1, max_size=4), st.sampled_from([",", ":", " , "])).map(
    lambda x: x[1].join(x[0])
)


@pytest.fixture(scope="module")
def here() -> Inventory:
    inventory = load([FLEET], passwords=[])
    graph = inventory._graph
    for name, hosts in GROUPS.items():
        graph.add_group(name)
        for host in hosts:
            graph.add_child(name, host)
    graph.settle()
    return inventory


@pytest.fixture(scope="module")
def there() -> Any:
    manager = pytest.importorskip("ansible.inventory.manager").InventoryManager
    inventory = manager(pytest.importorskip("ansible.parsing.dataloader").DataLoader(), [FLEET])
    for name, hosts in GROUPS.items():
        inventory.add_group(name)
        for host in hosts:
            inventory._inventory.add_child(name, host)
    inventory.reconcile_inventory()
    return inventory


@settings(max_examples=400, deadline=None)
@given(PATTERN, st.none() | PATTERN)
def test_patterns_match_what_ansible_s_match(here: Inventory, there: Any, pattern: str, limit: str | None) -> None:
    if limit is not None and "@" in limit:
        limit = None
    there.clear_caches()
    there._inventory.localhost = None
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            there.subset(limit)
            expected = [host.name for host in there.get_hosts(pattern)]
        except Exception:
            expected = None
    if expected is None:
        with pytest.raises(UsageError):
            here.names(pattern, limit)
    else:
        assert here.names(pattern, limit) == expected


@settings(deadline=None)
@given(st.text("ab1:[],.!&~ *", max_size=12))
def test_patterns_are_split_as_ansible_splits_them(text: str) -> None:
    theirs = pytest.importorskip("ansible.inventory.manager").split_host_pattern
    assert split(text) == theirs(text)


def test_a_file_of_limits_that_is_not_there_is_wrong_use(here: Inventory) -> None:
    with pytest.raises(UsageError, match="no such file"):
        here.names("all", "@/nowhere")


def test_a_pattern_without_a_match_gives_nothing_and_a_warning(here: Inventory) -> None:
    before = len(here.warnings)
    assert here.names("gpu9*") == []
    assert "gpu9*" in here.warnings[before]
