from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.server import Request, Response, serve
from tests.unit.cli.test_program import inv

TOKEN = "0123456789abcdef0123456789abcdef"


def run(path: Path, hooks: list[dict[str, object]], verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    told = {"all": {"hosts": {"h1": None, "h2": None}, "vars": {"hooks": hooks}}}
    (path / "hosts.yml").write_text(yaml.safe_dump(told, default_flow_style=None, width=10000))  # keys without quotes
    return inv(verb, "--inventory", str(path / "hosts.yml"), *words, FLEET_HOME=str(path / "home"))


def test_one_made_up_event_goes_to_each_hook_and_a_refusal_is_told_without_the_token(tmp_path: Path) -> None:
    def answer(request: Request) -> Response:
        if request.query.get("access_token") == TOKEN:
            return Response(json.dumps({"errcode": 310000, "errmsg": f"{TOKEN} not in whitelist"}).encode())
        return Response(b'{"errcode": 0}')

    with serve(answer) as server:
        base = f"http://127.0.0.1:{server.port}"
        hooks: list[dict[str, object]] = [
            {"url": f"{base}/send?access_token={TOKEN}", "body": "dingtalk", "secret": "SEC-of-ours"},
            {"url": f"{base}/cgi-bin/webhook/send?key={TOKEN[::-1]}", "body": "wecom", "events": ["failure"]},
            {"run": "/bin/true", "events": ["host-begins"], "required": True},
        ]
        done = run(tmp_path, hooks, "hooks.try", "--json")
        only = run(tmp_path, hooks, "hooks.try", "--event", "failure")
    assert done.returncode == only.returncode == 1
    told = json.loads(done.stdout)
    assert [(one["event"], one["ok"]) for one in told] == [
        ("rollout-begins", False),
        ("failure", True),
        ("host-begins", True),
    ]
    assert "refuses: 310000" in told[0]["words"]
    assert len(server.asked) == 4
    assert "/bin/true" not in only.stdout
    for text in (done.stdout, done.stderr, only.stdout, only.stderr):
        assert not [secret for secret in (TOKEN, TOKEN[::-1], "SEC-of-ours") if secret in text]


def test_the_hooks_are_shown_once_and_without_their_addresses(tmp_path: Path) -> None:
    done = run(tmp_path, [{"url": f"https://example.org/{TOKEN}"}, {"run": "bin/ask", "required": True}], "hooks")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["hook", "the generic webhook at example.org", "the hook bin/ask"]
    assert TOKEN not in done.stdout


@pytest.mark.parametrize(
    ("hooks", "words", "hint"),
    [
        ([{"run": "bin/none"}], ["hooks.try"], "there is no such executable"),
        ([{"run": "/bin/true"}], ["hooks.try", "--event", "failed"], "did you mean 'failure'"),
        ([{"run": "/bin/true", "event": ["failure"]}], ["hooks"], "did you mean 'events'"),
        ([{"url": f"gopher://{TOKEN}"}], ["hooks"], "an address like https"),
        ([{"url": f"https://h/{TOKEN}", "timeout": 3}], ["hooks"], "for an executable"),
    ],
)
def test_wrong_settings_end_with_2_and_show_no_token(
    tmp_path: Path, hooks: list[dict[str, object]], words: list[str], hint: str
) -> None:
    done = run(tmp_path, hooks, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert TOKEN not in done.stderr
    assert "hosts.yml:" in done.stderr or words[0] == "hooks.try"
