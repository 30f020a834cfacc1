"""acme-dns, httpreq and manual: certificates whose records others write, in real zones."""

import json
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certctl.dns.loading import create_provider
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, ConfigurationError
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.system.clock import SystemClock
from tests.lab.bind import BindServer
from tests.lab.clock import SteerableClock
from tests.lab.pebble import PebbleServer
from tests.lab.programs import require
from tests.lab.record_service import RecordService
from tests.real.driver import Host, host, names
from tests.support.command import certctl


@dataclass(frozen=True)
class Place:
    """`site.test` and the zone of acme-dns, `auth.test`, at BIND, and a Pebble that sees them."""

    bind: BindServer
    pebble: PebbleServer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require("named", "pebble")
    with (
        BindServer(
            directory=tmp_path_factory.mktemp("bind-services"),
            zones={"site.test": "", "auth.test": ""},
            grants=("zonesub ANY",),
        ) as bind,
        PebbleServer(
            directory=tmp_path_factory.mktemp("pebble-services"), dns_server=bind.address
        ) as pebble,
    ):
        yield Place(bind, pebble)


@pytest.fixture
def service(place: Place) -> Iterator[RecordService]:
    with RecordService(place.bind, "auth.test") as running:
        yield running


def system(clock: SystemClock | SteerableClock | None = None) -> ProviderSystem:
    return ProviderSystem(clock or SystemClock(), threading.Event())


def make(
    name: str, settings: dict[str, Value], clock: SystemClock | SteerableClock | None = None
) -> DnsProvider:
    return create_provider(
        name, {f"dns.{name}.{key}": value for key, value in settings.items()}, system(clock)
    )


def password_file(directory: Path, service: RecordService) -> Path:
    file = directory / "password"
    file.touch(mode=0o600)
    file.write_text(f"{service.password}\n")
    return file


# httpreq.


@pytest.mark.parametrize("mode", ["default", "raw"])
def test_a_users_service_validates_a_wildcard_and_its_base(
    mode: str, place: Place, service: RecordService, tmp_path: Path
) -> None:
    here = host(tmp_path, place.pebble)

    here.issue(
        *(f"*.{mode}.site.test", f"{mode}.site.test", "--dns", "httpreq"),
        *("--httpreq-endpoint", service.url, "--httpreq-mode", mode),
        *("--httpreq-username", service.user),
        *("--httpreq-password-file", str(password_file(tmp_path, service))),
        *("--dns-resolver", place.bind.address),
    )

    assert names(here.leaf(f"{mode}.site.test")) == [f"*.{mode}.site.test", f"{mode}.site.test"]
    assert [path for path, _ in service.asked] == ["/present", "/present", "/cleanup", "/cleanup"]
    keys = {"fqdn", "value"} if mode == "default" else {"domain", "token", "keyAuth"}
    assert all(set(message) == keys for _, message in service.asked)
    assert place.bind.txt(f"_acme-challenge.{mode}.site.test") == []
    assert here.leftovers() == []


def httpreq(
    service: RecordService,
    password: str | None = None,
    clock: SystemClock | SteerableClock | None = None,
) -> DnsProvider:
    given: dict[str, Value] = {
        "endpoint": service.url,
        "username": service.user,
        "password": password or service.password,
    }
    return make("httpreq", given, clock)


RECORD = TxtRecord("_acme-challenge.a.site.test", "value", "site.test", "a.site.test")


def test_a_wrong_password_is_named_and_not_shown(service: RecordService) -> None:
    with pytest.raises(ChallengeError) as caught:
        httpreq(service, "hunter2").present([RECORD])

    assert caught.value.code == "challenge.dns.credentials"
    assert "it returned 401" in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_a_temporary_refusal_is_retried_after_the_time_that_the_service_states(
    service: RecordService, place: Place
) -> None:
    service.refusals = [(429, "7"), (503, "")]
    clock = SteerableClock()
    began = clock.monotonic()

    httpreq(service, clock=clock).present([RECORD])

    assert len(service.asked) == 3
    assert clock.monotonic() - began == 7 + 5
    assert place.bind.txt(RECORD.name) == ["value"]
    httpreq(service).cleanup([RECORD])


def test_a_retry_after_of_more_than_a_minute_is_left_for_the_next_run(
    service: RecordService,
) -> None:
    service.refusals = [(429, "3600")]

    with pytest.raises(ChallengeError) as caught:
        httpreq(service, clock=SteerableClock()).present([RECORD])

    assert (caught.value.code, len(service.asked)) == ("challenge.dns.rate_limited", 1)


def test_a_service_that_is_down_is_an_error_with_its_address() -> None:
    made = make("httpreq", {"endpoint": "http://127.0.0.1:1"}, SteerableClock())

    with pytest.raises(ChallengeError, match=r"127\.0\.0\.1:1: Connection refused") as caught:
        made.present([RECORD])

    assert caught.value.code == "challenge.dns.unavailable"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("httpreq", {}, "needs the URL"),
        ("httpreq", {"endpoint": "ftp://x"}, "is not an http or https URL"),
        ("httpreq", {"endpoint": "http://u:p@x"}, "contains a password"),
        ("httpreq", {"endpoint": "http://x", "username": "u"}, "the password of u"),
        ("acme-dns", {}, "needs the URL"),
        ("acme-dns", {"url": "http://x"}, "needs a file for its accounts"),
    ],
)
def test_missing_provider_settings_are_reported(
    name: str, settings: dict[str, Value], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(name, settings)


# acme-dns.


def acme_dns_host(directory: Path, place: Place, service: RecordService) -> Host:
    return host(
        directory,
        place.pebble,
        f'challenge.dns_provider = "acme-dns"\nchallenge.dns_resolver = "{place.bind.address}"\n'
        f'[dns.acme-dns]\nurl = "{service.url}"',
    )


def test_a_new_domain_reports_the_cname_it_needs_and_is_issued_once_it_exists(
    place: Place, service: RecordService, tmp_path: Path
) -> None:
    here = acme_dns_host(tmp_path, place, service)
    asked = ("issue", "new.site.test", "*.new.site.test", "--json")

    first = here.certctl(*asked)
    accounts = here.home / "credentials" / "acme-dns.json"
    account = json.loads(accounts.read_text())["new.site.test"]
    service.change(
        "_acme-challenge.new.site.test.", f"{account['fulldomain']}.", add=True, kind="CNAME"
    )
    second = here.certctl(*asked)
    renewed = here.certctl("renew", "new.site.test", "--force")

    (error,) = first.json()["errors"]
    assert error["code"] == "challenge.dns.acme_dns_alias"
    wanted = f"_acme-challenge.new.site.test. CNAME {account['fulldomain']}."
    assert wanted in error["message"]
    assert account["password"] not in first.stdout
    assert stat.S_IMODE(accounts.stat().st_mode) == 0o600
    assert (second.exit_status, renewed.exit_status) == (0, 0), (second, renewed)
    assert names(here.leaf("new.site.test")) == ["*.new.site.test", "new.site.test"]
    assert [path for path, _ in service.asked].count("/register") == 1
    assert here.leftovers() == []


def test_accounts_that_another_client_created_are_used_unchanged(
    place: Place, service: RecordService, tmp_path: Path
) -> None:
    _, made = service.answer("/register", {}, b"")
    account = {key: value for key, value in made.items() if key != "allowfrom"}
    file = tmp_path / "lego.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"a.site.test": {**account, "server_url": service.url}}))
    provider = make("acme-dns", {"url": service.url, "accounts_file": str(file)})
    record = TxtRecord(account["fulldomain"], "v" * 43, "auth.test", "a.site.test")

    provider.present([record])

    assert place.bind.txt(account["fulldomain"]) == ["v" * 43]


def test_a_third_value_at_the_same_time_is_refused_before_one_is_lost(
    place: Place, service: RecordService, tmp_path: Path
) -> None:
    given: dict[str, Value] = {"url": service.url, "accounts_file": str(tmp_path / "accounts")}
    provider = make("acme-dns", given)
    with pytest.raises(ChallengeError, match="CNAME"):
        provider.present([TxtRecord("elsewhere", "v", "site.test", "b.site.test")])
    name = json.loads((tmp_path / "accounts").read_text())["b.site.test"]["fulldomain"]
    first, second, third = (TxtRecord(name, each, "auth.test", "b.site.test") for each in "123")
    provider.present([first, second])

    with pytest.raises(ChallengeError, match="keeps only 2 values"):
        provider.present([third])
    assert place.bind.txt(name) == ["1", "2"]

    provider.cleanup([first])
    provider.present([third])
    assert place.bind.txt(name) == ["2", "3"]


def test_accounts_that_others_can_read_are_refused(service: RecordService, tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    file.write_text("{}")
    file.chmod(0o644)
    provider = make("acme-dns", {"url": service.url, "accounts_file": str(file)})

    with pytest.raises(ConfigurationError, match="accessible to other users"):
        provider.present([TxtRecord("x", "v", "site.test", "c.site.test")])


# manual.


def test_without_a_terminal_nobody_is_waited_for(place: Place, tmp_path: Path) -> None:
    here = host(tmp_path, place.pebble, f'challenge.dns_resolver = "{place.bind.address}"')

    finished = here.certctl("issue", "hand.site.test", "--dns", "manual")

    assert finished.exit_status == 1
    assert "manual needs a terminal" in finished.stderr
    assert not here.live("hand.site.test").exists()


def test_each_record_is_shown_and_confirmed_at_the_terminal(place: Place, tmp_path: Path) -> None:
    here = host(tmp_path, place.pebble, f'challenge.dns_resolver = "{place.bind.address}"')

    # The records are not there, so that the wait for them ends the order; but they were shown.
    shown = certctl(
        *("issue", "hand.site.test", "*.hand.site.test", "--dns", "manual"),
        *("--dns-propagation-timeout", "0"),
        home=here.home,
        stdin="\n\n",
        terminal=True,
    )

    assert shown.exit_status == 1
    assert shown.stderr.count('  _acme-challenge.hand.site.test.  TXT  "') == 4
    assert shown.stderr.count("Press Enter when it is done") == 2
    assert "Add these records" in shown.stderr
    assert "Remove these records" in shown.stderr
    assert list(here.home.glob("journal/*")) == []
