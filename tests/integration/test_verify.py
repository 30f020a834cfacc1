"""`verify`: what TLS servers show of certificates, ours and others', and what is made of it."""

import hashlib
import ssl
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.engine.run import Run
from certctl.model.errors import Interrupted, UnknownCertificate, UsageError
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec, ServiceAddress
from certctl.model.values import Value
from certctl.operations.verify import Verifications, covers, services_to_check, verify
from certctl.store.home.home_records import HomeRecords
from certctl.store.home.parts import Parts
from tests.lab.certificates import make_server_certificate
from tests.lab.clock import SteerableClock
from tests.lab.ports import free_port
from tests.lab.tls import TlsServer
from tests.support.command import certctl
from tests.support.homes import issued
from tests.support.nouns import wanted
from tests.support.operations import Machine

Files = tuple[Path, Path]
HERE = ("127.0.0.1",)


class ServedThere(HomeRecords):
    """Records whose certificates say where they are served, by name."""

    services: Mapping[str, ServiceAddress] = {}

    def spec(self, name: str) -> CertificateSpec:
        spec = super().spec(name)
        there = self.services.get(name)
        return replace(spec, deploy=replace(spec.deploy, verify=(there,) if there else ()))


def look(
    machine: Machine,
    *texts: str,
    at: ServiceAddress | Mapping[str, ServiceAddress] | None = None,
    timeout: float = 0.0,
) -> Verifications:
    """`certctl verify` on a machine whose certificates are served at these addresses."""
    services = machine.services()
    records = ServedThere(Parts(machine.home, services.settings, machine.clock))
    if isinstance(at, ServiceAddress):
        at = dict.fromkeys(records.names(), at)
    records.services = at or {}
    with Run(replace(services, records=records), machine.stop) as run:
        return verify(run, texts, timeout=timeout)


def live_files(machine: Machine, name: str, chain: str = "fullchain.pem") -> Files:
    live = machine.home / "live" / name
    return live / chain, live / "privkey.pem"


def certificate(
    directory: Path,
    names: str,
    start: timedelta = timedelta(0),
    lifetime: timedelta = timedelta(days=90),
) -> Files:
    """A certificate of nobody we know, whose root comes with it."""
    version, material = issued(wanted(names), datetime.now(UTC) + start, lifetime)
    place = directory / version.facts.sha256[:16]
    place.mkdir()
    assert material.privkey is not None
    (place / "fullchain.pem").write_bytes(material.fullchain)
    (place / "privkey.pem").write_bytes(material.privkey)
    return place / "fullchain.pem", place / "privkey.pem"


def problems(found: Verifications) -> list[str | None]:
    return [each.problem for each in found.seen]


def errors(found: Verifications) -> list[tuple[str, str | None]]:
    return [(each.message, each.hint) for each in found.errors]


# Certificates of ours


def test_what_is_live_and_served_is_good_and_remembered(machine: Machine) -> None:
    machine.issue("a.example")

    with TlsServer({"": [live_files(machine, "a.example")]}) as server:
        found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", server.port))

    (seen,) = found.seen
    assert (found.errors, seen.problem, seen.name) == ((), None, "a.example")
    assert seen.facts == machine.live("a.example").facts
    assert machine.status("a.example").deployment.verified_at == machine.clock.now()
    assert [event.kind for event in machine.events][-2:] == ["doctor.checking", "verify.done"]


def test_another_certificate_than_ours_is_told_with_the_command_to_deploy(
    machine: Machine, tmp_path: Path
) -> None:
    machine.issue("a.example")
    old = certificate(tmp_path, "a.example")

    with TlsServer({"": [old]}) as server:
        found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", server.port))

    (seen,) = found.seen
    assert seen.facts is None
    assert seen.sha256 == hashlib.sha256(ssl.PEM_cert_to_DER_cert(first_of(old))).hexdigest()
    ((message, hint),) = errors(found)
    assert message.startswith(
        f"a.example is not served correctly: 127.0.0.1:{server.port}: another certificate is"
        " served: serial "
    )
    assert hint == "certctl deploy a.example, then: certctl verify a.example"
    assert machine.status("a.example").deployment.verified_at is None


def test_ours_that_has_expired_is_served_and_still_wrong(machine: Machine) -> None:
    machine.issue("a.example")
    machine.clock.advance(timedelta(days=91).total_seconds())

    with TlsServer({"": [live_files(machine, "a.example")]}) as server:
        found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", server.port))

    (problem,) = problems(found)
    assert problem is not None
    assert problem.startswith("it is served, but expired at ")
    assert [hint for _, hint in errors(found)] == ["certctl renew a.example"]


def test_ours_without_its_chain_is_told_with_the_file_to_serve(machine: Machine) -> None:
    machine.issue("a.example")

    with TlsServer({"": [live_files(machine, "a.example", "cert.pem")]}) as server:
        found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", server.port))

    issuer = machine.live("a.example").facts.issuer
    assert problems(found) == [f"its chain is missing: clients may not know its issuer {issuer!r}"]
    full, again = "use fullchain.pem", "certctl verify a.example"
    hints = [hint for _, hint in errors(found)]
    assert hints == [f"Configure the server to {full} instead of cert.pem, then: {again}"]


def test_every_address_is_looked_at_by_every_name(machine: Machine, tmp_path: Path) -> None:
    machine.issue("a.example", "b.example")
    port = free_port()
    ours, old = live_files(machine, "a.example"), certificate(tmp_path, "b.example")

    with (
        TlsServer({"": [ours]}, port=port),
        TlsServer({"": [ours], "b.example": [old]}, port=port, hosts=("::1",)),
    ):
        found = look(machine, "a.example", at=ServiceAddress(None, port))

    assert [(each.address, each.server_name, each.problem is None) for each in found.seen] == [
        ("127.0.0.1", "a.example", True),
        ("127.0.0.1", "b.example", True),
        ("::1", "a.example", True),
        ("::1", "b.example", False),
    ]
    assert len(found.errors) == 1


def test_a_wildcard_is_asked_for_by_a_made_up_name_and_an_address_by_none(machine: Machine) -> None:
    machine.ca.validate_http01 = None
    machine.issue("127.0.0.1", "w.example")

    with TlsServer({"": [live_files(machine, "127.0.0.1")]}) as server:
        found = look(machine, "127.0.0.1", at=ServiceAddress("127.0.0.1", server.port))

    assert problems(found) == [None, None]
    assert sorted(server.asked, key=str) == [None, "w.example"]
    wild = wanted("*.example.com")
    (host, names), *more = services_to_check(wild, wild.identifiers)
    assert (host, names, more) == (ServiceAddress("example.com"), ("*.example.com",), [])


def test_a_certificate_is_looked_for_under_its_own_names_where_its_spec_says_nothing() -> None:
    identifiers = parse_identifiers(["a.example", "*.a.example", "::1"])

    assert services_to_check(wanted(), identifiers) == [
        (ServiceAddress("a.example"), ("a.example",)),
        (ServiceAddress("::1"), ("::1",)),
    ]


def test_a_certificate_of_a_mail_server_is_looked_for_where_that_listens() -> None:
    identifiers = parse_identifiers(["mail.example"])
    smtp, web = ServiceAddress(None, 25, "smtp"), ServiceAddress(None, 443)

    assert services_to_check(wanted(), identifiers, [smtp]) == [(smtp, ("mail.example",))]
    by_names = services_to_check(wanted(), identifiers)
    assert services_to_check(wanted(), identifiers, [smtp, web]) == by_names


def test_a_certificate_is_looked_for_where_its_file_says(machine: Machine) -> None:
    port = free_port()
    options: dict[str, Value] = {"deploy.verify": (f"127.0.0.1:{port}",), "deploy.probe": False}
    machine.issue("a.example", options=options)

    with TlsServer({"": [live_files(machine, "a.example")]}, port=port), machine.run() as run:
        found = verify(run, ["a.example"])

    assert [(each.service, each.problem) for each in found.seen] == [
        (ServiceAddress("127.0.0.1", port), None)
    ]


def test_names_that_are_wanted_and_not_in_the_certificate_yet_are_not_asked_for(
    machine: Machine,
) -> None:
    machine.ca.fail("b.example")
    machine.issue("a.example", "b.example", options={"allow_subset": True})

    with TlsServer({"": [live_files(machine, "a.example")]}) as server:
        found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", server.port))

    assert [(each.server_name, each.problem) for each in found.seen] == [("a.example", None)]


def test_what_is_not_served_yet_is_waited_for(machine: Machine, tmp_path: Path) -> None:
    machine.issue("a.example")
    ours, old = live_files(machine, "a.example"), certificate(tmp_path, "a.example")

    with TlsServer({"": [old]}) as server:

        def reload(_seconds: float) -> None:
            if len(machine.clock.waits) == 2:
                server.serve({"": [ours]})

        machine.clock = SteerableClock(machine.clock.now(), on_wait=reload)
        here = ServiceAddress("127.0.0.1", server.port)
        found = look(machine, "a.example", at=here, timeout=60)

    assert (problems(found), len(machine.clock.waits)) == ([None], 2)


def test_a_run_that_is_stopped_looks_at_nothing_more(machine: Machine) -> None:
    machine.issue("a.example")
    machine.stop.set()

    with pytest.raises(Interrupted):
        look(machine, "a.example", at=ServiceAddress("127.0.0.1", free_port()))


def test_certificates_are_looked_at_side_by_side_and_one_that_cannot_be_read_stops_no_other(
    machine: Machine,
) -> None:
    for name in ("a.example", "b.example", "c.example"):
        machine.issue(name)
    machine.spec_file("b.example").write_text("version = 1\nnames = nonsense\n")
    both_there = threading.Barrier(2)

    def meet(_connection: object) -> None:
        both_there.wait(10)

    # neither server answers before somebody has asked the other
    with (
        TlsServer({"": [live_files(machine, "a.example")]}, preface=meet, hosts=HERE) as one,
        TlsServer({"": [live_files(machine, "c.example")]}, preface=meet, hosts=HERE) as two,
    ):
        at = {"a.example": one.port, "c.example": two.port}
        services = {name: ServiceAddress(HERE[0], port) for name, port in at.items()}
        found = look(machine, at=services)

    assert [(each.name, each.problem) for each in found.seen] == [
        ("a.example", None),
        ("c.example", None),
    ]
    assert [(error.name, error.code) for error in found.errors] == [
        ("b.example", "configuration.toml")
    ]


def test_a_certificate_that_was_never_issued_is_not_served(machine: Machine) -> None:
    machine.issue("a.example")
    (machine.home / "live" / "a.example").unlink()

    found = look(machine, "a.example")

    assert problems(found) == ["there is no certificate yet"]
    assert [hint for _, hint in errors(found)] == ["certctl renew a.example"]


def test_a_service_that_is_not_there_is_told_with_what_to_see_to(machine: Machine) -> None:
    machine.issue("a.example")
    port = free_port()

    found = look(machine, "a.example", at=ServiceAddress("127.0.0.1", port))

    assert errors(found) == [
        (
            f"a.example is not served correctly: 127.0.0.1:{port}: connection refused",
            (
                f"Check that 127.0.0.1:{port} can be reached from here, or specify where the"
                " certificate is served: certctl edit a.example --verify HOST[:PORT]"
            ),
        )
    ]


# Services that are not ours


def test_a_good_certificate_of_others_is_shown_with_whether_this_system_trusts_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_server_certificate(tmp_path, ("127.0.0.1",))

    with TlsServer({"": [(files.certificate, files.private_key)]}) as server:
        place = f"127.0.0.1:{server.port}"
        (stranger,) = look(machine, place).seen
        monkeypatch.setenv("SSL_CERT_FILE", str(files.ca_bundle))
        (trusted,) = look(machine, place).seen

    # a leaf that comes alone is whole where a root that is trusted issued it
    assert (trusted.problem, trusted.distrusted) == (None, "")
    assert stranger.distrusted == "unable to get local issuer certificate"
    assert stranger.problem == (
        "its chain is missing: clients may not know its issuer 'certctl test root'"
    )
    assert set(server.asked) == {None}


@pytest.mark.parametrize(
    ("start", "lifetime", "problem"),
    [
        (timedelta(days=-9), timedelta(days=8), "it expired at "),
        (timedelta(days=8), timedelta(days=9), "it is not valid before "),
    ],
)
def test_a_certificate_out_of_its_time_is_told(
    machine: Machine, tmp_path: Path, start: timedelta, lifetime: timedelta, problem: str
) -> None:
    files = certificate(tmp_path, "a.example", start, lifetime)

    with TlsServer({"": [files]}) as server:
        found = look(machine, f"localhost:{server.port}")

    (told,) = problems(found)
    assert told is not None
    assert told.startswith(problem)
    assert ";" not in told


def test_a_certificate_for_another_name_is_told(machine: Machine, tmp_path: Path) -> None:
    files = certificate(tmp_path, "a.example")

    with TlsServer({"": [files]}) as server:
        found = look(machine, f"127.0.0.1:{server.port}")

    assert problems(found) == ["it is for a.example, not for 127.0.0.1"]
    assert [error.code for error in found.errors] == ["verify.failed"]


def test_a_leaf_without_its_chain_is_told(machine: Machine) -> None:
    machine.issue("127.0.0.1")

    with TlsServer({"": [live_files(machine, "127.0.0.1", "cert.pem")]}) as server:
        found = look(machine, f"127.0.0.1:{server.port}")

    issuer = machine.live("127.0.0.1").facts.issuer
    assert problems(found) == [f"its chain is missing: clients may not know its issuer {issuer!r}"]


def test_a_certificate_that_issued_itself_lacks_no_chain(machine: Machine, tmp_path: Path) -> None:
    files = self_signed(tmp_path)

    with TlsServer({"": [files]}) as server:
        (seen,) = look(machine, f"127.0.0.1:{server.port}").seen

    assert (seen.problem, seen.distrusted) == (None, "self-signed certificate")


def test_a_host_without_addresses_is_told(machine: Machine) -> None:
    found = look(machine, "nowhere.invalid")

    assert errors(found) == [
        (
            "nowhere.invalid: it has no address in DNS",
            "Check the spelling, or verify it by its address: certctl verify ADDRESS[:PORT]",
        )
    ]


def test_what_is_neither_a_certificate_nor_a_host_is_an_error_of_usage(machine: Machine) -> None:
    machine.issue("a.example")

    with pytest.raises(UnknownCertificate, match="no certificate named exmaple"):
        look(machine, "exmaple")
    with pytest.raises(UnknownCertificate, match="neither a certificate nor a host"):
        look(machine, "*.example.com")
    with pytest.raises(UsageError, match="99999 is not a valid port"):
        look(machine, "a.example:99999")


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        ("a.example", "a.example", True),
        ("*.a.example", "b.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "c.b.a.example", False),
        ("192.0.2.1", "192.0.2.1", True),
    ],
)
def test_a_wildcard_stands_for_one_label(names: str, host: str, covered: bool) -> None:
    version, _ = issued(wanted("x.example"), datetime.now(UTC))
    seen = replace(version.facts, identifiers=parse_identifiers([names]))

    assert covers(seen, host) is covered


# The command


def test_the_command_says_by_its_status_whether_all_is_well(
    machine: Machine, tmp_path: Path
) -> None:
    good, bad = self_signed(tmp_path), certificate(tmp_path, "a.example")

    with TlsServer({"": [good]}) as one, TlsServer({"": [bad]}) as two:
        places = f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"
        well = certctl("verify", places[0], home=machine.home)
        ill = certctl("verify", *places, home=machine.home)
        nonsense = certctl("verify", "127.0.0.1:0", home=machine.home)

    assert (well.exit_status, well.stderr) == (0, "")
    assert well.stdout.splitlines()[1].split() == [
        *(places[0], "127.0.0.1", "ok", "6d", "own", "no:", "self-signed")
    ]
    assert ill.exit_status == 1
    assert ill.stderr.splitlines() == [
        f"error: {places[1]}: it is for a.example, not for 127.0.0.1",
        " hint: To list the certificates managed by certctl, run: certctl list",
    ]
    assert nonsense.exit_status == 2


def test_the_document_of_the_command_has_what_was_seen(machine: Machine, tmp_path: Path) -> None:
    with TlsServer({"": [self_signed(tmp_path)]}) as server:
        done = certctl("verify", f"127.0.0.1:{server.port}", "--json", home=machine.home)

    document = done.json()
    (seen,) = document["data"]["verified"]
    assert (document["status"], document["exit_code"], document["errors"]) == ("success", 0, [])
    wanted_keys = ("name", "host", "port", "address", "good", "problem", "names", "trusted")
    assert [seen[key] for key in wanted_keys] == [
        *(None, "127.0.0.1", server.port, "127.0.0.1", True, None, ["127.0.0.1"], False)
    ]
    assert seen["distrust"] == "self-signed certificate"


def test_without_certificates_there_is_nothing_to_verify(tmp_path: Path) -> None:
    on_a_terminal = certctl("verify", home=tmp_path, terminal=True)
    by_cron = certctl("verify", home=tmp_path)

    assert on_a_terminal.stdout == (
        "There are no certificates yet. Obtain one with:\n  certctl issue example.com\n"
    )
    assert (by_cron.exit_status, by_cron.stdout, by_cron.stderr) == (0, "", "")


def first_of(files: Files) -> str:
    end = "-----END CERTIFICATE-----\n"
    return files[0].read_text().partition(end)[0] + end


def self_signed(directory: Path) -> Files:
    """A certificate that is its own root, by other code than ours."""
    files = directory / "own.pem", directory / "own.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "7", "-subj", "/CN=own"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(files[0]), "-keyout", str(files[1])),
        ],
        check=True,
        capture_output=True,
    )
    return files
