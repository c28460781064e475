"""JSON as Ansible writes it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.encoding import Encoder
from fleet.inventory.values import SecretNumber, Unsafe, secreted
from fleet.secret import MASK, Secret

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUE)
def test_it_is_what_python_writes(value: object) -> None:
    assert Encoder().text(value) == json.dumps(value, sort_keys=True, indent=4, ensure_ascii=False)


@given(VALUE, VALUE)
def test_what_is_shared_is_written_out_everywhere(shared: object, other: object) -> None:
    value = {"a": [shared, {"b": shared}], "c": other, "d": shared}
    assert json.loads(Encoder().text(value)) == json.loads(json.dumps(value))


def test_secrets_are_in_clear_or_masked_and_numbers_stay_numbers() -> None:
    value = secreted({"pin": 123456, "token": "t0ps3cret", "flag": True, "list": ["deep"]})
    assert json.loads(Encoder().text(value)) == {"pin": 123456, "token": "t0ps3cret", "flag": True, "list": ["deep"]}
    assert json.loads(Encoder(masked=True).text(value)) == {"pin": MASK, "token": MASK, "flag": True, "list": [MASK]}
    assert isinstance(value, dict)
    assert value["pin"] == SecretNumber("123456", 123456)
    assert value["token"] == Secret("t0ps3cret")


def test_what_no_terminal_takes_is_escaped() -> None:
    assert Encoder().text(["\ud800", Unsafe("\udc80")]).encode().count(b"\\ud") == 2
