"""What all parts of the schema are made of: closed models, names, ports, secrets."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fleet.secret import Secret

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]


def _secret(value: object) -> object:
    if isinstance(value, str):
        value = Secret(value)
    if isinstance(value, Secret) and value:
        return value
    msg = "must be a text that isn't empty (in quotes, where it looks like a number)"
    raise ValueError(msg)


#: A secret, from a vault or as plain text; what is neither is refused without being shown.
SecretText = Annotated[Secret, BeforeValidator(_secret)]


class Model(BaseModel):
    """Frozen, closed to unknown keys, strict about types: ``"8"`` is not a count."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)
