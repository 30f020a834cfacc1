"""HTTP-01 by certctl's own server, from the command line to the files, against Pebble."""

import ipaddress
import socket
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.lab.authority import AcmeServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.real.driver import Running, host, is_free, names


def test_a_new_user_needs_one_command(authority: AcmeServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = (
        *("issue", "new-user.example", "--agree-tos", "--email", "admin@new-user.example"),
        *("--ca", authority.directory_url, "--ca-bundle", str(authority.ca_bundle)),
        *("--http-port", str(authority.http_port)),
    )

    with Running(arguments, home) as running:
        finished = running.finish()

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert finished.stdout.startswith("new-user.example: version 1 is live for new-user.example.\n")
    for file in ("fullchain.pem", "privkey.pem", "combined.pem"):
        assert f"{home}/live/new-user.example/{file}\n" in finished.stdout
    assert sorted(path.name for path in (home / "live" / "new-user.example").iterdir()) == [
        "cert.pem",
        "chain.pem",
        "combined.pem",
        "fullchain.pem",
        "issued.json",
        "privkey.pem",
    ]


def test_what_was_given_by_flags_is_remembered_for_renew(
    authority: AcmeServer, tmp_path: Path
) -> None:
    home, name = tmp_path / "home", "remembered.example"
    (tmp_path / "bundle.pem").write_bytes(authority.ca_bundle.read_bytes())
    first = (
        *("issue", name, "--agree-tos", "--ca", authority.directory_url),
        # Relative to where the command starts, which cron does not.
        *("--ca-bundle", "bundle.pem", "--http-port", str(authority.http_port)),
    )
    with Running(first, home, directory=tmp_path) as running:
        assert running.finish().exit_status == 0

    with Running(("renew", "--force"), home, directory=Path("/")) as running:
        finished = running.finish()

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert (home / "live" / name).readlink() == Path(f"../archive/{name}/2")


def test_several_names_are_one_certificate_named_after_the_first(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)

    here.issue("many.example", "www.many.example", "-d", "mail.many.example")

    assert [path.name for path in (here.home / "live").iterdir()] == ["many.example"]
    assert names(here.leaf("many.example")) == [
        "mail.many.example",
        "many.example",
        "www.many.example",
    ]


def test_a_certificate_may_have_a_name_of_its_own(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    here.issue("chosen.example", "--name", "shop")

    assert names(here.leaf("shop")) == ["chosen.example"]


def test_an_internationalised_name_is_asked_for_by_its_a_labels(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)

    here.issue("Bücher.example")

    assert names(here.leaf("xn--bcher-kva.example")) == ["xn--bcher-kva.example"]


def test_an_ipv4_address_stands_beside_a_name(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    here.issue("127.0.0.1", "beside.example")

    extension = here.leaf("127.0.0.1").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert extension.value.get_values_for_type(x509.IPAddress) == [
        ipaddress.IPv4Address("127.0.0.1")
    ]
    assert extension.value.get_values_for_type(x509.DNSName) == ["beside.example"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_validated_over_ipv6(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    here.issue("[::1]")

    name = "0000-0000-0000-0000-0000-0000-0000-0001"
    assert names(here.leaf(name)) == ["::1"]


@pytest.mark.parametrize(
    ("key_type", "curve_or_bits"),
    [
        ("ecdsa-p256", "secp256r1"),
        ("ecdsa-p384", "secp384r1"),
        ("rsa-2048", 2048),
        ("rsa-3072", 3072),
    ],
)
def test_a_key_is_of_the_type_asked_for(
    authority: AcmeServer, tmp_path: Path, key_type: str, curve_or_bits: str | int
) -> None:
    here = host(tmp_path, authority)

    here.issue("key.example", "--key-type", key_type)

    key = here.leaf("key.example").public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    found = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else key.key_size
    assert found == curve_or_bits
    assert here.show("key.example")["key_type"] == key_type


def test_asked_again_with_nothing_due_it_orders_nothing(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.issue("again.example", "www.again.example")
    before = authority.request_count()

    finished = here.certctl("issue", "www.again.example", "again.example")

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert finished.stdout.startswith("again.example: not due until ")
    assert (authority.request_count(), here.version("again.example")) == (before, 1)


def test_the_port_is_free_and_nothing_is_left_behind(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    here.issue("tidy.example", "www.tidy.example")

    assert is_free(authority.http_port)
    assert here.leftovers() == []


def test_it_listens_only_where_it_is_told_to(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    # Somebody else has the port at another address of this machine.
    with socket.create_server(("127.0.0.2", authority.http_port)):
        here.issue("address.example", "--http-address", "127.0.0.1")

    assert here.version("address.example") == 1


def test_a_strict_ca_is_content(challenge_dns: ChallengeTestServer, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    with PebbleServer(
        directory=tmp_path / "ca", dns_server=challenge_dns.dns_address, strict=True
    ) as strict:
        here = host(tmp_path, strict)
        here.issue("strict.example", "www.strict.example")
        renewed = here.certctl("renew", "--force")
        revoked = here.certctl("revoke", "strict.example", "--delete", "--yes")

    assert (renewed.exit_status, revoked.exit_status) == (0, 0)


def test_every_second_nonce_may_be_refused(pebble_bad_nonces: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble_bad_nonces)

    here.issue("nonces.example", "www.nonces.example")
    commands = [
        here.certctl("renew", "--force"),
        here.certctl("account", "update", "--email", "nonces@nonces.example"),
        here.certctl("account", "rollover"),
    ]
    second = here.leaf("nonces.example")
    commands.append(here.certctl("revoke", "nonces.example", "--replace", "--yes"))

    assert [(each.exit_status, each.stderr) for each in commands] == [(0, "")] * 4
    assert here.version("nonces.example") == 3
    assert (here.status(second), here.status(here.leaf("nonces.example"))) == ("Revoked", "Valid")


def test_a_ca_may_take_its_time(pebble_slow: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble_slow)

    here.issue("slow.example", "www.slow.example", "mail.slow.example")

    assert len(names(here.leaf("slow.example"))) == 3
    assert here.leftovers() == []


def test_authorizations_that_are_still_good_are_used_again(
    challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    (tmp_path / "ca").mkdir()
    with PebbleServer(
        directory=tmp_path / "ca", dns_server=challenge_dns.dns_address, authz_reuse=100
    ) as authority:
        here = host(tmp_path, authority)
        here.issue("reused.example", "www.reused.example")
        before = authority.request_count()
        # Nothing can be proved anew: somebody else has the port.
        with socket.create_server(("0.0.0.0", authority.http_port)):
            finished = here.certctl("renew", "--force")
        asked = [request.path for request in authority.requests(since=before)]

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert not [path for path in asked if path.startswith("/chalZ")]


def test_a_wildcard_cannot_be_proved_by_http(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    finished = here.certctl("issue", "*.wild.example")

    assert finished.exit_status == 1
    assert "does not offer http-01 for *.wild.example; it offers dns-01" in finished.stderr
    assert (
        "hint: A wildcard can be validated through DNS only: use --dns PROVIDER." in finished.stderr
    )


def test_a_first_issue_that_fails_leaves_no_certificate_behind(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    with socket.create_server(("0.0.0.0", authority.http_port)):
        assert here.certctl("issue", "failed.example").exit_status == 1

    listed = here.certctl("list", "--json").json()["data"]["certificates"]

    assert (listed, here.leftovers()) == ([], [])
    assert not (here.home / "archive" / "failed.example").exists()
