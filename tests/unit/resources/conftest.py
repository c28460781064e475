from __future__ import annotations

import getpass
import grp
import os
import shutil
from pathlib import Path

import pytest

from tests.local_host import LocalHost, Me


@pytest.fixture(params=[("dash",), ("busybox", "sh")], ids=" ".join)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> LocalHost:
    shell: tuple[str, ...] = request.param
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} isn't installed")
    return LocalHost(tmp_path, shell)


@pytest.fixture
def me() -> Me:
    return Me(owner=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name)
