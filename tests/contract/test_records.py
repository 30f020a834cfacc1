"""What a run leaves in writing beside its result: `-v`, `-vv`, the log file, the audit trail.

Each command is the real one, against a CA on loopback. None of it may hold a secret.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.lab.ports import free_port
from tests.lab.scripted_ca.faults import problem, response
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import Finished, certctl
from tests.support.homes import add_certificate

HMAC_KEY = b"a key that the CA and its customer share"
EAB = {
    "CERTCTL_EAB_KID": "kid-1",
    "CERTCTL_EAB_HMAC_KEY": base64.urlsafe_b64encode(HMAC_KEY).decode(),
}

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def ca() -> Iterator[ScriptedCA]:
    """A CA that asks for no domain validation."""
    with ScriptedCA(authorizations_start="valid") as ca:
        yield ca


def issue(
    ca: ScriptedCA,
    home: Path,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Finished:
    """`certctl issue a.example`, with the port of an HTTP-01 server that nobody asks."""
    return certctl(
        *("issue", "a.example", "--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
        *("--agree-tos", "--http-address", "127.0.0.1", "--http-port", str(free_port())),
        *arguments,
        home=home,
        variables=variables,
        directory=directory,
    )


def trail(home: Path) -> list[Any]:
    return [json.loads(line) for line in (home / "log" / "audit.jsonl").read_text().splitlines()]


# More words.


def test_a_run_says_nothing_but_its_result_unless_it_is_asked_to(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    finished = issue(ca, tmp_path)

    assert (finished.exit_status, finished.stderr) == (0, "")


def test_with_v_each_step_is_a_line_on_standard_error(tmp_path: Path, ca: ScriptedCA) -> None:
    finished = issue(ca, tmp_path, "-v", "--deploy-hook", "true")

    account, started, order, saved, began, ended, deployed, done = finished.stderr.splitlines()
    assert re.fullmatch(r"account registered: https://\S+", account)
    assert re.fullmatch(r"a\.example: order created: https://\S+", order)
    assert saved.startswith("a.example: version 1 saved, valid until ")
    assert began == "a.example: deploy: true"
    assert ended.startswith("a.example: deploy: true: exit status 0 after ")
    assert deployed == "a.example: version 1 deployed"
    assert (started, done) == (
        "a.example: starting: there is no certificate yet",
        "a.example: done: issued",
    )
    assert finished.stdout.startswith("a.example: version 1 is live")


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_verbosity_does_not_break_the_silence_that_was_asked_for(
    tmp_path: Path, ca: ScriptedCA, flag: str
) -> None:
    assert issue(ca, tmp_path, "-v", flag).stderr == ""


def test_with_vv_each_request_is_shown_and_its_answer(tmp_path: Path, ca: ScriptedCA) -> None:
    finished = issue(ca, tmp_path, "-vv")

    sent = re.findall(r"^request: (\w+) (\S+)$", finished.stderr, re.MULTILINE)
    assert sent == [(each.method, each.url) for each in ca.requests]
    assert finished.stderr.count("response: HTTP 20") == len(ca.requests)
    assert "a.example: order created: " in finished.stderr


def test_requests_are_shown_for_vv_alone_and_for_that_run_alone(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    issue(ca, tmp_path, "-vv")

    assert "request: " not in issue(ca, tmp_path, "-v", "--force").stderr


def test_what_a_ca_answers_steers_no_terminal(tmp_path: Path, ca: ScriptedCA) -> None:
    ca.script("new-account", response(403, b"\x1b]0;owned\x07 \xc2\x9b31m"))

    finished = issue(ca, tmp_path, "-vv")

    assert finished.exit_status == 1
    assert "]0;owned" in finished.stderr
    assert [each for each in finished.stderr if not (each.isprintable() or each in "\n\t")] == []


# The log file.


def test_the_log_file_has_a_line_for_each_step(tmp_path: Path, ca: ScriptedCA) -> None:
    log = tmp_path / "certctl.log"

    finished = issue(ca, tmp_path / "home", "--log-file", str(log))

    said = [re.fullmatch(rf"{STAMP} certctl\[\d+\] (.*)", line) for line in lines(log)]
    assert finished.stderr == ""
    assert [each and each[1].partition(": ")[0] for each in said] == [
        "account registered",
        *["a.example"] * 5,
    ]
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_file_of_a_run_follows_that_of_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "certctl.log"

    for name in ("one.example", "two.example"):
        certctl("show", name, "--log-file", str(log), home=tmp_path / "home")

    assert [line.partition("] ")[2] for line in lines(log)] == [
        f"error: there is no certificate named {name} (usage.unknown_certificate)"
        for name in ("one.example", "two.example")
    ]


def test_the_environment_and_the_file_can_name_the_log_file_too(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "certctl.toml").write_text('log_file = "by-file"\n')
    variable = {"CERTCTL_LOG_FILE": "by-environment"}

    certctl("show", "a.example", home=home, directory=here)
    certctl("show", "b.example", home=home, directory=here, variables=variable)
    certctl(
        "show", "c.example", "--log-file", "by-flag", home=home, directory=here, variables=variable
    )

    assert "a.example" in (home / "by-file").read_text()
    assert "b.example" in (here / "by-environment").read_text()
    assert "c.example" in (here / "by-flag").read_text()


def test_a_log_file_that_cannot_be_written_is_said_before_anything_is_done(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    finished = issue(ca, tmp_path / "home", "--log-file", str(tmp_path / "nowhere" / "log"))

    assert finished.exit_status == 2
    assert f"the log file {tmp_path}/nowhere/log cannot be written" in finished.stderr
    assert ca.count() == 0


# The audit trail.


def test_the_trail_tells_of_account_order_certificate_and_deploy(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    issue(ca, tmp_path)

    found = trail(tmp_path)
    assert [(each["kind"], each["name"]) for each in found] == [
        ("account.registered", None),
        ("order.placed", "a.example"),
        ("certificate.saved", "a.example"),
        ("deploy.done", "a.example"),
    ]
    assert all(each["version"] == 1 and re.fullmatch(STAMP, each["at"]) for each in found)
    assert (tmp_path / "log" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_trail_tells_of_a_failure_and_of_a_revocation(tmp_path: Path, ca: ScriptedCA) -> None:
    issue(ca, tmp_path)
    ca.script("new-order", problem("rejectedIdentifier", 403))

    issue(ca, tmp_path, "--force")
    certctl("revoke", "a.example", "--stop", "--yes", home=tmp_path)

    failed, revoked = trail(tmp_path)[4:]
    assert (failed["kind"], failed["facts"]["code"]) == ("run.failed", "acme.refused")
    assert (revoked["kind"], revoked["facts"]["already"]) == ("certificate.revoked", False)


def test_looking_leaves_no_trail(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")

    for arguments in (("list",), ("show", "a.example"), ("renew",)):
        certctl(*arguments, home=tmp_path)

    assert not (tmp_path / "log").exists()


def test_a_trail_that_cannot_be_written_costs_no_certificate(
    tmp_path: Path, ca: ScriptedCA
) -> None:
    (tmp_path / "log").write_text("in the way")

    finished = issue(ca, tmp_path)

    assert finished.exit_status == 0
    assert finished.stderr.count("warning: the audit trail ") == 1
    assert finished.stderr.count("\n") == 1


# Secrets.


def test_no_record_holds_a_secret(tmp_path: Path) -> None:
    log, home = tmp_path / "certctl.log", tmp_path / "home"
    more = ("-vv", "--debug", "--log-file", str(log))
    with ScriptedCA(
        authorizations_start="valid", eab_required=True, eab_keys={"kid-1": HMAC_KEY}
    ) as ca:
        issued = issue(ca, home, *more, variables=EAB)
        keys = keys_of(home)
        rolled = certctl("account", "rollover", *more, home=home)
    assert (issued.exit_status, rolled.exit_status, len(keys)) == (0, 0, 2)

    said = "".join(each.stdout + each.stderr for each in (issued, rolled))
    records = unfolded(said + log.read_text() + (home / "log" / "audit.jsonl").read_text())

    # What is encoded within is looked at too: there is the binding, and there is the new key.
    assert '"kid": "kid-1"' in records
    assert '"oldKey": ' in records
    assert [each for each in secrets_of(keys | keys_of(home)) if each in records] == []


def test_a_secret_in_a_record_would_be_found(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example")
    keys = {(tmp_path / "live" / "a.example" / "privkey.pem").read_bytes()}

    for secret in secrets_of(keys):
        hidden = base64.urlsafe_b64encode(f'{{"payload": "{secret}"}}'.encode()).decode()
        assert secret in unfolded(f"request: POST it\n{hidden}\n")


def keys_of(home: Path) -> set[bytes]:
    """The private keys of certificates and accounts, as PEM."""
    names = ("privkey.pem", "key.pem")
    return {path.read_bytes() for name in names for path in home.rglob(name)}


def secrets_of(keys: set[bytes]) -> set[str]:
    """The ways in which these keys, and the HMAC key, might have been written."""
    found = {EAB["CERTCTL_EAB_HMAC_KEY"].rstrip("="), HMAC_KEY.decode(), HMAC_KEY.hex()}
    for pem in keys:
        key = load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        number = key.private_numbers().private_value
        raw = number.to_bytes((key.key_size + 7) // 8, "big")
        encoded = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        # The last line of the PEM is of the public key.
        found |= {*pem.decode().splitlines()[1:3], str(number), raw.hex(), encoded}
    return found


def unfolded(text: str) -> str:
    """A text with what is encoded in it (base64url, as in a JWS), at any depth."""
    found = [text]
    for token in re.findall(r"[A-Za-z0-9_-]{8,}", text):
        raw = (
            base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            if len(token) % 4 != 1
            else b""
        )
        inner = raw.decode("utf-8", "replace")
        found.append(unfolded(inner) if inner.isascii() else inner)
    return "\n".join(found)


# Secrets that a run from cron will lack.


SECRET = {"CERTCTL_RFC2136_SECRET": base64.b64encode(b"x" * 32).decode()}


def dns_issue(ca: ScriptedCA, home: Path, *arguments: str, secret: bool = True) -> Finished:
    return certctl(
        *("issue", "a.example", "--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
        *("--agree-tos", "--dns", "rfc2136", "--rfc2136-server", "127.0.0.1"),
        *arguments,
        home=home,
        variables=SECRET if secret else None,
    )


def test_a_secret_of_the_environment_alone_is_warned_about(tmp_path: Path, ca: ScriptedCA) -> None:
    finished = dns_issue(ca, tmp_path, "--rfc2136-key-name", "certctl")

    (warning,) = finished.stderr.splitlines()
    assert finished.exit_status == 0
    assert warning.startswith(
        "warning: a.example: CERTCTL_RFC2136_SECRET came from the environment"
    )
    assert "cron" in warning
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert [each for each in written if SECRET["CERTCTL_RFC2136_SECRET"] in each] == []


def test_a_secret_in_a_file_is_not_warned_about(tmp_path: Path, ca: ScriptedCA) -> None:
    key = tmp_path / "tsig.key"
    key.write_text(SECRET["CERTCTL_RFC2136_SECRET"])
    key.chmod(0o600)

    finished = dns_issue(
        *(ca, tmp_path / "home", "--rfc2136-key-name", "certctl", "--rfc2136-key-file", str(key)),
        secret=False,
    )

    assert (finished.exit_status, finished.stderr) == (0, "")


def test_warnings_are_silent_when_told_to_keep_quiet(tmp_path: Path, ca: ScriptedCA) -> None:
    finished = dns_issue(ca, tmp_path, "--rfc2136-key-name", "certctl", "--quiet")

    assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
