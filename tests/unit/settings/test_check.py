from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fleet.errors import Findings, InputError, SettingsError
from fleet.secret import Secret
from fleet.settings import all_settings, image_versions, settings_of

ONE = {"name": "a", "model": "m"}


@dataclass(frozen=True)
class Where:
    """A place in a file."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Told:
    """A host that is told some variables; a value's place is its path."""

    variables: Mapping[str, object]
    name: str = "h1"

    def resolve(self, variable: str) -> object:
        return self.variables[variable]

    def origin(self, variable: str, *path: str | int) -> Where | None:
        value: Any = self.variables.get(variable)
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return Where("inv.yml:" + ".".join(map(str, (variable, *path)))) if value is not None else None


def findings(**variables: object) -> str:
    with pytest.raises(InputError) as refused:
        settings_of(Told(variables))
    return str(refused.value)


@pytest.mark.parametrize(
    ("variables", "where", "words"),
    [
        ({"driver": {"brunch": 550}}, "driver.brunch", "did you mean 'branch'?"),
        ({"driver": {"manage": "yes"}}, "driver.manage", "valid boolean, not 'yes'"),
        ({"instances": [{**ONE, "prot": 1}]}, "instances.0.prot", "did you mean 'port'?"),
        ({"instances": [{"name": "a"}]}, "instances.0", "instances[0].model is missing"),
        ({"instances": {"a": 1}}, "instances", "should be a list"),
        ({"instances": ["a"]}, "instances.0", "valid dictionary"),
        ({"instances": [{**ONE, "name": "A b"}]}, "instances.0.name", "not 'A b'"),
        ({"instances": [{**ONE, "port": 0}]}, "instances.0.port", "greater than or equal to 1"),
        ({"instances": [{**ONE, "port": [8000]}]}, "instances.0.port", "valid integer"),
        ({"instances": [{**ONE, "gpus": "two"}]}, "instances.0.gpus", "'all', a count from 1, or a list"),
        ({"instances": [{**ONE, "gpus": 0}]}, "instances.0.gpus", "a count from 1"),
        ({"instances": [{**ONE, "gpus": True}]}, "instances.0.gpus", "a count from 1"),
        ({"instances": [{**ONE, "gpus": []}]}, "instances.0.gpus", "a list of indexes"),
        ({"instances": [{**ONE, "gpus": [1, 1]}]}, "instances.0.gpus", "names one GPU twice"),
        ({"instances": [{**ONE, "listen": "0.0.0.0"}]}, "instances.0", "without an api_key"),
        ({"instances": [{**ONE, "listen": "::"}]}, "instances.0", "without an api_key"),
        ({"instances": [{**ONE, "api_key": ""}]}, "instances.0.api_key", "isn't empty"),
        ({"instances": [{**ONE, "env": {"CUDA_VISIBLE_DEVICES": 0}}]}, "instances.0.env", "say which GPUs by `gpus`"),
        ({"instances": [{**ONE, "env": {"A B": 0}}]}, "instances.0.env", "no name of an environment variable"),
        ({"instances": [{**ONE, "auto": "speed"}]}, "instances.0.auto", "'latency', 'throughput' or 'context'"),
        ({"instances": [ONE, ONE]}, "instances.1", "both want name a"),
        ({"instances": [{**ONE, "port": 1}, {"name": "b", "model": "m", "port": 1}]}, "instances.1", "want port 1"),
        ({"instances": [{**ONE, "gpus": [0, 2]}, {**ONE, "name": "b", "gpus": [2]}]}, "instances.1", "both want GPU 2"),
        ({"instances": [{**ONE, "gpus": "all"}, {**ONE, "name": "b"}]}, "instances.0", "takes all GPUs"),
        ({"image": {"ref": "own/image:latest"}}, "image", "image.vllm can't be read from the tag"),
        ({"image": {"digest": "sha256:abc"}}, "image.digest", "pattern"),
        ({"weights": {"root": "models"}}, "weights.root", "absolute path"),
        ({"vllm_args": 3}, "vllm_args", "valid dictionary"),
        ({"instnces": [ONE]}, "instnces", "h1 has no instances"),
    ],
)  # fmt: skip
def test_a_finding_names_the_place_and_what_is_right(variables: dict[str, object], where: str, words: str) -> None:
    said = findings(**variables)
    assert said.startswith(f"inv.yml:{where}: ")
    assert words in said


def test_all_findings_come_at_once_and_each_once() -> None:
    bad = {"driver": {"brunch": 1, "manage": "yes"}, "instances": [{**ONE, "gpus": "x"}]}
    with pytest.raises(Findings) as refused:
        all_settings([Told(bad, "h1"), Told(bad, "h2")])
    assert len(refused.value.errors) == 3


@pytest.mark.parametrize(
    "variables",
    [{"instances": [{**ONE, "api_key": 123456}]}, {"weights": {"token": 123456}},
     {"image": {"login": {"username": "u", "password": 123456}}}],
)  # fmt: skip
def test_a_secret_of_the_wrong_type_is_refused_without_being_shown(variables: dict[str, object]) -> None:
    said = findings(**variables)
    assert "123456" not in said
    assert "in quotes" in said


def test_a_name_near_a_reserved_one_is_a_warning() -> None:
    _, warnings = settings_of(Told({"instances": [ONE], "wieghts": {}, "my_own": 1, "ansible_imge": 1}))
    assert warnings == ["inv.yml:wieghts: the variable 'wieghts' looks like 'weights', which is what this tool reads"]


def test_defaults_are_those_of_the_contract() -> None:
    told, _ = settings_of(Told({"instances": [ONE]}))
    (instance,) = told.instances
    assert (instance.served_name, instance.port, instance.listen, instance.gpus) == ("m", 8000, "127.0.0.1", "all")


def test_ports_are_given_out_in_list_order_around_those_that_are_taken() -> None:
    names = [{**ONE, "name": n, "gpus": 1} for n in "abc"]
    told, _ = settings_of(Told({"instances": [*names[:2], {**names[2], "port": 8000}]}))
    assert [i.port for i in told.instances] == [8001, 8002, 8000]


def test_the_hosts_options_stand_under_each_instances_own() -> None:
    told, _ = settings_of(
        Told(
            {
                "instances": [{**ONE, "args": {"dtype": "half"}, "env": {"B": "2"}}],
                "vllm_args": {"dtype": "auto", "max-model-len": 4096},
                "vllm_env": {"A": 1, "B": 1},
            }
        )
    )
    assert told.instances[0].args == {"dtype": "half", "max-model-len": 4096}
    assert told.instances[0].env == {"A": 1, "B": "2"}


def test_all_addresses_are_open_only_with_a_key() -> None:
    told, _ = settings_of(Told({"instances": [{**ONE, "listen": "0.0.0.0", "api_key": Secret("k3y!")}]}))
    assert told.instances[0].api_key == Secret("k3y!")


@pytest.mark.parametrize(
    ("ref", "vllm", "cuda"),
    [
        ("r.example:5000/egs/vllm:0.8.2-pytorch2.6-cu124-20250328", "0.8.2", "12.4"),
        ("vllm/vllm-openai:v0.24.0", "0.24.0", None),
        ("vllm/vllm-openai:v0.10.1.1", "0.10.1.1", None),
        ("x/vllm:0.8.5-cuda12.8-1", "0.8.5", "12.8"),
        ("r.example:5000/vllm", None, None),
        ("qwenllm/qwenvl:2.5-cu121", None, "12.1"),
        ("x/vllm:v0.8.2@sha256:00", "0.8.2", None),
    ],
)
def test_versions_are_read_from_tags_of_a_known_form(ref: str, vllm: str | None, cuda: str | None) -> None:
    assert image_versions(ref) == {"vllm": vllm, "cuda": cuda}


def test_what_comes_out_of_a_vault_is_an_ordinary_setting_where_the_schema_has_no_secret() -> None:
    told, _ = settings_of(Told({"proxy": {"http": Secret("http://me:word@proxy:3128")}, "site": Secret("east")}))
    assert (told.proxy.http, told.site) == ("http://me:word@proxy:3128", "east")


def test_behind_a_gateway_instances_listen_on_their_hosts_own_address_unless_they_say() -> None:
    told, _ = settings_of(Told({"instances": [ONE], "ansible_host": "192.0.2.7"}), gateway=True)
    assert (told.instances[0].listen, told.address) == ("192.0.2.7", "192.0.2.7")
    told, _ = settings_of(Told({"instances": [{**ONE, "listen": "10.0.0.7"}], "ansible_host": "h1.lan"}), gateway=True)
    assert (told.instances[0].listen, told.address) == ("10.0.0.7", "")
    told, _ = settings_of(Told({"instances": [ONE], "ansible_host": "192.0.2.7"}))
    assert told.instances[0].listen == "127.0.0.1"
    own = {"drain": "/opt/drain", "undrain": "/opt/undrain"}
    told, _ = settings_of(Told({"instances": [ONE], "ansible_host": "192.0.2.7", "gateway": own}))
    assert told.instances[0].listen == "192.0.2.7", "a balancer of the user's reaches them the same way"


def test_behind_a_gateway_a_host_known_by_name_must_say_where_it_listens() -> None:
    with pytest.raises(SettingsError, match="is no address") as caught:
        settings_of(Told({"instances": [ONE], "ansible_host": "h1.lan"}), gateway=True)
    assert "`listen`" in caught.value.hint


def test_a_hooks_address_stays_a_secret_and_the_rest_of_it_may_come_from_a_vault_too() -> None:
    told, _ = settings_of(Told({"hooks": [{"url": Secret("https://h/t"), "body": Secret("wecom")}, {"run": "a"}]}))
    assert (told.hooks[0].url, told.hooks[0].body, told.hooks[1].run) == (Secret("https://h/t"), "wecom", "a")
    assert "did you mean 'events'" in findings(hooks=[{"run": "a", "event": ["failure"]}])
    assert "hooks[0].events[0]" in findings(hooks=[{"run": "a", "events": ["fail"]}])


def test_a_gateways_keys_stay_secret_and_its_address_need_not() -> None:
    told, _ = settings_of(Told({"gateway": {"keys": {"a": Secret("k3y-k3y")}, "listen": Secret("192.0.2.1")}}))
    assert told.gateway.keys["a"].reveal() == "k3y-k3y"
    assert told.gateway.listen == "192.0.2.1"
    with pytest.raises(SettingsError, match="visible ASCII") as caught:
        settings_of(Told({"gateway": {"keys": {"a": Secret("two words")}}}))
    assert "two words" not in str(caught.value)
