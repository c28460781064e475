"""Names that clients ask for are never taken away unsaid."""

from __future__ import annotations

import pytest

from fleet.rollout.names import lost, refuse_lost
from fleet.rollout.waves import NoCapacity

BOTH = ["h1", "h2"]
OLD = {"h1:vl": "old", "h2:vl": "old"}


def test_a_name_that_a_server_has_now_and_then_is_kept() -> None:
    assert lost(OLD, OLD, BOTH) == {}
    assert lost(OLD, {**OLD, "h2:vl": "new"}, BOTH) == {}
    assert lost({}, {"h1:vl": "first"}, BOTH) == {}
    assert lost({"h1:vl": "old"}, {"h1:vl": "new", "h2:vl": "old"}, ["h1"]) == {}, "h2 takes no part and has it"


def test_a_host_that_is_still_to_serve_keeps_no_name() -> None:
    assert lost({"h1:vl": "old"}, {"h1:vl": "new", "h2:vl": "old"}, BOTH) == {"old": ["h1:vl"]}


def test_a_name_that_changes_everywhere_is_refused_with_the_way_to_keep_it() -> None:
    with pytest.raises(NoCapacity, match="old would be left without capacity: h1:vl, h2:vl would serve new") as told:
        refuse_lost(OLD, dict.fromkeys(OLD, "new"), BOTH)
    assert "`served_name: old`" in told.value.hint
    assert "--allow-downtime" in told.value.hint


def test_instances_that_are_renamed_everywhere_are_a_model_without_servers_until_the_first_is_switched() -> None:
    with pytest.raises(NoCapacity, match="h1:vl, h2:vl would be gone"):
        refuse_lost(OLD, {"h1:new": "old", "h2:new": "old"}, BOTH)


def test_two_models_that_change_places_keep_no_server_all_along() -> None:
    assert lost({"h1:vl": "a", "h2:vl": "b"}, {"h1:vl": "b", "h2:vl": "a"}, BOTH) == {"a": ["h1:vl"], "b": ["h2:vl"]}
