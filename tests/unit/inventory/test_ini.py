"""INI: values as Ansible reads them, and every wrong line named at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import Findings, InventoryError
from fleet.inventory import load
from fleet.inventory.encoding import Encoder
from fleet.inventory.ini import literal
from fleet.inventory.vault import VaultPassword, encrypt
from fleet.secret import Secret

LITERAL = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner)
    ),
).map(repr)


@settings(deadline=None)  # the first example imports Ansible
@given(st.one_of(LITERAL, st.text(max_size=12), st.from_regex(r"[-+0-9._exjlLTFN]{1,6}", fullmatch=True)))
def test_a_value_is_what_ansible_makes_of_it(text: str) -> None:
    plugin = pytest.importorskip("ansible.plugins.inventory.ini").InventoryModule()
    plugin._origin = pytest.importorskip("ansible._internal._datatag._tags").Origin(path="/hosts", line_num=1)
    encoder = pytest.importorskip("ansible._internal._json._profiles._inventory_legacy").Encoder
    try:
        expected: Any = json.dumps({"_meta": {"hostvars": {"h": {"v": plugin._parse_value(text)}}}}, cls=encoder)
    except Exception:
        with pytest.raises(InventoryError):
            literal(text)
        return
    said = Encoder().text({"_meta": {"hostvars": {"h": {"v": literal(text)}}}})
    assert same(json.loads(said), json.loads(expected))


def same(one: object, other: object) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_all_wrong_lines_are_named_at_once_with_line_and_text(tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("[web]\nn1 alone\nn[1:] a=1\n[we b]\nn2 a='\n[web:vars]\nnothing\n[kids:children]\nnobody\n")
    with pytest.raises(Findings) as caught:
        load([source], passwords=[])
    assert [error.where.removeprefix(f"{source}:") for error in caught.value.errors] == [
        "2:1", "3:1", "4:1", "5:1", "7:1", "9:1",
    ]  # fmt: skip
    assert "'alone'" in str(caught.value)
    assert all(error.hint for error in caught.value.errors)


def test_a_line_says_where_each_of_its_variables_stands(tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("[web]\nn1 a=1 port=2\n[web:vars]\n  x = 3\n")
    host = load([source], passwords=[]).host("n1")
    assert str(host.origin("port")) == f"{source}:2:8"
    assert str(host.origin("x")) == f"{source}:4:3"


def test_errors_quote_nothing_of_an_encrypted_file(tmp_path: Path) -> None:
    password = VaultPassword(Secret("pw"))
    source = tmp_path / "hosts"
    source.write_text(encrypt(b"[web]\nn1 hunter22\n[web:vars]\nansible_group_priority=hunter22\n", password))
    with pytest.raises(Findings) as caught:
        load([source], passwords=[password])
    assert [error.where for error in caught.value.errors] == [f"{source}:2:1", f"{source}:4:1"]
    assert "hunter22" not in str(caught.value)


def test_a_priority_may_come_from_an_encrypted_file(tmp_path: Path) -> None:
    password = VaultPassword(Secret("pw"))
    source = tmp_path / "hosts"
    text = b"[a]\nn1\n[b]\nn1\n[a:vars]\nansible_group_priority=5\nv=a\n[b:vars]\nv=b\n"
    source.write_text(encrypt(text, password))
    assert load([source], passwords=[password]).host("n1").resolve("v") == Secret("a")


def test_the_nearest_right_name_is_told(tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("[database]\nn1\n[top:children]\ndatabse\n[database:var]\n")
    with pytest.raises(Findings) as caught:
        load([source], passwords=[])
    assert "did you mean 'database'?" in str(caught.value)
    assert "did you mean 'vars'?" in str(caught.value)
    source.write_text("[database]\nn1\n")
    inventory = load([source], passwords=[])
    assert inventory.names("databse") == []
    assert "did you mean 'database'?" in inventory.warnings[-1]
