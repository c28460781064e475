"""A release is measured by what its server really says: asked by the script of the container, run as there."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import CommandFailed
from fleet.lab.serve import stand_in
from fleet.rollout.ask import ask
from fleet.rollout.measure import in_flight, measure, prompts, read_measured
from tests.talker import KEY, Talker, TalkersHost, live_at, talking

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def host(tmp_path: Path) -> TalkersHost:
    return TalkersHost(tmp_path)


@pytest.fixture
def talker() -> Iterator[Talker]:
    with talking(Talker()) as server:
        yield server


def test_all_prompts_and_the_speed_are_had_by_one_command(host: TalkersHost, talker: Talker) -> None:
    talker.first, talker.pace = 0.05, 200
    found = measure(host, live_at(talker))
    assert host.commands == 1
    assert set(found.answers) == {prompt["id"] for prompt in prompts(True)}
    assert all(found.answers.values())
    assert found.ttft_seconds is not None
    assert 0.05 <= found.ttft_seconds < 0.15
    assert found.tokens_per_second is not None
    assert 100 < found.tokens_per_second <= 201


def test_a_release_answers_alike_each_time_it_is_asked(host: TalkersHost, talker: Talker) -> None:
    assert measure(host, live_at(talker)).answers == measure(host, live_at(talker)).answers


def test_the_answers_are_greedy_and_no_stream_begins_as_another(host: TalkersHost, talker: Talker) -> None:
    measure(host, live_at(talker))
    requests = [body for path, body in talker.asked if path == "/v1/chat/completions"]
    assert all(body["temperature"] == 0 and body["model"] == "vl" for body in requests)
    streamed = [body["messages"][0]["content"][:12] for body in requests if body.get("stream")]
    assert len(streamed) == len(set(streamed)) > 2


def test_the_answer_is_the_whole_text_of_sixteen_tokens(host: TalkersHost, talker: Talker) -> None:
    found = ask(host, live_at(talker), "answers", seconds=30, prompts=prompts(True))
    answers = read_measured(found).answers
    requests = [body for path, body in talker.asked if path == "/v1/chat/completions"]
    assert ["".join(said) for said in answers.values()] == ["".join(talker.says(body)) for body in requests]
    assert {body["max_tokens"] for body in requests} == {16}


def test_nothing_is_asked_that_users_do_not_ask(host: TalkersHost, talker: Talker) -> None:
    """Logprobs are compiled when first asked for: the engine of an old release died of it."""
    measure(host, live_at(talker))
    assert not any("logprobs" in body for _, body in talker.asked if body)


def test_a_model_without_eyes_is_shown_nothing(host: TalkersHost, talker: Talker) -> None:
    found = ask(host, live_at(talker), "answers", seconds=30, prompts=prompts(False))
    assert set(found["answers"]["tokens"]) == {prompt["id"] for prompt in prompts(True)} - {"image"}
    assert "image_url" not in json.dumps([body for _, body in talker.asked])


def test_what_does_not_fit_in_the_context_is_not_asked(host: TalkersHost, talker: Talker) -> None:
    talker.length = 300
    found = measure(host, live_at(talker))
    assert not {"long", "long-zh"} & set(found.answers)
    assert "count" in found.answers
    assert found.tokens_per_second is not None


def test_who_answers_no_prompt_is_measured_as_that(host: TalkersHost, talker: Talker) -> None:
    talker.chat = 500
    found = measure(host, live_at(talker))
    assert (dict(found.answers), found.ttft_seconds, found.tokens_per_second) == ({}, None, None)


def test_the_key_is_used_and_said_nowhere(host: TalkersHost, talker: Talker) -> None:
    found = ask(host, live_at(talker), "text", "image", "models", seconds=30, each=10)
    assert {answer["status"] for answer in found.values()} == {200}
    assert KEY not in json.dumps(found)


def test_a_server_that_hangs_costs_no_more_than_its_time(host: TalkersHost, talker: Talker) -> None:
    talker.first = 4
    started = time.monotonic()
    found = ask(host, live_at(talker), "health", "text", "image", seconds=1, each=30)
    assert list(found) == ["health"]
    assert time.monotonic() - started < 4


def test_a_container_that_is_gone_is_an_error_in_dockers_own_words(host: TalkersHost, talker: Talker) -> None:
    host.says("container", None)
    with pytest.raises(CommandFailed, match="No such container"):
        measure(host, live_at(talker))


@pytest.mark.parametrize(
    ("metrics", "count"),
    [
        ("vllm:num_requests_running 0.0\n", 0),
        ('vllm:num_requests_running{engine="0",model_name="a b"} 2.0\nvllm:num_requests_waiting{engine="0"} 3.0\n', 5),
        ('vllm_num_requests_running{engine="0"} 1\nvllm_num_requests_running{engine="1"} 1\n', 2),
        ('vllm:num_requests_running 1\nvllm:num_requests_waiting_by_reason{reason="x"} 7\n', 1),
        ("process_open_fds 39.0\n" * 4000 + "vllm:num_requests_running 4\n", 4),  # as much of others' as vLLM has
        ("# HELP vllm:num_requests_running 9\nvllm:num_requests_running 1\nvllm:num_requests_swapped 2\n", 3),
    ],
)
def test_requests_in_flight_are_counted_in_either_spelling(
    host: TalkersHost, talker: Talker, metrics: str, count: int
) -> None:
    talker.metrics = metrics
    assert in_flight(host, live_at(talker)) == count


def test_it_waits_in_the_container_until_none_is_left(host: TalkersHost, talker: Talker) -> None:
    talker.metrics = "vllm:num_requests_running 3\n"
    timer = threading.Timer(1.0, lambda: setattr(talker, "metrics", "vllm:num_requests_running 0\n"))
    timer.start()
    started = time.monotonic()
    assert in_flight(host, live_at(talker), wait=20) == 0
    assert 1.0 <= time.monotonic() - started < 10
    assert host.commands == 1
    timer.join()


def test_a_server_that_counts_nothing_is_an_error_with_what_to_change(host: TalkersHost, talker: Talker) -> None:
    talker.metrics = "process_cpu_seconds_total 1\n"
    with pytest.raises(CommandFailed) as raised:
        in_flight(host, live_at(talker))
    assert "--disable-log-stats" in raised.value.hint


def test_the_labs_stand_in_is_measured_as_a_server_like_any_other(host: TalkersHost, tmp_path: Path) -> None:
    """As a process of its own, laid out as in the lab's image."""
    serve = Path(stand_in.__file__).parent
    shutil.copytree(serve, tmp_path / "serve")
    shutil.copy(serve.parents[1] / "sizing" / "data" / "options.json", tmp_path / "serve" / "options.json")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"max_position_embeddings": 4096}')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "serve.launch", "serve", str(tmp_path / "model"), "--served-model-name", "vl"]
    environment = {"FLEETLAB_SERVES": "stand-in", "FLEETLAB_TOKENS_PER_SECOND": "200", "VLLM_API_KEY": KEY}
    where = ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([*words, *where], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            live = live_at(Talker(url=f"http://127.0.0.1:{port}"))
            until = time.monotonic() + 20
            while not ask(host, live, "port", seconds=10)["port"]["status"]:
                assert time.monotonic() < until
                time.sleep(0.1)
            found = measure(host, live)
            assert set(found.answers) == {prompt["id"] for prompt in prompts(True)}
            assert found.tokens_per_second is not None
            assert 80 < found.tokens_per_second <= 201
            assert in_flight(host, live) == 0
        finally:
            process.terminate()
