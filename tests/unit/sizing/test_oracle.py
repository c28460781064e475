"""Parser and rules, held against what vLLM 0.32's own said (``python -m benchmarks.sizing_oracle`` asks it anew)."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.sizing_oracle import Case, beyond, differs

ANSWERS = Path(__file__).parent / "dryrun-0.32.0.jsonl"


def test_parser_and_config_step_of_0_32_agree() -> None:
    asked, wrong = {"parser": 0, "config": 0}, []
    for line in ANSWERS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        case = Case(row["model"], row["gpu"], tuple(row["words"]))
        if not beyond(case, row["said"]):
            asked[case.part] += 1
            if words := differs(case, row["said"]):
                wrong.append(f"{case.model} {case.gpu} {' '.join(case.words)}: {words}")
    assert wrong == []
    assert asked["parser"] > 2400
    assert asked["config"] > 300
