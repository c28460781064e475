"""The problems of several hosts: each once, with who has it and what to do."""

from __future__ import annotations

import pytest

from fleet.errors import Findings
from fleet.settings import all_settings
from tests.unit.settings.test_check import ONE, Told


def findings(count: int, **variables: object) -> list[str]:
    with pytest.raises(Findings) as refused:
        all_settings([Told(variables, f"n{number}") for number in range(1, count + 1)])
    return [error.hint for error in refused.value.errors]


@pytest.mark.parametrize(
    ("count", "who"), [(1, "n1"), (2, "n1, n2"), (4, "n1, n2, n3, n4"), (40, "40 hosts: n1, n2, n3 …")]
)
def test_a_problem_that_hosts_share_names_them_and_where_the_key_is_described(count: int, who: str) -> None:
    (hint,) = findings(count, driver={"reboot": "always"})
    assert hint == f"docs/settings.md says what it may be; it counts on {who}"


def test_hints_of_their_own_stay() -> None:
    assert findings(2, driver={"brunch": 550}) == ["did you mean 'branch'?"]
    assert findings(2, instances=[{**ONE, "prot": 1}]) == ["did you mean 'port'?"]


def test_an_event_that_there_isn_t_is_one_problem_not_two() -> None:
    assert len(findings(1, hooks=[{"run": "x", "events": ["failures"]}])) == 1
    assert len(findings(1, hooks=[{"run": "x", "events": []}])) == 1
