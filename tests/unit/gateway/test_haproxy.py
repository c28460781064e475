"""Promises of the gateway, held by a real HAProxy on loopback."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleet.errors import CommandFailed
from fleet.gateway.balancer import key_id
from fleet.secret import Secret
from tests.gateway import MODEL, WHY_NOT, Gateway, Server, free_port, load, until

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
KEY = "sk-one-0123456789"
NEW = "sk-two-9876543210"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    both = [Server("h1", KEY), Server("h2", KEY)]
    yield both
    for each in both:
        each.stop()


@pytest.fixture
def shell() -> tuple[str, ...]:
    return ("dash",)


#: Tests of the tool on the host are run by both shells that hosts have.
BOTH = pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh")], ids=" ".join)


@pytest.fixture
def gateway(tmp_path: Path, servers: list[Server], shell: tuple[str, ...]) -> Iterator[Gateway]:
    made = Gateway(tmp_path, shell)
    made.behind(*servers)
    try:
        made.provision()
        yield made
    finally:
        made.kill()


def connection(port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))


def test_only_whole_known_keys_pass_and_only_the_api(gateway: Gateway) -> None:
    assert gateway.ask(key=KEY)[0] == 200
    for scheme in ("bearer", "BEARER"):  # as vLLM itself takes them
        assert gateway.ask(authorization=f"{scheme} {KEY}")[0] == 200
    for wrong in (f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Bearer {KEY} x", KEY, f"Basic {KEY}", "Bearer", ""):
        status, said = gateway.ask(authorization=wrong)
        assert (status, said["error"]["code"]) == (401, "invalid_api_key"), wrong
    assert gateway.ask("/v1/models", None)[0] == 401
    assert gateway.ask("/v1/models", None, key=KEY)[0] == 200
    assert gateway.ask("/health", None)[0] == 200
    for path in (
        "/metrics",
        "/",
        "/v1",
        "/docs",
        "/v2/x",
        "/v1/../metrics",
        "/v1/%2e%2e/metrics",
        "/v1/.%2E/metrics",
        "/v1%2f..%2fmetrics",
        "/V1/models",
        "//v1/models",
        "/healthz",
    ):
        assert gateway.ask(path, None, key=KEY)[0] == 404, path
    with connection(gateway.port) as line:
        line.putrequest("GET", "/v1/models")
        for key in (KEY, "other"):
            line.putheader("Authorization", f"Bearer {key}")
        line.endheaders()
        assert line.getresponse().status == 401


def test_streams_pass_token_by_token_and_large_bodies_whole(gateway: Gateway) -> None:
    came = list(gateway.tokens(KEY))
    assert [line for _, line in came] == [f"data: {n}".encode() for n in range(20)]
    assert came[-1][0] - came[0][0] > 0.7, "they came together"
    status, said = gateway.ask(body=b"x" * 5_000_000, key=KEY)
    assert (status, said["length"]) == (200, 5_000_000)


@BOTH
def test_a_drained_server_ends_its_streams_and_gets_nothing_new(gateway: Gateway, servers: list[Server]) -> None:
    one, two = servers
    one.tokens = two.tokens = 60
    streams = [gateway.tokens(KEY) for _ in range(2)]  # least connections: one on each
    for stream in streams:
        next(stream)
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me, for a test")
    state = gateway.balancer.states()
    assert (state["h1:vl"].admin, state["h1:vl"].sessions, state["h1:vl"].who) == ("drain", 1, "me, for a test")
    assert abs((state["h1:vl"].expires or 0) - time.time() - 60) < 5
    assert (state["h2:vl"].admin, state["h2:vl"].expires) == ("ready", None)
    before = len(one.served)
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h2"}
    assert len(one.served) == before
    assert [len(list(stream)) for stream in streams] == [59, 59]
    gateway.balancer.ready({"h1:vl": ""})
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h1", "h2"}
    with pytest.raises(CommandFailed, match="knows no server h9:vl"):
        gateway.balancer.drain(["h9:vl"], seconds=60, who="me")


@BOTH
@pytest.mark.parametrize("who", ["CORP\\carl: C:\\new", "a 'b' \"c\" $(id) %s *"])
def test_what_stands_in_a_name_or_a_reason_changes_nothing_for_any_server(gateway: Gateway, who: str) -> None:
    gateway.balancer.drain(["h1:vl"], seconds=60, who=who)
    gateway.balancer.drain(["h2:vl"], seconds=60, who=who)
    assert {name: (s.admin, s.who) for name, s in gateway.balancer.states().items()} == dict.fromkeys(
        ("h1:vl", "h2:vl"), ("drain", who)
    )
    assert gateway.ask(key=KEY)[0] == 503


def test_a_drain_beside_a_reload_is_never_lost(gateway: Gateway) -> None:
    for number in range(4):
        reload = threading.Thread(target=gateway.host.sh, args=("systemctl reload fleet-gateway.service",))
        reload.start()
        time.sleep(0.05 * number)
        gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
        reload.join(30)
        assert gateway.balancer.states()["h1:vl"].admin == "drain"
        assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h2"}
        gateway.balancer.ready({"h1:vl": ""})


@BOTH
def test_a_drain_that_nobody_ends_ends_by_itself_but_only_for_who_is_well(
    gateway: Gateway, servers: list[Server]
) -> None:
    servers[0].healthy = False
    gateway.balancer.drain(["h1:vl"], seconds=1, who="gone")
    until(lambda: not gateway.balancer.states()["h1:vl"].up, "its check fails")
    time.sleep(4)
    gateway.sweep()
    assert gateway.balancer.states()["h1:vl"].admin == "drain"
    servers[0].healthy = True
    gateway.sweep_until(lambda: gateway.balancer.states()["h1:vl"].admin == "ready", "it is put back")
    assert gateway.balancer.states()["h1:vl"].expires is None
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h1", "h2"}


def test_a_drain_outlives_a_kill_and_a_start_lets_in_who_may_serve(gateway: Gateway) -> None:
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
    gateway.kill()
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me, again")  # while it is down as well
    gateway.start()
    state = gateway.balancer.states()
    assert (state["h1:vl"].admin, state["h1:vl"].who, state["h2:vl"].admin) == ("drain", "me, again", "ready")
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h2"}


def test_a_reload_loses_nothing_and_keeps_drains(gateway: Gateway, servers: list[Server]) -> None:
    servers[1].tokens = 80
    third = Server("h3", KEY)
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
    stream = gateway.tokens(KEY)
    next(stream)
    with connection(gateway.port) as line, load(gateway, lambda: KEY) as answers:
        line.request("GET", "/v1/models", headers=HEADERS)
        assert line.getresponse().read()
        gateway.behind(third)
        gateway.provision()
        line.request("GET", "/v1/models", headers=HEADERS)  # on a connection from before the reload
        assert line.getresponse().status == 200
        gateway.sweep_until(lambda: "h3" in {a["server"] for _, a in answers[-8:] if isinstance(a, dict)}, "h3 serves")
    assert {status for status, _ in answers} == {200}
    assert len(answers) > 50
    assert "h1" not in {answer["server"] for _, answer in answers}
    assert len(list(stream)) == 79
    third.stop()


def test_a_servers_error_is_its_answer_and_never_takes_it_out(gateway: Gateway, servers: list[Server]) -> None:
    for _ in range(30):
        assert gateway.ask(body=b'{"status": 500}', key=KEY)[0] == 500
        assert gateway.ask(body=b'{"status": 400}', key=KEY)[0] == 400
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h1", "h2"}


def test_a_dead_server_costs_no_request(gateway: Gateway, servers: list[Server]) -> None:
    with load(gateway, lambda: KEY) as answers:
        time.sleep(0.5)
        port = servers[0].port
        servers[0].stop()
        until(lambda: not gateway.balancer.states()["h1:vl"].up, "it is seen to be down")
        servers[0] = Server("h1", KEY, port)
        until(lambda: gateway.balancer.states()["h1:vl"].up, "it is up again")
        time.sleep(1)
    # What was under way on a server that ends is lost with it; what had not reached it goes to another.
    assert {status for status, _ in answers if status} <= {200, 502}
    assert len([1 for status, _ in answers if status != 200]) <= 4


@BOTH
def test_a_key_is_changed_under_load_without_a_failure(gateway: Gateway, servers: list[Server]) -> None:
    key = [KEY]
    with load(gateway, lambda: key[0]) as answers:
        gateway.behind(*servers, h1=NEW, h2=NEW)
        gateway.provision()  # both keys are known from here on, to clients too
        time.sleep(0.5)
        key[0] = NEW  # clients may change at any time
        for server in servers:
            name = f"{server.name}:vl"
            gateway.balancer.drain([name], seconds=60, who="rollout")
            while gateway.balancer.states()[name].sessions:
                time.sleep(0.05)
            time.sleep(0.3)
            server.key = NEW
            gateway.balancer.ready({name: key_id(Secret(NEW))})
            time.sleep(1)
    assert {status for status, _ in answers} == {200}
    assert {answer["key"] for _, answer in answers} == {f"Bearer {KEY}", f"Bearer {NEW}"}
    assert gateway.ask(key=KEY)[0] == 200, "the old key is good until the next provision"
    config, _ = gateway.resources()
    change = config.diff(gateway.host.see(config))
    assert change is not None
    assert f"forgets key {key_id(Secret(KEY))}" in change.why
    gateway.provision()
    assert (gateway.ask(key=KEY)[0], gateway.ask(key=NEW)[0]) == (401, 200)
    assert KEY not in "".join(p.read_text() for p in Path(gateway.places.root).rglob("*") if p.is_file())


def test_a_reload_loses_no_kept_connection_while_a_key_is_changed_whichever_key_the_servers_have(
    gateway: Gateway, servers: list[Server]
) -> None:
    for key in (KEY, NEW):  # once all have the one, once all have the other
        gateway.behind(*servers, h1=KEY, h2=NEW)
        gateway.provision()
        for each in servers:
            each.key = key
            gateway.balancer.ready({f"{each.name}:vl": key_id(Secret(key))})
        gateway.sweep_until(lambda: all(s.up for s in gateway.balancer.states().values()), "both are up")
        with connection(gateway.port) as kept:
            for number in range(2):
                kept.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {key}"})
                answer = kept.getresponse()
                answer.read()
                assert answer.status == 200
                if not number:
                    gateway.told["slow_start"] = int(str(gateway.told["slow_start"])) + 1
                    gateway.provision()
                    time.sleep(0.5)


def test_a_drain_that_ends_by_itself_finds_the_key_that_the_server_has_now(
    gateway: Gateway, servers: list[Server]
) -> None:
    gateway.behind(*servers, h1=NEW, h2=NEW)
    gateway.provision()
    gateway.balancer.drain(["h1:vl"], seconds=6, who="a rollout that was killed")
    servers[0].key = NEW
    with load(gateway, lambda: NEW) as answers:
        gateway.sweep_until(lambda: gateway.balancer.states()["h1:vl"].admin == "ready", "it is put back")
        assert gateway.balancer.states()["h1:vl"].way == way(servers[0].port, NEW)
        time.sleep(1)
    assert {status for status, _ in answers} == {200}
    assert {answer["server"] for _, answer in answers} == {"h1", "h2"}


def test_a_server_that_came_back_with_another_key_is_found_out(gateway: Gateway, servers: list[Server]) -> None:
    gateway.behind(*servers, h1=NEW, h2=NEW)
    gateway.provision()
    servers[0].key = NEW  # not by a rollout
    known = f"{MODEL}:{key_id(Secret(NEW))}@"
    gateway.sweep_until(lambda: gateway.balancer.states()["h1:vl"].way.startswith(known), "its key is found")
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(20)} == {"h1", "h2"}


def way(port: int, key: str = KEY) -> str:
    return f"{MODEL}:{key_id(Secret(key))}@127.0.0.1:{port}"


def why(gateway: Gateway) -> str:
    """What the plan would say; empty where there is nothing to do."""
    config, _ = gateway.resources()
    change = config.diff(gateway.host.see(config))
    return change.why if change else ""


@BOTH
def test_servers_move_to_other_ports_under_load_without_a_failure(gateway: Gateway, servers: list[Server]) -> None:
    old = {server.name: server.port for server in servers}
    new = {server.name: free_port() for server in servers}
    with load(gateway, lambda: KEY) as answers:
        gateway.behind(*servers, ports=new)
        assert "stays where it is until it is rolled out: h1:vl, h2:vl" in why(gateway)
        assert gateway.tool("moving").stdout == ""
        gateway.kept = 2
        began = time.monotonic()
        gateway.provision()  # nobody has moved yet
        assert time.monotonic() - began > 2, "connections that clients kept aren't waited for"
        assert sorted(gateway.tool("moving").stdout.split()) == ["h1:vl", "h2:vl"]
        gateway.kept = 60
        assert why(gateway) == ""
        time.sleep(2)
        gateway.sweep()
        assert gateway.balancer.states()["h1:vl"].way == way(old["h1"])
        for number, server in enumerate(list(servers)):
            name = f"{server.name}:vl"
            gateway.balancer.drain([name], seconds=60, who="rollout")
            while gateway.balancer.states()[name].sessions:
                time.sleep(0.05)
            time.sleep(0.3)
            server.stop()
            servers[number] = Server(server.name, KEY, new[server.name])
            until(lambda: gateway.balancer.states()[name].is_well(way(new[server.name])), "it is seen at its new port")  # noqa: B023 — called before the next
            gateway.balancer.ready({name: way(new[server.name])})
            time.sleep(1)
        assert "forgets where no server is any more: h1:vl at 127.0.0.1:" in why(gateway)
        gateway.provision()
        time.sleep(1)
    assert {status for status, _ in answers} == {200}
    assert len(answers) > 100
    assert {gateway.ask(key=KEY)[1]["server"] for _ in range(10)} == {"h1", "h2"}
    text = Path(gateway.places.root, "current", "haproxy.cfg").read_text()
    assert not [port for port in old.values() if f":{port}\n" in text]
    assert why(gateway) == ""


@BOTH
def test_a_server_that_is_to_serve_another_model_is_asked_for_it_when_it_does_and_never_before(
    tmp_path: Path, servers: list[Server], shell: tuple[str, ...]
) -> None:
    other = Server("h3", KEY)
    other.model = "other"
    gateway = Gateway(tmp_path, shell, models={MODEL: {"prefix": "/vl"}, "other": {}})
    gateway.behind(*servers, other, models={"h3": "other"})
    gateway.provision()
    name, new = "h1:vl", f"other:{way(servers[0].port).partition(':')[2]}"
    try:
        with load(gateway, lambda: KEY) as answers:  # of the model without a prefix
            gateway.behind(*servers, other, models={"h1": "other", "h3": "other"})
            assert "gets no requests until it serves its new model: h1:vl" in why(gateway)
            gateway.provision()
            for _ in range(12):
                time.sleep(0.5)
                gateway.sweep()
            assert {answer["server"] for _, answer in answers} == {"h3"}
            assert gateway.balancer.states()[name].way == way(servers[0].port), "what it serves now is remembered"
            assert gateway.tool("moving").stdout.split() == [name]
            assert {gateway.ask("/vl/v1/chat/completions", key=KEY)[1]["server"] for _ in range(6)} == {"h2"}
            gateway.balancer.drain([name], seconds=60, who="rollout")
            servers[0].model = "other"
            until(lambda: gateway.balancer.states()[name].is_well(new), "it is seen with its new model")
            gateway.balancer.ready({name: new})
            until(lambda: {answer["server"] for _, answer in answers} == {"h1", "h3"}, "it gets the new model's")
        assert {status for status, _ in answers} == {200}
        assert gateway.balancer.states()[name].way == new
        assert why(gateway) == ""
    finally:
        gateway.kill()
        other.stop()


def test_a_server_with_a_new_model_that_nobody_said_is_found_out(tmp_path: Path, servers: list[Server]) -> None:
    gateway = Gateway(tmp_path, models={MODEL: {"prefix": "/vl"}, "other": {}})
    gateway.behind(*servers)
    gateway.provision()
    gateway.behind(*servers, models={"h1": "other"})
    gateway.provision()
    try:
        assert gateway.ask(key=KEY)[0] == 503
        servers[0].model = "other"
        gateway.sweep_until(lambda: gateway.balancer.states()["h1:vl"].way.startswith("other:"), "it is found")
        assert gateway.ask(key=KEY)[1]["server"] == "h1"
    finally:
        gateway.kill()


def test_a_move_that_nobody_ended_is_ended_by_the_gateway(gateway: Gateway, servers: list[Server]) -> None:
    port = free_port()
    gateway.behind(*servers, ports={"h1": port})
    gateway.provision()
    gateway.balancer.drain(["h1:vl"], seconds=6, who="a rollout that was killed")
    servers[0].stop()
    servers[0] = Server("h1", KEY, port)
    with load(gateway, lambda: KEY) as answers:
        gateway.sweep_until(lambda: gateway.balancer.states()["h1:vl"].admin == "ready", "it is put back")
        time.sleep(1)
    assert gateway.balancer.states()["h1:vl"].way == way(port)
    assert {status for status, _ in answers} == {200}
    assert {answer["server"] for _, answer in answers} == {"h1", "h2"}


def test_a_port_that_is_changed_twice_before_anybody_moved_and_back_again_loses_nobody(
    gateway: Gateway, servers: list[Server]
) -> None:
    with load(gateway, lambda: KEY) as answers:
        for port in (free_port(), free_port(), servers[0].port):
            gateway.behind(*servers, ports={"h1": port})
            gateway.provision()
            assert gateway.balancer.states()["h1:vl"].way == way(servers[0].port)
            gateway.sweep()
            time.sleep(0.5)
    assert {status for status, _ in answers} == {200}
    assert {answer["server"] for _, answer in answers} == {"h1", "h2"}


def test_who_is_down_isnt_looked_for_at_another_servers_address(gateway: Gateway, servers: list[Server]) -> None:
    one, two = servers
    gateway.behind(one, two, ports={"h1": two.port, "h2": one.port})  # they are to change places
    gateway.provision()
    one.healthy = False
    until(lambda: not gateway.balancer.states()["h1:vl"].up, "it is seen to be down")
    time.sleep(4)
    for _ in range(8):
        gateway.sweep()
        time.sleep(0.5)
    assert gateway.balancer.states()["h1:vl"].way == way(one.port)
    assert gateway.balancer.states()["h2:vl"].way == way(two.port)


@BOTH
def test_who_knows_only_the_key_gets_the_address_that_works(gateway: Gateway, servers: list[Server]) -> None:
    port, key = free_port(), key_id(Secret(KEY))
    gateway.behind(*servers, ports={"h1": port})
    gateway.provision()
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
    gateway.balancer.ready({"h1:vl": key})
    assert gateway.balancer.states()["h1:vl"].way == way(servers[0].port)
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
    servers[0].stop()
    servers[0] = Server("h1", KEY, port)
    until(lambda: gateway.balancer.states()["h1:vl"].well == (way(port),), "it is seen there, and nowhere else")
    gateway.balancer.ready({"h1:vl": key})
    assert gateway.balancer.states()["h1:vl"].way == way(port)
    with pytest.raises(CommandFailed, match=r"has no way .* to h1:vl: provision it first"):
        gateway.balancer.ready({"h1:vl": way(1)})
    gateway.kill()
    gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
    gateway.balancer.ready({"h1:vl": key})  # while HAProxy is down
    assert Path(gateway.places.servers, "h1:vl").read_text().split()[0] == way(port)


@BOTH
def test_a_gateway_of_the_version_before_is_taken_over_under_load(gateway: Gateway, servers: list[Server]) -> None:
    gateway.kill()
    config = Path(gateway.places.root, "current", "haproxy.cfg")
    config.write_text(re.sub(r"^(    server \w+:vl):\S+", r"\1", config.read_text(), flags=re.M))
    key = key_id(Secret(KEY))
    for name in ("h1:vl", "h2:vl"):
        Path(gateway.places.servers, name).write_text(f"{key} 0 \n")
    gateway.start()
    gateway.balancer.drain(["h2:vl"], seconds=60, who="me")
    with load(gateway, lambda: KEY) as answers:
        until(lambda: gateway.balancer.states()["h1:vl"].well == (way(servers[0].port),), "its check passes")
        gateway.sweep()
        time.sleep(1)
        gateway.behind(*servers, ports={"h1": free_port()})  # a move, and no provision with this version before
        gateway.provision()
        time.sleep(1)
    assert {status for status, _ in answers} == {200}
    states = gateway.balancer.states()
    assert [states[n].way for n in ("h1:vl", "h2:vl")] == [way(server.port) for server in servers]
    assert [states[n].admin for n in ("h1:vl", "h2:vl")] == ["ready", "drain"]
    assert states["h2:vl"].who == "me"
    assert why(gateway) == ""


def test_a_gateway_before_nobody_can_be_asked(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.provision()
    try:
        assert gateway.balancer.states() == {}
    finally:
        gateway.kill()


@BOTH
def test_a_configuration_that_haproxy_refuses_leaves_the_old_one(gateway: Gateway) -> None:
    (old,) = (p.name for p in Path(gateway.places.root, "configs").iterdir())
    gateway.told["tls"] = {"certificate": "/nowhere/cert.pem", "key": "/nowhere/key.pem"}
    config, running = gateway.resources()
    reply = gateway.host.apply(config)
    assert reply.status
    assert "tls.pem" in reply.stderr
    assert Path(gateway.places.root, "current").readlink().name == old
    assert running.diff(gateway.host.see(running)) is None
    assert gateway.ask(key=KEY)[0] == 200


def test_a_configuration_that_cant_be_taken_over_gives_way_to_the_old_one(gateway: Gateway) -> None:
    old = Path(gateway.places.root, "current").readlink()
    held = Server("stranger")
    gateway.told["stats_port"] = held.port
    config, running = gateway.resources()
    gateway.host.settle(config)
    script = running.apply(gateway.host.see(running))[0].script.replace("-lt 100", "-lt 15")  # type: ignore[union-attr]  # its one step is a Run
    reply = gateway.host.sh(script)
    assert reply.status
    assert "counts again" in reply.stderr
    assert Path(gateway.places.root, "current").readlink() == old
    assert gateway.ask(key=KEY)[0] == 200
    held.stop()


def test_the_configuration_that_runs_can_be_gone_back_to_past_one_that_was_never_taken_over(gateway: Gateway) -> None:
    old = Path(gateway.places.root, "current").readlink()
    gateway.told["answer_seconds"] = 1800
    gateway.host.settle(gateway.resources()[0])  # and then the run died
    held = Server("stranger")
    gateway.told["stats_port"] = held.port
    config, running = gateway.resources()
    gateway.host.settle(config)
    script = running.apply(gateway.host.see(running))[0].script.replace("-lt 100", "-lt 15")  # type: ignore[union-attr]  # its one step is a Run
    assert "counts again" in gateway.host.sh(script).stderr
    assert Path(gateway.places.root, "current").readlink() == old
    held.stop()
    gateway.kill()
    gateway.start()
    assert gateway.ask(key=KEY)[0] == 200


def test_statistics_are_for_prometheus_and_nothing_else_is_there(gateway: Gateway) -> None:
    with connection(gateway.stats_port) as line:
        line.request("GET", "/metrics")
        assert b"haproxy_server_status" in line.getresponse().read()
        line.request("GET", "/v1/models")
        assert line.getresponse().status == 404


def test_models_on_one_port_are_told_apart_by_their_prefix(tmp_path: Path, servers: list[Server]) -> None:
    other = Server("h3", NEW)
    port = free_port()
    gateway = Gateway(tmp_path, port=port, models={"a/b": {"prefix": "/ab"}, "plain": {}})
    gateway.port = port
    gateway.behind(servers[0], other, models={"h1": "a/b", "h3": "plain"})
    gateway.provision()
    try:
        status, said = gateway.ask("/ab/v1/chat/completions?x=1", key=KEY)
        assert (status, said["server"], said["path"]) == (200, "h1", "/v1/chat/completions?x=1")
        assert gateway.ask("/ab/v1/chat/completions", key=NEW)[0] == 401, "each model has its own keys"
        assert gateway.ask(key=NEW)[1]["server"] == "h3"
        assert gateway.ask("/abc/v1/models", None, key=KEY)[0] == 404
        assert gateway.ask("/ab/metrics", None, key=KEY)[0] == 404
    finally:
        gateway.kill()
        other.stop()


def test_a_server_that_comes_back_starts_slowly(tmp_path: Path, servers: list[Server]) -> None:
    gateway = Gateway(tmp_path, slow_start=20)
    gateway.behind(*servers)
    gateway.provision()
    try:
        gateway.balancer.drain(["h1:vl"], seconds=60, who="me")
        gateway.balancer.ready({"h1:vl": ""})
        said = gateway.host.sh(
            f"echo 'show servers state' | socat - UNIX-CONNECT:{gateway.places.run}/admin.sock"
        ).stdout
        (row,) = (line.split() for line in said.splitlines() if " h1:vl:" in line)
        assert row[5] == "1", "1 is starting, 2 running"
        stat = gateway.host.sh(
            f"echo 'show stat -1 4 -1' | socat - UNIX-CONNECT:{gateway.places.run}/admin.sock"
        ).stdout
        assert "h1:vl" in stat
        assert gateway.balancer.states()["h1:vl"].admin == "ready"
        assert gateway.ask(key=KEY)[0] == 200
    finally:
        gateway.kill()


def test_keys_for_clients_stand_apart_from_the_servers_own(tmp_path: Path, servers: list[Server]) -> None:
    gateway = Gateway(tmp_path, keys={"team-a": Secret("client-a"), "team-b": Secret("client-b")})
    gateway.behind(*servers)
    gateway.provision()
    try:
        for key in ("client-a", "client-b"):
            assert gateway.ask(key=key)[1]["key"] == f"Bearer {KEY}"
        assert gateway.ask(key=KEY)[0] == 401
        gateway.told["keys"] = {"team-a": Secret("client-a")}
        gateway.provision()
        assert (gateway.ask(key="client-a")[0], gateway.ask(key="client-b")[0]) == (200, 401)
    finally:
        gateway.kill()
