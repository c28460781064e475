"""The whole judgement: the guide's presets, what is unknown, alternatives that really run, the answer's shape."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleet.sizing
from fleet.errors import CatalogError
from fleet.sizing import Answer, Request, catalog, gpu, size
from tests.unit.sizing.schema import violations

SCHEMA: Mapping[str, Any] = json.loads(
    (Path(fleet.sizing.__file__).parent / "data" / "size.schema.json").read_text(encoding="utf-8")
)
VL7, VL72 = "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-72B-Instruct-AWQ"
#: The presets of a popular guide, all for 0.8.2, as it writes them: (model, gpu, count, arguments, what refuses them).
PRESETS: list[tuple[str, str, int, dict[str, object], set[str]]] = [
    (VL7, "A10", 1, {"quantization": "awq", "max-model-len": 8192, "gpu-memory-utilization": 0.9}, {"q-missing"}),
    (VL7, "A10", 2, {"tensor-parallel-size": 2, "max-model-len": 16384, "swap-space": "16G"}, {"option"}),
    (VL7, "T4", 4, {"tensor-parallel-size": 4, "max-model-len": 8192, "kv-cache-dtype": "fp8"}, {"dtype-bf16"}),
    (VL72, "A100-40GB", 4, {"tensor-parallel-size": 4, "chunked-prefix-reserve-ratio": 0.2}, {"option"}),
    (VL72, "T4", 8, {"tensor-parallel-size": 8, "dtype": "half", "quantization": "awq_marlin"}, {"q-mismatch"}),
]


@pytest.mark.parametrize(("model", "kind", "count", "args", "rules"), PRESETS)
def test_a_wrong_preset_is_refused_with_settings_that_run(
    model: str, kind: str, count: int, args: dict[str, object], rules: set[str]
) -> None:
    answer = size(Request(model, gpu(kind), count, "0.8.2", args))
    assert answer.verdict == "refused"
    assert rules <= {reason.rule for reason in answer.refusals}
    assert answer.alternatives
    best = answer.alternatives[0]
    assert size(Request(model, gpu(kind), count, "0.8.2", best.args, best.env)).verdict == "runs"


@pytest.mark.parametrize(("model", "kind", "count"), [(m, k, c) for m, k, c, _, _ in PRESETS])
def test_auto_finds_settings_for_every_preset(model: str, kind: str, count: int) -> None:
    answer = size(Request(model, gpu(kind), count))
    assert answer.verdict == "runs"
    assert size(Request(model, gpu(kind), count, "0.8.2", answer.args)).verdict == "runs"
    assert any(reason.level == "set" for reason in answer.reasons)


def test_a_72b_in_16_bits_on_four_small_gpus_is_refused_by_memory() -> None:
    args = {"tensor-parallel-size": 4, "gpu-memory-utilization": 0.95, "max-model-len": 8192, "max-num-seqs": 2}
    answer = size(Request("Qwen/Qwen2.5-VL-72B-Instruct", gpu("A100-40GB"), 4, "0.8.3", args))
    assert answer.verdict == "refused"


def test_the_first_72b_awq_checkpoint_gets_another_split() -> None:
    answer = size(Request(f"{VL72}@2025-02", gpu("A100-80GB"), 4, "0.8.2", {"tensor-parallel-size": 4}))
    assert "q-align" in {reason.rule for reason in answer.refusals}
    assert "tensor-parallel-size" not in answer.alternatives[0].args


def test_the_bare_72b_awq_name_warns_that_the_file_decides() -> None:
    (note,) = [r for r in size(Request(VL72, gpu("A100-80GB"), 4)).reasons if r.rule == "catalog"]
    assert "29568" in note.words


def test_a_parser_that_would_refuse_refuses() -> None:
    answer = size(Request(VL7, gpu("A100-80GB"), 1, "0.8.2", {"no-such-option": "1", "max-model-len": "many"}))
    assert [reason.rule for reason in answer.refusals if reason.rule == "option"] == ["option", "option"]
    assert answer.alternatives[0].verdict == "runs"


def test_stray_words_refuse() -> None:
    answer = size(Request(VL7, gpu("A100-80GB"), 1, "0.8.2", {"max-model-len": 4096}, refused_words=("stray",)))
    assert {reason.rule for reason in answer.refusals} == {"parser"}
    assert not answer.alternatives[0].refusals


def test_what_can_not_run_at_all_is_refused_without_alternatives() -> None:
    answer = size(Request("Qwen/Qwen2.5-VL-72B-Instruct", gpu("T4"), 1, "0.8.2", {"dtype": "half"}))
    assert (answer.verdict, answer.alternatives) == ("refused", ())


def test_fp8_while_loading_is_the_last_resort() -> None:
    answer = size(Request("Qwen/Qwen2.5-14B-Instruct", gpu("A10"), 1, "0.8.2", {"max-model-len": 4096}))
    assert answer.verdict == "refused"
    assert answer.alternatives[0].args["quantization"] == "fp8"


def test_a_7b_on_eight_big_gpus_gets_eight_servers_not_one_over_all() -> None:
    answer = size(Request(VL7, gpu("H100-80GB"), 8, "0.24.0"))
    assert (answer.instances, "tensor-parallel-size" in answer.args) == (8, False)


def test_one_server_may_be_told_to_take_all_gpus() -> None:
    answer = size(Request(VL7, gpu("A10"), 4, whole=True))
    assert (answer.instances, answer.args["tensor-parallel-size"]) == (1, 4)


def test_aims_differ_in_what_they_favour() -> None:
    found = {aim: size(Request(VL7, gpu("A100-80GB"), 4, aim=aim)) for aim in fleet.sizing.AIMS}
    assert (found["context"].max_model_len or 0) >= 128000
    assert found["latency"].args["tensor-parallel-size"] == 4
    assert found["throughput"].instances == 4


def test_what_the_user_gives_is_kept_by_auto() -> None:
    given = {"max-model-len": 4096, "enforce-eager": True, "max-num-seqs": 8}
    answer = size(Request(VL7, gpu("A10"), 1, "0.8.2", given, auto=True))
    assert given.items() <= answer.args.items()


def test_an_unknown_architecture_is_unknown_with_weights_from_the_files() -> None:
    config = {"architectures": ["FooForCausalLM"], "hidden_size": 64}
    answer = size(Request(config, gpu("A10"), 1, weight_bytes=4 << 30))
    assert (answer.verdict, answer.per_gpu.weights_gib, answer.kv_tokens) == ("unknown", 4.0, None)


def test_below_0_8_2_nothing_is_known() -> None:
    assert size(Request(VL7, gpu("A10"), 1, "0.7.3")).verdict == "unknown"


def test_between_known_versions_a_warning_says_which_one_judges() -> None:
    reasons = size(Request(VL7, gpu("A10"), 1, "0.10.1")).reasons
    assert any(r.rule == "version" and r.level == "warn" and "0.24.0" in r.words for r in reasons)


def test_a_name_that_is_not_in_the_catalog_is_an_error() -> None:
    with pytest.raises(CatalogError, match="no model"):
        size(Request("Qwen/Qwen9-1T", gpu("A10")))


def _complaints(answer: Answer) -> list[str]:
    return list(violations(json.loads(json.dumps(answer.as_json())), SCHEMA, SCHEMA))


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(catalog.names()),
    kind=st.sampled_from([k.name for k in fleet.sizing.gpus.gpus()]),
    count=st.sampled_from([1, 2, 4, 8]),
    version=st.sampled_from(["0.7.0", "0.8.2", "0.10.1", "0.24.0", "0.33.0", "1.2.3"]),
    tp=st.sampled_from([None, 1, 2, 3, 8]),
    length=st.sampled_from([None, 1024, 32768, 10**6]),
)
def test_every_answer_has_the_contracts_shape_and_its_alternatives_run(
    model: str, kind: str, count: int, version: str, tp: int | None, length: int | None
) -> None:
    args = {"tensor-parallel-size": tp, "max-model-len": length}
    given = {name: value for name, value in args.items() if value is not None}
    request = Request(model, gpu(kind), count, version, given or None)
    answer = size(request)
    assert _complaints(answer) == []
    assert (answer.verdict == "refused") == bool(answer.refusals)
    for other in answer.alternatives:
        assert size(replace(request, args=other.args, env=other.env, auto=False)).verdict == "runs"


def test_the_schema_refuses_what_is_too_much_or_missing() -> None:
    document = size(Request(VL7, gpu("A10"))).as_json()
    assert list(violations({**document, "extra": 1}, SCHEMA, SCHEMA))
    assert list(violations({k: v for k, v in document.items() if k != "kv_tokens"}, SCHEMA, SCHEMA))
    assert list(violations({**document, "verdict": "maybe"}, SCHEMA, SCHEMA))
