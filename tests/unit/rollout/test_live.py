"""What runs, as its release on the host says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import CommandFailed
from fleet.rollout.live import live, read_live, same_model
from fleet.transport.local import LocalTransport

VL = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": {"depth": 32}}


def about(**more: Any) -> dict[str, Any]:
    told = {"instance": "qwen", "model": "Qwen/VL", "served_name": "vl", "listen": "127.0.0.1", "port": 8000}
    return {**told, "content_id": "c1", "args": {}, "gpus": ["GPU-1"], **more}


def staged(root: Path, release: str = "0a1b", weights: str = "/nowhere", **more: Any) -> None:
    base = root / "qwen"
    (base / "releases" / release).mkdir(parents=True)
    (base / "current").symlink_to(f"releases/{release}")
    (base / "current" / "release.json").write_text(json.dumps(about(**more), indent=2))
    quoted = weights.replace("%", "%%").replace("$", "$$")
    unit = (
        f'ExecStart=/usr/bin/docker run --rm \\\n  "--mount=type=bind,src={quoted},dst=/models/Qwen/VL,readonly" \\\n'
    )
    (base / "current" / "fleet-qwen.service").write_text(unit)


@pytest.mark.parametrize("name", ["weights", "100% of $it"])
def test_it_is_read_on_the_host_by_one_command(tmp_path: Path, name: str) -> None:
    weights = tmp_path / name
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps({**VL, "quantization_config": {"quant_method": "awq"}}, indent=1))
    staged(tmp_path, weights=str(weights), args={"max_model_len": "32k"})
    transport = LocalTransport()
    found = live(transport, "qwen", root=str(tmp_path))
    assert transport.commands == 1
    assert (found.instance, found.release, found.url) == ("qwen", "0a1b", "http://127.0.0.1:8000")
    assert (found.served_name, found.vision, found.max_model_len) == ("vl", True, 32000)
    assert (found.model, found.quantization, found.weights, found.gpus) == ("Qwen/VL", "awq", "c1", ("GPU-1",))
    assert found.container == "fleet-qwen"


def test_without_the_models_files_it_is_known_all_the_same(tmp_path: Path) -> None:
    staged(tmp_path)
    found = live(LocalTransport(), "qwen", root=str(tmp_path))
    assert (found.release, found.vision, found.quantization) == ("0a1b", False, "")


def test_an_instance_without_a_release_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="current release of qwen") as raised:
        live(LocalTransport(), "qwen", root=str(tmp_path))
    assert raised.value.hint


@pytest.mark.parametrize(
    ("listen", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("10.0.0.7", "http://10.0.0.7:8000")],
)
def test_it_is_asked_where_it_answers(listen: str, url: str) -> None:
    assert read_live("qwen", "r", about(listen=listen), VL).url == url


@pytest.mark.parametrize("told", [{"image": 0}, '{"image": 0}', "image=0"])
def test_a_model_that_is_told_to_take_no_pictures_is_shown_none(told: Any) -> None:
    assert not read_live("qwen", "r", about(args={"limit-mm-per-prompt": told}), VL).vision
    assert read_live("qwen", "r", about(args={"limit-mm-per-prompt": {"image": 2}}), VL).vision


def test_the_same_model_is_the_same_bytes_quantized_alike() -> None:
    old = read_live("qwen", "r1", about(args={"max-model-len": 8}), VL)
    assert same_model(old, read_live("qwen", "r2", about(args={"max-model-len": 16}), VL))
    assert not same_model(old, read_live("qwen", "r2", about(args={"quantization": "fp8"}), VL))
    assert not same_model(old, read_live("qwen", "r2", about(content_id="c2"), VL))
    assert not same_model(old, read_live("qwen", "r2", about(model="other"), VL))
