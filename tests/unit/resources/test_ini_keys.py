from __future__ import annotations

import configparser

from hypothesis import given
from hypothesis import strategies as st

from fleet.resources import IniKeys
from fleet.resources.ini_keys import with_keys
from fleet.secret import Secret
from tests.local_host import LocalHost

NAMES = st.sampled_from(["proxy", "gpgcheck", "best"])
VALUES = st.text("ab:/.1", min_size=1, max_size=5)


def test_only_our_keys_change_in_their_section_and_every_other_line_stays(host: LocalHost) -> None:
    path = host.path / "dnf.conf"
    path.write_text("[other]\nproxy=theirs\n[main]\n# a comment\nproxy = old\ngpgcheck=1\n\n[last]\nx=1\n")
    path.chmod(0o640)
    change = host.settle(IniKeys(str(path), "main", {"proxy": "http://p:1", "gpgcheck": None}))
    assert change
    assert change.diff == "- proxy=old\n+ proxy=http://p:1\n- gpgcheck=1"
    assert path.read_text() == "[other]\nproxy=theirs\n[main]\n# a comment\nproxy=http://p:1\n\n[last]\nx=1\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_missing_file_or_section_is_made(host: LocalHost) -> None:
    host.settle(IniKeys(str(host.path / "new"), "main", {"a": "1"}))
    assert (host.path / "new").read_text() == "[main]\na=1\n"


def test_a_password_makes_the_file_root_only_and_is_never_shown(host: LocalHost) -> None:
    path = host.path / "dnf.conf"
    path.write_text("[main]\nproxy=http://u:0ld@p\n")
    keys = IniKeys(str(path), "main", {"proxy": Secret("http://u:hidden@p")})
    change = keys.diff(host.see(keys))
    assert change
    assert "hidden" not in change.diff
    assert "0ld" not in change.diff
    host.settle(keys)
    assert path.stat().st_mode & 0o777 == 0o600


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, st.none() | VALUES))
def test_what_another_reader_finds_is_what_was_asked(there: dict[str, str], asked: dict[str, str | None]) -> None:
    text = "[a]\nproxy=stays\n[main]\n" + "".join(f"{k}={v}\n" for k, v in there.items()) + "[z]\nbest=stays\n"
    once = with_keys(text, "main", asked)
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.read_string(once)
    merged = {**there, **asked}
    assert dict(parser["main"]) == {key: value for key, value in merged.items() if value is not None}
    assert (parser["a"]["proxy"], parser["z"]["best"]) == ("stays", "stays")
    assert with_keys(once, "main", asked) == once
