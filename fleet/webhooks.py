"""One message to one webhook: its text, its body in the service's form, its signature, and what the answer means.

What differs between services is data: fleet/data/webhooks.yml and templates/hooks/.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from fleet import web
from fleet.data import load
from fleet.errors import FleetError, LookupFailed, TemplateError
from fleet.secret import mask
from fleet.settings.hooks import KINDS, Hook
from fleet.target import ROOT, TEMPLATES
from fleet.templates import render

#: Seconds that a service has for a message: to connect, to take it, to answer.
DEADLINE: Final = 10.0


def label(hook: Hook) -> str:
    """The hook's name in warnings: never its address, which holds a token."""
    return f"the {hook.body} webhook at {urlsplit(hook.url.reveal()).hostname}" if hook.url else f"the hook {hook.run}"


def kind_of(hook: Hook) -> Mapping[str, Any]:
    """What is known of the service: by its name, or for a template of the user's own by the address."""
    kinds: Mapping[str, Mapping[str, Any]] = load("webhooks")
    host = urlsplit(hook.url.reveal()).hostname if hook.url else ""
    named = hook.body if hook.body in KINDS else ""
    found = named or next((name for name, kind in kinds.items() if host in kind.get("hosts", ())), "generic")
    return kinds[found]


def body_of(hook: Hook, event: Mapping[str, Any]) -> bytes:
    """The event in the service's form: a JSON text that is valid whatever the event's words are.

    Raises:
        TemplateError: the template is wrong, or what it gives isn't JSON.
    """
    kind, path = kind_of(hook), _template(hook)
    text = _cut(text_of(event), int(kind.get("limit", kind["whole"])))
    while True:
        body = render(path, {"event": event, "title": title_of(event), "text": text})
        hint = "write each value as {{ value | to_json }}"
        try:
            if not isinstance(json.loads(body), dict):
                raise TemplateError("what it gives is no JSON object", where=str(path), hint=hint)
        except ValueError as error:
            raise TemplateError(f"what it gives is no JSON: {error}", where=str(path), hint=hint) from None
        if len(body.encode()) <= kind["whole"] or len(text) < 100:
            return body.encode()
        text = _cut(text, len(text.encode()) * 3 // 4)


def title_of(event: Mapping[str, Any]) -> str:
    """One line: what happened, and where."""
    where = f" on {event['host']}" if event.get("host") else f", {event['wave']}" if event.get("wave") else ""
    return f"vllm-fleet: {event['event']}{where}"


def text_of(event: Mapping[str, Any]) -> str:
    """The event in the little Markdown that all chats know. Angle brackets go: in them one calls for everybody."""
    lines = [f"**{title_of(event)}**"]
    named = {name: event.get(name) for name in ("why", "who", "run", "host", "wave", "time")}
    details = event.get("details")
    for name, value in {**named, **(details if isinstance(details, Mapping) else {})}.items():
        if value not in ("", None, [], {}):
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            lines.append(f"{name}: {words}")
    # A line's end is one in all of them only where an empty line follows.
    return "\n\n".join("\n".join(lines).splitlines()).replace("<", "‹").replace(">", "›")


def sign(secret: str, at: float, where: str) -> dict[str, str]:
    """``timestamp`` and ``sign`` as the service checks them: in the query (DingTalk) or in the body (Feishu)."""
    if where == "query":
        timestamp = str(round(at * 1000))
        digest = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256).digest()
    else:
        timestamp = str(int(at))
        digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return {"timestamp": timestamp, "sign": base64.b64encode(digest).decode()}


def judge(kind: Mapping[str, Any], status: int, answer: str) -> str:
    """What is wrong by the service's answer, in words; nothing where it took the message."""
    if not 200 <= status < 300:
        return f"it answers {status}: {answer[:200]}" if answer else f"it answers {status}"
    if not kind.get("good"):
        return ""
    try:
        told = json.loads(answer)
        code = next(told[key] for key in kind["good"] if key in told)
    except (ValueError, TypeError, StopIteration):
        return f"it answers something else than it should: {answer[:200]!r}"
    return "" if code == 0 and not isinstance(code, bool) else f"it refuses: {code}: {told.get(kind['words'], '')}"


def send(hook: Hook, event: Mapping[str, Any], *, ca: str = "", at: float | None = None) -> str:
    """Send the event; what went wrong, in words that hold no secret, or nothing."""
    assert hook.url  # noqa: S101 — for mypy: whoever calls has looked
    words = ""
    try:
        kind, body, url = kind_of(hook), body_of(hook, event), hook.url.reveal()
        if hook.secret and kind.get("sign"):
            signed = sign(hook.secret.reveal(), time.time() if at is None else at, kind["sign"])
            if kind["sign"] == "body":
                body = json.dumps({**json.loads(body), **signed}, ensure_ascii=False).encode()
            else:
                query = "&".join(f"{name}={quote_plus(value)}" for name, value in signed.items())
                url += ("&" if urlsplit(url).query else "?") + query
        with web.session(ca=ca) as session:
            answer = web.post(session, url, body, what="it", timeout=DEADLINE)
            words = judge(kind, answer.status_code, answer.text)
    except LookupFailed as error:
        words = error.message
    except (FleetError, OSError, ValueError) as error:
        words = " ".join(str(error).split())
    return mask(words, hook.secrets)


def _template(hook: Hook) -> Path:
    """The template: ours by its name, or the user's, from the project's directory."""
    if hook.body in KINDS:
        return TEMPLATES / "hooks" / f"{hook.body}.j2"
    return ROOT / Path(hook.body).expanduser()


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, with a sign where something is gone."""
    if len(text.encode()) <= limit:
        return text
    return text.encode()[: max(limit - 3, 0)].decode(errors="ignore") + "…"
