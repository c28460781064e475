from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.systemd import exec_line, exec_word


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--port", "--port"),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ('{"a":"b\\n"}', '"{\\"a\\":\\"b\\\\n\\"}"'),
        ("it's", '"it\'s"'),
        (";", '";"'),
    ],
)
def test_a_word_is_written_by_systemds_rules(word: str, written: str) -> None:
    assert exec_word(word) == written


def test_each_option_has_its_own_line() -> None:
    assert exec_line(["/bin/x", "run", "-a", "1", "--b=2"]) == "/bin/x \\\n  run \\\n  -a 1 \\\n  --b=2"


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Cc"]), max_size=40))
def test_no_word_can_end_its_quotes_or_its_line(word: str) -> None:
    written = exec_word(word)
    inner = written[1:-1] if written.startswith('"') else written
    assert not re.search(r'(?<!\\)(?:\\\\)*"', inner)
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", inner.replace("%%", ""))
    assert "\n" not in written


def test_a_word_that_spans_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="span lines"):
        exec_word("a\nb")


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("ab\"\\%$;' {}=", max_size=12), max_size=4))
def test_systemd_takes_what_is_written(tmp_path: Path, words: list[str]) -> None:
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("systemd isn't installed")
    unit = tmp_path / "x.service"
    unit.write_text(f"[Service]\nExecStart={exec_line(['/bin/echo', *words])}\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
