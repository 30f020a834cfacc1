"""dns-account-01 and dns-persist-01 from the command line: signed updates to BIND, and the
development CA that asks BIND by code of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bind import BindServer
from tests.lab.devca import DevCaServer
from tests.lab.programs import require
from tests.real.driver import Host, host, names


@pytest.fixture(scope="module")
def account_ca(bind: BindServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """A CA that offers dns-account-01 and nothing else."""
    with DevCaServer(
        directory=tmp_path_factory.mktemp("account-ca"),
        dns_server=bind.address,
        arguments=("--challenge", "dns-account-01"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def dns_ca(bind: BindServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCaServer]:
    """A CA that offers dns-01 and nothing else."""
    require("named")
    with DevCaServer(
        directory=tmp_path_factory.mktemp("dns-ca"),
        dns_server=bind.address,
        arguments=("--challenge", "dns-01"),
    ) as server:
        yield server


@pytest.fixture(scope="module", params=["01", "02"])
def persist_ca(
    request: pytest.FixtureRequest, bind: BindServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevCaServer]:
    """A CA that offers dns-persist-01 and nothing else, in the form of each draft."""
    require("named")
    with DevCaServer(
        directory=tmp_path_factory.mktemp("persist-ca"),
        dns_server=bind.address,
        arguments=("--challenge", "dns-persist-01", "--dns-persist", request.param),
    ) as server:
        yield server


def bind_host(directory: Path, ca: DevCaServer, bind: BindServer) -> Host:
    """A host whose certctl.toml says how this DNS is updated."""
    return host(
        directory,
        ca,
        f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{bind.address}"\n'
        f'dns.rfc2136.server = "{bind.address}"\ndns.rfc2136.key_file = "{bind.keyfile}"',
    )


def test_where_the_ca_offers_dns_account_01_only_it_is_used(
    account_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, account_ca, bind)

    here.issue("*.account.example.test", "account.example.test")

    assert names(here.leaf("account.example.test")) == [
        "*.account.example.test",
        "account.example.test",
    ]
    assert here.leftovers() == []


def test_it_can_be_required_and_renewals_use_it_again(
    account_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, account_ca, bind)
    here.given("insisted.example.test", "--dns-challenge", "dns-account-01")

    renewed = here.certctl("renew", "--force", "insisted.example.test")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert here.version("insisted.example.test") == 2
    assert (
        "DNS-ACCOUNT-01, provider rfc2136" in here.certctl("show", "insisted.example.test").stdout
    )


def test_a_required_challenge_type_that_is_not_offered_is_reported(
    dns_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, dns_ca, bind)

    finished = here.certctl(
        "issue", "refused.example.test", "--dns-challenge", "dns-account-01", "--json"
    )

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (1, "challenge.not_offered")
    assert error["message"] == (
        "the CA does not offer dns-account-01 for refused.example.test; it offers dns-01"
    )


# dns-persist-01.


def persist_host(directory: Path, ca: DevCaServer, bind: BindServer) -> Host:
    return host(directory, ca, f'challenge.dns_resolver = "{bind.address}"')


def writing(bind: BindServer) -> tuple[str, ...]:
    """The options by which BIND is updated."""
    return (
        *("--dns", "rfc2136", "--rfc2136-server", bind.address),
        *("--rfc2136-key-file", str(bind.keyfile)),
    )


def serial(bind: BindServer) -> str:
    (soa,) = bind.records("example.test", "SOA")
    return soa.split()[2]


def fresh(label: str, ca: DevCaServer) -> str:
    """A name for each of the CAs, since records stay."""
    return f"{label}-{ca.port}.example.test"


def test_a_provider_writes_the_record_once_and_renewals_change_nothing(
    persist_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here, name = persist_host(tmp_path, persist_ca, bind), fresh("once", persist_ca)

    made = here.certctl("dns", "persist", name, f"*.{name}", *writing(bind))
    after = serial(bind)
    renewed = here.certctl("renew", "--force")

    assert (made.exit_status, made.stderr) == (0, ""), made
    assert "written; every authoritative server has the record" in made.stdout
    (record,) = bind.txt(f"_validation-persist.{name}")
    assert record.startswith("dev-ca.certctl.invalid; accounturi=https://")
    assert record.endswith("; policy=wildcard")
    assert names(here.leaf(name)) == [f"*.{name}", name]
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert here.version(name) == 2
    assert serial(bind) == after
    spec = (here.home / "certificates" / f"{name}.toml").read_text()
    assert 'method = "dns-persist"' in spec
    assert "rfc2136" not in spec
    assert here.leftovers() == []


def test_without_a_provider_the_record_is_printed_and_the_command_continues_once_it_exists(
    persist_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here, name = persist_host(tmp_path, persist_ca, bind), fresh("printed", persist_ca)

    printed = here.certctl("dns", "persist", name, "--json")
    (wanted,) = printed.json()["data"]["records"]
    (error,) = printed.json()["errors"]
    bind.add_txt(wanted["name"], wanted["value"])
    done = here.certctl("dns", "persist", name)

    assert (printed.exit_status, error["code"]) == (1, "challenge.dns.persist")
    assert wanted["name"] == f"_validation-persist.{name}"
    assert (wanted["type"], wanted["state"]) == ("TXT", "missing")
    assert (done.exit_status, done.stderr) == (0, "")
    assert f"{name}: every authoritative server has the record\n" in done.stdout
    assert f'_validation-persist.{name}. 3600 IN TXT "{wanted["value"]}"' in done.stdout
    assert names(here.leaf(name)) == [name]


def test_only_the_record_is_written_and_issue_finds_it(
    persist_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here, name = persist_host(tmp_path, persist_ca, bind), fresh("alone", persist_ca)

    made = here.certctl("dns", "persist", name, "--record-only", "--until", "400d", *writing(bind))
    here.issue(name, "--dns-persist")

    assert (made.exit_status, made.stderr) == (0, "")
    (record,) = bind.txt(f"_validation-persist.{name}")
    assert "; persistUntil=" in record
    assert "DNS-PERSIST-01" in here.certctl("show", name).stdout


def test_no_validation_is_attempted_without_a_record(
    persist_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here, name = persist_host(tmp_path, persist_ca, bind), fresh("absent", persist_ca)
    before = persist_ca.request_count()

    finished = here.certctl("issue", name, "--dns-persist", "--json")

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (1, "challenge.dns.persist")
    place = f"_validation-persist.{name}"
    assert f"no valid dns-persist-01 record for {name} at {place}: " in error["message"]
    assert "has no such record" in error["message"]
    assert f"certctl dns persist {name} --dns PROVIDER" in error["hint"]
    assert "challenge" not in [each.path for each in persist_ca.requests(before)]


@pytest.mark.parametrize(
    ("wildcard", "change", "why"),
    [
        (False, ("accounturi=", "accounturi=x"), "it names another account"),
        (False, ("; accounturi", "; persistUntil=1000; accounturi"), "its persistUntil has passed"),
        (True, ("; policy=wildcard", ""), "it lacks policy=wildcard"),
    ],
)
def test_an_invalid_record_is_shown_with_the_reason(
    persist_ca: DevCaServer,
    bind: BindServer,
    tmp_path: Path,
    wildcard: bool,
    change: tuple[str, str],
    why: str,
) -> None:
    here = persist_host(tmp_path, persist_ca, bind)
    name = fresh(f"flawed-{len(why)}", persist_ca)
    asked = f"*.{name}" if wildcard else name
    printed = here.certctl("dns", "persist", asked, "--record-only", "--json")
    (wanted,) = printed.json()["data"]["records"]
    bind.add_txt(wanted["name"], wanted["value"].replace(*change))

    finished = here.certctl("issue", asked, "--dns-persist")

    assert finished.exit_status == 1
    assert why in finished.stderr


def test_a_lagging_server_is_waited_for_and_then_reported(
    persist_ca: DevCaServer, tmp_path: Path
) -> None:
    (tmp_path / "primary").mkdir()
    (tmp_path / "secondary").mkdir()
    primary = BindServer(
        directory=tmp_path / "primary", zones={"lagging.test": ""}, secondary_host="127.0.0.2"
    )
    with primary, primary.secondary(tmp_path / "secondary"):
        here = persist_host(tmp_path, persist_ca, primary)
        printed = here.certctl("dns", "persist", "lagging.test", "--record-only", "--json")
        (wanted,) = printed.json()["data"]["records"]
        primary.add_txt(wanted["name"], wanted["value"])

        finished = here.certctl(
            "issue", "lagging.test", "--dns-persist", "--dns-propagation-timeout", "1"
        )

    assert finished.exit_status == 1
    assert "ns2.lagging.test (127.0.0.2" in finished.stderr
    assert "ns1.lagging.test" not in finished.stderr.partition("it should be")[0]


def test_after_a_new_account_key_the_hash_is_another_one(
    persist_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here, name = persist_host(tmp_path, persist_ca, bind), fresh("rolled", persist_ca)
    assert here.certctl("dns", "persist", name, *writing(bind)).exit_status == 0
    rolled = here.certctl("account", "rollover")

    renewed = here.certctl("renew", "--force")

    hashed = "/account-hash/" in bind.txt(f"_validation-persist.{name}")[0]
    assert rolled.exit_status == 0
    assert (f"contain a hash of the old account key: {name}." in rolled.stderr) == hashed
    assert renewed.exit_status == (1 if hashed else 0)
    assert ("it names another account" in renewed.stderr) == hashed


def test_a_ca_that_does_not_offer_it_is_named(
    dns_ca: DevCaServer, bind: BindServer, tmp_path: Path
) -> None:
    here = persist_host(tmp_path, dns_ca, bind)

    finished = here.certctl("dns", "persist", "unoffered.example.test", "--json")

    (error,) = finished.json()["errors"]
    assert (finished.exit_status, error["code"]) == (1, "challenge.not_offered")
    assert "does not offer dns-persist-01 for unoffered.example.test" in error["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("192.0.2.7",), "an IP address cannot be validated by DNS"),
        (("a.example.test", "--until", "soon"), "'soon' is not a date or a duration"),
        (("a.example.test", "--until", "2001-01-01"), "the expiry of the record is in the past"),
    ],
)
def test_invalid_arguments_are_refused(
    persist_ca: DevCaServer,
    bind: BindServer,
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    here = persist_host(tmp_path, persist_ca, bind)

    finished = here.certctl("dns", "persist", *arguments)

    assert finished.exit_status == 2
    assert said in finished.stderr
