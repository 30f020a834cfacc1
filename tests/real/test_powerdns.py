"""Lexicon's `powerdns` against a real PowerDNS, and certificates whose names are in two zones of
different servers: one updated by TSIG, one over HTTP.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certctl.dns.loading import create_provider
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, Interrupted
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.system.clock import SystemClock
from tests.lab.bind import BindServer, DnsEndpoint
from tests.lab.pebble import PebbleServer
from tests.lab.ports import free_port
from tests.lab.powerdns import PowerDnsServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.real.driver import Host, host, names

ALIASES = "_acme-challenge.away CNAME away.acme.test.\n_acme-challenge.both CNAME both.acme.test."


@dataclass(frozen=True)
class Zones:
    """`bind.test` at BIND, which is our resolver too, and `acme.test` at PowerDNS. The CA has a
    resolver of its own, which nobody asked for a name before the record stood.
    """

    bind: BindServer
    powerdns: PowerDnsServer
    pebble: PebbleServer


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zones]:
    require("named", "pdns_server", "pebble")
    beside = DnsEndpoint("127.0.0.4", free_port())
    with (
        BindServer(
            directory=tmp_path_factory.mktemp("bind-beside"),
            zones={"bind.test": ALIASES},
            port=beside.port,
            forwards={"acme.test": beside},
        ) as bind,
        PowerDnsServer(
            directory=tmp_path_factory.mktemp("powerdns"),
            zones={"acme.test": {"www": ("A", "127.0.0.1")}},
            host=beside.host,
            port=beside.port,
        ) as powerdns,
        BindServer(
            directory=tmp_path_factory.mktemp("resolver"),
            zones={},
            forwards={"acme.test": beside, "bind.test": bind.endpoint},
        ) as resolver,
        PebbleServer(
            directory=tmp_path_factory.mktemp("pebble-two"), dns_server=resolver.address
        ) as pebble,
    ):
        yield Zones(bind, powerdns, pebble)


def token_file(directory: Path, zones: Zones) -> Path:
    file = directory / "pdns.token"
    file.touch(mode=0o600)
    file.write_text(f"{zones.powerdns.api_key}\n")
    return file


def tables(directory: Path, zones: Zones) -> str:
    return f"""
challenge.dns_resolver = "{zones.bind.address}"

[dns.credentials.lab]
provider = "powerdns"
pdns_server = "{zones.powerdns.api}"
auth_token_file = "{token_file(directory, zones)}"

[dns.credentials.main]
provider = "rfc2136"
server = "{zones.bind.address}"
key_file = "{zones.bind.keyfile}"

[dns.zones]
"bind.test" = "main"
"acme.test" = "lab"
"""


def provider(zones: Zones, key: str | None = None) -> DnsProvider:
    return create_provider(
        "powerdns",
        {
            "dns.powerdns.auth_token": key or zones.powerdns.api_key,
            "dns.powerdns.pdns_server": zones.powerdns.api,
        },
        ProviderSystem(SystemClock(), threading.Event()),
    )


def records(name: str, *values: str) -> list[TxtRecord]:
    return [TxtRecord(f"{name}.acme.test", value, "acme.test", "acme.test") for value in values]


# The provider.


def test_values_are_added_and_only_ours_are_removed(zones: Zones) -> None:
    made = provider(zones)
    ours = records("shared", "one", "two")
    zones.powerdns.add("acme.test", "shared.acme.test", "TXT", '"theirs"')

    made.present(ours)
    assert zones.powerdns.txt("shared.acme.test") == ["one", "theirs", "two"]

    made.cleanup(ours)
    made.cleanup(ours)
    assert zones.powerdns.txt("shared.acme.test") == ["theirs"]


def test_orders_at_the_same_name_at_the_same_time_lose_no_value(zones: Zones) -> None:
    system = ProviderSystem(SystemClock(), threading.Event())
    settings = {
        "dns.powerdns.auth_token": zones.powerdns.api_key,
        "dns.powerdns.pdns_server": zones.powerdns.api,
    }
    values = [f"value-{number}" for number in range(8)]
    threads = [
        threading.Thread(
            target=create_provider("powerdns", settings, system).present,
            args=[records("crowded", value)],
        )
        for value in values
    ]

    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert zones.powerdns.txt("crowded.acme.test") == values
    provider(zones).cleanup(records("crowded", *values))


def test_a_wrong_key_is_named_and_not_shown(zones: Zones) -> None:
    with pytest.raises(ChallengeError) as caught:
        provider(zones, "wrong-key").present(records("wrong", "v"))

    assert caught.value.code == "challenge.dns.credentials"
    assert "401" in caught.value.message
    assert "wrong-key" not in caught.value.message


def test_a_zone_that_the_server_does_not_have_is_an_error(zones: Zones) -> None:
    foreign = TxtRecord("a.other.test", "v", "other.test", "a.other.test")

    with pytest.raises(ChallengeError) as caught:
        provider(zones).present([foreign])

    assert caught.value.code == "challenge.dns.provider"
    assert "could not change other.test: it returned 404" in caught.value.message


def test_a_server_that_never_answers_does_not_keep_an_interrupted_run() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        made = create_provider(
            "powerdns",
            {"dns.powerdns.auth_token": "k", "dns.powerdns.pdns_server": address},
            ProviderSystem(SystemClock(), stop),
        )
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Interrupted, match="powerdns was changing"):
            made.present(records("slow", "v"))


# Certificates.


def test_a_wildcard_and_its_base_are_validated_with_a_lexicon_provider(
    zones: Zones, tmp_path: Path
) -> None:
    here = host(tmp_path, zones.pebble)

    here.issue(
        *("*.lexicon.acme.test", "lexicon.acme.test", "--dns", "powerdns"),
        *("--dns-option", f"pdns_server={zones.powerdns.api}"),
        *("--dns-option", f"auth_token_file={token_file(tmp_path, zones)}"),
        *("--dns-resolver", zones.bind.address),
    )

    assert names(here.leaf("lexicon.acme.test")) == ["*.lexicon.acme.test", "lexicon.acme.test"]
    assert zones.powerdns.txt("_acme-challenge.lexicon.acme.test") == []
    assert here.leftovers() == []


def test_settings_only_in_the_environment_are_warned_about_by_name(
    zones: Zones, tmp_path: Path
) -> None:
    here = host(tmp_path, zones.pebble)

    finished = here.certctl(
        *("issue", "env.acme.test", "--dns", "powerdns", "--dns-resolver", zones.bind.address),
        variables={
            "LEXICON_POWERDNS_AUTH_TOKEN": zones.powerdns.api_key,
            "CERTCTL_POWERDNS_PDNS_SERVER": zones.powerdns.api,
        },
    )

    assert finished.exit_status == 0, finished
    assert "CERTCTL_POWERDNS_PDNS_SERVER, LEXICON_POWERDNS_AUTH_TOKEN came" in finished.stderr
    assert zones.powerdns.api_key not in finished.stderr


def test_one_certificate_has_names_in_zones_of_two_providers_and_renews_without_flags(
    zones: Zones, tmp_path: Path
) -> None:
    here = host(tmp_path, zones.pebble, tables(tmp_path, zones))

    here.issue("at.bind.test", "*.away.bind.test", "here.acme.test", "--dns", "auto")
    issued_at = int(time.time())
    # BIND, which Pebble asks, keeps even a record of TTL 0 until the second is over.
    wait_until(lambda: int(time.time()) > issued_at, "the next second")
    renewed = here.certctl("renew", "at.bind.test", "--force")

    assert (renewed.exit_status, renewed.stderr) == (0, ""), renewed
    assert here.version("at.bind.test") == 2
    assert len(names(here.leaf("at.bind.test"))) == 3
    assert zones.bind.txt("_acme-challenge.at.bind.test") == []
    assert zones.powerdns.txt("away.acme.test") == []
    assert here.leftovers() == []


def test_an_alias_goes_by_its_zone_though_the_certificate_has_credentials_of_its_own(
    zones: Zones, tmp_path: Path
) -> None:
    here = host(tmp_path, zones.pebble, tables(tmp_path, zones))

    here.issue("both.bind.test", "own.bind.test", "--dns-credentials", "main")

    assert len(names(here.leaf("both.bind.test"))) == 2


def test_no_secret_reaches_a_file_an_argument_or_what_is_printed(
    zones: Zones, tmp_path: Path
) -> None:
    here = host(tmp_path, zones.pebble, tables(tmp_path, zones))
    log = tmp_path / "log"

    shown = here.certctl(
        *("issue", "quiet.acme.test", "--dns-credentials", "lab", "--json", "-vv"),
        *("--log-file", str(log)),
    )

    assert shown.exit_status == 0, shown
    secret = zones.powerdns.api_key
    assert secret not in f"{shown.stdout}{shown.stderr}{log.read_text()}"
    texts = [each.read_bytes() for each in here.home.rglob("*") if each.is_file()]
    assert all(secret.encode() not in each for each in texts)


def killed_while_it_waits(here: Host, zones: Zones, name: str) -> str:
    """Kill an issuance once its record stands; return what the journal says."""
    with here.begin("issue", name, "--dns-credentials", "lab") as running:
        wait_until(
            lambda: (
                bool(zones.powerdns.txt(f"_acme-challenge.{name}"))
                and bool(list(here.home.glob("journal/*")))
            ),
            "the record stands",
        )
        running.signal(signal.SIGKILL)
        running.finish()
    return "".join(each.read_text() for each in here.home.glob("journal/*"))


def test_after_a_kill_the_next_run_finds_the_secret_by_the_name_of_the_profile(
    zones: Zones, tmp_path: Path
) -> None:
    # Nobody at 127.0.0.5 says that he has the record, so that the run waits for him.
    zones.powerdns.add("acme.test", "acme.test", "NS", "ns2.acme.test")
    zones.powerdns.add("acme.test", "ns2.acme.test", "A", "127.0.0.5")
    here = host(tmp_path, zones.pebble, tables(tmp_path, zones))
    try:
        journal = killed_while_it_waits(here, zones, "killed.acme.test")
    finally:
        zones.powerdns.remove("acme.test", "ns2.acme.test")

    assert zones.powerdns.api_key not in journal
    assert json.loads(journal)["challenge"]["dns_credentials"] == "lab"

    later = here.certctl("renew")

    assert (later.exit_status, later.stderr) == (0, "")
    assert zones.powerdns.txt("_acme-challenge.killed.acme.test") == []
    assert list(here.home.glob("journal/*")) == []
