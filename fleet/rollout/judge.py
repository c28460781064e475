"""Is the new release as good as the old one? Judgements over what was seen; pure, and each says why in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.rollout.live import Live

#: Words and whether that is well.
Judged = tuple[bool, str]
#: An answer's end as servers write it, some of them as a token of its own.
_END = re.compile(r"<\|[^|]*\|>|</s>|<eos>|<end_of_turn>|")
#: The same thing four times or more, and nothing else, is no answer; the last one may be cut.
_REPEATED = re.compile(r"(.{1,40}?)\1{3,}(?P<rest>.{0,40})", re.DOTALL)


@dataclass(frozen=True)
class Limits:
    """What the gates hold a release to: seconds, and shares (0.2 is 20 %).

    ``noise_first`` and ``noise_token`` are seconds to the first and between tokens that count as nothing: what a busy
    machine adds to either. Without them 3 ms instead of 2 would be a regression of 50 %.
    """

    max_regression: float = 0.20
    min_healthy: float = 60.0
    same_answers: float = 0.75
    start_seconds: float = 900.0
    noise_first: float = 0.025
    noise_token: float = 0.001


@dataclass(frozen=True)
class Measured:
    """How a release answers (prompt's id → words and signs of its first 16 greedy tokens), how fast (None: unknown)."""

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ttft_seconds: float | None = None
    tokens_per_second: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "answers": {name: list(tokens) for name, tokens in self.answers.items()},
            "ttft_seconds": self.ttft_seconds,
            "tokens_per_second": self.tokens_per_second,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Measured:
        """Back from the journal."""
        answers = {str(name): tuple(map(str, tokens)) for name, tokens in (told.get("answers") or {}).items()}
        return cls(answers, told.get("ttft_seconds"), told.get("tokens_per_second"))

    def better_of(self, other: Measured) -> Measured:
        """Of two measurements of one release: the faster of each, the later answers."""
        firsts = [t for t in (self.ttft_seconds, other.ttft_seconds) if t is not None]
        paces = [t for t in (self.tokens_per_second, other.tokens_per_second) if t is not None]
        return Measured(other.answers or self.answers, min(firsts, default=None), max(paces, default=None))


def fair(before: Measured | None, old: Live, new: Live) -> Measured | None:
    """What the new release can be held to: another model has a speed of its own, its answers are only shown."""
    return replace(before, ttft_seconds=None, tokens_per_second=None) if before and old.model != new.model else before


def judge_models(body: object, live: Live) -> Judged:
    """``/v1/models`` has the release's name, with the length that it was told."""
    data = body.get("data") if isinstance(body, Mapping) else None
    models = {
        str(model.get("id")): model for model in (data if isinstance(data, list) else ()) if isinstance(model, Mapping)
    }
    if live.served_name not in models:
        return False, f"it serves {', '.join(map(repr, models)) or 'no model'}, not {live.served_name!r}"
    length = models[live.served_name].get("max_model_len")
    if live.max_model_len is not None and length != live.max_model_len:
        return False, f"its longest context is {length} tokens, told is {live.max_model_len}"
    if not length:
        return False, "it doesn't say how long its longest context is"
    return True, f"{live.served_name}, {length} tokens"


def judge_chat(answer: Mapping[str, Any] | None, what: str) -> Judged:
    """A chat was answered, with a token at least."""
    if not answer or not answer.get("status"):
        return False, f"{what}: no answer{_because(answer)}"
    body = answer.get("body")
    if answer["status"] != 200:
        return False, f"{what}: {answer['status']}{_because(answer)}"
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        return False, f"{what}: 200 without an answer in it"
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping) or not usage.get("completion_tokens"):
        return False, f"{what}: an answer of no tokens"
    return True, f"{what} was answered in {answer.get('seconds', 0):.2f} s"


def is_nonsense(tokens: Sequence[str]) -> bool:
    """Nothing at all, or one token over and over (what a broken kernel says: ``!!!!!!!!``)."""
    text = _text(tokens)
    found = _REPEATED.fullmatch(text)
    return not text.strip() or (found is not None and found[1].startswith(found["rest"]))


def alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two answers are the same text.

    Text, not tokens: releases of vLLM write the end, and characters of several tokens, in several ways, and few servers
    are asked for tokens in their daily work.
    """
    return _text(one) == _text(other)


def judge_answers(before: Measured | None, after: Measured, same_model: bool, share: float) -> Judged:
    """At least ``share`` of the prompts that both answered are answered alike; and nobody talks nonsense.

    Where the model isn't the same, or nothing is known of before, differences are shown and not judged. What the old
    release said word for word is no fault of the new one, be it nonsense: a tiny model of a test may talk so.
    """
    if not after.answers:
        return False, "no prompt was answered"
    old = before.answers if before else {}
    both = [name for name in old if name in after.answers]
    same = [name for name in both if alike(old[name], after.answers[name])]
    nonsense = [name for name, tokens in after.answers.items() if is_nonsense(tokens) and name not in same]
    compared = f"{len(same)} of {len(both)} prompts answered as before" if both else "nothing to compare with"
    if nonsense:
        said = _shown(after.answers[nonsense[0]])
        return False, f"nonsense in answer to {', '.join(nonsense)} ({said}); {compared}"
    if not same_model or not both:
        why = "" if not both else " (not judged: the model or its quantisation changed)"
        return True, f"{len(after.answers)} prompts answered; {compared}{why}"
    lost = [name for name in old if name not in after.answers]
    if len(same) < needed(len(both), share):
        name = next(name for name in both if name not in same)
        words = f"{compared}, {needed(len(both), share)} are wanted; to {name!r} it said {_shown(after.answers[name])}"
        return False, f"{words} instead of {_shown(old[name])}"
    return True, compared + (f"; no longer answered: {', '.join(lost)}" if lost else "")


def needed(count: int, share: float) -> int:
    """How many of ``count`` a share of it is, rounded up."""
    return min(count, max(0, math.ceil(round(count * share, 9))))


def judge_speed(before: Measured | None, after: Measured, limits: Limits) -> Judged:
    """Not slower than before by more than ``max_regression``, to the first token and between tokens."""
    said = f"{_first(after)}, {_pace(after)}"
    if before is None or (before.ttft_seconds is None and before.tokens_per_second is None):
        return True, f"{said}; nothing to compare with"
    wrong = []
    allowed = limits.max_regression
    if before.ttft_seconds is not None:
        if after.ttft_seconds is None:
            wrong.append("no first token was seen")
        else:
            more = after.ttft_seconds - before.ttft_seconds
            if more > max(allowed * before.ttft_seconds, limits.noise_first) + 1e-9:
                wrong.append(f"{_first(after)}, before {_first(before)} ({_percent(more, before.ttft_seconds)})")
    if before.tokens_per_second:
        if not after.tokens_per_second:
            wrong.append("no pace was seen")
        else:
            less = before.tokens_per_second - after.tokens_per_second
            longer = 1 / after.tokens_per_second - 1 / before.tokens_per_second
            if less > allowed * before.tokens_per_second + 1e-9 and longer > limits.noise_token:
                wrong.append(f"{_pace(after)}, before {_pace(before)} ({_percent(-less, before.tokens_per_second)})")
    if wrong:
        return False, f"{'; '.join(wrong)}; {allowed:.0%} is allowed"
    return True, f"{said}; before {_first(before)}, {_pace(before)}"


def _text(tokens: Sequence[str]) -> str:
    words = list(tokens)
    while words and _END.fullmatch(words[-1]):
        words.pop()
    return "".join(words).replace("\ufffd", "")


def _shown(tokens: Sequence[str]) -> str:
    text = "".join(tokens)
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _because(answer: Mapping[str, Any] | None) -> str:
    body = answer.get("body") if answer else None
    error = body.get("error") if isinstance(body, Mapping) else None
    words = error.get("message") if isinstance(error, Mapping) else error or (body if isinstance(body, str) else "")
    return f" ({str(words)[:200]})" if words else ""


def _first(measured: Measured) -> str:
    return "no first token" if measured.ttft_seconds is None else f"first token {measured.ttft_seconds * 1000:.0f} ms"


def _pace(measured: Measured) -> str:
    return "no pace" if measured.tokens_per_second is None else f"{measured.tokens_per_second:.1f} tokens/s"


def _percent(more: float, whole: float) -> str:
    return f"{more / whole:+.0%}" if whole else "from nothing"
