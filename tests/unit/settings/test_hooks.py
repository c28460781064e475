from __future__ import annotations

import pytest
from pydantic import ValidationError

from fleet.secret import Secret
from fleet.settings.hooks import USUAL, Hook


def test_a_hook_is_an_executable_or_a_webhook_and_hears_of_what_people_want_to_know() -> None:
    assert Hook.model_validate({"run": "bin/tell"}).events == USUAL
    web = Hook.model_validate(
        {"url": "https://example.org/x", "events": ["failure"], "body": "dingtalk", "secret": "SECx"}
    )
    assert (web.events, web.url, web.secret) == (("failure",), Secret("https://example.org/x"), Secret("SECx"))
    assert Hook.model_validate({"url": Secret("http://h:8080/t"), "body": "templates/my.j2"}).body == "templates/my.j2"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "either `run`"),
        ({"run": "a", "url": "https://h/"}, "either `run`"),
        ({"run": "a", "body": "wecom"}, "are for a webhook"),
        ({"run": "a", "secret": "s"}, "are for a webhook"),
        ({"url": "https://h/", "required": True}, "are for an executable"),
        ({"url": "https://h/", "timeout": 5}, "are for an executable"),
        ({"url": "ftp://h/token"}, "an address like https"),
        ({"url": "https://"}, "an address like https"),
        ({"url": "http://[::1"}, "an address like https"),
        ({"url": "http://h:99999/"}, "an address like https"),
        ({"url": "https://h/", "body": "dingding"}, "generic, dingtalk, feishu, wecom"),
        ({"run": "a", "events": ["failed"]}, "rollout-begins"),
        ({"run": "a", "events": []}, "at least 1"),
        ({"run": "a", "timeout": 0}, "greater than or equal to 1"),
        ({"run": "a", "shell": "b"}, "not permitted"),
    ],
)
def test_anything_else_is_refused_and_no_address_is_shown(told: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        Hook.model_validate(told)
    messages = "; ".join(item["msg"] for item in error.value.errors(include_input=False, include_url=False))
    assert words in messages
    assert "token" not in messages


def test_all_that_may_be_a_token_is_a_secret_and_ordinary_words_are_not() -> None:
    ding = Hook.model_validate({"url": "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef"})
    assert ding.secrets >= {"0123456789abcdef", "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef"}
    feishu = Hook.model_validate(
        {"url": "https://open.feishu.cn/open-apis/bot/v2/hook/11112222-3333", "secret": "s3cr3t"}
    )
    assert feishu.secrets >= {"11112222-3333", "/open-apis/bot/v2/hook/11112222-3333", "s3cr3t"}
    for word in ("hook", "robot", "send", "bot", "v2", "open.feishu.cn"):
        assert word not in ding.secrets | feishu.secrets
    assert "11112222" not in repr(feishu)
