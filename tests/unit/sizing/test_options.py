"""Options of ``vllm serve``: what a version's parser takes is taken, the rest is named with the nearest right form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.sizing.commandline import parse_words
from fleet.sizing.options import check_args, options, render_args

#: (version, option, value): what the real parsers took (prototypes/parser_behaviour of 0.8.2, the same for 0.33.0).
TAKEN = [
    ("0.8.2", "swap-space", "1.5"),
    ("0.8.2", "swap-space", 16),
    ("0.8.2", "limit-mm-per-prompt", "image=5,video=5"),
    ("0.8.2", "limit-mm-per-prompt", {"image": 5}),
    ("0.8.2", "kv-cache-dtype", "fp8_e5m2"),
    ("0.8.2", "enable-chunked-prefill", "false"),
    ("0.8.2", "enforce-eager", True),
    ("0.8.2", "mm-processor-kwargs", '{"max_pixels": 1003520}'),
    ("0.8.2", "mm-processor-kwargs", {"max_pixels": 1003520}),
    ("0.8.2", "tensor_parallel_size", "4"),
    ("0.8.2", "quantization", "None"),
    ("0.33.0", "max-model-len", "32k"),
    ("0.33.0", "max-model-len", "auto"),
    ("0.33.0", "limit-mm-per-prompt", '{"image": 5}'),
    ("0.33.0", "limit-mm-per-prompt.image", "5"),
    ("0.33.0", "kv-cache-dtype", "bogus"),  # not checked by that parser
    ("0.33.0", "no-enable-prefix-caching", True),
]
#: (version, option, value, nearest): what they refused.
REFUSED = [
    ("0.8.2", "swap-space", "16G", "16"),
    ("0.33.0", "swap-space", "16", "kv-offloading-size"),
    ("0.8.2", "chunked-prefix-reserve-ratio", "0.2", "enable-chunked-prefill"),
    ("0.8.2", "limit-mm-per-prompt", '{"image":5,"video":5}', "image=5,video=5"),
    ("0.33.0", "limit-mm-per-prompt", "image=5", '{"image": 5}'),
    ("0.8.2", "limit-mm-per-prompt", "image=5.0", None),
    ("0.8.2", "max-model-len", "32k", "32000"),
    ("0.8.2", "max-seq-len", "2048", "max-model-len"),
    ("0.8.2", "kv-cache-dtype", "int8", None),
    ("0.8.2", "quantization", "AWQ", "awq"),
    ("0.8.2", "dtype", "fp16", "float16"),
    ("0.8.2", "block-size", "20", None),
    ("0.8.2", "gpu-memory-utilization", "90%", "90"),
    ("0.8.2", "mm-processor-kwargs", "max_pixels=1003520", None),
    ("0.8.2", "enforce-eager", "true", None),
    ("0.8.2", "max-num-seqs", True, None),
    ("0.8.2", "max-num-seq", "8", "max-num-seqs"),
    ("0.33.0", "enable-chunked-prefill", "true", None),
    ("0.33.0", "task", "generate", "runner"),
]


@pytest.mark.parametrize(("version", "name", "value"), TAKEN)
def test_what_the_parser_takes_is_taken(version: str, name: str, value: object) -> None:
    assert check_args(version, {name: value}) == []


@pytest.mark.parametrize(("version", "name", "value", "nearest"), REFUSED)
def test_what_the_parser_refuses_is_refused_with_the_nearest(
    version: str, name: str, value: object, nearest: str | None
) -> None:
    (finding,) = check_args(version, {name: value})
    assert finding.level == "refuse"
    if nearest:
        assert finding.nearest == nearest


def test_between_known_versions_the_newer_counts_and_says_so() -> None:
    found = check_args("0.10.0", {"swap-space": "4"})
    assert [f.level for f in found] == ["refuse", "warn"]
    assert "0.8.2 takes it so, 0.24.0 doesn't" in found[1].words


def test_where_both_neighbours_agree_nothing_is_said() -> None:
    assert check_args("0.10.0", {"tensor-parallel-size": 2}) == []


def test_newer_than_all_known_is_judged_by_the_newest_with_a_warning() -> None:
    (finding,) = check_args("0.99.0", {"tensor-parallel-size": 2})
    assert (finding.level, "0.33.0" in finding.words) == ("warn", True)


def test_below_the_oldest_nothing_is_known() -> None:
    (finding,) = check_args("0.6.3", {"tensor-parallel-size": 2})
    assert finding.level == "unknown"


def test_a_mapping_is_written_as_the_version_wants_it() -> None:
    args = {"limit-mm-per-prompt": {"image": 5, "video": 0}}
    assert render_args("0.8.2", args) == ["--limit-mm-per-prompt", "image=5,video=0"]
    assert render_args("0.33.0", args) == ["--limit-mm-per-prompt", '{"image": 5, "video": 0}']


def test_flags_stand_alone_and_switches_have_an_off_spelling() -> None:
    assert render_args("0.8.2", {"enforce-eager": True, "trust-remote-code": False}) == ["--enforce-eager"]
    assert render_args("0.8.2", {"enable-prefix-caching": False}) == ["--no-enable-prefix-caching"]
    assert render_args("0.33.0", {"enable-prefix-caching": False}) == ["--disable-prefix-caching"]
    assert render_args("0.8.2", {"enable-chunked-prefill": False}) == ["--enable-chunked-prefill", "false"]


def test_lists_follow_options_that_take_several_words() -> None:
    assert render_args("0.8.2", {"served-model-name": ["a", "b"]}) == ["--served-model-name", "a", "b"]


names = st.sampled_from(sorted(set(options("0.8.2")) & set(options("0.33.0")) - {"help", "config"}))


@settings(deadline=None)
@given(version=st.sampled_from(["0.8.2", "0.24.0", "0.33.0"]), name=names, number=st.integers(0, 2**40))
def test_what_is_rendered_is_read_back_and_judged_the_same(version: str, name: str, number: int) -> None:
    args = {name: number}
    parsed = parse_words(version, render_args(version, args))
    refused = [f for f in check_args(version, args) if f.level == "refuse"]
    again = [f for f in check_args(version, parsed.args) if f.level == "refuse"]
    if not refused:
        assert not again
        assert not parsed.findings
