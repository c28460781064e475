"""What the checks are given: the connection to a host as Testinfra's ``host``, and what the inventory wants of it.

``./inv verify`` runs them. By hand: ``pytest tests/verify --fleet PATTERN``, with pytest's own ``-k``, ``-x``, ``-v``.
"""

from __future__ import annotations

import pytest
from testinfra.host import Host

from fleet.cli.session import Options, open_session
from fleet.errors import FleetError
from fleet.settings import Instance
from fleet.target import Target
from fleet.verify import Checks, Place, targets


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fleet")
    group.addoption("--fleet", metavar="PATTERN", help="hosts to check, as ./inv's --hosts has them")
    group.addoption("--inventory", action="append", default=[], metavar="FILE", help="inventory, repeatable")


def pytest_configure(config: pytest.Config) -> None:
    pattern = config.getoption("--fleet", None)
    if not pattern:
        return
    try:
        options = Options(hosts=pattern, inventory=tuple(config.getoption("--inventory")))
        session = open_session(options, (), doing="verify", quiet=True)
        config.add_cleanup(session.crew.close)
        seen = targets(session.crew, session.settings, session.lookups, session.progress)
    except FleetError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(Checks(session.crew, seen, session.settings), "fleet-checks")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not any(isinstance(plugin, Checks) for plugin in metafunc.config.pluginmanager.get_plugins()):
        metafunc.parametrize("place", [], indirect=True)  # no hosts were named: all are skipped


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def host(place: Place) -> Host:
    """The host, as Testinfra has it, over our own connection."""
    return place.host


@pytest.fixture
def target(place: Place) -> Target | FleetError:
    """What the inventory wants of the host, and the facts that were seen; an error where it didn't answer."""
    return place.target


@pytest.fixture
def instance(place: Place) -> Instance | None:
    """The instance that a check is about."""
    return place.instance
