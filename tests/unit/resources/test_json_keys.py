from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fleet.resources import JsonKeys
from fleet.resources.json_keys import merged
from tests.local_host import LocalHost

JSON = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(st.integers() | st.booleans() | st.text("xy"), lambda x: st.dictionaries(st.sampled_from("ab"), x)),
)


def test_what_is_not_ours_stays_and_only_our_keys_are_shown(host: LocalHost) -> None:
    path = host.path / "daemon.json"
    path.write_text('{"auths": {"r": "hunter2"}, "features": {"containerd-snapshotter": true}}')
    change = host.settle(JsonKeys(str(path), {"features": {"cdi": True}, "log-opts": {"max-size": "100m"}}))
    assert change
    assert change.diff == '+ features.cdi: true\n+ log-opts: {"max-size": "100m"}'
    assert json.loads(path.read_text()) == {
        "auths": {"r": "hunter2"},
        "features": {"containerd-snapshotter": True, "cdi": True},
        "log-opts": {"max-size": "100m"},
    }


def test_a_missing_and_an_empty_file_both_count_as_an_empty_object(host: LocalHost) -> None:
    (host.path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        host.settle(JsonKeys(str(host.path / name), {"a": [1, "ü"]}))
        assert json.loads((host.path / name).read_text()) == {"a": [1, "ü"]}


def test_none_takes_a_key_away(host: LocalHost) -> None:
    (host.path / "f").write_text('{"a": {"b": 1, "c": 2}}')
    change = host.settle(JsonKeys(str(host.path / "f"), {"a": {"b": None}, "gone": None}))
    assert change
    assert change.diff == "- a.b: 1"


def test_true_is_not_one(host: LocalHost) -> None:
    (host.path / "f").write_text('{"a": 1}')
    assert host.settle(JsonKeys(str(host.path / "f"), {"a": True})) is not None


def test_broken_json_is_never_overwritten(host: LocalHost) -> None:
    path = host.path / "f"
    for text in ('{"a": 1,}', "[1]", '"x"'):
        path.write_text(text)
        keys = JsonKeys(str(path), {"b": 2})
        change = keys.diff(host.see(keys))
        reply = host.apply(keys)
        assert change
        assert "won't be overwritten" in change.why
        assert reply.status == 1
        assert path.read_text() == text


def test_a_mode_is_mended_without_touching_the_content(host: LocalHost) -> None:
    path = host.path / "f"
    path.write_text('{"a":1}')
    path.chmod(0o600)
    change = host.settle(JsonKeys(str(path), {"a": 1}))
    assert change
    assert change.kind == "mode"
    assert path.read_text() == '{"a":1}'


@given(JSON, JSON)
def test_merging_twice_is_merging_once_and_ours_wins(under: dict[str, object], over: dict[str, object]) -> None:
    once = merged(under, over)
    assert merged(once, over) == once
    for key, value in over.items():
        if not isinstance(value, dict):
            assert once[key] == value
    assert set(once) == set(under) | set(over)
