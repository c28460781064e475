"""The long comparisons with Ansible are for ``pytest -m soak``, or any other ``-m`` that lets them in."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what is marked soak where nobody asked for it."""
    if config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="long: pytest -m soak"))
