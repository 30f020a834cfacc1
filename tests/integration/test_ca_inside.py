"""`--ca dev`: the whole life of a certificate with the CA inside certctl's own process."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography import x509

from tests.support.command import Finished, certctl, certctl_process


def issue(home: Path, *arguments: str) -> Finished:
    finished = certctl("issue", *arguments, "--ca", "dev", home=home)
    assert finished.exit_status == 0, finished.stderr
    return finished


def names_of(home: Path, name: str) -> list[str]:
    pem = (home / "live" / name / "cert.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(each.value) for each in found)


def root_of(home: Path) -> x509.Certificate:
    shown = certctl("dev-ca", "root", home=home)
    return x509.load_pem_x509_certificate(shown.stdout.encode())


def test_a_name_that_does_not_resolve_gets_files_without_a_question(tmp_path: Path) -> None:
    issue(tmp_path, "shop.example", "www.shop.example")

    assert names_of(tmp_path, "shop.example") == ["shop.example", "www.shop.example"]
    assert (tmp_path / "live" / "shop.example" / "privkey.pem").stat().st_mode & 0o777 == 0o600


def test_a_wildcard_needs_no_dns_of_anybody(tmp_path: Path) -> None:
    issue(tmp_path, "*.shop.example", "shop.example")

    assert names_of(tmp_path, "shop.example") == ["*.shop.example", "shop.example"]


def test_an_address_can_have_one_too(tmp_path: Path) -> None:
    issue(tmp_path, "192.0.2.7")

    assert names_of(tmp_path, "192.0.2.7") == ["192.0.2.7"]


def test_names_wildcards_and_addresses_fit_into_one_certificate(tmp_path: Path) -> None:
    names = ["localhost", "myhost", "*.shop.example", "127.0.0.1", "::1"]

    issue(tmp_path, *names)
    renewed = certctl("renew", "--force", home=tmp_path)

    assert names_of(tmp_path, "localhost") == sorted(names)
    assert renewed.exit_status == 0, renewed.stderr
    assert list((tmp_path / "journal").iterdir()) == []


def test_many_such_certificates_are_renewed_side_by_side(tmp_path: Path) -> None:
    for number in range(4):
        issue(tmp_path, f"*.{number}.example", f"192.0.2.{number}")
    issue(tmp_path, "plain.example")

    renewed = certctl("renew", "--force", home=tmp_path)

    assert (renewed.exit_status, renewed.stderr) == (0, "")


def test_what_was_issued_leads_to_the_root_that_is_printed(tmp_path: Path) -> None:
    issue(tmp_path, "shop.example")

    chain = x509.load_pem_x509_certificates(
        (tmp_path / "live" / "shop.example" / "fullchain.pem").read_bytes()
    )
    leaf, intermediate = chain
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root_of(tmp_path))


def test_the_account_and_the_root_are_found_again_by_the_next_run(tmp_path: Path) -> None:
    issue(tmp_path, "one.example")
    first = root_of(tmp_path)

    issue(tmp_path, "two.example")

    accounts = certctl("account", "show", "--json", home=tmp_path).json()["data"]["accounts"]
    assert [each["ca"] for each in accounts] == ["dev"]
    assert root_of(tmp_path) == first


def test_it_renews_and_revokes_without_a_flag(tmp_path: Path) -> None:
    issue(tmp_path, "shop.example")

    renewed = certctl("renew", "--force", home=tmp_path)
    replaced = certctl("revoke", "shop.example", "--replace", "--yes", home=tmp_path)

    assert (renewed.exit_status, replaced.exit_status) == (0, 0)
    assert (tmp_path / "live" / "shop.example").readlink().name == "3"
    assert "was revoked; its replacement is live" in replaced.stdout


def test_the_list_marks_it_as_nothing_for_the_public(tmp_path: Path) -> None:
    issue(tmp_path, "shop.example")

    (row,) = certctl("list", "--json", home=tmp_path).json()["data"]["certificates"]

    assert (row["ca"], row["public"], row["state"]) == ("dev", False, "valid")
    assert "dev (private)" in certctl("list", home=tmp_path).stdout


def test_processes_that_come_together_take_turns(tmp_path: Path) -> None:
    names = [f"host{number}.example" for number in range(3)]

    with ThreadPoolExecutor(len(names)) as pool:
        finished = list(
            pool.map(
                lambda name: certctl_process("issue", name, "--ca", "dev", home=tmp_path), names
            )
        )

    assert [each.exit_status for each in finished] == [0, 0, 0], [each.stderr for each in finished]
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == names


def test_where_its_port_is_taken_what_was_stored_still_leads_to_it(tmp_path: Path) -> None:
    issue(tmp_path, "one.example")
    port = int((tmp_path / "dev-ca" / "port").read_text())
    accounts = list((tmp_path / "accounts").rglob("account.json"))

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        renewed = certctl("renew", "--force", home=tmp_path)
        shown = certctl("account", "show", "--refresh", home=tmp_path)
        revoked = certctl("revoke", "one.example", "--stop", "--yes", home=tmp_path)

    assert [each.exit_status for each in (renewed, shown, revoked)] == [0, 0, 0], renewed.stderr
    assert list((tmp_path / "accounts").rglob("account.json")) == accounts
