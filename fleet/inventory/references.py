"""References between a host's variables, resolved when they are asked for.

An expression sees texts out of a vault in clear; what it was rendered from is noted, so that its result is a secret
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from fleet.errors import TemplateError
from fleet.inventory.values import Encrypted, SecretNumber, secreted
from fleet.secret import Secret
from fleet.templates import evaluate, is_template

Path = tuple[object, ...]


class References(Mapping[str, object]):
    """One host's variables as a scope for expressions.

    ``raw`` holds them as they stand in the inventory, ``given`` what is there besides (``groups``, ``hostvars``…), and
    ``where(name, key, …)`` says where a value stands.
    """

    def __init__(
        self, raw: Mapping[str, object], given: Mapping[str, object], where: Callable[..., object] = lambda *_path: ""
    ) -> None:
        self._raw = raw
        self._given = given
        self._where = where
        self._resolved: dict[Path, object] = {}

    def resolve(self, name: str) -> object:
        """The variable ``name`` with all references in it resolved; text out of a vault as Secret.

        Raises KeyError where there is none, TemplateError where a reference fails, VaultError.
        """
        return _finished(self._given[name]) if name in self._given else self.deep(self._raw[name], (name,))

    def everything(self) -> Mapping[object, object]:
        """All variables, each resolved when an expression takes it."""
        return _Map(self, self._raw, ())

    def __getitem__(self, name: str) -> object:
        return self._given[name] if name in self._given else self.used(self._raw[name], (name,))

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from self._raw

    def __len__(self) -> int:
        return len(self._given) + len(self._raw)

    def __contains__(self, name: object) -> bool:
        return name in self._given or name in self._raw

    def used(self, raw: object, path: Path) -> object:
        """The value at ``path`` as an expression takes it: containers lazily, secrets in clear and noted."""
        if isinstance(raw, Mapping):
            return _Map(self, raw, path)
        if isinstance(raw, (list, tuple)):
            return _List(self, raw, path)
        return _in_clear(self.deep(raw, path))

    def deep(self, raw: object, path: Path) -> object:
        """The value at ``path`` with everything in it resolved."""
        if isinstance(raw, Mapping):
            return {key: self.deep(value, (*path, key)) for key, value in raw.items()}
        if isinstance(raw, (list, tuple)):
            return [self.deep(value, (*path, index)) for index, value in enumerate(raw)]
        if isinstance(raw, Encrypted):
            return raw.reveal()
        sealed = isinstance(raw, Secret) and not isinstance(raw, SecretNumber)
        text = raw.reveal() if isinstance(raw, Secret) and sealed else raw
        if not isinstance(text, str) or not is_template(text):
            return raw
        if path not in self._resolved:
            self._resolved[path] = self._render(text, path, sealed=sealed)
        return self._resolved[path]

    def _render(self, text: str, path: Path, *, sealed: bool) -> object:
        frames, frame = _frames.get(), _Frame(self, path, sealed)
        mine = [other.path for other in frames if other.references is self]
        if path in mine:
            circle = " → ".join(map(_dotted, [*mine[mine.index(path) :], path]))
            raise TemplateError(f"refers to itself: {circle}", where=str(self._where(*path)))
        token = _frames.set((*frames, frame))
        try:
            value = _finished(evaluate(text, self))
        except TemplateError as error:
            if error.where:
                raise
            words = "can't be rendered (the reason would show a secret)" if frame.secret else error.message
            raise TemplateError(f"{_dotted(path)} {words}", where=str(self._where(*path)), hint=error.hint) from None
        finally:
            _frames.reset(token)
        return secreted(value) if frame.secret else value


@dataclass(eq=False)
class _Frame:
    """One text that is being rendered just now, and whether a secret went into it."""

    references: References
    path: Path
    secret: bool


_frames: ContextVar[tuple[_Frame, ...]] = ContextVar("frames", default=())


class _Lazy:
    """A container of the inventory whose members are resolved when an expression takes them."""

    __slots__ = ("_path", "_raw", "_references")

    def __init__(self, references: References, raw: Any, path: Path) -> None:
        self._references, self._raw, self._path = references, raw, path

    def deep(self) -> object:
        return self._references.deep(self._raw, self._path)

    def __len__(self) -> int:
        return len(self._raw)

    def __str__(self) -> str:
        return str(_revealed(self.deep()))

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


def _in_clear(value: object) -> object:
    """``value`` for use in an expression; where a secret is in it, what is rendered becomes one."""
    if isinstance(value, (Mapping, list)):
        return _revealed(value)
    if not isinstance(value, Secret):
        return value
    if frames := _frames.get():
        frames[-1].secret = True
    return value.number if isinstance(value, SecretNumber) else value.reveal()


def _revealed(value: object) -> object:
    """A resolved value with its secrets in clear, and noted."""
    if isinstance(value, Mapping):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_revealed(item) for item in value]
    return _in_clear(value)


def _finished(value: object) -> object:
    """What an expression gave, with nothing lazy left in it."""
    if isinstance(value, _Lazy):
        return value.deep()
    if isinstance(value, Mapping):
        return {key: _finished(item) for key, item in value.items()}
    return [_finished(item) for item in value] if isinstance(value, list) else value


def _dotted(path: Path) -> str:
    """``a.b[0]``: a path as people write it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
