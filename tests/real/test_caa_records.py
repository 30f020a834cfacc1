"""`certctl dns caa` against BIND: what is pinned, what is kept, and what is refused."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from certctl.dns.caa import IssuanceRequest, caa_findings
from certctl.dns.resolver import Resolver
from certctl.model.errors import ConfigurationError
from certctl.model.names import parse_identifier
from certctl.model.values import Value
from certctl.operations.caa import CaaResult, pin_caa
from certctl.operations.snippet import make_snippet
from tests.lab.answers import Answer, say, serving
from tests.lab.bind import BindServer
from tests.lab.certificates import make_server_certificate
from tests.lab.ports import free_port
from tests.lab.programs import require
from tests.lab.scripted_ca.server import ScriptedCA
from tests.lab.scripted_dns import ScriptedDns
from tests.lab.tls import TlsServer
from tests.support.doctor import asking_at
from tests.support.operations import Machine

ZONE = "example.test"
OTHERS = 'www CAA 0 issue "other.example"'


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ScriptedCA() as ca:
        ca.renewal_info = False
        yield Machine(tmp_path / "home", ca)


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[BindServer]:
    require("named")
    directory = tmp_path / "bind"
    directory.mkdir()
    zones = {ZONE: OTHERS, "open.test": "", "iodef.test": '@ CAA 0 iodef "mailto:a@iodef.test"'}
    with BindServer(directory=directory, zones=zones, grants=("zonesub ANY",)) as server:
        yield server


def writing(bind: BindServer, **more: Value) -> dict[str, Value]:
    return {
        "challenge.dns_provider": "rfc2136",
        "challenge.dns_resolver": bind.address,
        "dns.rfc2136.server": bind.address,
        "dns.rfc2136.key_file": str(bind.keyfile),
        "deploy.verify": (f"127.0.0.1:{free_port()}",),
        **more,
    }


def issued(machine: Machine, *names: str, **options: Value) -> str:
    """A certificate that is validated by HTTP-01; the URL of the account that it needs."""
    assert machine.issue(*names, options=options).exit_status == 0
    (account,) = machine.store.accounts.all()
    return account.url


def pinned(
    machine: Machine, name: str, given: dict[str, Value], *, write: bool = True, force: bool = False
) -> CaaResult:
    with machine.run(given) as run:
        return pin_caa(run, name, given, write=write, force=force)


def refusals(bind: BindServer, name: str, account: str, ca: str = "ca.example") -> list[str]:
    """What a CA that follows RFC 8659 and RFC 8657 would find at BIND."""
    resolver = Resolver(bind.address, threading.Event())
    request = IssuanceRequest(ca, (ca,), account, "http-01")
    return [each.code for each in caa_findings(parse_identifier(name), request, resolver)]


def test_the_ca_the_account_and_the_method_are_pinned(machine: Machine, bind: BindServer) -> None:
    account = issued(machine, "open.test", "www.open.test")

    found = pinned(machine, "open.test", writing(bind))

    value = f"ca.example; accounturi={account}; validationmethods=http-01"
    assert (found.written, found.problem) == (True, None)
    assert bind.records("open.test", "CAA") == [f'0 issue "{value}"']
    assert bind.records("www.open.test", "CAA") == []
    assert refusals(bind, "www.open.test", account) == []
    assert refusals(bind, "www.open.test", "https://ca.example/acct/9") == ["caa.account"]
    assert refusals(bind, "open.test", account, "other.example") == ["caa.forbidden"]


def test_a_ca_that_looks_at_the_records_lets_only_this_account_and_method_in(
    machine: Machine, bind: BindServer, tmp_path: Path
) -> None:
    machine.ca.caa_server = bind.address
    account = issued(machine, "open.test")
    assert pinned(machine, "open.test", writing(bind)).written

    again = machine.renew("open.test", force=True)
    below = machine.issue("www.open.test")
    by_another_method = machine.issue(
        "open.test",
        options={"challenge.method": "tls-alpn", "challenge.tls_alpn_port": free_port()},
        force=True,
        name="by-tls",
    )
    other = Machine(tmp_path / "other", machine.ca)
    by_another_account = other.issue("open.test")

    assert (again.exit_status, below.exit_status) == (0, 0)
    for refused in (by_another_method, by_another_account):
        (error,) = refused.all_errors
        said = "CAA lets ca.example not issue to" in error.message and "[caa]" in error.message
        assert (said, refused.exit_status) == (True, 1), error
    (their,) = other.store.accounts.all()
    assert their.url != account


def test_a_ca_that_looks_at_the_records_takes_stateless_answers_of_the_pinned_account(
    machine: Machine, bind: BindServer
) -> None:
    given: dict[str, Value] = {"challenge.method": "stateless"}
    own = {key: machine.flags[key] for key in ("ca", "ca_bundle", "account.agree_tos")}
    with machine.run(given) as run:
        parts = make_snippet(run, "nginx", "open.test", {**own, **given}).parts
    thumbprint = parts[0].text.partition('"$1.')[2].partition('"')[0]
    records = {("open.test", "A"): ("127.0.0.1",)}
    with ScriptedDns(records, {}) as resolver, serving(answering(thumbprint), machine.port):
        machine.endpoints[machine.ca.directory_url] = asking_at(machine)
        options = {**given, "challenge.dns_resolver": resolver.address}
        assert machine.issue("open.test", options=options).exit_status == 0
        found = pinned(machine, "open.test", {**writing(bind), **given})

        machine.ca.caa_server = bind.address
        renewed = machine.renew("open.test", force=True)

    assert (found.written, renewed.exit_status) == (True, 0)
    assert machine.live("open.test").number == 2
    assert "validationmethods=http-01" in bind.records("open.test", "CAA")[0]


def answering(thumbprint: str) -> Answer:
    """The static rule of a server that answers any token for an account."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        token = request.path.rpartition("/")[2]
        say(200, f"{token}.{thumbprint}".encode())(request)

    return answer


def test_a_second_run_finds_nothing_to_add(machine: Machine, bind: BindServer) -> None:
    issued(machine, "open.test")
    pinned(machine, "open.test", writing(bind))
    before = bind.dump("open.test")

    again = pinned(machine, "open.test", writing(bind))

    assert [each.add for each in again.changes] == [()]
    assert bind.dump("open.test") == before


def test_records_of_other_issuers_are_kept(machine: Machine, bind: BindServer) -> None:
    account = issued(machine, f"www.{ZONE}")

    pinned(machine, f"www.{ZONE}", writing(bind))

    records = bind.records(f"www.{ZONE}", "CAA")
    assert len(records) == 2
    assert '0 issue "other.example"' in records
    assert refusals(bind, f"www.{ZONE}", account) == []
    assert refusals(bind, f"www.{ZONE}", account, "other.example") == []


def test_a_name_below_keeps_what_the_records_above_permit(
    machine: Machine, bind: BindServer
) -> None:
    account = issued(machine, f"a.www.{ZONE}")

    pinned(machine, f"a.www.{ZONE}", writing(bind))

    assert refusals(bind, f"a.www.{ZONE}", account, "other.example") == []
    assert refusals(bind, f"a.www.{ZONE}", account) == []


def test_a_wildcard_is_pinned_for_wildcards_too(machine: Machine, bind: BindServer) -> None:
    issued(machine, "open.test")
    ca: dict[str, Value] = {"ca": machine.ca.directory_url, "ca_bundle": str(machine.ca.ca_bundle)}
    given = writing(bind, **ca)

    found = pinned(machine, "*.open.test", given, write=False)

    (change,) = found.changes
    assert [each.tag for each in change.add] == ["issue", "issuewild"]
    assert all("validationmethods=dns-01" in each.value for each in change.add)


def test_only_a_provider_that_can_writes_and_the_records_are_given_anyway(
    machine: Machine, bind: BindServer
) -> None:
    issued(machine, "open.test")
    given = writing(bind, **{"challenge.dns_provider": "exec", "dns.exec.hook": "true"})

    found = pinned(machine, "open.test", given)

    assert (found.written, found.problem is not None) == (False, True)
    assert found.problem is not None
    assert found.problem.code == "dns.caa.provider"
    assert len(found.changes[0].add) == 1


@pytest.mark.parametrize("zone", ["open.test", "iodef.test"])
def test_a_certificate_of_somebody_else_that_is_served_is_not_shut_out(
    machine: Machine, bind: BindServer, tmp_path: Path, zone: str
) -> None:
    issued(machine, zone)
    (tmp_path / "other").mkdir()
    files = make_server_certificate(tmp_path / "other", (zone,))
    port = free_port()
    given = writing(bind, **{"deploy.verify": (f"127.0.0.1:{port}",)})
    before = bind.records(zone, "CAA")

    with TlsServer({"": [(files.certificate, files.private_key)]}, port=port):
        refused = pinned(machine, zone, given)
        kept = bind.records(zone, "CAA")
        forced = pinned(machine, zone, given, force=True)

    assert refused.problem is not None
    assert (refused.problem.code, kept) == ("dns.caa.served", before)
    assert (forced.written, len(bind.records(zone, "CAA"))) == (True, len(before) + 1)


def test_without_an_account_there_is_nothing_to_pin(machine: Machine, bind: BindServer) -> None:
    with pytest.raises(ConfigurationError) as refused:
        pinned(machine, "open.test", writing(bind))

    assert refused.value.code == "dns.caa.no_account"
    assert "certctl register --ca" in str(refused.value.hint)
