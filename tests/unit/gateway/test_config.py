"""The configuration as text, and what of it may be seen."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

from fleet.gateway.balancer import key_id
from fleet.gateway.config import Spec
from fleet.gateway.models import slug
from fleet.resource import Observation, digest
from fleet.resources.gateway import GatewayConfig
from fleet.secret import Secret
from fleet.settings import HostSettings

KEY, NEW = "sk-one-0123456789", "sk-two-9876543210"
M = slug("m/m")


def spec(key: str = KEY, hosts: int = 2, names: Sequence[str] = ("m/m", "m/m"), **told: Any) -> Spec:
    peers = {}
    for n in range(hosts):
        address = f"192.0.2.{n + 11}"
        instance = {
            "name": "vl",
            "model": names[n],
            "port": 8000,
            "listen": address,
            **({"api_key": key} if key else {}),
        }
        peers[f"h{n}"] = HostSettings.model_validate({"address": address, "instances": [instance]})
    return Spec.of(HostSettings.model_validate({"address": "192.0.2.1", "gateway": told}), peers)


def test_no_key_is_in_the_text_and_the_id_changes_with_each() -> None:
    text = spec().text({}, "/run/x")
    assert KEY not in text
    assert "map_str(keys.map)" in text
    ids = {
        spec().id({}, "/r"), spec(NEW).id({}, "/r"), spec(keys={"a": Secret("x")}).id({}, "/r"),
        spec(keys={"a": Secret("y")}).id({}, "/r"), spec(tls={"pem": "one"}).id({}, "/r"),
        spec(tls={"pem": "two"}).id({}, "/r"),
    }  # fmt: skip
    assert len(ids) == 6
    assert spec().id({}, "/r") == spec().id({}, "/r")


def test_one_key_is_one_backend_and_a_change_is_two_until_nobody_has_the_old_one() -> None:
    old, new = key_id(Secret(KEY)), key_id(Secret(NEW))
    assert len(re.findall("^backend ", spec(NEW).text({}, "/r"), re.M)) == 1
    text = spec(NEW).text({"h0:vl": f"{M}:{old}@192.0.2.11:8000", "h1:vl": f"{M}:{new}@192.0.2.12:8000"}, "/r")
    assert sorted(re.findall(r"^backend .*:(\w+)$", text, re.M)) == sorted([old, new])
    assert text.count("    server h0:vl:192.0.2.11:8000 192.0.2.11:8000") == 2
    assert "rand(1000000)" in text
    assert "rand(" not in spec(NEW).text({"h0:vl": f"{M}:{new}@192.0.2.11:8000"}, "/r")


def test_a_server_has_a_line_where_it_is_and_one_where_it_is_to_be_each_always_called_alike() -> None:
    key = key_id(Secret(KEY))
    there, here = f"{M}:{key}@192.0.2.11:8000", f"{M}:{key}@192.0.2.11:7000"
    moving = spec().text({"h0:vl": here}, "/r")
    assert re.findall(r"^    server (h0\S+ \S+)$", moving, re.M) == [
        "h0:vl:192.0.2.11:7000 192.0.2.11:7000", "h0:vl:192.0.2.11:8000 192.0.2.11:8000"
    ]  # fmt: skip
    assert spec().text({"h0:vl": there}, "/r") == spec().text({}, "/r")
    assert len(re.findall("^    server h1", moving, re.M)) == 1


def seen(live: str, text: str) -> Observation:
    coded = base64.b64encode(text.encode()).decode()
    return Observation(f"current=abc\nsha256=0\nmode=700\nrows={key_id(Secret(KEY))}\ntext={coded}\nlive={live}")


def test_the_plan_says_who_moves_and_what_is_forgotten() -> None:
    key = key_id(Secret(KEY))
    both = spec().text({"h0:vl": f"{M}:{key}@192.0.2.11:7000"}, "/r")
    change = GatewayConfig(spec()).diff(seen(f"h0:vl={M}:{key}@192.0.2.11:7000 h1:vl={M}:{key}@192.0.2.12:8000", both))
    assert change is not None
    assert "stays where it is until it is rolled out: h0:vl" in change.why
    assert "forgets" not in change.why
    change = GatewayConfig(spec()).diff(seen(f"h0:vl={M}:{key}@192.0.2.11:8000 h1:vl={M}:{key}@192.0.2.12:8000", both))
    assert change is not None
    assert "forgets where no server is any more: h0:vl at 192.0.2.11:7000" in change.why
    assert "stays" not in change.why


def test_a_key_that_left_the_inventory_keeps_the_door_shut_until_no_server_asks_for_it_and_then_it_is_said() -> None:
    key, keyless = key_id(Secret(KEY)), spec("")
    shut = keyless.text({"h0:vl": f"{M}:{key}@192.0.2.11:8000"}, "/r")
    assert "clients-m_m" in shut
    live = f"h0:vl={M}:open@192.0.2.11:8000 h1:vl={M}:open@192.0.2.12:8000"
    change = GatewayConfig(keyless).diff(seen(live, shut))
    assert change is not None
    assert "clients need no key any more for m/m" in change.why
    assert "no key any more" not in (GatewayConfig(spec()).diff(seen(live, shut)) or change).why


def test_who_was_remembered_without_an_address_is_where_the_configuration_before_had_it() -> None:
    key = key_id(Secret(KEY))
    before = "    server h0:vl 192.0.2.11:7000\n    server h1:vl [2001:db8::1]:8000\n"
    change = GatewayConfig(spec()).diff(seen(f"h0:vl={key} h1:vl={key}", before))
    assert change is not None
    assert "server h0:vl:192.0.2.11:7000 192.0.2.11:7000" in change.diff
    assert "server h1:vl:2001:db8::1:8000 [2001:db8::1]:8000" in change.diff


def test_a_model_that_would_lose_all_its_servers_waits_for_a_rollout_and_one_that_keeps_some_does_not() -> None:
    key, both = key_id(Secret(KEY)), {"m/m": {"port": 8080}, "n/n": {"port": 8081}}
    before = spec(models=both).text({}, "/r")
    live = f"h0:vl={M}:{key}@192.0.2.11:8000 h1:vl={M}:{key}@192.0.2.12:8000"
    change = GatewayConfig(spec(models=both, names=("n/n", "n/n"))).diff(seen(live, before))
    assert change is not None
    assert change.interrupts == (f"model {M}",)
    assert f"would have no server until hosts are rolled out: {M}" in change.why
    change = GatewayConfig(spec(models=both, names=("n/n", "m/m"))).diff(seen(live, before))
    assert change is not None
    assert change.interrupts == ()
    assert "gets no requests until it serves its new model: h0:vl" in change.why
    change = GatewayConfig(spec(models=both, hosts=1, names=("m/m",))).diff(seen(live, before))
    assert change is not None
    assert change.interrupts == (), "h1 left the inventory"


@pytest.mark.parametrize("name", ["plain", "a/b", "it's", "a.b+c[d]", 'say "so"', "back\\slash", "通义"])
def test_a_check_looks_for_the_models_name_as_the_server_says_it(name: str) -> None:
    text = spec(names=(name, name)).text({}, "/r")
    (quoted,) = re.findall(r"expect rstring (.*)$", text, re.M)
    (pattern,) = shlex.split(quoted)  # HAProxy's single quotes are the shell's
    assert re.search(pattern, json.dumps({"data": [{"id": name}]}, ensure_ascii=False, separators=(",", ":")))
    assert re.search(pattern, json.dumps({"data": [{"id": name}]}, ensure_ascii=False))
    assert not re.search(pattern, json.dumps({"data": [{"id": f"{name}-large", "root": name}]}, ensure_ascii=False))
    assert not re.search(pattern, json.dumps({"data": [{"id": "axb+c[d]"}]}))


def test_a_model_without_keys_asks_for_none_and_sends_none() -> None:
    text = spec("").text({}, "/r")
    assert "401" not in text
    assert "del-header Authorization" in text
    assert "401" in spec("", keys={"team": Secret("abc")}).text({}, "/r")


def test_an_ipv6_address_stands_in_brackets_and_tls_speaks_http2() -> None:
    text = spec(listen="2001:db8::1", tls={"pem": "x"}).text({}, "/r")
    assert "bind [2001:db8::1]:8080 ssl crt tls.pem alpn h2,http/1.1" in text


def test_a_plan_tells_nothing_of_keys_and_notices_each() -> None:
    config = GatewayConfig(spec())
    change = config.diff(Observation("current=\nlive="))
    assert change is not None
    assert change.kind == "create"
    assert change.interrupts == ()
    assert KEY not in repr(config) + str(change)
    assert digest(config, b"k") != digest(GatewayConfig(spec(NEW)), b"k")
