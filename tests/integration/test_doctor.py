"""`doctor` against a scripted CA and a scripted DNS: what it finds, and that it leaves nothing."""

import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import dns.rcode
import pytest

from certctl.ca.health import clock_findings
from certctl.challenges.reachability import NotReached, check_http_answer
from certctl.dns.hosts import Host, address_findings
from certctl.model.errors import Interrupted, UsageError
from certctl.model.values import Value
from tests.lab.answers import Answer, files_of, say, serving
from tests.lab.certificates import make_server_certificate
from tests.lab.clock import START
from tests.lab.scripted_ca.faults import response
from tests.lab.scripted_dns import ScriptedDns
from tests.lab.tls import TlsServer
from tests.support.command import certctl
from tests.support.doctor import HERE, doctor, one, told
from tests.support.homes import add_certificate
from tests.support.operations import Machine, executable


def left_behind(machine: Machine) -> list[str]:
    return sorted(path.name for path in machine.home.glob("journal/*"))


# The whole


def test_a_name_that_is_ready_has_nothing_in_the_way_and_no_order_is_placed(
    machine: Machine,
) -> None:
    found = doctor(machine, "a.example")

    assert told(found) == []
    assert one(found, "dns.addresses").message == "it resolves to 127.0.0.1"
    assert found.certificates == 1
    assert machine.ca.sequence() == ["directory"]
    assert left_behind(machine) == []
    assert machine.store.names() == []


def test_without_writing_not_even_a_home_directory_is_made(machine: Machine) -> None:
    found = doctor(machine, "a.example", write=False)

    assert told(found) == []
    assert not machine.home.exists()


def test_all_certificates_are_looked_at_where_none_is_named_and_nothing_is_written(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.issue("b.example")

    # a self-test would fail because the port is in use
    with socket.create_server(("127.0.0.1", machine.port)):
        found = doctor(machine)

    assert [each.code for each in found.findings if each.severity != "info"] == ["schedule.missing"]
    assert found.certificates == 2


def test_a_certificate_of_another_name_is_the_one_that_issue_would_take_up(
    machine: Machine,
) -> None:
    machine.issue("a.example", name="shop", options={"profile": "none-such"})

    found = doctor(machine, "a.example", given={})

    assert ("ca.profile", "warning", "shop") in told(found)


def test_a_spec_that_cannot_be_read_is_told_and_the_others_are_looked_at(machine: Machine) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.spec_file("a.example").write_text("names = nonsense\n")

    found = doctor(machine)

    assert one(found, "certificate.unreadable").subject == "a.example"
    assert one(found, "dns.addresses").subject == "b.example"


def test_the_names_of_many_certificates_are_looked_up_for_some_of_them_only(
    machine: Machine,
) -> None:
    for number in range(3):
        chosen = {"ca": machine.ca.directory_url, "ca_bundle": str(machine.ca.ca_bundle)}
        add_certificate(machine.home, f"n{number}.example", chosen=chosen)

    found = doctor(machine, records={}, max_certificates=2)

    assert found.certificates == 2
    assert one(found, "doctor.not_all").message == (
        "the names of only 2 of 3 certificates were checked"
    )
    assert len([each for each in found.findings if each.code == "dns.no_address"]) == 2
    assert machine.ca.sequence().count("directory") == 1


def test_a_check_that_cannot_be_made_is_told_and_stops_no_other(machine: Machine) -> None:
    found = doctor(machine, "a.example", given={"challenge.dns_resolver": "nonsense"})

    failed = one(found, "doctor.failed")
    assert (failed.subject, failed.severity) == ("a.example", "warning")
    assert "'nonsense' is not the address of a DNS resolver" in failed.message
    assert one(found, "ca.no_account").severity == "info"


def test_what_is_no_name_is_an_error_of_usage(machine: Machine) -> None:
    with pytest.raises(UsageError):
        doctor(machine, "no name at all")


def test_a_run_that_is_stopped_says_so(machine: Machine) -> None:
    machine.stop.set()

    with pytest.raises(Interrupted):
        doctor(machine, "a.example")


# The CA, the clock, the account


def test_a_ca_that_cannot_be_reached_is_told_once_and_all_else_is_looked_at(
    machine: Machine,
) -> None:
    machine.issue("a.example")
    machine.issue("b.example")
    machine.ca.script("directory", response(404, b"not here"), times=1)

    found = doctor(machine)

    assert one(found, "ca.unreachable").severity == "error"
    assert len([each for each in found.findings if each.code == "dns.addresses"]) == 2


@pytest.mark.parametrize(
    ("skew", "found"),
    [
        (timedelta(seconds=50), []),
        (timedelta(minutes=-5), ["warning", "5 minutes behind"]),
        (timedelta(minutes=90), ["error", "90 minutes ahead of"]),
        (timedelta(hours=-50), ["error", "50 hours behind"]),
    ],
)
def test_a_clock_that_differs_from_the_cas_is_told(skew: timedelta, found: list[str]) -> None:
    findings = list(clock_findings("https://ca.example/dir", START, START + skew))

    assert [
        word
        for each in findings
        for word in (each.severity, each.message.partition("machine is ")[2][: -len(" the CA's")])
    ] == found


def test_the_clock_is_compared_with_the_date_of_the_cas_answer(machine: Machine) -> None:
    machine.clock.advance(7200)

    assert told(doctor(machine, "a.example")) == [
        ("clock.skew", "error", f"127.0.0.1:{machine.ca.directory_url.split(':')[2].split('/')[0]}")
    ]


def test_without_an_account_the_first_issuance_makes_one(machine: Machine) -> None:
    found = one(doctor(machine, "a.example"), "ca.no_account")

    assert (found.severity, found.fix) == (
        "info",
        f"certctl register --ca {machine.ca.directory_url}",
    )


def test_a_ca_that_wants_an_external_account_binding_is_told_beforehand(machine: Machine) -> None:
    machine.ca.eab_required = True

    assert [code for code, _, _ in told(doctor(machine, "a.example"))] == ["ca.eab"]


def test_an_account_that_the_ca_does_not_serve_any_more_is_told(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.deactivate_accounts()

    found = one(doctor(machine, "a.example"), "ca.account")

    assert found.severity == "error"
    assert found.fix == f"certctl register --ca {machine.ca.directory_url}"


def test_new_terms_of_service_are_told(machine: Machine) -> None:
    machine.issue("a.example")
    machine.ca.terms_of_service = "https://ca.example/terms/2"

    found = one(doctor(machine, "a.example"), "ca.terms")

    assert found.severity == "warning"
    assert "https://ca.example/terms/2" in found.message


@pytest.mark.parametrize(
    ("option", "severity"), [("profile", "warning"), ("required_profile", "error")]
)
def test_a_profile_that_the_ca_does_not_offer_is_told(
    machine: Machine, option: str, severity: str
) -> None:
    machine.ca.profiles = {"classic": "", "shortlived": ""}

    missing = doctor(machine, "a.example", given={option: "tlsserver"})
    offered = doctor(machine, "a.example", given={option: "shortlived"})

    found = one(missing, "ca.profile")
    assert (found.severity, told(offered)) == (severity, [])
    assert found.message.endswith("it offers: classic, shortlived")


# Names


@pytest.mark.parametrize(
    ("records", "rcodes", "code", "message"),
    [
        ({}, {"a.example": dns.rcode.NXDOMAIN}, "dns.nxdomain", "does not exist in DNS"),
        ({("a.example", "TXT"): ("x",)}, {}, "dns.no_address", "has no A or AAAA record"),
        ({}, {"a.example": dns.rcode.SERVFAIL}, "dns.lookup", "SERVFAIL"),
        (
            {("a.example", "CNAME"): ("b.example.",)},
            {"a.example": dns.rcode.NXDOMAIN},
            "dns.nxdomain",
            "it is an alias of b.example, which does not exist",
        ),
        ({("a.example", "A"): ("192.0.2.1",)}, {}, "dns.elsewhere", "belongs to this machine"),
    ],
)
def test_a_name_that_does_not_lead_here_is_told(
    machine: Machine,
    records: Mapping[tuple[str, str], tuple[str, ...]],
    rcodes: Mapping[str, dns.rcode.Rcode],
    code: str,
    message: str,
) -> None:
    found = one(
        doctor(machine, "a.example", records=records, rcodes=rcodes, write=False),
        code,
    )

    assert found.subject == "a.example"
    assert message in found.message
    assert found.fix


def test_a_public_ca_does_not_come_to_private_addresses() -> None:
    host = Host("a.example", addresses=("10.1.2.3", "fd00::1"))

    private = [each.code for each in address_findings(host, public=True)]
    own = [each.code for each in address_findings(Host("a", addresses=("::1",)), public=False)]

    assert private == ["dns.addresses", "dns.private"]
    assert own == ["dns.addresses"]


def test_caa_that_cannot_be_looked_up_is_told(machine: Machine) -> None:
    rcodes = {"example": dns.rcode.REFUSED}

    assert told(doctor(machine, "a.example", rcodes=rcodes)) == [
        ("caa.lookup", "warning", "a.example")
    ]


def test_caa_of_a_parent_forbids_what_stands_below_it(machine: Machine) -> None:
    records = {**HERE, ("example", "CAA"): ('0 issue "other.example"',)}

    found = one(doctor(machine, "a.example", records=records), "caa.forbidden")

    assert (found.subject, found.fix) == ("a.example", 'Add: example. CAA 0 issue "ca.example"')


# Domain validation


def test_a_wildcard_without_a_dns_provider_is_told_and_the_other_names_are_tried(
    machine: Machine,
) -> None:
    found = doctor(machine, "*.a.example", write=False)

    setup = one(found, "challenge.setup")
    assert (setup.severity, setup.subject) == ("error", "*.a.example")
    assert setup.message == "http-01 cannot validate a wildcard"
    assert setup.fix is not None
    assert "--dns PROVIDER" in setup.fix


def test_a_provider_that_is_set_up_badly_is_told_without_writing(machine: Machine) -> None:
    found = doctor(
        machine,
        "a.example",
        write=False,
        given={"challenge.method": "dns", "challenge.dns_provider": "rfc2136"},
    )

    assert one(found, "challenge.setup").severity == "error"


def test_a_port_that_is_taken_is_told(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        found = doctor(machine, "a.example")

    assert told(found) == [("answer.setup", "error", "a.example")]
    assert left_behind(machine) == []


def test_tls_alpn_is_tried_at_each_address_too(machine: Machine, tmp_path: Path) -> None:
    given: dict[str, Value] = {"challenge.method": "tls-alpn"}
    good = doctor(machine, "a.example", given=given)
    records = {("a.example", "A"): ("127.0.0.1", "127.0.0.2", "127.0.0.3")}
    files = make_server_certificate(tmp_path)
    others = {"": [(files.certificate, files.private_key)]}
    with (
        TlsServer(others, port=machine.port, hosts=("127.0.0.2",)),
        serving(say(404), machine.port, "127.0.0.3"),
    ):
        bad = doctor(machine, "a.example", records=records, given=given)
    with socket.create_server(("127.0.0.1", machine.port)):
        taken = doctor(machine, "a.example", given=given)

    assert told(good) == []
    assert told(taken) == [("answer.setup", "error", "a.example")]
    first, second = sorted(bad.findings[:2], key=lambda each: each.message)
    assert (first.code, second.code) == ("answer.wrong", "answer.wrong")
    assert first.message == (
        f"127.0.0.2 does not serve the challenge response: port {machine.port} presents"
        " another certificate: another server listens there"
    )


def test_an_address_where_nobody_answers_is_told(machine: Machine) -> None:
    records = {("a.example", "A"): ("127.0.0.1", "127.0.0.2")}

    found = doctor(machine, "a.example", records=records)

    assert told(found) == [("answer.unreachable", "warning", "a.example")]
    assert one(found, "answer.unreachable").message == (
        f"the challenge response cannot be reached at 127.0.0.2: port {machine.port}: connection"
        " refused"
    )


def test_ipv6_that_leads_nowhere_is_told_by_itself(machine: Machine) -> None:
    records = {**HERE, ("a.example", "AAAA"): ("::1",)}

    found = doctor(machine, "a.example", records=records)

    assert told(found) == [("answer.ipv6", "warning", "a.example")]


def test_another_directory_than_the_servers_is_told_and_the_right_one_is_good(
    machine: Machine, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.mkdir()
    wrong.mkdir()
    methods: dict[Path, dict[str, Value]] = {
        each: {"challenge.method": "webroot", "challenge.webroots": (str(each),)}
        for each in (right, wrong)
    }

    with serving(files_of(right), machine.port):
        good = doctor(machine, "a.example", given=methods[right])
        bad = doctor(machine, "a.example", given=methods[wrong])

    assert told(good) == []
    assert told(bad) == [("answer.wrong", "error", "a.example")]
    assert list(right.rglob("*.*")) == [] == [each for each in wrong.rglob("*") if each.is_file()]


def test_without_names_a_token_is_tested_in_every_webroot_and_nothing_else_is_presented(
    machine: Machine, tmp_path: Path
) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    hook = f"echo $CERTCTL_HOOK >> {log}"
    ways: dict[str, dict[str, Value]] = {
        "a.example": {"challenge.method": "webroot", "challenge.webroots": (str(root),)},
        "b.example": {"challenge.method": "http-hook", "challenge.http_hook": hook},
    }
    machine.ca.validate_http01 = None
    for name, options in ways.items():
        machine.issue(name, options=options)
    log.unlink(missing_ok=True)

    with serving(files_of(root), machine.port):
        good = doctor(machine)
    with serving(say(301, Location="https://a.example:1/"), machine.port):
        bad = doctor(machine)
        skipped = doctor(machine, write=False)

    tested = [[code for code, _, name in told(each) if name == "a.example"] for each in (bad, good)]
    assert (tested, told(skipped)) == ([["answer.wrong"], []], told(good))
    assert ([*root.rglob("*.*")], log.exists()) == ([], False)


def test_a_challenge_that_was_tried_nowhere_gets_no_tick(machine: Machine) -> None:
    unknown = {"a.example": dns.rcode.SERVFAIL}

    found = doctor(machine, "a.example", records={}, rcodes=unknown)

    ticks = {each.what: each.worst for each in found.tried if each.subject == "a.example"}
    assert (ticks["DNS"], ticks["the challenge"]) == ("warning", "warning")


def test_another_process_that_works_on_the_certificate_is_not_disturbed(machine: Machine) -> None:
    machine.issue("a.example")
    with machine.store.lock("a.example", timeout=0):
        found = doctor(machine, "a.example")

    busy = one(found, "challenge.busy")
    assert (busy.severity, busy.fix) == ("info", "Try again later: certctl doctor a.example")


def test_what_cannot_be_removed_is_told_and_removed_by_a_later_run(
    machine: Machine, tmp_path: Path
) -> None:
    hook, stuck, log = tmp_path / "hook", tmp_path / "stuck", tmp_path / "log"
    executable(hook, f'[ "$1" = cleanup ] && [ -e {stuck} ] && exit 1; echo "$1" >> {log}')
    stuck.touch()

    found = doctor(machine, "a.example", records=ZONE, given=through(hook))

    assert told(found) == [("challenge.cleanup", "warning", "a.example")]
    assert len(left_behind(machine)) == 1
    stuck.unlink()
    machine.renew()
    assert left_behind(machine) == []
    assert log.read_text().split() == ["present", "cleanup"]


def test_a_provider_that_cannot_write_is_told(machine: Machine, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    executable(hook, 'echo "no such zone"; [ "$1" = cleanup ]')

    found = doctor(machine, "a.example", records=ZONE, given=through(hook))

    assert told(found) == [("dns.write", "error", "a.example")]
    assert "no such zone" in one(found, "dns.write").message
    assert left_behind(machine) == []


def test_a_doctor_that_is_killed_leaves_what_the_next_run_removes(
    machine: Machine, tmp_path: Path
) -> None:
    hook, log, pid = tmp_path / "hook", tmp_path / "log", tmp_path / "pid"
    executable(
        hook,
        f'echo "$1 $CERTCTL_DNS_VALUE" >> {log}; [ "$1" = cleanup ] && exit\n'
        f"while [ ! -s {pid} ]; do sleep 0.01; done; kill -9 $(cat {pid})",
    )

    with ScriptedDns(ZONE) as resolver:
        process = machine.start(
            *("doctor", "a.example", "--ca", machine.ca.directory_url),
            *("--ca-bundle", str(machine.ca.ca_bundle), "--dns", "exec", "--dns-hook", str(hook)),
            *("--dns-resolver", resolver.address, "--dns-skip-propagation"),
        )
        pid.write_text(str(process.pid))
        killed = machine.finish(process)
    kept = left_behind(machine)
    renewed = machine.command("renew")

    assert (killed.exit_status, renewed.exit_status) == (-9, 0)
    assert len(kept) == 1
    assert left_behind(machine) == []
    (_, presented), (_, removed) = (line.split() for line in log.read_text().splitlines())
    assert presented == removed


ZONE = {
    ("a.example", "SOA"): ("ns.a.example. hostmaster.a.example. 1 1 1 1 1",),
    ("a.example", "NS"): ("ns.a.example.",),
    ("ns.a.example", "A"): ("127.0.0.1",),
}


def through(hook: Path) -> dict[str, Value]:
    """The options that have TXT records written by a command, and not waited for."""
    return {
        "challenge.method": "dns",
        "challenge.dns_provider": "exec",
        "challenge.dns_skip_propagation": True,
        "dns.exec.hook": str(hook),
    }


# How an answer is fetched


def fetched(port: int, *, seconds: float = 8.0) -> str:
    """What comes of fetching the answer `key` for the token `tok`; "" where it came."""
    try:
        check_http_answer("127.0.0.1", "a.example", "tok", "key", port=port, seconds=seconds)
    except NotReached as error:
        return str(error)
    return ""


def test_an_answer_is_fetched_by_the_name_at_the_address() -> None:
    hosts: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        hosts.append(request.headers["Host"])
        say(200, b"key\n")(request)

    with serving(answer) as port:
        assert fetched(port) == ""
    assert hosts == ["a.example"]


def test_redirects_are_followed_to_other_ports_and_names_and_not_for_ever() -> None:
    with serving(say(200, b"key")) as good:
        elsewhere = say(301, Location=f"http://127.0.0.1:{good}/x")
        with serving(elsewhere) as port:
            assert fetched(port) == ""
    with serving(say(302, Location="/again")) as port:
        assert fetched(port) == "more than 10 redirects"
    with serving(say(302, Location="ftp://a.example/")) as port:
        assert fetched(port) == "CAs do not follow the redirect to ftp://a.example/"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (say(404), "returns status 404"),
        (say(200, b"another"), "returns other content"),
        (say(200, b"key" * 100_000), "returns other content"),
        (lambda request: request.wfile.write(b"\x00\x01\x02\r\n"), "not an HTTP response"),
    ],
    ids=["status", "another key", "too much", "not HTTP"],
)
def test_any_other_answer_is_told(answer: Answer, reason: str) -> None:
    with serving(answer) as port:
        assert reason in fetched(port)


def test_an_answer_that_drips_costs_no_more_than_its_time() -> None:
    ended = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        try:
            while not ended.wait(0.02):
                request.wfile.write(b"H")
        except OSError:
            return

    with serving(drip) as port:
        said = fetched(port, seconds=0.3)
        ended.set()
    assert said


def test_an_address_to_which_this_machine_has_no_way_is_told_apart() -> None:
    # a network name space of its own has not even a loopback
    alone = ["unshare", "--user", "--map-root-user", "--net", "--"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody make a network name space")
    program = (
        "from certctl.challenges.reachability import NotReached, check_http_answer\n"
        "try:\n"
        "    check_http_answer('2001:db8::1', 'a.example', 'tok', 'key')\n"
        "except NotReached as error:\n"
        "    print(error.connected, error.no_route)\n"
    )

    done = subprocess.run(
        [*alone, sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path.cwd(),
    )

    assert done.stdout.split() == ["False", "True"]


# The command


def test_the_command_tells_each_finding_with_its_code_and_its_fix(machine: Machine) -> None:
    with ScriptedDns(HERE) as resolver:
        arguments = (
            *("doctor", "a.example", "--ca", machine.ca.directory_url, "--no-write"),
            *("--ca-bundle", str(machine.ca.ca_bundle), "--dns-resolver", resolver.address),
        )
        well = certctl(*arguments, home=machine.home)
        ill = certctl(*arguments, "--required-profile", "none-such", home=machine.home)
        as_json = certctl(*arguments, "--json", home=machine.home)
        on_a_terminal = certctl(*arguments, home=machine.home, terminal=True)

    port = machine.ca.directory_url.split(":")[2].split("/")[0]
    assert (well.exit_status, well.stderr) == (0, "")
    assert well.stdout.splitlines()[-1] == ("No problems found (1 certificate checked).")
    assert ill.exit_status == 1
    tried, names, first, second, *_ = ill.stdout.splitlines()
    assert f"\N{CHECK MARK} the CA 127.0.0.1:{port}" in tried
    assert names == (
        "a.example: \N{CHECK MARK} DNS, \N{CHECK MARK} DNSSEC, \N{CHECK MARK} CAA,"
        " \N{CHECK MARK} the challenge, \N{CHECK MARK} its hooks"
    )
    assert first == (
        f"error: a.example: 127.0.0.1:{port} does not offer the profile 'none-such'; it offers:"
        " none [ca.profile]"
    )
    assert second == ("  fix: Choose one of these: certctl edit a.example --required-profile NAME")
    assert ill.stdout.splitlines()[-1] == "1 error (1 certificate checked)."
    document = as_json.json()
    assert (document["status"], document["exit_code"]) == ("success", 0)
    data = document["data"]
    assert (data["certificates"], data["errors"], data["warnings"]) == (1, 0, 0)
    assert {"code", "severity", "subject", "message", "fix"} == set(data["findings"][0])
    assert "\x1b[2minfo\x1b[0m: " in on_a_terminal.stdout
