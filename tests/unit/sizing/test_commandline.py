"""Words after the model, read as vLLM's parser reads them."""

import shlex

import pytest

from fleet.sizing.commandline import parse_words


@pytest.mark.parametrize(
    ("version", "line", "args"),
    [
        ("0.8.2", "-tp 4 --max_model_len=8192", {"tensor-parallel-size": "4", "max-model-len": "8192"}),
        ("0.8.2", "--enforce-eager --dtype half", {"enforce-eager": True, "dtype": "half"}),
        ("0.8.2", "--no-enable-prefix-caching", {"enable-prefix-caching": False}),
        ("0.33.0", "--disable-prefix-caching", {"enable-prefix-caching": False}),
        ("0.33.0", "--no-enable-prefix-caching", {"enable-prefix-caching": False}),
        ("0.8.2", "-O3", {"compilation-config": "3"}),
        ("0.8.2", "--enable-chunked-prefill --port 1", {"enable-chunked-prefill": True, "port": "1"}),
        ("0.8.2", "--served-model-name a b --port 1", {"served-model-name": ["a", "b"], "port": "1"}),
        ("0.8.2", "--max-model-len 1 --max-model-len 2", {"max-model-len": "2"}),
        ("0.8.2", "--max-model-len -1", {"max-model-len": "-1"}),
        ("0.33.0", "--limit-mm-per-prompt.image 5", {"limit-mm-per-prompt.image": "5"}),
        ("0.8.2", "--no-such-option 3", {"no-such-option": "3"}),
        ("0.10.0", "--swap-space 16", {"swap-space": "16"}),  # known by the older neighbour: read, then judged
    ],
)
def test_words_become_arguments(version: str, line: str, args: dict[str, object]) -> None:
    parsed = parse_words(version, shlex.split(line))
    assert dict(parsed.args) == args
    assert parsed.findings == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stray", "unrecognized argument"),
        ("--enforce-eager true", "unrecognized argument"),
        ("--enforce-eager=true", "takes no value"),
        ("--max-model-len", "expected one argument"),
        ("--max-model-len --enforce-eager", "expected one argument"),
    ],
)
def test_what_argparse_would_not_take_is_found(line: str, words: str) -> None:
    (finding,) = parse_words("0.8.2", shlex.split(line)).findings
    assert finding.level == "refuse"
    assert words in finding.words
