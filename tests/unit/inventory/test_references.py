"""Expressions give what Ansible's give, for what both know."""

import warnings
from typing import Any

import pytest

from fleet.errors import TemplateError
from fleet.inventory.references import References

VALUES = {
    "n": 5,
    "s": "text",
    "t": "true",
    "e": "",
    "b": True,
    "none": None,
    "l": [1, "two", {"x": 3}],
    "d": {"a": 1, "b": {"c": [1]}},
    "r": "{{ n }}",
    "rr": "{{ r }}-{{ s }}",
    "ld": ["{{ n }}", "{{ s }}"],
    "dd": {"k": "{{ l }}"},
}
SAME = """
{{ 5 }} · {{ n }} · {{ n }}x · {{ true }} · {{ none }} · {{ none }}x · a{{ none }}b · {{ t }} · {{ r }} · {{ rr }}
{{ ld }} · {{ ld }}x · {{ dd }} · {{ dd.k[2].x }} · {{ d['b']['c'][0] }} · {{ l | length }} · {{ l + [4] }}
{{ [0] + ld }} · {{ d | to_json }} · {{ dd | to_json }} · {{ d | combine({'z': 1}) }}
{{ d | combine({'b': {'q': 1}}, recursive=true) }} · {{ s | upper }} · {{ s ~ n }} · {{ 'ab' * 2 }} · {{ n / 2 }}
{{ undefd | default('x') }} · {{ undefd.a.b | default(3) }} · {{ d.nope | default('y') }}
{% if b %}yes{% endif %} · {% if not b %}yes{% endif %} · {% for i in l %}{{ i }},{% endfor %}
{{ l | map('string') | list }} · {{ l | map('string') }} · {{ range(3) | list }} · {{ (1,2) }} · {{ {'a': [n]} }}
{{ e }} · {{ l[0:2] }} · {{ l | first }} · {{ ld | last }} · {{ [3,1,2] | sort }} · {{ d | dictsort }}
{{ d.items() | list }} · {{ t | bool }} · {{ 'no' | bool }} · {{ '[1, 2]' | from_json }} · {{ s | b64encode }}
{{ '%s-%s' | format(s, n) }} · {# c #} · {# c #}x · {{ {} }} · {{ ld | join('-') }}
{{ dd.k | map(attribute='x') | list }} · {{ ld is sequence }} · {{ dd is mapping }} · {{ ld == [5, 'text'] }}
{{ ld[-1] }} · {{ dd == {'k': l} }} · {{ undefd }} · {{ [undefd] }} · {{ d.nope }} · {{ n | nofilter }}
{{ 1 / 0 }} · {{ s + n }} · {{ '{{ n }}' }} · {{ e | default('q', true) }} · {{ n if b else s }} · {{ n if not b }}
x{{ n if not b }} · {{ s[0] }} · {{ s.upper() }} · {{ dict(a=1) }} · {{ ld | unique | list }}
"""
EXPRESSIONS = [text.strip() for line in SAME.strip().splitlines() for text in line.split(" · ")]


@pytest.fixture(scope="module")
def ansible_s() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ansible.cli.inventory")
        template = pytest.importorskip("ansible.template")
        loader = pytest.importorskip("ansible.parsing.dataloader").DataLoader()

    def trusted(value: Any) -> Any:
        if isinstance(value, str):
            return template.trust_as_template(value)
        if isinstance(value, dict):
            return {key: trusted(item) for key, item in value.items()}
        return [trusted(item) for item in value] if isinstance(value, list) else value

    def evaluate(text: str) -> Any:
        return template.Templar(loader=loader, variables=trusted(VALUES)).template(trusted(text))

    return evaluate


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_gives_what_ansible_s_gives(ansible_s: Any, text: str) -> None:
    here = References({**VALUES, "asked": text}, {})
    try:
        expected = ansible_s(text)
    except Exception:
        with pytest.raises(TemplateError):
            here.resolve("asked")
    else:
        assert repr(here.resolve("asked")) == repr(expected)
