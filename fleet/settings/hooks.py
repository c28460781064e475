"""Who is told of a rollout: executables on this side, and webhooks."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from fleet.settings.base import Model, SecretText

EventName = Literal[
    "rollout-begins", "rollout-ends", "wave-begins", "wave-ends", "host-begins", "host-ends", "failure", "promotion",
    "paused",
]  # fmt: skip
EVENTS: Final[tuple[EventName, ...]] = get_args(EventName)
#: What a person wants to hear of. The others are for programs: chats take 20 messages a minute.
USUAL: Final[tuple[EventName, ...]] = ("rollout-begins", "rollout-ends", "failure", "promotion", "paused")
#: The shape of what is sent: these, or a template of the user's own.
KINDS: Final = ("generic", "dingtalk", "feishu", "wecom")


class Hook(Model):
    """One executable (``run``) or one webhook (``url``), and the events that it is told of.

    ``timeout`` in seconds is for an executable, as is ``required``: its failure stops the rollout. ``body`` and
    ``secret`` (what messages are signed with) are for a webhook; the address is a secret, for it holds a token.
    """

    events: tuple[EventName, ...] = Field(default=USUAL, strict=False, min_length=1)
    run: Annotated[str, Field(min_length=1)] | None = None
    timeout: Annotated[int, Field(ge=1, le=3600)] = 30
    required: bool = False
    url: SecretText | None = None
    body: Annotated[str, Field(min_length=1)] = "generic"
    secret: SecretText | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Hook:
        wrong = ""
        given = self.model_fields_set
        if (self.run is None) == (self.url is None):
            wrong = "a hook is either `run`, an executable, or `url`, a webhook"
        elif self.url is None and given & {"body", "secret"}:
            wrong = "body and secret are for a webhook; an executable gets the event as JSON on its standard input"
        elif self.url is not None and given & {"timeout", "required"}:
            wrong = "timeout and required are for an executable; a webhook has 10 s and never stops a rollout"
        elif self.url is not None and not _is_web(self.url.reveal()):
            wrong = "url must be an address like https://…"
        elif self.body not in KINDS and not self.body.endswith(".j2"):
            wrong = f"body is one of {', '.join(KINDS)}, or the path of a Jinja2 template (….j2)"
        if wrong:
            raise ValueError(wrong)
        return self

    @property
    def secrets(self) -> set[str]:
        """What no line may show: the address, and each part of it that may be its token."""
        found = {self.secret.reveal()} if self.secret else set()
        if self.url:
            url = self.url.reveal()
            parts = urlsplit(url)
            found |= {url, parts.query, parts.password or ""}
            # Short ones are words (`send`, `webhook`), which would be eaten everywhere.
            pieces = [parts.path, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
            found |= {piece for piece in pieces if len(piece) >= 12}
        return found - {""}


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
