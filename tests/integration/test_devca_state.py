"""The development CA over restarts: what it keeps, who may run it, and certctl against it."""

import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certctl.devca.endpoint import DIRECTORY, dev_endpoint
from certctl.devca.server import DevCa
from certctl.devca.settings import DevCaSettings, load_profiles
from certctl.model.ca import Endpoint
from certctl.model.errors import ConfigurationError, LockHeld
from tests.integration.devca_client import RawClient, csr
from tests.lab.ports import free_port
from tests.support.command import certctl_process


def test_accounts_orders_and_certificates_outlive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with DevCa(state) as ca:
        client = RawClient(ca)
        client.register()
        done = client.issue("a.example")
        certificate = client.certificate(done)
        pending = client.order("b.example")

    with DevCa(state) as again:
        client.ca = again
        client.prove(pending)
        finished = client.finalize(pending, csr(["b.example"]))

        assert client.certificate(done) == certificate
        assert finished.json["status"] == "valid"
        assert client.register().status == 200


def test_the_port_and_the_root_stay_the_same(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        with DevCa(tmp_path / "state") as ca:
            seen.add((ca.directory_url, ca.root_pem, ca.tls_ca_bundle.read_bytes()))

    assert len(seen) == 1


def test_where_its_port_is_taken_another_one_does_and_urls_are_known_by_their_paths(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    with DevCa(state) as ca:
        client = RawClient(ca)
        client.register()
        order = client.order("a.example")
        # two on one directory is what the lock of `dev_endpoint` is for; here it takes the port
        with DevCa(state) as other:
            moved = order.headers["Location"].replace(f":{ca.port}/", f":{other.port}/")
            client.ca = other

            assert other.port != ca.port
            assert client.post(moved).json["status"] == "pending"
    with DevCa(state) as back:
        assert back.port == ca.port


def test_its_keys_and_records_are_not_readable_by_others(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with DevCa(state) as ca:
        RawClient(ca).register()
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}

    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    shared = {name for name, mode in files.items() if mode & 0o077}
    assert shared == {"root.pem", "root-rsa.pem", "ec.pem", "rsa.pem"}


def test_without_a_directory_nothing_is_left(tmp_path: Path) -> None:
    with DevCa(None) as ca:
        bundle = ca.tls_ca_bundle
        assert bundle.exists()

    assert not bundle.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_validation_that_was_cut_off_is_taken_up_again(tmp_path: Path) -> None:
    settings = DevCaSettings(validation_seconds=3600)
    with DevCa(tmp_path / "state", settings=settings) as ca:
        client = RawClient(ca)
        client.register()
        (url,) = client.order("a.example").json["authorizations"]
        client.post(client.post(url).json["challenges"][0]["url"], {})

    with DevCa(tmp_path / "state", settings=DevCaSettings(http_port=free_port())) as again:
        client.ca = again
        assert client.settled(url)["status"] == "invalid"


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with DevCa(state):
        pass
    (state / "root.key").write_text("nonsense")

    with (
        pytest.raises(ConfigurationError, match=r"root\.key is not a valid private key"),
        DevCa(state),
    ):
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with DevCa(None) as ca:
        taken = ca.port
        with (
            pytest.raises(ConfigurationError, match=f"port {taken}"),
            DevCa(tmp_path / "state", listen=("127.0.0.1", taken)),
        ):
            pass


def test_custom_profiles_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text('[canary]\nlifetime = "10m"\nmax_names = 2\nidentifier_types = ["dns"]\n')
    settings = DevCaSettings(profiles=load_profiles(file))
    settings.default_profile = "canary"
    with DevCa(None, settings=settings) as ca:
        client = RawClient(ca)
        client.register()
        leaf = client.certificate(client.issue("a.example"))
        too_many = client.order("a.example", "b.example", "c.example")

    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=10)
    assert too_many.problem == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        "lifetime = '10m'",
        "[a]",
        "[a]\nlifetime = 'soon'",
        "[a]\nlifetime = '1d'\nnosuch = 1",
        "[a]\nlifetime = '1d'\nidentifier_types = ['email']",
        "[",
    ],
)
def test_a_file_of_profiles_that_cannot_be_meant_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=str(file)):
        load_profiles(file)


# The endpoint.


def test_one_process_at_a_time_runs_the_ca_of_a_home(tmp_path: Path) -> None:
    with (
        dev_endpoint(tmp_path),
        pytest.raises(LockHeld, match="development CA"),
        dev_endpoint(tmp_path, timeout=0),
    ):
        pass


def test_the_next_one_waits_for_its_turn(tmp_path: Path) -> None:
    seen: list[Endpoint] = []

    def second() -> None:
        with dev_endpoint(tmp_path) as endpoint:
            seen.append(endpoint)

    with dev_endpoint(tmp_path) as first:
        thread = threading.Thread(target=second)
        thread.start()
        assert seen == []
    thread.join()

    assert [each.directory_url for each in seen] == [first.directory_url]
    assert [each.dns for each in seen] == [first.dns]


def issue(home: Path, endpoint: Endpoint, *arguments: str) -> None:
    """Issue with certctl, as a process."""
    finished = certctl_process(
        *("issue", *arguments, "--ca", endpoint.directory_url, "--agree-tos"),
        *("--ca-bundle", str(endpoint.ca_bundle)),
        home=home,
    )
    assert (finished.exit_status, finished.stderr) == (0, ""), finished


def leaf(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "live" / name / "cert.pem").read_bytes())


def test_certctl_issues_renews_and_revokes_by_http(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with dev_endpoint(tmp_path) as endpoint:
        http = ("--http-address", "127.0.0.1", "--http-port", str(endpoint.http_port))
        issue(home, endpoint, "a.example", "192.0.2.1", *http)
        first = leaf(home, "a.example").serial_number
        idle = certctl_process("renew", home=home)
        forced = certctl_process("renew", "--force", home=home)
        second = leaf(home, "a.example").serial_number
        revoked = certctl_process("revoke", "a.example", "--stop", "--yes", home=home)

    assert (idle.exit_status, idle.stdout) == (0, "")
    assert [forced.exit_status, revoked.exit_status] == [0, 0]
    assert first != second


def test_certctl_takes_a_wildcard_by_updates_of_the_built_in_zone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with dev_endpoint(tmp_path) as endpoint:
        dns = str(endpoint.dns)
        update = ("--dns", "rfc2136", "--rfc2136-server", dns, "--dns-resolver", dns)
        issue(home, endpoint, "*.a.example", "a.example", *update)
    with dev_endpoint(tmp_path):
        renewed = certctl_process("renew", "--force", home=home)

    assert renewed.exit_status == 0, renewed
    names = leaf(home, "a.example").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["*.a.example", "a.example"]
    assert (tmp_path / DIRECTORY / "dns-port").exists()
