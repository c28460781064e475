"""vLLM's versions: compared by numbers, judged by known neighbours."""

import pytest

from fleet.errors import CatalogError
from fleet.sizing.versions import at_least, neighbours, release


def test_a_version_is_its_leading_numbers() -> None:
    assert release("v0.8.5.post1") == (0, 8, 5)
    assert release("0.9.0.1") == (0, 9, 0, 1)


def test_numbers_order_versions_not_letters() -> None:
    assert at_least("0.10.0", "0.9.2")
    assert not at_least("0.8.2", "0.8.5")


def test_a_known_version_judges_itself() -> None:
    known = neighbours("0.8.2")
    assert (known.exact, known.judge) == (True, "0.8.2")


def test_between_two_known_ones_the_newer_judges() -> None:
    known = neighbours("0.10.1")
    assert (known.older, known.newer, known.judge) == ("0.8.2", "0.24.0", "0.24.0")


def test_older_than_all_is_not_known_and_newer_than_all_is_judged_by_the_newest() -> None:
    assert not neighbours("0.7.3").known
    assert neighbours("9.0.0").judge == "0.33.0"


def test_what_is_no_version_is_said_so() -> None:
    with pytest.raises(CatalogError, match="no vLLM version"):
        release("latest")
