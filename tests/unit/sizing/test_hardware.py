"""Which GPUs would carry a load: every offer runs, more load never needs fewer, the user's prices count."""

from pathlib import Path

import pytest

from fleet.errors import CatalogError
from fleet.sizing import catalog
from fleet.sizing.hardware import Load, active_parameters, offers, prices

MODEL = catalog.model("Qwen/Qwen2.5-VL-7B-Instruct")


def test_every_offer_runs_and_carries_the_load() -> None:
    found = list(offers(MODEL, Load(5, 8192, 256), "0.24.0", {}))
    assert len(found) > 15
    for offer in found:
        assert offer.answer.verdict == "runs"
        assert offer.servers * offer.rate_each >= 5


def test_ten_times_the_load_never_needs_fewer_gpus() -> None:
    small, large = (
        {offer.gpu.name: offer.gpus for offer in offers(MODEL, Load(rate, 4096, 256), "0.24.0", {})} for rate in (1, 10)
    )
    assert small.keys() == large.keys()
    assert all(large[name] >= small[name] for name in small)


def test_a_context_that_the_model_can_not_hold_has_no_offer() -> None:
    assert list(offers(MODEL, Load(1, 10**6, 256), "0.24.0", {})) == []


def test_prices_come_from_the_users_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"A10": 1.25}')
    cost, source = prices(file)
    (offer,) = [o for o in offers(MODEL, Load(1, 8192, 256), "0.24.0", cost) if o.gpu.name == "A10"]
    assert offer.price == pytest.approx(1.25 * offer.gpus)
    assert source == str(file)


def test_the_examples_are_dated() -> None:
    cost, source = prices(None)
    assert cost["A10"] > 0
    assert "2026" in source


def test_prices_that_are_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"A10": "cheap"}')
    with pytest.raises(CatalogError, match="prices"):
        prices(file)


def test_a_mixture_reads_only_the_experts_of_a_token() -> None:
    mixture = catalog.model("Qwen/Qwen3-30B-A3B")
    assert 2.5e9 < active_parameters(mixture) < 3.5e9
