from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fleet.errors import Findings
from fleet.gateway.balancer import OPEN, key_id, split_way
from fleet.gateway.models import check_gateways, key_ids, models_of, slug, way_of
from fleet.secret import Secret
from fleet.settings import HostSettings

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def host(*instances: dict[str, Any], address: str = "192.0.2.11", **more: Any) -> HostSettings:
    told = [{"name": f"i{n}", "model": QWEN, "port": 8000 + n, "listen": address, **i} for n, i in enumerate(instances)]
    return HostSettings.model_validate({"instances": told, "address": address, **more})


def gateway(**told: Any) -> HostSettings:
    return HostSettings.model_validate({"address": "192.0.2.1", "gateway": told})


def wrong(told: HostSettings, **peers: HostSettings) -> str:
    with pytest.raises(Findings) as caught:
        check_gateways({"g1": told}, peers)
    return str(caught.value)


def test_one_model_is_on_the_gateways_port_with_all_its_servers() -> None:
    (model,) = models_of(gateway().gateway, {"h2": host({}, address="192.0.2.12"), "h1": host({}, {"api_key": "k1"})})
    assert (model.name, model.port, model.prefix) == (QWEN, 8080, "")
    assert [(s.name, s.address, s.port) for s in model.servers] == [
        ("h1:i0", "192.0.2.11", 8000), ("h1:i1", "192.0.2.11", 8001), ("h2:i0", "192.0.2.12", 8000)
    ]  # fmt: skip
    assert list(key_ids([model])) == [OPEN, key_id(Secret("k1"))]


def test_an_instance_on_all_addresses_is_reached_at_its_hosts_and_one_on_loopback_not_at_all() -> None:
    peers = {"h1": host({"listen": "0.0.0.0", "api_key": "k"}, {"listen": "127.0.0.1", "api_key": "k"})}
    (model,) = models_of(gateway().gateway, peers)
    assert [(s.name, s.address) for s in model.servers] == [("h1:i0", "192.0.2.11")]
    assert "'i1' listens on 127.0.0.1" in check_gateways({"g": gateway()}, peers)[0]


def test_the_way_to_a_release_is_its_own_or_its_hosts_address_or_no_more_than_its_key() -> None:
    about = {"key": "abc", "listen": "192.0.2.11", "port": 8000, "served_name": "vl"}
    assert way_of(about, "192.0.2.99") == "vl:abc@192.0.2.11:8000"
    assert way_of({**about, "listen": "0.0.0.0"}, "192.0.2.99") == "vl:abc@192.0.2.99:8000"
    assert way_of({**about, "listen": "::"}, "2001:db8::9") == "vl:abc@2001:db8::9:8000"
    assert split_way("vl:abc@2001:db8::9:8000") == ("vl", "abc", "2001:db8::9:8000")
    assert split_way("abc") == ("", "abc", "")
    for less in ({**about, "listen": "0.0.0.0"}, {**about, "listen": "127.0.0.1"}, {"key": "abc"}):
        assert way_of(less, "") == "abc"
    assert way_of({}, "192.0.2.99") == ""


def test_several_models_must_each_say_where_so_that_an_edit_moves_no_neighbour() -> None:
    peers = {"h1": host({"served_name": "a"}, {"served_name": "b"})}
    words = wrong(gateway(models={"a": {"port": 8081}}), **peers)
    assert "doesn't say the port of 'b'" in words
    assert "of 'a'" not in words
    assert check_gateways({"g1": gateway(models={"a": {"port": 8081}, "b": {"port": 8082}})}, peers)
    assert check_gateways({"g1": gateway(models={"a": {"prefix": "/a"}, "b": {"prefix": "/b"}})}, peers)
    assert "'a' and 'b' both want port 8080" in wrong(gateway(models={"a": {}, "b": {}}), **peers)


@pytest.mark.parametrize("prefix", ["/v1", "/a/v1", "/health"])
def test_a_prefix_that_is_a_path_of_the_servers_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="servers' own paths"):
        gateway(models={"a": {"prefix": prefix}})


def test_a_gateway_and_its_own_instance_want_different_ports() -> None:
    instances = [{"name": "vl", "model": QWEN, "port": 8080, "listen": "192.0.2.1"}]

    def both(**told: Any) -> HostSettings:
        return HostSettings.model_validate({"address": "192.0.2.1", "gateway": told, "instances": instances})

    assert "port 8080 is to be the gateway's and that of its own instance 'vl'" in wrong(both(), g1=both())
    assert "port 8080" in wrong(both(port=80, stats_port=8080), g1=both(port=80, stats_port=8080))
    assert check_gateways({"g1": both(port=80)}, {"g1": both(port=80)})
    assert check_gateways({"g1": both(listen="192.0.2.77")}, {"g1": both(listen="192.0.2.77")})


def test_a_name_of_any_length_can_be_a_files() -> None:
    assert len(f"clients-{slug('y' * 300)}.map") < 255
    assert slug("y" * 300) != slug("y" * 301)


def test_a_key_that_would_break_a_header_is_found_before_any_host_is_touched() -> None:
    for key in ("two words", "käse", "#comment", "line\nbreak"):
        assert "can't stand in a header" in wrong(gateway(), h1=host({"api_key": key}))


def test_all_addresses_only_with_keys_and_a_name_is_no_address() -> None:
    assert "would let anybody use" in wrong(gateway(listen="0.0.0.0"), h1=host({}))
    assert check_gateways({"g": gateway(listen="0.0.0.0")}, {"h1": host({"api_key": "k"})}) == []
    assert "must listen on its own address" in wrong(HostSettings(), h1=host({}))


def test_instances_on_the_network_without_a_key_are_said_once() -> None:
    (words,) = check_gateways({"g": gateway()}, {"h1": host({}), "h2": host({})})
    assert "h1:i0, h2:i0" in words


def test_names_in_haproxys_alphabet_stay_apart() -> None:
    assert slug("Qwen2.5-VL-7B") == "Qwen2.5-VL-7B"
    assert len({slug("a/b"), slug("a_b"), slug("a:b")}) == 3
