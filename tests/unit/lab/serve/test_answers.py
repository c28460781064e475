"""What the stand-in says: alike for the same model and question, whomever one asks; and what its faults do."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fleet.lab import models
from fleet.lab.serve import answers, launch
from fleet.lab.serve.faults import Faults
from tests.unit.lab.serve.conftest import IMAGE, OPTIONS, Raise, ask, chat

COMPLETIONS = "/v1/chat/completions"


def said(url: str, *parts: Any, **more: Any) -> list[str]:
    """The tokens of an answer, as somebody who compares releases reads them."""
    choice = ask(url, COMPLETIONS, chat(*parts, logprobs=True, **more)).json()["choices"][0]
    return [entry["token"] for entry in choice["logprobs"]["content"]]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_the_same_model_answers_the_same_on_every_host(raise_server: Raise) -> None:
    one, other = raise_server(), raise_server("--max-num-seqs", "7")

    assert said(one, text("why?")) == said(other, text("why?")) == said(one, text("why?"), temperature=0, seed=3)


def test_another_question_picture_or_model_is_answered_otherwise(raise_server: Raise) -> None:
    one, other = raise_server(), raise_server(model=b"n")
    given = [
        said(one, text("why?")), said(one, text("how?")), said(one, text("why?"), IMAGE), said(other, text("why?")),
    ]  # fmt: skip

    assert len(set(map(tuple, given))) == 4


def test_a_streamed_answer_is_the_whole_one_in_pieces(raise_server: Raise) -> None:
    url = raise_server()
    whole = ask(url, COMPLETIONS, chat(max_tokens=60)).json()["choices"][0]
    lines = ask(url, COMPLETIONS, chat(max_tokens=60, stream=True)).text.split("\n\n")
    choices = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]

    assert "".join(choice["delta"]["content"] for choice in choices) == whole["message"]["content"]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == [whole["finish_reason"]]


def test_an_answer_may_be_told_to_have_all_its_tokens(raise_server: Raise) -> None:
    answer = ask(raise_server(), COMPLETIONS, chat(max_tokens=64, ignore_eos=True)).json()

    assert answer["usage"]["completion_tokens"] == 64


def test_a_models_identity_is_in_its_files(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        models.write(tmp_path / name, seed)
    a, b, c = (answers.identity(tmp_path / name) for name in "abc")

    assert a == b != c


def test_nonsense_is_one_token_over_and_over_or_other_words(raise_server: Raise) -> None:
    good = said(raise_server())
    repeated = said(raise_server(faults=Faults(nonsense="repeat")))
    other = said(raise_server(faults=Faults(nonsense="other")))

    assert len(set(repeated)) == 1
    assert other != good
    assert len(set(other)) > 1


def test_one_that_never_gets_healthy_answers_nothing(raise_server: Raise) -> None:
    url = raise_server(faults=Faults(never_healthy=True))

    assert ask(url, "/health").status_code == 503
    assert ask(url, COMPLETIONS, chat()).status_code == 500
    assert ask(url, "/metrics").status_code == 200


def test_one_may_name_its_model_wrongly(raise_server: Raise) -> None:
    url = raise_server(faults=Faults(served_name="other"))

    assert [model["id"] for model in ask(url, "/v1/models").json()["data"]] == ["other"]
    assert ask(url, COMPLETIONS, chat()).status_code == 404


def test_the_pace_is_kept_whatever_a_single_token_took(raise_server: Raise) -> None:
    url = raise_server(faults=Faults(pace=100))
    started = time.monotonic()
    ask(url, COMPLETIONS, chat(max_tokens=50, ignore_eos=True, stream=True))

    assert 0.5 <= time.monotonic() - started < 1.5


def test_what_is_answered_and_what_waits_is_counted_apart_in_either_spelling(raise_server: Raise) -> None:
    for prefix in ("vllm:", "vllm_"):
        url = raise_server("--max-num-seqs", "1", faults=Faults(pace=20, metrics=prefix))
        threads = [threading.Thread(target=ask, args=(url, COMPLETIONS, chat(max_tokens=12))) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        metrics = ask(url, "/metrics").text
        for thread in threads:
            thread.join()

        assert f'{prefix}num_requests_running{{engine="0",model_name="qwen"}} 1' in metrics
        assert f'{prefix}num_requests_waiting{{engine="0",model_name="qwen"}} 2' in metrics


@pytest.mark.parametrize(
    ("told", "becomes"),
    [
        ({}, Faults()),
        ({"FLEETLAB_NONSENSE": "1"}, Faults(nonsense="repeat")),
        ({"FLEETLAB_NONSENSE": "other", "FLEETLAB_NEVER_HEALTHY": "0"}, Faults(nonsense="other")),
        ({"FLEETLAB_TOKENS_PER_SECOND": "50", "FLEETLAB_DIES_AFTER": "30"}, Faults(pace=50, dies_after=30)),
    ],
)
def test_faults_are_told_by_the_environment(told: dict[str, str], becomes: Faults) -> None:
    assert Faults.read(told) == becomes


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Any]:
    """The stand-in as the image has it: a process of its own, ended with the test."""
    package = tmp_path / "lab" / "serve"
    package.mkdir(parents=True)
    for source in [*Path(launch.__file__).parent.glob("*.py"), OPTIONS]:
        (package / source.name).write_bytes(source.read_bytes())
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    started: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> tuple[subprocess.Popen[bytes], str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = ["serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "qwen"]
        process = subprocess.Popen(
            [sys.executable, "-s", "-m", "serve.launch", *words], stderr=subprocess.PIPE,
            env={"PYTHONPATH": str(tmp_path / "lab"), "FLEETLAB_SERVES": "stand-in", **environment},
        )  # fmt: skip
        started.append(process)
        for _ in range(100):
            with contextlib.suppress(requests.exceptions.ConnectionError):
                ask(f"http://127.0.0.1:{port}", "/version")
                break
            time.sleep(0.1)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_stop_cuts_off_what_is_being_answered(program: Any) -> None:
    process, url = program(FLEETLAB_TOKENS_PER_SECOND="5")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url + COMPLETIONS, json=chat(stream=True, max_tokens=12), stream=True, timeout=5)
        lines = answer.iter_lines()
        assert b'"role": "assistant"' in next(lines)
        process.terminate()
        with pytest.raises(requests.exceptions.RequestException):
            list(lines)

    assert process.wait(5) == 0


def test_one_that_dies_does_so_by_itself_with_vllms_words(program: Any) -> None:
    process, url = program(FLEETLAB_DIES_AFTER="1")

    assert process.wait(5) == 1
    assert b"EngineDeadError" in process.stderr.read()
    with pytest.raises(requests.exceptions.ConnectionError):
        ask(url, "/health")
