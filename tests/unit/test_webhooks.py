from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import report, webhooks
from fleet.data import load
from fleet.errors import TemplateError
from fleet.hooks import Event
from fleet.settings.hooks import EVENTS, KINDS, EventName, Hook
from fleet.target import TEMPLATES
from tests.server import Request, Response, serve

TOKEN = "0123456789abcdef0123456789abcdef"
#: Computed apart, by openssl; with "SECabc" at 1700000000.123 and at 1700000000.
DINGTALK = "IqXBU/aLfwMA3S/tDcfRmHx5vWHw9Y1aOgFLBr1Ti9w="
FEISHU = "XprR1de+0SSBnwWyU/4k6x2TL+Q2SJlM5NNEdAv7MWg="
EVENT = Event("failure", "r1", "h1", "canary 1", "me@here", "a new image", {"gate": "/health", "lines": ["a", "b"]})


def hook(url: str = "https://example.org/", **more: Any) -> Hook:
    return Hook.model_validate({"url": url, **more})


# -- the body ---


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(EVENTS),
    words=st.text(max_size=300)
    | st.sampled_from(['"', "\n", "'; DROP", "更快 ✓", "\\", "{{ 7 * 7 }}", "*" * 17, "\ud800", "\0"]),
    details=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_whatever_the_words_are_the_body_is_json_and_carries_them(
    kind: str, name: EventName, words: str, details: Any
) -> None:
    told = Event(name, words, words, words, words, words, {"x": details}).as_json()
    body = json.loads(webhooks.body_of(hook(body=kind), told).decode(), parse_constant=pytest.fail)
    if kind == "generic":
        assert body == json.loads(json.dumps(told))
    else:
        assert webhooks.text_of(told).startswith(_text(kind, body).removesuffix("…"))
        assert _text(kind, body).startswith("**vllm-fleet: ")


def _text(kind: str, body: dict[str, Any]) -> str:
    if kind == "feishu":
        return cast("str", body["card"]["elements"][0]["text"]["content"])
    return cast("str", body["markdown"]["text" if kind == "dingtalk" else "content"])


@pytest.mark.parametrize("kind", ["dingtalk", "feishu", "wecom"])
def test_a_chat_is_told_who_what_and_why(kind: str) -> None:
    body = json.loads(webhooks.body_of(hook(body=kind), EVENT.as_json()))
    assert body.get("msgtype", body.get("msg_type")) == ("interactive" if kind == "feishu" else "markdown")
    text = _text(kind, body)
    for words in ("failure on h1", "why: a new image", "who: me@here", "run: r1", "gate: /health", 'lines: ["a", "b"]'):
        assert words in text


@pytest.mark.parametrize("kind", ["dingtalk", "feishu", "wecom"])
def test_a_message_that_is_too_long_is_cut_to_what_the_service_takes(kind: str) -> None:
    event = Event("failure", why="因" * 20000, details={"log": '"\n' * 9000})
    body = webhooks.body_of(hook(body=kind), event.as_json())
    text = _text(kind, json.loads(body))
    assert len(body) < 20000
    assert text.endswith("…")
    if kind == "wecom":
        assert 3000 < len(text.encode()) <= 4096


def test_nobody_is_called_by_what_stands_in_a_log() -> None:
    text = webhooks.text_of(Event("failure", details={"log": "<at id=all></at> <@all>"}).as_json())
    assert "<" not in text
    assert "‹at id=all›" in text


def test_a_secret_in_an_event_does_not_leave_the_house(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "secrets", {"k3y-of-the-fleet"})
    for kind in KINDS:
        told = Event("failure", details={"log": ["KEY=k3y-of-the-fleet"], "k3y-of-the-fleet": 1}).as_json()
        assert b"k3y" not in webhooks.body_of(hook(body=kind), told)


def test_a_template_of_ones_own_is_rendered_and_must_give_json(tmp_path: Any) -> None:
    own = tmp_path / "own.j2"
    own.write_text('{"text": {{ event.why | to_json }}, "gate": {{ event.details.gate | to_json }}}')
    assert json.loads(webhooks.body_of(hook(body=str(own)), EVENT.as_json())) == {
        "text": "a new image",
        "gate": "/health",
    }
    for text in ('{"text": "{{ title }}', "[1]", "{{ event.nothing }}"):
        own.write_text(text)
        with pytest.raises(TemplateError) as error:
            webhooks.body_of(hook(body=str(own)), EVENT.as_json())
        assert error.value.where.startswith(str(own))


def test_every_kind_has_its_data_with_sources_and_its_template() -> None:
    kinds = load("webhooks")
    assert tuple(kinds) == KINDS
    for name, kind in kinds.items():
        assert (TEMPLATES / "hooks" / f"{name}.j2").exists()
        assert kind["whole"] > 0
        if name != "generic":
            assert kind["hosts"]
            assert all("2026" in line for line in kind["seen"])


# -- the signature and the answer ---


def test_messages_are_signed_as_the_services_check_it() -> None:
    assert webhooks.sign("SECabc", 1700000000.123, "query") == {"timestamp": "1700000000123", "sign": DINGTALK}
    assert webhooks.sign("SECabc", 1700000000.9, "body") == {"timestamp": "1700000000", "sign": FEISHU}


@pytest.mark.parametrize(
    ("kind", "status", "answer", "words"),
    [
        ("generic", 204, "", ""),
        ("generic", 200, "<html>", ""),
        ("generic", 302, "", "answers 302"),
        ("generic", 500, "oops", "answers 500: oops"),
        ("dingtalk", 200, '{"errcode": 0, "errmsg": "ok"}', ""),
        ("dingtalk", 200, '{"errcode": 310000, "errmsg": "sign not match"}', "refuses: 310000: sign not match"),
        ("dingtalk", 200, "<html>log in", "something else"),
        ("dingtalk", 200, "[]", "something else"),
        ("dingtalk", 200, "{}", "something else"),
        ("feishu", 200, '{"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}', ""),
        ("feishu", 200, '{"StatusCode": 0}', ""),
        ("feishu", 200, '{"code": 19021, "msg": "sign match fail"}', "refuses: 19021: sign match fail"),
        ("wecom", 200, '{"errcode": 40058, "errmsg": "exceed max length"}', "refuses: 40058: exceed"),
        ("wecom", 200, '{"errcode": false}', "refuses"),
    ],
)
def test_an_answer_is_judged_by_what_it_says(kind: str, status: int, answer: str, words: str) -> None:
    said = webhooks.judge(load("webhooks")[kind], status, answer)
    assert words in said
    assert bool(said) == bool(words)


# -- over the wire ---


def _ok(_: Request) -> Response:
    return Response(b'{"errcode": 0, "errmsg": "ok", "code": 0}')


def test_dingtalk_is_asked_with_its_signature_in_the_query() -> None:
    with serve(_ok) as server:
        url = f"http://127.0.0.1:{server.port}/robot/send?access_token={TOKEN}"
        assert webhooks.send(hook(url, body="dingtalk", secret="SECabc"), EVENT.as_json(), at=1700000000.123) == ""
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/robot/send")
    assert asked.query == {"access_token": TOKEN, "timestamp": "1700000000123", "sign": DINGTALK}
    assert asked.headers["Content-Type"].startswith("application/json")
    assert json.loads(asked.body)["msgtype"] == "markdown"


def test_feishu_is_asked_with_its_signature_in_the_body() -> None:
    with serve(_ok) as server:
        url = f"http://127.0.0.1:{server.port}/open-apis/bot/v2/hook/{TOKEN}"
        assert webhooks.send(hook(url, body="feishu", secret="SECabc"), EVENT.as_json(), at=1700000000) == ""
    body = json.loads(server.asked[0].body)
    assert (body["timestamp"], body["sign"], body["msg_type"]) == ("1700000000", FEISHU, "interactive")


def test_what_goes_wrong_is_told_without_the_address() -> None:
    def refuse(request: Request) -> Response:
        return Response(json.dumps({"errcode": 300005, "errmsg": f"token {TOKEN} is not exist"}).encode())

    with serve(refuse) as server:
        url = f"http://127.0.0.1:{server.port}/robot/send?access_token={TOKEN}"
        refused = webhooks.send(hook(url, body="dingtalk"), EVENT.as_json())
    gone = webhooks.send(hook(url, body="dingtalk"), EVENT.as_json())
    assert refused == "it refuses: 300005: token ******** is not exist"
    assert "it doesn't answer" in gone
    assert TOKEN not in refused + gone
    assert TOKEN not in webhooks.label(hook(url))


def test_a_page_to_log_in_is_not_followed() -> None:
    with serve(lambda _: Response(status=302, headers={"Location": "/login"})) as server:
        words = webhooks.send(hook(f"http://127.0.0.1:{server.port}/x"), EVENT.as_json())
    assert words == "it answers 302"
    assert len(server.asked) == 1
