"""The one module that knows Jinja2: references between variables, and the templates of roles.

References are resolved when a value is used, in a sandbox, strictly: a name that isn't there is an error, with the
place of the text that asked for it. What is rendered from a secret is a secret again.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from fleet.errors import FleetError, TemplateError
from fleet.inventory.values import Encrypted, SecretNumber, secreted
from fleet.secret import MASK, Secret

#: The longest text or list that one multiplication may make, and the largest exponent.
MAX_LENGTH, MAX_EXPONENT = 1_000_000, 1_000


def is_template(value: object) -> bool:
    """Whether ``value`` is a text in which Jinja2 has something to do. Text marked unsafe never is."""
    return type(value) is str and ("{{" in value or "{%" in value or "{#" in value)


def render(path: Path, values: Mapping[str, object]) -> str:
    """The template at ``path`` with ``values``: strict, without blank lines for statements, its last newline kept.

    A :class:`~fleet.secret.Secret` is only written where the template says ``| reveal``. Raises TemplateError with the
    template's file and line.
    """
    environment = _files_in(path.parent)
    try:
        template = environment.get_template(path.name)
        text = template.render(values)
    except FleetError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(str(error.message), where=f"{error.filename or path}:{error.lineno}") from None
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"no such template: {error.name}", where=str(path)) from None
    except Exception as error:
        raise TemplateError(f"{type(error).__name__}: {error}", where=_line_of(error, path)) from error
    if MASK in text and MASK not in path.read_text(encoding="utf-8"):
        raise TemplateError(
            "a secret went through a filter", where=str(path), hint="write `| reveal` before the filter"
        )
    return text


class References:
    """One host's variables, resolved when they are asked for.

    ``raw`` holds them as they stand in the inventory, ``given`` what is there besides (``groups``, ``hostvars``…), and
    ``where(name, key, …)`` says where a value stands.
    """

    def __init__(
        self, raw: Mapping[str, object], given: Mapping[str, object], where: Callable[..., object] = lambda *_path: ""
    ) -> None:
        self._raw = raw
        self._given = given
        self._where = where
        self._resolved: dict[tuple[object, ...], object] = {}

    def resolve(self, name: str) -> object:
        """The variable ``name`` with all references in it resolved; text out of a vault as Secret.

        Raises KeyError where there is none, TemplateError where a reference fails, VaultError.
        """
        return self._finish(self._given[name]) if name in self._given else self._deep(self._raw[name], (name,))

    def everything(self) -> Mapping[object, object]:
        """All variables, each resolved when an expression takes it."""
        return _Map(self, self._raw, ())

    def named(self, name: str) -> object:
        """What an expression gets for ``name``; Jinja2's ``missing`` where there is nothing."""
        if name in self._given:
            return self._given[name]
        return self.used(self._raw[name], (name,)) if name in self._raw else missing

    def used(self, raw: object, path: tuple[object, ...]) -> object:
        """The value at ``path`` as an expression takes it: containers lazily, secrets in clear and noted."""
        if isinstance(raw, Mapping):
            return _Map(self, raw, path)
        if isinstance(raw, (list, tuple)):
            return _List(self, raw, path)
        return _in_clear(self._deep(raw, path))

    def _deep(self, raw: object, path: tuple[object, ...]) -> object:
        if isinstance(raw, Mapping):
            return {key: self._deep(value, (*path, key)) for key, value in raw.items()}
        if isinstance(raw, (list, tuple)):
            return [self._deep(value, (*path, index)) for index, value in enumerate(raw)]
        if isinstance(raw, Encrypted):
            return raw.reveal()
        sealed = isinstance(raw, Secret) and not isinstance(raw, SecretNumber)
        text = raw.reveal() if isinstance(raw, Secret) and sealed else raw
        if not is_template(text):
            return raw
        if path not in self._resolved:
            self._resolved[path] = self._render(str(text), path, sealed=sealed)
        return self._resolved[path]

    def _render(self, text: str, path: tuple[object, ...], *, sealed: bool) -> object:
        frames = _frames.get()
        frame = _Frame(self, path, touched_secret=sealed)
        if any(other.references is self and other.path == path for other in frames):
            names = [_dotted(other.path) for other in frames if other.references is self]
            circle = " → ".join([*names[names.index(_dotted(path)) :], _dotted(path)])
            raise TemplateError(f"refers to itself: {circle}", where=str(self._where(*path)))
        token = _frames.set((*frames, frame))
        try:
            template = _compiled(text)
            context = template.new_context({_REFERENCES: self})
            value = self._finish(_joined(template.root_render_func(context)))
        except FleetError:
            raise
        except RecursionError:
            raise TemplateError("references nest too deeply", where=str(self._where(*path))) from None
        except Exception as error:
            raise self._failure(error, path, hidden=frame.touched_secret) from None
        finally:
            _frames.reset(token)
        return secreted(value) if frame.touched_secret else value

    def _finish(self, value: object) -> object:
        """What an expression gave, as plain values: nothing lazy, nothing undefined."""
        if isinstance(value, _Lazy):
            return value.deep()
        if isinstance(value, Undefined):
            str(value)  # raises jinja2's own words
        if isinstance(value, Mapping):
            return {key: self._finish(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, range, Iterator)):
            return [self._finish(item) for item in value]
        return value

    def deep(self, raw: object, path: tuple[object, ...]) -> object:
        """The value at ``path`` with everything in it resolved."""
        return self._deep(raw, path)

    def _failure(self, error: Exception, path: tuple[object, ...], *, hidden: bool) -> TemplateError:
        """A TemplateError in words that show no secret."""
        name, hint = _dotted(path), ""
        if isinstance(error, jinja2.UndefinedError):
            wanted = error.message.split("'")[1] if error.message and "'" in error.message else ""
            near = difflib.get_close_matches(wanted, [*self._raw, *self._given], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "set it in the inventory, or give it a `| default(…)`"
            if wanted in ("lookup", "query", "q"):
                hint = "lookups are Ansible's own: put the value itself into the inventory"
        elif isinstance(error, jinja2.TemplateAssertionError):
            hint = f"filters known here: Jinja2's own and {', '.join(sorted(_FILTERS))}"
        words = "can't be rendered (the reason would show a secret)" if hidden else f"can't be rendered: {error}"
        return TemplateError(f"{name} {words}", where=str(self._where(*path)), hint=hint)


@dataclass(eq=False)
class _Frame:
    """One text that is being rendered just now."""

    references: References
    path: tuple[object, ...]
    touched_secret: bool = False


_frames: ContextVar[tuple[_Frame, ...]] = ContextVar("frames", default=())
_REFERENCES = "\0references"


def _in_clear(value: object) -> object:
    """``value`` for use in an expression; where it was a secret, what is rendered becomes one."""
    if not isinstance(value, Secret):
        if isinstance(value, (Mapping, list)) and _holds_secret(value):
            return _plainly(value)
        return value
    if frames := _frames.get():
        frames[-1].touched_secret = True
    return value.number if isinstance(value, SecretNumber) else value.reveal()


def _holds_secret(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_secret, value.values()))
    return any(map(_holds_secret, value)) if isinstance(value, list) else isinstance(value, Secret)


def _plainly(value: object) -> Any:
    """``value`` as plain dictionaries and lists, secrets in clear and noted."""
    if isinstance(value, Mapping):
        return {key: _plainly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, _List)):
        return [_plainly(item) for item in value]
    return _in_clear(value)


class _Lazy:
    """A container of the inventory whose members are resolved when an expression takes them."""

    __slots__ = ("_path", "_raw", "_references")

    def __init__(self, references: References, raw: Any, path: tuple[object, ...]) -> None:
        self._references, self._raw, self._path = references, raw, path

    def deep(self) -> object:
        return self._references.deep(self._raw, self._path)

    def __len__(self) -> int:
        return len(self._raw)

    def __str__(self) -> str:
        return str(_plainly(self))

    __repr__ = __str__


class _Map(_Lazy, Mapping[object, object]):
    __slots__ = ()

    def __getitem__(self, key: object) -> object:
        return self._references.used(self._raw[key], (*self._path, key))

    def __iter__(self) -> Iterator[object]:
        return iter(self._raw)

    def __contains__(self, key: object) -> bool:
        return key in self._raw


class _List(_Lazy, Sequence[object]):
    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return self._references.used(self._raw[index], (*self._path, index if index >= 0 else index + len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, tuple, _List)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list can't be a key

    def __add__(self, other: Iterable[object]) -> list[object]:
        return [*self, *other]

    def __radd__(self, other: Iterable[object]) -> list[object]:
        return [*other, *self]


class _Scope(Context):
    """Names are looked up among the host's variables first."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        references = self.parent.get(_REFERENCES)
        if isinstance(references, References):
            value = references.named(key)
            if value is not missing:
                return value
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


class _Native(_Sandbox):
    """One expression alone gives its value as it is; anything else gives text."""

    code_generator_class = NativeCodeGenerator


def _joined(parts: Iterable[object]) -> object:
    """The parts of a rendered text as Ansible joins them: nothing for None, a single part as it is."""
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return "".join(map(str, found))


def _combine(*values: Any, recursive: bool = False, list_merge: str = "replace") -> dict[object, object]:
    """Mappings laid over each other, the last on top. Lists are replaced, or joined by ``list_merge='append'``."""
    result: dict[object, object] = {}
    for value in values:
        for key, item in _plainly(value).items():
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


def _reveal(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value


_FILTERS: dict[str, Callable[..., Any]] = {
    "to_json": lambda value, **options: json.dumps(_plainly(value), **options),
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


def _line_of(error: BaseException, path: Path) -> str:
    """``file:line`` of the template's last line that was at work when ``error`` arose."""
    where, trace = str(path), error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if Path(name).parent == path.parent and not name.endswith(".py"):
            where = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where


def _dotted(path: Sequence[object]) -> str:
    """``a.b[0]``: a path as people write it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
