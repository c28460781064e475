"""The stand-in: it refuses and answers as vLLM's server does, and never hides what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.serve import stand_in
from tests.unit.lab.serve.conftest import IMAGE, Raise, ask, chat, parse


@pytest.fixture
def url(raise_server: Raise) -> str:
    return raise_server("--api-key", "sesame", "--limit-mm-per-prompt", '{"image": 1}')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-such-flag", "1"], "unrecognized arguments: --no-such-flag 1"),
        (["--max-num-seqs", "abc"], "invalid int value: 'abc'"),
        (["--dtype", "float99"], "invalid choice: 'float99'"),
        (["--swap-space", "4"], "unrecognized arguments: --swap-space 4"),
    ],
)
def test_wrong_arguments_end_with_2_in_the_words_of_vllms_parser(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_model_that_is_absent_ends_the_start_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stand_in.main([str(tmp_path)]) == 1
    assert "Invalid repository ID or local directory" in capsys.readouterr().err


def test_a_context_beyond_the_models_own_ends_the_start_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1024}')

    assert stand_in.main([str(tmp_path), "--max-model-len", "4096"]) == 1
    assert "greater than the derived max_model_len (1024)" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/health", "/ping", "/version", "/load", "/metrics"])
def test_some_paths_answer_without_the_key_as_vllms_do(url: str, path: str) -> None:
    assert ask(url, path, key="wrong").status_code == 200


def test_everything_below_v1_wants_the_key(url: str) -> None:
    assert ask(url, "/v1/models", key="wrong").json() == {"error": "Unauthorized"}
    assert ask(url, "/v1/chat/completions", chat(), key="wrong").status_code == 401


def test_it_names_the_model_and_its_context_and_says_what_it_is(url: str) -> None:
    (model,) = ask(url, "/v1/models").json()["data"]

    assert (model["id"], model["max_model_len"]) == ("qwen", 128)
    assert ask(url, "/version").json()["version"].endswith("stand-in")


def test_a_chat_with_an_image_is_answered_and_counted(url: str) -> None:
    answer = ask(url, "/v1/chat/completions", chat({"type": "text", "text": "what?"}, IMAGE, max_tokens=1)).json()

    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 1
    assert 'vllm:generation_tokens_total{engine="0",model_name="qwen"} 1' in ask(url, "/metrics").text


def test_a_stream_ends_with_a_reason_the_usage_and_done(url: str) -> None:
    body = chat(stream=True, stream_options={"include_usage": True}, max_tokens=3)
    events = [line[6:] for line in ask(url, "/v1/chat/completions", body).text.splitlines() if line]

    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 3
    assert json.loads(events[-3])["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "code", "parameter"),
    [
        (chat(model="other"), 404, "model"),
        (chat(IMAGE, IMAGE), 400, "image"),
        (chat(max_tokens=4096), 400, "max_tokens"),
        (chat() | {"messages": []}, 400, "messages"),
    ],
)
def test_requests_that_vllm_refuses_are_refused_alike(
    url: str, body: dict[str, Any], code: int, parameter: str
) -> None:
    answer = ask(url, "/v1/chat/completions", body)

    assert answer.status_code == code
    assert answer.json()["error"]["param"] == parameter


def test_a_body_that_is_no_request_is_answered_not_fatal(url: str) -> None:
    assert ask(url, "/v1/completions", {"prompt": "x", "max_tokens": "many"}).status_code == 400
    assert ask(url, "/health").status_code == 200


@pytest.mark.parametrize(
    "address", ["data:image/png;base64,bm9uZQ==", "data:image/png;base64,%%%", "https://example.org/cat.png"]
)
def test_an_image_that_cannot_be_read_is_refused(url: str, address: str) -> None:
    part = {"type": "image_url", "image_url": {"url": address}}

    assert ask(url, "/v1/chat/completions", chat(part)).status_code == 400


def test_a_picture_of_a_megabyte_is_taken(url: str) -> None:
    url_ = IMAGE["image_url"]["url"] + "A" * (1 << 20)

    assert ask(url, "/v1/chat/completions", chat({"type": "image_url", "image_url": {"url": url_}})).status_code == 200
