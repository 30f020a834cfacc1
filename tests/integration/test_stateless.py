"""`--stateless`: a web server answers any token by a static rule; certctl places nothing, and looks
before it tells the CA. And `--challenge-directory`, a directory of challenge files itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from certctl.engine.order.stateless import thumbprint_of
from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.operations.accounts import rollover
from certctl.operations.snippet import make_snippet
from tests.integration.test_issue import PUBLIC, STAGING
from tests.lab.answers import say, serving
from tests.lab.scripted_dns import ScriptedDns
from tests.support.command import certctl
from tests.support.doctor import asking_at, doctor, one, told
from tests.support.operations import Machine, codes, reached_at

RESOLVED = {("a.example", "A"): ("127.0.0.1",), ("b.example", "A"): ("127.0.0.1",)}


@contextmanager
def rule(machine: Machine, thumbprint: str) -> Iterator[dict[str, Value]]:
    """A web server with the rule for a thumbprint; what `issue` is given to use it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        prefix, _, token = request.path.rpartition("/")
        found = prefix == "/.well-known/acme-challenge"
        say(200, f"{token}.{thumbprint}".encode())(request) if found else say(404)(request)

    with ScriptedDns(RESOLVED, {}) as resolver, serving(answer, machine.port):
        machine.endpoints[machine.ca.directory_url] = asking_at(machine)
        yield stateless(resolver)


def stateless(resolver: ScriptedDns) -> dict[str, Value]:
    return {"challenge.method": "stateless", "challenge.dns_resolver": resolver.address}


def printed_thumbprint(machine: Machine, name: str = "a.example") -> str:
    """The thumbprint in the lines that `certctl snippet` prints; registers an account."""
    with machine.run() as run:
        given: dict[str, Value] = {"challenge.method": "stateless", "ca": machine.ca.directory_url}
        found = make_snippet(run, "nginx", name, {**given, "ca_bundle": str(machine.ca.ca_bundle)})
    return found.parts[0].text.partition('"$1.')[2].partition('"')[0]


def test_a_server_with_the_printed_rule_validates_first_orders_and_renewals(
    machine: Machine,
) -> None:
    with rule(machine, printed_thumbprint(machine)) as options:
        report = machine.issue("a.example", options=options)
        renewed = machine.renew("a.example", force=True)

    assert (report.exit_status, renewed.exit_status) == (0, 0)
    assert machine.live("a.example").number == 2
    assert len(machine.store.accounts.all()) == 1


def test_a_missing_rule_is_seen_before_the_ca_is_told(machine: Machine) -> None:
    printed_thumbprint(machine)
    with ScriptedDns(RESOLVED, {}) as resolver, serving(say(404), machine.port):
        machine.endpoints[machine.ca.directory_url] = asking_at(machine)
        report = machine.issue("a.example", options=stateless(resolver))

    (error,) = report.all_errors
    assert (codes(report), machine.ca.count("challenge")) == (["challenge.http.stateless"], 0)
    assert "does not answer challenges by itself" in error.message
    assert "certctl snippet SERVER a.example --stateless" in str(error.hint)


def test_a_key_rollover_makes_the_rule_stale_and_says_so(machine: Machine) -> None:
    with rule(machine, printed_thumbprint(machine)) as options:
        machine.issue("a.example", options=options)
        with machine.run() as run:
            (account,) = run.services.records.accounts()
            rollover(run, account)
        report = machine.renew("a.example", force=True)
        found = doctor(machine, "a.example", given=options, write=False)

    (warning,) = machine.happened("run.warning")
    assert "are stale, since they have the thumbprint of the old account key: a.example" in (
        warning.message
    )
    assert codes(report) == ["challenge.http.stateless.stale"]
    assert one(found, "answer.stateless").severity == "error"


def test_doctor_finds_a_good_rule_good_without_writing(machine: Machine) -> None:
    with rule(machine, printed_thumbprint(machine)) as options:
        machine.issue("a.example", options=options)
        found = doctor(machine, "a.example", given=options, write=False)

    assert [each for each in told(found) if each[0].startswith("answer")] == []


def test_staging_gets_the_account_key_of_the_ca_itself(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    options: dict[str, Value] = {"ca": "letsencrypt", "challenge.method": "stateless"}
    with machine.run() as run:
        make_snippet(run, "nginx", "a.example", options)

    machine.issue("a.example", options=options, dry_run=True)

    with machine.run() as run:
        accounts = run.services.records.accounts()
        keys = {thumbprint_of(each, run) for each in accounts}
        assert ({each.directory_url for each in accounts}, len(keys)) == ({PUBLIC, STAGING}, 1)


def test_another_key_at_staging_is_refused(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    machine.issue("b.example", options={"ca": "letsencrypt"}, dry_run=True)
    options: dict[str, Value] = {"ca": "letsencrypt", "challenge.method": "stateless"}
    machine.issue("b.example", options={"ca": "letsencrypt"})

    report = machine.issue("a.example", options=options, dry_run=True)

    assert codes(report) == ["challenge.http.stateless.keys"]
    assert "certctl account forget --ca letsencrypt-staging" in str(report.all_errors[0].hint)


def test_a_second_ca_with_another_key_is_refused_before_it_is_asked(machine: Machine) -> None:
    machine.endpoints = {PUBLIC: reached_at(machine.ca), STAGING: reached_at(machine.ca)}
    machine.issue("b.example", options={"ca": "letsencrypt"})
    with rule(machine, printed_thumbprint(machine)) as options:
        machine.issue("a.example", options=options)
        requests = machine.ca.count()
        with pytest.raises(ConfigurationError) as refused:
            machine.issue("c.example", options={**options, "ca": "letsencrypt"})

    assert refused.value.code == "challenge.http.stateless.keys"
    assert machine.ca.count() == requests


# -- the command


def test_snippet_prints_lines_of_which_all_others_are_comments(machine: Machine) -> None:
    finished = certctl("snippet", "nginx", "a.example", home=machine.home)

    others = [line for line in finished.stdout.splitlines() if line.startswith("#")]
    assert finished.exit_status == 0
    assert [line[:4] for line in others if line[2].isdigit()] == ["# 1.", "# 2.", "# 3.", "# 4."]
    assert others[1].endswith(
        "run: certctl issue a.example --http-address 127.0.0.1 --http-port 8402"
    )
    assert others[-1] == "# 4. Run: certctl edit a.example --deploy nginx"


def test_snippet_says_what_a_server_cannot_do_and_what_it_can(machine: Machine) -> None:
    finished = certctl(
        "snippet", "haproxy", "a.example", "--webroot", str(machine.home), home=machine.home
    )

    assert finished.exit_status == 2
    assert "haproxy serves no files" in finished.stderr
    assert "certctl snippet haproxy NAME --http-port 8402" in finished.stderr


def test_snippet_for_a_stateless_rule_says_that_the_terms_need_consent(machine: Machine) -> None:
    finished = machine.command(
        "snippet", "nginx", "a.example", "--stateless", "--ca", machine.ca.directory_url,
        "--ca-bundle", str(machine.ca.ca_bundle),
    )  # fmt: skip

    assert finished.exit_status == 2
    assert "run the same command again with --agree-tos" in finished.stderr


# -- a directory of challenge files


def test_a_challenge_directory_has_the_files_themselves(machine: Machine, tmp_path: Path) -> None:
    directory = tmp_path / "challenges"
    directory.mkdir()

    def answer(request: BaseHTTPRequestHandler) -> None:
        path = directory / request.path.removeprefix("/.well-known/acme-challenge/")
        say(200, path.read_bytes())(request) if path.is_file() else say(404)(request)

    with serving(answer, machine.port):
        report = machine.issue("a.example", options={"challenge.directory": str(directory)})

    assert (report.exit_status, list(directory.iterdir())) == (0, [])
    assert machine.store.spec("a.example").challenge.method == "webroot"
