"""As much of JSON Schema as ``size.schema.json`` uses, so that no library is needed to hold answers to it."""

from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "$") -> Iterator[str]:
    """What of ``value`` the schema doesn't allow, with its place."""
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    for part in schema.get("allOf", ()):
        yield from violations(value, part, root, at)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and (isinstance(value, bool) or not any(isinstance(value, TYPES[kind]) for kind in kinds)):
        yield f"{at}: {value!r} is no {' or '.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if isinstance(value, dict):
        yield from (f"{at}: {key} is missing" for key in schema.get("required", ()) if key not in value)
        known = schema.get("properties", {})
        for key, inner in value.items():
            if key in known:
                yield from violations(inner, known[key], root, f"{at}.{key}")
            elif schema.get("additionalProperties", True) is False:
                yield f"{at}: {key} is too much"
    if isinstance(value, list) and "items" in schema:
        for index, inner in enumerate(value):
            yield from violations(inner, schema["items"], root, f"{at}[{index}]")
