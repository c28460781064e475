"""The judgements: a release that is as good passes, one that is worse in one thing fails by it; noise is neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.rollout.judge import (
    Limits,
    Measured,
    alike,
    fair,
    is_nonsense,
    judge_answers,
    judge_chat,
    judge_models,
    judge_speed,
    needed,
)
from fleet.rollout.live import Live

LIVE = Live("qwen", "r2", "http://127.0.0.1:8000", "qwen", True, 4096, "Qwen/Qwen2.5-VL-7B-Instruct", "")
OLD = {name: (f"{name}", " is", " said") for name in ("a", "b", "c", "d")}
tokens = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=16).map(tuple)
answers = st.dictionaries(st.sampled_from("abcdefgh"), tokens, max_size=8)
seconds = st.floats(0.001, 100)


def models(**card: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "qwen", "max_model_len": 4096, **card}]}


@pytest.mark.parametrize(
    ("body", "passed", "words"),
    [
        (models(), True, "qwen, 4096 tokens"),
        (models(id="gwen"), False, "it serves 'gwen', not 'qwen'"),
        (models(max_model_len=2048), False, "2048 tokens, told is 4096"),
        (models(max_model_len=None), False, "None tokens"),
        ({"data": []}, False, "no model"),
        ({"data": None}, False, "no model"),
        ("<html>", False, "no model"),
        (None, False, "no model"),
    ],
)
def test_the_models_must_have_name_and_length(body: object, passed: bool, words: str) -> None:
    found = judge_models(body, LIVE)
    assert found[0] is passed
    assert words in found[1]


def test_a_length_that_was_not_told_must_only_be_there() -> None:
    assert judge_models(models(max_model_len=17), replace(LIVE, max_model_len=None))[0]
    assert not judge_models(models(max_model_len=None), replace(LIVE, max_model_len=None))[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no answer"),
        ({"status": 0, "body": "refused"}, "no answer (refused)"),
        ({"status": 500, "body": {"error": {"message": "EngineCore died"}}}, "500 (EngineCore died)"),
        ({"status": 401, "body": {"error": "Unauthorized"}}, "401 (Unauthorized)"),
        ({"status": 200, "body": {}}, "without an answer"),
        ({"status": 200, "body": {"choices": [{}], "usage": {"completion_tokens": 0}}}, "no tokens"),
    ],
)
def test_a_chat_that_is_no_answer_fails_with_the_servers_own_words(answer: Any, words: str) -> None:
    passed, said = judge_chat(answer, "a text")
    assert not passed
    assert words in said


def test_a_chat_of_one_token_is_an_answer() -> None:
    assert judge_chat({"status": 200, "body": {"choices": [{}], "usage": {"completion_tokens": 1}}}, "a text")[0]


@pytest.mark.parametrize(
    "said", [(), ("",), (" ", "\n"), ("!",) * 16, (" the",) * 4, ("乱", "码") * 8, (" ab", "c") * 4 + (" a",)]
)
def test_nothing_and_one_token_over_and_over_are_nonsense(said: tuple[str, ...]) -> None:
    assert is_nonsense(said)


@pytest.mark.parametrize(
    "said", [("Yes",), ("1", ",", "2"), ("ha", "ha", "ha"), ("五", "，"), ("1", ",", "1", ",", "1", ",", "2"), ("7",)]
)
def test_short_answers_are_none(said: tuple[str, ...]) -> None:
    assert not is_nonsense(said)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Paris", "."), ("Paris", ".", "<|im_end|>")),
        (("Paris", "."), ("Paris", ".", "")),
        (("静", "夜"), ("静夜",)),
        (("疑", "\ufffd", "\ufffd"), ("疑", "\ufffd")),
    ],
)
def test_how_a_version_writes_its_tokens_is_no_difference(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert alike(one, other)


@given(answers)
def test_who_answers_as_before_passes_whatever_was_said(said: dict[str, tuple[str, ...]]) -> None:
    before = Measured(said)
    assert judge_answers(before, before, same_model=True, share=1.0)[0] is bool(said)


@given(st.integers(0, 4), st.floats(0, 1))
def test_a_release_passes_exactly_when_enough_answers_are_the_same(changed: int, share: float) -> None:
    new = {name: ("other", " words") if i < changed else said for i, (name, said) in enumerate(OLD.items())}
    passed, words = judge_answers(Measured(OLD), Measured(new), same_model=True, share=share)
    assert passed is (4 - changed >= needed(4, share))
    assert f"{4 - changed} of 4" in words


@given(answers, answers)
def test_where_the_model_changed_only_nonsense_fails(old: dict[str, Any], new: dict[str, Any]) -> None:
    passed, _ = judge_answers(Measured(old), Measured(new), same_model=False, share=1.0)
    bad = [name for name, said in new.items() if is_nonsense(said) and not (name in old and alike(old[name], said))]
    assert passed is (bool(new) and not bad)


def test_nonsense_fails_with_what_was_said_also_where_nothing_is_known_of_before() -> None:
    passed, words = judge_answers(None, Measured({**OLD, "b": ("!",) * 16}), same_model=False, share=0.75)
    assert not passed
    assert "answer to b ('!!!!" in words


@given(st.integers(0, 100), st.floats(0, 1))
def test_a_share_of_some_is_never_less_than_the_share_and_never_more_than_all(count: int, share: float) -> None:
    assert count * share - 1e-6 <= needed(count, share) <= count
    assert needed(8, 0.75) == 6


@given(seconds, st.floats(0.1, 1e4), st.floats(0, 2))
def test_as_fast_as_before_passes(first: float, pace: float, allowed: float) -> None:
    measured = Measured({}, first, pace)
    assert judge_speed(measured, measured, Limits(max_regression=allowed))[0]


@given(seconds, st.floats(0.1, 1e4), st.floats(1, 3), st.floats(1, 3))
def test_slower_never_passes_where_less_slow_fails(first: float, pace: float, one: float, more: float) -> None:
    before = Measured({}, first, pace)
    fast, slow = Measured({}, first * one, pace / one), Measured({}, first * one * more, pace / one / more)
    if not judge_speed(before, fast, Limits())[0]:
        assert not judge_speed(before, slow, Limits())[0]


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ((0.2, 50), (0.239, 50), True),
        ((0.2, 50), (0.25, 50), False),
        ((0.2, 50), (0.2, 41), True),
        ((0.2, 50), (0.2, 39), False),
        ((0.2, 50), (0.2, 33.3), False),  # 50 % slower
        ((0.003, 50), (0.02, 50), True),  # 17 ms are what a busy machine adds
        ((0.003, 50), (0.04, 50), False),
        ((0.2, 9000), (0.2, 3000), True),  # 0.2 ms a token, of a server that has no model
        ((0.2, 50), (None, None), False),
        ((None, None), (0.2, 50), True),
        ((0.2, None), (0.2, None), True),
    ],
)
def test_a_release_may_be_slower_by_what_is_allowed_and_by_noise(before: Any, after: Any, passed: bool) -> None:
    assert judge_speed(Measured({}, *before), Measured({}, *after), Limits())[0] is passed


def test_what_became_slower_is_said_with_both_figures() -> None:
    _, words = judge_speed(Measured({}, 0.2, 50), Measured({}, 0.3, 25), Limits())
    assert "first token 300 ms, before first token 200 ms (+50%)" in words
    assert "25.0 tokens/s, before 50.0 tokens/s (-50%); 20% is allowed" in words


def test_another_model_has_its_own_speed_and_the_same_one_quantized_has_not() -> None:
    before = Measured(OLD, 0.2, 50)
    assert fair(before, LIVE, replace(LIVE, model="other")) == Measured(OLD)
    assert fair(before, LIVE, replace(LIVE, quantization="awq")) == before
    assert fair(None, LIVE, LIVE) is None


@given(answers, st.none() | seconds, st.none() | seconds)
def test_a_measurement_comes_back_from_the_journal(said: dict[str, Any], first: float | None, pace: Any) -> None:
    measured = Measured(said, first, pace)
    assert Measured.from_json(measured.as_json()) == measured


@given(seconds, seconds, seconds, seconds)
def test_of_two_measurements_the_faster_of_each_counts(a: float, b: float, c: float, d: float) -> None:
    both = Measured(OLD, a, b).better_of(Measured({}, c, d))
    assert both == Measured(OLD, min(a, c), max(b, d))
