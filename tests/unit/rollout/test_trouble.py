"""From a log to one screen: the lines that matter, what they mean, what to type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.rollout import trouble as module
from fleet.rollout.trouble import Trouble, read_trouble, trouble
from fleet.transport.fake import FakeTransport

CAUSES: list[dict[str, Any]] = json.loads(
    (Path(module.__file__).parent / "data" / "causes.json").read_text(encoding="utf-8")
)["causes"]

LOG = """\
(APIServer pid=1) INFO 11-22 10:00:01 [api_server.py:1] vLLM API server version 0.32.0
(EngineCore_DP0 pid=90) ERROR 11-22 10:00:09 [core.py:700] EngineCore failed to start.
(EngineCore_DP0 pid=90) ERROR 11-22 10:00:09 [core.py:700] Traceback (most recent call last):
(EngineCore_DP0 pid=90) ERROR 11-22 10:00:09 [core.py:700]   File "/opt/vllm/core.py", line 7, in run
(EngineCore_DP0 pid=90) ERROR 11-22 10:00:09 [core.py:700] torch.OutOfMemoryError: CUDA out of memory. Tried 1.02 GiB
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
fleet-qwen.service: Main process exited, code=exited, status=1/FAILURE
fleet-qwen.service: Failed with result 'exit-code'.
"""


@pytest.mark.parametrize("row", CAUSES, ids=lambda row: row["cause"])
def test_each_row_finds_its_own_example_and_no_earlier_row_takes_it(row: dict[str, Any]) -> None:
    found = read_trouble([row["example"]], instance="qwen", host="h1")
    assert [cause.cause for cause in found.causes] == [row["cause"]]
    assert found.lines
    assert "HOST" not in found.causes[0].todo
    assert row["source"]


def test_of_a_trace_its_last_line_matters_and_what_only_says_that_something_failed_does_not() -> None:
    found = read_trouble(LOG.splitlines(), instance="qwen", host="h1")
    assert found.lines == (
        "EngineCore failed to start.",
        "torch.OutOfMemoryError: CUDA out of memory. Tried 1.02 GiB",
        "fleet-qwen.service: Main process exited, code=exited, status=1/FAILURE",
        "fleet-qwen.service: Failed with result 'exit-code'.",
    )
    assert [cause.cause for cause in found.causes] == [
        "the GPU's memory ran out, often over a picture or a long prompt"
    ]


def test_what_is_logged_at_each_try_is_shown_once() -> None:
    assert read_trouble((LOG * 5).splitlines()) == read_trouble(LOG.splitlines())


def test_a_long_log_of_errors_fits_on_a_screen_and_keeps_what_is_known() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    log = [f"ValueError: {a}{b}" for a in letters for b in letters]
    log.insert(300, "OSError: [Errno 98] Address already in use")
    found = read_trouble(log)
    assert len(found.lines) == 8
    assert found.lines[-1] == "OSError: [Errno 98] Address already in use"
    assert found.lines[0] == "ValueError: aa"


def test_a_log_of_a_server_that_is_well_says_nothing() -> None:
    lines = [
        'INFO: 127.0.0.1:1 - "GET /health HTTP/1.1" 200 OK',
        "(APIServer pid=1) INFO 11-22 10:00:01 [loggers.py:1] Engine 000: Avg generation throughput: 98 tokens/s",
        "fleet: Docker was away; fleet-qwen lives on and is followed again",
        "WARNING 11-22 10:00:01 [config.py:1] Default sampling parameters have been overridden",
    ]
    assert read_trouble(lines) == Trouble()


def test_unit_and_kernel_are_asked_since_the_release_began_by_one_command() -> None:
    xid = "NVRM: Xid (PCI:0000:3b:00): 79, pid=812, GPU has fallen off the bus."
    transport = FakeTransport("h7", [("journalctl", f"ValueError: no\n{xid}\n")])
    found = trouble(transport, "qwen", 1795400000.7)
    assert transport.commands == 1
    assert "--since=@1795400001 --unit=fleet-qwen.service" in transport.asked[0][0]
    assert found.lines == ("ValueError: no", xid)
    assert "power-cycle h7" in found.causes[0].todo
