"""YAML and JSON documents: their values at once, the place of each value when somebody asks.

Values are read as Ansible reads them: JSON where the text is JSON, else YAML 1.1 with ``!vault`` and
``!unsafe``. Lines and columns come from a second pass over the text, since most runs never need them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from fleet.errors import InventoryError
from fleet.inventory.files import Content
from fleet.inventory.values import Encrypted, Line, Origin, Unsafe, secreted, walk
from fleet.inventory.vault import Vault
from fleet.secret import Secret

if TYPE_CHECKING:
    from yaml import SafeLoader as _Base
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: How deep a document may nest, and how many values it may hold once its aliases are written out.
MAX_DEPTH = 200
MAX_VALUES = 2_000_000

_DEEP_FLOW = re.compile(r"[\[{]")
_DEEP_BLOCK = re.compile(rf"^[ \t?:-]{{{MAX_DEPTH},}}", re.MULTILINE)
_WARN: Callable[[str], None] = lambda _text: None  # noqa: E731 - a default that says nothing


class Document:
    """One YAML or JSON text. ``value`` is what it holds; :meth:`variables` makes secrets of what was encrypted."""

    def __init__(self, content: Content, vault: Vault, warn: Callable[[str], None] = _WARN) -> None:
        self.path = content.path
        self.encrypted = content.encrypted
        self._text = content.text
        self._vault = vault
        self._warn = warn
        self.value = self._read()

    def variables(self, values: Mapping[str, object]) -> Mapping[str, object]:
        """``values``, which stand in this document, as a host may see them."""
        return {key: secreted(value) for key, value in values.items()} if self.encrypted else values

    def at(self, *path: object) -> Node:
        """The place of the value at ``path``: keys and indexes from the top."""
        return Node(self, path)

    def origin(self, path: Sequence[object]) -> Origin:
        """Where the value at ``path`` stands: its key, where it has one; as far as the path leads."""
        node, mark = self._root, None
        for step in path:
            found = _member(node, step)
            if found is None:
                break
            mark, node = found
        if mark is None:
            return Origin(self.path)
        line = "" if self.encrypted else self._lines[mark.line].strip()
        return Origin(self.path, mark.line + 1, mark.column + 1, line)

    def warn_of_twins(self, keys: Sequence[yaml.Node]) -> None:
        """Says which of one mapping's ``keys`` stands there twice."""
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                where = f"{self.path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
                self._warn(f"{where}: {key.value!r} stands here twice: the last one counts")
            elif isinstance(key, yaml.ScalarNode):
                seen.add(key.value)

    def reveal(self, value: Encrypted) -> Secret:
        """An inline vault value of this document in clear."""
        return self._vault.reveal(value)

    def _read(self) -> object:
        if self._text.lstrip()[:1] == "{":  # only an object is of use at the top, so other JSON may go as YAML
            try:
                return from_json(self._text, self._vault, self.path)
            except ValueError:
                pass
            except RecursionError:
                raise self._error("nests too deeply") from None
        return self._read_yaml()

    def _read_yaml(self) -> object:
        self._refuse_depth()
        loader = _Loader(self._text)
        loader.document = self
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_bomb(node, self)
            return loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            raise self._yaml_error(error) from None
        except (
            yaml.YAMLError,
            ValueError,
            TypeError,
            OverflowError,
        ) as error:  # dates that are none, keys that can't be
            raise self._error(f"not valid YAML: {str(error).splitlines()[0]}") from None
        except RecursionError:
            raise self._error("nests too deeply, or holds itself") from None
        finally:
            loader.dispose()

    def _refuse_depth(self) -> None:
        """The parser in C recurses without a limit of its own, so deep nesting is counted before it runs."""
        if len(_DEEP_FLOW.findall(self._text)) < MAX_DEPTH and not _DEEP_BLOCK.search(self._text):
            return
        depth = 0
        try:
            for event in yaml.parse(self._text, Loader=_Base):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise self._error(f"nests more than {MAX_DEPTH} deep")
        except yaml.YAMLError:
            return  # the reader proper says what is wrong

    def _error(self, message: str) -> InventoryError:
        return InventoryError(message, where=self.path)

    def _yaml_error(self, error: yaml.MarkedYAMLError) -> InventoryError:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            return self._error(f"not valid YAML: {error.problem}")
        words = ", ".join(part for part in (error.context, error.problem) if part)
        line = "" if self.encrypted or mark.line >= len(self._lines) else self._lines[mark.line]
        return InventoryError(
            f"not valid YAML: {words}" + (f": {line.strip()!r}" if line.strip() else ""),
            where=f"{self.path}:{mark.line + 1}:{mark.column + 1}",
            hint=_yaml_hint(line),
        )

    @cached_property
    def _lines(self) -> list[str]:
        return [*self._text.splitlines(), ""]

    @cached_property
    def _root(self) -> yaml.Node | None:
        loader = _Loader(self._text)
        try:
            return loader.get_single_node()
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        finally:
            loader.dispose()


def from_json(text: str, vault: Vault, path: str) -> object:
    """JSON as Ansible decodes it: two one-key objects of its own stand for vaulted and for unsafe text.

    Raises ValueError for what isn't JSON, RecursionError for what nests too deeply.
    """

    def tagged(members: dict[str, object]) -> object:
        match members:
            case {"__ansible_unsafe": str(plain)}:
                return Unsafe(plain)
            case {"__ansible_vault": str(ciphertext)}:
                return Encrypted(ciphertext, Line(path), vault.reveal)
        return members

    decoded: object = json.loads(text, object_hook=tagged)
    return decoded


class Node:
    """The place of a value inside a document."""

    __slots__ = ("_document", "_path")

    def __init__(self, document: Document, path: tuple[object, ...]) -> None:
        self._document = document
        self._path = path

    def origin(self, *path: object) -> Origin:
        """Where the value at ``path`` below this one stands."""
        return self._document.origin((*self._path, *path))


class _Loader(_Base):
    """PyYAML's safe loader, by libyaml where it is there, with Ansible's tags."""

    document: Document | None = None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; a key that stands there twice counts as written last, with a warning, as in Ansible."""
        own = [key for key, _ in node.value]
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) < len(own) and self.document is not None:
            self.document.warn_of_twins(own)
        return mapping


def _scalar(loader: _Loader, node: yaml.Node) -> object:
    """What ``node`` would be without its own tag."""
    tag = loader.resolve(type(node), node.value, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's own gap
    return loader.construct_object(type(node)(tag, node.value, node.start_mark, node.end_mark), deep=True)


def _unsafe(loader: _Loader, node: yaml.Node) -> object:
    return _untemplated(_scalar(loader, node))


def _untemplated(value: object) -> object:
    return Unsafe(value) if isinstance(value, str) else walk(value, _untemplated)


def _vaulted(loader: _Loader, node: yaml.Node) -> object:
    value = _scalar(loader, node)
    if not isinstance(value, str):
        raise yaml.constructor.ConstructorError(None, None, "!vault takes a text", node.start_mark)
    if loader.document is None:
        return value
    mark = node.start_mark
    place = _Mark(loader.document, mark.line, mark.column)
    return Encrypted(value, place, loader.document.reveal)


class _Mark:
    """A place that was known while reading."""

    __slots__ = ("_column", "_line", "_path")

    def __init__(self, document: Document, line: int, column: int) -> None:
        self._path, self._line, self._column = document.path, line, column

    def origin(self, *_path: object) -> Origin:
        """The place noted."""
        return Origin(self._path, self._line + 1, self._column + 1)


_Loader.add_constructor("!vault", _vaulted)
_Loader.add_constructor("!vault-encrypted", _vaulted)
_Loader.add_constructor("!unsafe", _unsafe)
for _tag, _alias in (("python/dict", "map"), ("python/unicode", "str")):
    _Loader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"] = _Loader.yaml_constructors[f"tag:yaml.org,2002:{_alias}"]


def _refuse_bomb(root: yaml.Node, document: Document) -> None:
    """Refuses a few lines of aliases that would stand for millions of values."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:  # still being counted: an alias to what encloses it
                raise InventoryError("holds itself by an alias", where=f"{document.path}:{node.start_mark.line + 1}")
            return known
        sizes[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            total = 1 + sum(size(key) + size(value) for key, value in node.value)
        else:
            total = 1 + sum(map(size, node.value))
        sizes[id(node)] = total
        return total

    if size(root) > MAX_VALUES:
        raise InventoryError(
            f"stands for more than {MAX_VALUES:,} values once its aliases are written out", where=document.path
        )


def _member(node: yaml.Node | None, step: object) -> tuple[yaml.Mark, yaml.Node] | None:
    """The member of ``node`` called ``step``: where it begins (its key, in a mapping), and itself."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and -1 < step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[yaml.Node] = []
    for key, value in reversed(node.value):
        if key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif isinstance(key, yaml.ScalarNode) and key.value == str(step):
            return key.start_mark, value
    return next((found for each in merged if (found := _member(each, step))), None)


def _yaml_hint(line: str) -> str:
    """What is probably meant, for the slips that happen most."""
    if "\t" in line:
        return "YAML is indented by spaces: there is a tab in this line"
    if re.search(r":\s+(\{\{|%|@|`)", line):
        return 'quote a value that begins with a special character: key: "{{ other }}"'
    if re.search(r":\s+[^'\"#]*:\s", line):
        return "quote a value that holds a colon and a space"
    return "look at this line and the one before it: indentation, colons, quotes"
