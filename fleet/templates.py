"""The one module that knows Jinja2: the templates of roles, and expressions in the values of an inventory.

Both run in a sandbox and strictly: a name that isn't there is an error.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment

from fleet.errors import FleetError, TemplateError
from fleet.secret import MASK, Secret

#: The longest text or list that one multiplication may make, and the largest exponent.
MAX_LENGTH, MAX_EXPONENT = 1_000_000, 1_000


def render(path: Path, values: Mapping[str, object]) -> str:
    """The template at ``path`` with ``values``: no blank lines for statements, the last newline kept.

    A :class:`~fleet.secret.Secret` is only written where the template says ``| reveal``. Raises TemplateError with the
    template's file and line.
    """
    try:
        text = _files_in(path.parent).get_template(path.name).render(values)
    except FleetError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(str(error.message), where=f"{error.filename or path}:{error.lineno}") from None
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"no such template: {error.name}", where=str(path)) from None
    except Exception as error:
        raise TemplateError(f"{type(error).__name__}: {error}", where=_line_of(error, path)) from error
    if MASK in text and MASK not in path.read_text(encoding="utf-8"):
        hint = "write `| reveal` before the filter"
        raise TemplateError("a secret went through a filter", where=str(path), hint=hint)
    return text


def is_template(value: object) -> bool:
    """Whether ``value`` is a text in which Jinja2 has something to do. A subclass, text marked as unsafe, never is."""
    return type(value) is str and ("{{" in value or "{%" in value or "{#" in value)


def evaluate(text: str, scope: Mapping[str, object]) -> object:
    """What ``text`` gives with the names of ``scope``: one expression alone keeps its type, anything else is text.

    Each name is looked up when the expression takes it. Raises TemplateError without a place: the caller knows it.
    """
    try:
        template = _compiled(text)
        parts = template.root_render_func(template.new_context({_SCOPE: scope}))
        return _defined(_joined(parts))
    except FleetError:
        raise
    except jinja2.UndefinedError as error:
        raise TemplateError(f"can't be rendered: {error}", hint=_hint(str(error), scope)) from None
    except jinja2.TemplateAssertionError as error:
        known = f"filters known here: Jinja2's own and {', '.join(sorted(_FILTERS))}"
        raise TemplateError(f"can't be rendered: {error}", hint=known) from None
    except RecursionError:
        raise TemplateError("references nest too deeply") from None
    except Exception as error:
        raise TemplateError(f"can't be rendered: {error}") from None


_SCOPE = "\0scope"


class _Scope(Context):
    """Names are looked up in the scope that was handed in, then among Jinja2's own."""

    def resolve_or_missing(self, key: str) -> Any:
        """The value of ``key``, or Jinja2's sign for none."""
        scope = self.parent.get(_SCOPE)
        if key not in self.vars and scope is not None and key in scope:
            return scope[key]
        return super().resolve_or_missing(key)


class _Missing(jinja2.ChainableUndefined, jinja2.StrictUndefined):
    """``a.b | default(1)`` is fine where there is no ``a``; any other use is an error."""

    __slots__ = ()


class _Sandbox(SandboxedEnvironment):
    context_class = _Scope
    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses what a few letters could make of the memory."""
        if operator == "**" and isinstance(right, (int, float)) and abs(right) > MAX_EXPONENT:
            raise SecurityError(f"an exponent above {MAX_EXPONENT}")
        sized = [each for each in (left, right) if isinstance(each, (str, list, tuple))]
        if operator == "*" and sized and len(sized[0]) * (right if sized[0] is left else left) > MAX_LENGTH:
            raise SecurityError(f"a result longer than {MAX_LENGTH}")
        if operator == "%" and isinstance(left, str):
            raise SecurityError("'%' on text: use the filter format")
        return super().call_binop(context, operator, left, right)


class _Constants(NativeCodeGenerator):
    """``{{ 5 }}`` alone is a number, as in Ansible."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        found = list(group)
        return repr(found[0]) if len(found) == 1 else repr(_joined(found))


class _Native(_Sandbox):
    """Its templates give values, not only text."""

    code_generator_class = _Constants


def _joined(parts: Iterable[object]) -> object:
    """The parts of a rendered text as Ansible joins them: nothing for None, a single part as it is."""
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return "".join(map(str, found))


def _defined(value: object) -> object:
    """``value`` with its iterators run out; raises Jinja2's own words for what is undefined in it."""
    if isinstance(value, Undefined):
        str(value)
        raise jinja2.UndefinedError("an `if` without an `else` gave nothing")
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range, Iterator)):
        return [_defined(item) for item in value]
    return value


def _hint(words: str, scope: Mapping[str, object]) -> str:
    """What to do about an undefined name."""
    wanted = words.split("'")[1] if words.count("'") > 1 else ""
    if wanted in ("lookup", "query", "q"):
        return "lookups are Ansible's own: put the value itself into the inventory"
    near = difflib.get_close_matches(wanted, [name for name in scope if isinstance(name, str)], n=1)
    return f"did you mean {near[0]!r}?" if near else "set it in the inventory, or give it a `| default(…)`"


def _plain(value: object) -> Any:
    """Mappings and sequences of any kind as dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value


def _combine(*values: Any, recursive: bool = False, list_merge: str = "replace") -> dict[object, object]:
    """Mappings laid over each other, the last on top. Lists are replaced, or joined by ``list_merge='append'``."""
    result: dict[object, object] = {}
    for value in values:
        for key, item in _plain(value).items():
            old = result.get(key)
            if recursive and isinstance(old, dict) and isinstance(item, dict):
                result[key] = _combine(old, item, recursive=True, list_merge=list_merge)
            elif list_merge != "replace" and isinstance(old, list) and isinstance(item, list):
                result[key] = {"append": old + item, "prepend": item + old, "keep": old}[list_merge]
            else:
                result[key] = item
    return result


def _bool(value: object) -> bool | None:
    """What people write for yes and no, as Ansible reads it."""
    if value is None or isinstance(value, bool):
        return value
    return str(value).lower() in ("yes", "on", "1", "true")


_FILTERS: dict[str, Callable[..., Any]] = {
    "to_json": lambda value, **options: json.dumps(_plain(value), **options),
    "from_json": json.loads,
    "combine": _combine,
    "bool": _bool,
    "b64encode": lambda value: base64.b64encode(str(value).encode()).decode(),
}

_NATIVE = _Native(undefined=_Missing, keep_trailing_newline=True)
_NATIVE.filters.update(_FILTERS)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> jinja2.Template:
    return _NATIVE.from_string(text)


@lru_cache(maxsize=64)
def _files_in(directory: Path) -> SandboxedEnvironment:
    environment = _Sandbox(
        loader=jinja2.FileSystemLoader(directory),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_refuse_secret,
        autoescape=False,  # what is rendered are units, configuration and scripts, never HTML
    )
    environment.filters.update(_FILTERS, reveal=_reveal)
    return environment


def _refuse_secret(value: object) -> object:
    if isinstance(value, Secret):
        raise jinja2.TemplateRuntimeError("a secret is written without `| reveal`")
    return value


def _reveal(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value


def _line_of(error: BaseException, path: Path) -> str:
    """``file:line`` of the template's last line that was at work when ``error`` arose."""
    where, trace = str(path), error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if Path(name).parent == path.parent and not name.endswith(".py"):
            where = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
