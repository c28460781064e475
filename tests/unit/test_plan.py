from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import plan
from fleet.errors import PlanError
from fleet.plan import HostPlan, Plan, plan_host
from fleet.resource import Change, Observation, Problem, Step
from fleet.secret import Secret


@dataclass(frozen=True)
class Thing:
    """A resource with a secret."""

    id: str
    value: str = "1"
    secret: Secret = Secret("s3cret-value")  # noqa: RUF009 — frozen, as all of these
    interrupts: tuple[str, ...] = ()

    def probe(self) -> str:
        return ""

    def diff(self, seen: Observation) -> Change | None:
        if seen.text == self.value:
            return None
        return Change(self.id, "update", "differs", f"-{seen.text}\n+{self.value}", self.interrupts)

    def apply(self, seen: Observation) -> list[Step]:
        return []


def made(
    value: str = "1", seen: str = "0", secret: str = "s3cret-value", key: bytes = b"k", **more: object
) -> HostPlan:
    things = [Thing("a:1", value, Secret(secret)), Thing("b:2", interrupts=("x",)), Thing("c:3")]
    texts = {"a:1": seen, "b:2": "", "c:3": "1"}
    return plan_host("h1", things, {id_: Observation(text) for id_, text in texts.items()}, [Problem("hm")], key)


@given(st.text(), st.text(), st.text(min_size=1))
def test_equal_inputs_give_an_equal_plan(value: str, seen: str, secret: str) -> None:
    assert made(value, seen, secret) == made(value, seen, secret)


@pytest.mark.parametrize("other", [{"value": "2"}, {"seen": "9"}, {"secret": "another"}, {"key": b"other"}])
def test_a_fingerprint_tells_every_difference(other: dict[str, str]) -> None:
    assert made().fingerprint != made(**other).fingerprint  # type: ignore[arg-type] # one of made's own


def test_what_interrupts_waits_and_what_is_well_is_not_named() -> None:
    found = made()
    assert ([c.id for c in found.changes], [c.id for c in found.waits]) == (["a:1"], ["b:2"])
    assert found.blocked


@given(st.text(), st.text())
def test_a_plan_comes_back_from_its_file_as_it_was(tmp_path_factory: pytest.TempPathFactory, v: str, s: str) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    whole = Plan({"h1": made(v, s), "h2": plan_host("h2", [], {}, [], b"")}, {"roles": "abc"})
    plan.write(whole, path)
    assert plan.load(path) == whole
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_secret_stands_in_a_plan() -> None:
    assert "s3cret" not in json.dumps(Plan({"h1": made()}).as_json())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["hosts"]["h1"]["changes"].append({**d["hosts"]["h1"]["changes"][0], "id": "evil:1"}),
        lambda d: d["hosts"]["h1"]["changes"].clear(),
        lambda d: d["hosts"]["h1"]["changes"][0].update(kind="remove"),
        lambda d: d["hosts"]["h1"]["changes"][0].update(diff="-harmless"),
        lambda d: d["hosts"]["h1"].update(changes=d["hosts"]["h1"]["waits_for_rollout"]),
        lambda d: d["hosts"].update(h2=d["hosts"]["h1"]),
        lambda d: d.update(inputs={"roles": "other"}),
        lambda d: d.update(format=2),
        lambda d: d.pop("inputs"),
        lambda d: d.update(hosts=[]),
        lambda d: d["hosts"].update(h1=None),
        lambda d: d["hosts"]["h1"]["changes"][0].pop("digest"),
    ],
)
def test_a_file_that_was_changed_or_damaged_is_refused(tmp_path: Path, change: object) -> None:
    path = tmp_path / "plan.json"
    plan.write(Plan({"h1": made()}, {"roles": "abc"}), path)
    data = json.loads(path.read_text())
    change(data)  # type: ignore[operator] # one of the functions above
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError) as refused:
        plan.load(path)
    assert "plan --out" in refused.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b"{}"])
def test_what_is_no_plan_is_refused_with_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(PlanError):
        plan.load(tmp_path / "p")


def test_a_place_that_is_not_there_is_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="can't be read"):
        plan.load(tmp_path / "none")
    with pytest.raises(PlanError, match="can't be written"):
        plan.write(Plan({}), tmp_path / "none" / "plan.json")


def test_inputs_are_hashed_by_name_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = plan.inputs_of({"roles": [tmp_path]})
    assert first == plan.inputs_of({"roles": [tmp_path]})
    (tmp_path / "a").rename(tmp_path / "b")
    assert first != plan.inputs_of({"roles": [tmp_path]})
