"""The JSON contract, schema 1: with `--json`, standard output is one document, whatever happens.

`DOCUMENT` and what follows it are the shapes that programs may rely on. Keys may be added to them
in later versions, which is a change of these tables; none is ever taken away or given another type.
"""

import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from certctl.cli.main import COMMANDS
from certctl.model.certificate import LastError, RenewalState
from certctl.model.delivery import DeployResult
from certctl.model.errors import DeployFailed, ExitStatus
from certctl.model.run import Outcome
from certctl.output.certificates import outcome_object
from tests.support.command import Finished, certctl, certctl_process
from tests.support.homes import add_certificate
from tests.support.nouns import CA, tried

Type = type | types.UnionType
Shape = Mapping[str, Type]

DOCUMENT: Shape = {
    "schema": int,
    "command": str,
    "status": str,
    "exit_code": int,
    "data": dict,
    "errors": list,
}

ERROR: Shape = {"code": str, "message": str, "hint": str | None, "name": str | None}

LAST_ERROR: Shape = {"code": str, "message": str, "at": str, "failure": str}

CERTIFICATE: Shape = {
    "name": str,
    "state": str,
    "names": list,
    "live_names": list | None,
    "ca": str,
    "cas": list,
    "fallback": bool,
    "public": bool,
    "version": int | None,
    "not_before": str | None,
    "not_after": str | None,
    "seconds_left": int | None,
    "serial": str | None,
    "sha256": str | None,
    "issuer": str | None,
    "key_type": str | None,
    "second": dict | None,
    "renews_at": str | None,
    "why": str,
    "autorenew": bool,
    "deployed": bool,
    "deployed_version": int | None,
    "verified_at": str | None,
    "challenge": str | None,
    "next_attempt": str | None,
    "waits": dict | None,
    "last_error": dict | None,
    "damage": str | None,
    "problem": dict | None,
}

DETAILS: Shape = {
    **CERTIFICATE,
    "ca_url": str,
    "challenge": str,
    "dns_provider": str | None,
    "dns_credentials": str | None,
    "files": dict | None,
    "hooks": dict,
    "targets": list,
    "copies": list,
    "verify": list,
    "probe": bool,
    "on_failure": str,
    "key_group": str | None,
    "key_mode": str | None,
    "order_window": list,
    "deploy_window": list,
    "managed_by": str | None,
    "groups": list,
    "origin": str | None,
    "versions": list,
}

VERSION: Shape = {
    "number": int,
    "serial": str,
    "sha256": str,
    "not_before": str,
    "not_after": str,
    "issuer": str,
    "key_type": str,
    "second": dict | None,
    "issued": str,
}

FILES: Shape = {
    "live": str,
    "cert": str,
    "chain": str,
    "fullchain": str,
    "privkey": str | None,
    "combined": str | None,
    "second": dict | None,
}

HOOKS: Shape = {
    "pre": str | None,
    "deploy": str | None,
    "reload": str | None,
    "post": str | None,
}

DEPLOY: Shape = {
    "version": int,
    "deployed": bool,
    "verified": bool | None,
    "rolled_back_to": int | None,
    "probes": list,
    "error": dict | None,
}

RUN: Shape = {"dry_run": bool, "considered": int, "certificates": list}

OUTCOME: Shape = {
    "name": str,
    "action": str,
    "names": list,
    "reason": str | None,
    "renews_at": str | None,
    "waits": dict | None,
    "version": dict | None,
    "deploy": dict | None,
    "revoked": list,
    "incomplete": dict | None,
    "error": dict | None,
}

PLAN: Shape = {
    "owner": str | None,
    "at": str,
    "to_do": int,
    "counts": dict,
    "certificates": list,
    "cas": list,
    "left_over": list,
}

PLANNED: Shape = {
    "name": str,
    "action": str,
    "why": str,
    "names": list,
    "ca": str | None,
    "groups": list,
    "steps": list,
    "differences": list,
    "edited": bool,
    "at": str | None,
    "renews_at": str | None,
    "version": int | None,
    "served_until": str | None,
    "not_served": list,
    "error": dict | None,
}

PLANNED_CA: Shape = {"ca": str, "now": int, "later": int, "last": str | None, "limits": list}

PLANNED_EVENT: Shape = {
    "at": str,
    "name": str,
    "action": str,
    "why": str,
    "ca": str,
    "expected": bool,
}

CHECK: Shape = {
    "state": str,
    "certificates": int,
    "services": int,
    "failing": int,
    "undeployed": int,
    "waiting": int,
    "run_age": int | None,
    "problems": list,
    "remaining": list,
}

PROBLEM: Shape = {"state": str, "subject": str, "code": str, "message": str}

REMAINING: Shape = {"subject": str, "seconds": float, "warning": float, "critical": float}

SCHEDULE: Shape = {
    "installed": bool,
    "scheduler": str | None,
    "command": list,
    "when": str | None,
    "next": str | None,
    "last": str | None,
    "files": list,
    "enabled": bool,
    "current": bool,
    "done": list,
    "others": list,
    "external": bool,
}

UNCONFIGURED = {"completion", "demo", "dev-ca", "help", "schema"}
"""Commands that no setting of certctl.toml is for."""


def departures(value: Any, shape: Shape) -> list[str]:
    """Return where `value` is not of `shape`: keys missing or unknown, values of another type."""
    wrong = [f"{key} is missing" for key in shape.keys() - value.keys()]
    wrong += [f"{key} is not in the contract" for key in value.keys() - shape.keys()]
    for key in shape.keys() & value.keys():
        allowed = get_args(shape[key]) or (shape[key],)
        if type(value[key]) not in allowed:
            wrong.append(f"{key} is {value[key]!r}")
    return sorted(wrong)


def document(finished: Finished) -> Any:
    """Return the document of a command, after what holds for every one of them."""
    found = finished.json()
    assert departures(found, DOCUMENT) == []
    assert list(found) == list(DOCUMENT)
    assert found["schema"] == 1
    assert found["exit_code"] == finished.exit_status
    plugin = found["command"] == "check"
    partial = "error" if plugin else "partial"
    words = {0: "success", 3: partial, 7: "success"}
    assert found["status"] == words.get(finished.exit_status, "error")
    assert finished.stdout.endswith("}\n")
    assert [problem for each in found["errors"] for problem in departures(each, ERROR)] == []
    return found


# Success.


def test_no_certificates_are_an_empty_list(tmp_path: Path) -> None:
    found = document(certctl("list", "--json", home=tmp_path / "home"))

    assert (found["command"], found["status"]) == ("list", "success")
    assert found["data"] == {"certificates": []}
    assert found["errors"] == []


def test_a_certificate_in_the_list(tmp_path: Path) -> None:
    version = add_certificate(tmp_path, "a.example")

    finished = certctl("list", "--json", home=tmp_path)
    found = document(finished)
    (row,) = found["data"]["certificates"]
    assert departures(row, CERTIFICATE) == []
    assert (row["name"], row["state"], row["names"]) == ("a.example", "valid", ["a.example"])
    assert (row["ca"], row["public"]) == ("ca.example", False)
    assert (row["version"], row["deployed"], row["deployed_version"]) == (1, True, 1)
    assert row["serial"] == version.facts.serial
    assert parsed(row["not_after"]) == version.facts.not_after
    assert parsed(row["renews_at"]) == version.facts.not_after - timedelta(days=30)
    assert finished.stderr == ""


def test_the_last_error_of_a_certificate_in_the_list(tmp_path: Path) -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    error = LastError("challenge.failed", "no answer at port 80", at, "validation", "Look there.")
    add_certificate(tmp_path, "a.example", renewal_state=tried(2, last_error=error))

    (row,) = document(certctl("list", "--json", home=tmp_path))["data"]["certificates"]

    assert departures(row["last_error"], LAST_ERROR) == []
    assert row["state"] == "failing"
    assert row["last_error"]["at"] == "2026-01-01T12:00:00Z"


def test_the_states_of_certificates_are_words(tmp_path: Path) -> None:
    add_certificate(tmp_path, "due.example", age=timedelta(days=61))
    add_certificate(tmp_path, "expired.example", age=timedelta(days=91))
    add_certificate(tmp_path, "undeployed.example", deployed=False)
    add_certificate(tmp_path, "revoked.example", renewal_state=RenewalState(revoked=(1,)))
    add_certificate(tmp_path, "stopped.example", chosen={"autorenew": False})
    add_certificate(tmp_path, "valid.example")

    rows = document(certctl("list", "--json", home=tmp_path))["data"]["certificates"]

    assert {row["name"]: row["state"] for row in rows} == {
        f"{state}.example": state
        for state in ("due", "expired", "undeployed", "revoked", "stopped", "valid")
    }


def test_everything_about_one_certificate(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", chosen={"deploy.reload": "true"})

    found = document(certctl("show", "a.example", "--json", home=tmp_path))

    details = found["data"]
    assert found["command"] == "show"
    assert departures(details, DETAILS) == []
    assert departures(details["files"], FILES) == []
    assert departures(details["hooks"], HOOKS) == []
    assert [departures(each, VERSION) for each in details["versions"]] == [[]]
    assert details["ca_url"] == CA
    assert details["hooks"]["reload"] == "true"
    assert details["files"]["live"] == str(tmp_path / "live" / "a.example")
    assert Path(details["files"]["fullchain"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE")


def test_a_renewal_with_nothing_due(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    found = document(certctl("renew", "--json", home=tmp_path))

    assert found["command"] == "renew"
    assert departures(found["data"], RUN) == []
    assert found["data"] == {"dry_run": False, "considered": 1, "certificates": []}


def test_a_renewal_of_a_certificate_that_is_named_and_not_due(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    found = document(certctl("renew", "a.example", "--json", home=tmp_path))

    (outcome,) = found["data"]["certificates"]
    assert departures(outcome, OUTCOME) == []
    assert (outcome["name"], outcome["action"]) == ("a.example", "unchanged")


def test_the_outcome_of_a_certificate_that_was_issued_but_not_deployed(tmp_path: Path) -> None:
    version = add_certificate(tmp_path, "a.example")
    error = DeployFailed("the reload failed", name="a.example")
    deploy = DeployResult("a.example", 1, deployed=False, error=error)

    outcome: Any = outcome_object(Outcome("a.example", "issued", ("a.example",), version, deploy))

    assert departures(outcome, OUTCOME) == []
    assert departures(outcome["version"], VERSION) == []
    assert departures(outcome["deploy"], DEPLOY) == []
    assert departures(outcome["deploy"]["error"], ERROR) == []
    assert outcome["deploy"]["error"]["code"] == "deploy.failed"


def test_a_plan(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", chosen={"key_type": "rsa-2048"})
    file = tmp_path / "desired.toml"
    file.write_text('owner = "web"\n[certificate."a.example"]\nca = "letsencrypt"\n')

    found = document(certctl("plan", str(file), "--json", home=tmp_path))

    (planned,) = found["data"]["certificates"]
    assert (found["command"], found["status"], found["exit_code"]) == ("plan", "success", 7)
    assert departures(found["data"], PLAN) == []
    assert departures(planned, PLANNED) == []
    assert [departures(each, PLANNED_CA) for each in found["data"]["cas"]] == [[]]
    assert {each["setting"] for each in planned["differences"]} == {"ca", "key_type", "managed_by"}


def test_a_calendar(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=timedelta(days=50))

    data = document(certctl("plan", "--until", "30d", "--json", home=tmp_path))["data"]

    assert departures(data, {"seconds": int, "events": list}) == []
    assert [departures(each, PLANNED_EVENT) for each in data["events"]] == [[]]


def test_a_check_has_the_exit_code_of_a_plugin(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", age=timedelta(days=70))

    found = document(certctl("check", "--json", home=tmp_path))

    data = found["data"]
    assert departures(data, CHECK) == []
    assert [departures(each, PROBLEM) for each in data["problems"]] == [[], []]
    assert [departures(each, REMAINING) for each in data["remaining"]] == [[]]
    assert (data["state"], found["exit_code"], found["status"]) == ("warning", 1, "error")


def test_metrics_are_a_text_within_the_document(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    found = document(certctl("metrics", "--json", home=tmp_path))["data"]

    assert departures(found, {"certificates": int, "file": str | None, "text": str | None}) == []
    assert "# HELP certctl_certificates " in found["text"]


def test_what_would_be_scheduled(tmp_path: Path) -> None:
    found = document(certctl("schedule", "show", "--json", home=tmp_path / "home"))

    assert found["command"] == "schedule show"
    assert departures(found["data"], SCHEDULE) == []
    assert found["data"]["command"][-3:] == ["--home", str(tmp_path / "home"), "renew"]
    assert not found["data"]["installed"]


# Failure.


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("--json nosuch", ""),
        ("nosuch --json", ""),
        ("--json", ""),
        ("--json --nosuch list", ""),
        ("issue --json", "issue"),
        ("issue --json --nosuch", "issue"),
        ("issue --json --key-type dsa example.com", "issue"),
        ("issue --json --lock-timeout soon example.com", "issue"),
        ("issue --json --http-port 0 example.com", "issue"),
        ("--json issue --hook-timeout 0 example.com", "issue"),
        ("issue --json example", "issue"),
        ("issue --json example.com --standalone --dns exec", "issue"),
        ("show --json", "show"),
        ("account nosuch --json", "account"),
        ("account update --nosuch --json", "account update"),
        ("revoke --json", "revoke"),
        ("rollback --json --to none a.example", "rollback"),
    ],
)
def test_a_usage_error_is_a_document_too(tmp_path: Path, arguments: str, command: str) -> None:
    finished = certctl(*arguments.split(), home=tmp_path / "home")

    found = document(finished)
    (error,) = found["errors"]
    assert (found["exit_code"], found["status"], found["data"]) == (2, "error", {})
    assert found["command"] == command
    assert error["code"].startswith(("usage", "configuration.value"))
    assert finished.stderr == ""


def test_a_value_that_an_option_does_not_take_is_a_document_too(tmp_path: Path) -> None:
    arguments = ("issue", "--json", "--lock-timeout", "soon", "example.com")

    found = document(certctl(*arguments, home=tmp_path / "home"))

    (error,) = found["errors"]
    assert (found["command"], error["code"]) == ("issue", "configuration.value")
    assert "'--lock-timeout': 'soon' is not a duration" in error["message"]
    assert error["hint"] == "Correct it, or leave it out for the default, 60."


def test_a_usage_error_of_a_process_is_a_document_too(tmp_path: Path) -> None:
    found = document(certctl_process("--json", "nosuch", home=tmp_path / "home"))

    assert found["errors"][0]["code"].startswith("usage")


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in UNCONFIGURED])
def test_an_unreadable_configuration_is_a_document_of_every_command(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "certctl.toml").write_text("keytype = 'rsa-2048'\n")
    rest = {
        "account": ["show"],
        "deploy": ["--pending"],
        "dns": ["persist", "a.example"],
        "list": [],
        "metrics": [],
        "register": [],
        "renew": [],
        "report": [],
        "schedule": ["show"],
        "snippet": ["nginx", "a.example"],
        "apply": ["desired.toml"],
    }.get(command, ["a.example"])

    found = document(certctl(command, *rest, "--json", home=tmp_path))

    (error,) = found["errors"]
    path = {"dns": "dns persist"}.get(command, f"{command} show" if rest == ["show"] else command)
    assert found["command"] == path
    assert found["exit_code"] == (3 if command == "check" else 2)
    assert error["code"] == "configuration.unknown_key"
    assert error["hint"] == "Did you mean key_type?"


@pytest.mark.parametrize("command", ["show", "delete", "rollback", "edit", "deploy", "renew"])
def test_an_unknown_certificate_has_a_code_and_a_name(tmp_path: Path, command: str) -> None:
    add_certificate(tmp_path, "www.example.com")

    found = document(certctl(command, "ww.example.com", "--json", home=tmp_path))

    (error,) = found["errors"]
    assert (found["command"], found["exit_code"]) == (command, 2)
    assert (error["code"], error["name"]) == ("usage.unknown_certificate", "ww.example.com")
    assert error["hint"] == "Did you mean www.example.com?"


def test_a_certificate_that_cannot_be_read_is_a_row_and_an_error(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    add_certificate(tmp_path, "b.example")
    (tmp_path / "certificates" / "a.example.toml").write_text("names = 7\n")

    found = document(certctl("list", "--json", home=tmp_path))

    rows = found["data"]["certificates"]
    assert [departures(row, CERTIFICATE) for row in rows] == [[], []]
    assert [row["state"] for row in rows] == ["unreadable", "valid"]
    assert departures(rows[0]["problem"], ERROR) == []
    assert [error["name"] for error in found["errors"]] == ["a.example"]
    assert found["exit_code"] == ExitStatus.USAGE


def test_nothing_is_asked_for_json_even_of_a_terminal(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    finished = certctl("delete", "a.example", "--json", home=tmp_path, terminal=True)

    (error,) = document(finished)["errors"]
    assert error["code"] == "usage.consent"
    assert finished.stderr == ""


def test_names_are_written_as_they_are(tmp_path: Path) -> None:
    finished = certctl("show", "bücher.example", "--json", home=tmp_path)

    assert "bücher.example" in finished.stdout


def test_a_departure_from_the_contract_is_found() -> None:
    error = {"code": "usage", "message": None, "hint": None, "extra": 1}

    assert departures(error, ERROR) == [
        "extra is not in the contract",
        "message is None",
        "name is missing",
    ]
    with pytest.raises(json.JSONDecodeError):
        Finished(0, '{"schema": 1}\n{"schema": 1}\n', "").json()


def parsed(moment: str) -> datetime:
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
