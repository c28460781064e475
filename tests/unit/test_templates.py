"""Templates of roles: strict, and no secret slips out."""

from pathlib import Path

import pytest

from fleet.errors import TemplateError
from fleet.secret import Secret
from fleet.templates import render


def template(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "unit.service.j2"
    path.write_text(text)
    return path


def test_statements_leave_no_blank_lines_and_the_last_newline_stays(tmp_path: Path) -> None:
    path = template(tmp_path, "[Service]\n  {% for x in xs %}\nA={{ x }}\n  {% endfor %}\nB=1\n")
    assert render(path, {"xs": [1, 2]}) == "[Service]\nA=1\nA=2\nB=1\n"


def test_an_unknown_name_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template(tmp_path, "a\nb\n{{ missing }}\n"), {})
    assert caught.value.where == f"{tmp_path}/unit.service.j2:3"


def test_a_slip_in_the_syntax_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template(tmp_path, "a\n{% if %}\n"), {})
    assert caught.value.where == f"{tmp_path}/unit.service.j2:2"


def test_a_secret_is_written_only_where_the_template_asks_for_it(tmp_path: Path) -> None:
    values = {"token": Secret("t0ps3cret")}
    assert render(template(tmp_path, "{{ token | reveal }}"), values) == "t0ps3cret"
    for text in ("{{ token }}", "{{ token | upper }}", "a{{ 'x' ~ token }}", "{{ [token] | join }}"):
        with pytest.raises(TemplateError, match="secret"):
            render(template(tmp_path, text), values)


def test_the_sandbox_gives_no_way_to_python(tmp_path: Path) -> None:
    with pytest.raises(TemplateError):
        render(template(tmp_path, "{{ ''.__class__.__mro__ }}"), {})
