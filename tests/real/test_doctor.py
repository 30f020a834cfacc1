"""`doctor` with real parts: names, CAA and TXT records in BIND, accounts and clocks of real CAs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.authority import AcmeServer
from tests.lab.bind import BindServer
from tests.lab.devca import DevCaServer
from tests.lab.http import get_json
from tests.lab.nginx import nginx
from tests.lab.programs import require
from tests.lab.sites import made_up_site
from tests.support.command import Finished, certctl

NOWHERE = "127.0.0.9"
"""Where no DNS server listens."""


def records(identity: str) -> str:
    """Names that a CA of this identity may issue for, and names that it may not."""
    return f"""
@ CAA 0 issue "other.example"
allowed A 127.0.0.1
allowed CAA 0 issue "{identity}"
deep.down.allowed A 127.0.0.1
wild A 127.0.0.1
wild CAA 0 issue "{identity}"
wild CAA 0 issuewild ";"
account A 127.0.0.1
account CAA 0 issue "{identity}; accounturi=https://other.example/1"
method A 127.0.0.1
method CAA 0 issue "{identity}; validationmethods=dns-01"
critical A 127.0.0.1
critical CAA 0 issue "{identity}"
critical CAA 128 unheard "x"
alias CNAME pointed.doctor-elsewhere.test.
gone CNAME below.nowhere.x.doctor-elsewhere.test.
empty CAA 0 issue "{identity}"
dead NS ns.dead
ns.dead A {NOWHERE}
"""


@pytest.fixture(scope="module")
def zones(devca: DevCaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BindServer]:
    """BIND with those names, whose key may change TXT records in the first zone only."""
    require("named")
    directory = get_json(devca.directory_url, ca_bundle=devca.ca_bundle)
    (identity,) = directory["meta"]["caaIdentities"]
    elsewhere = 'pointed A 127.0.0.1\npointed CAA 0 issue "third.example"\nnowhere.x TXT "x"\n'
    with BindServer(
        directory=tmp_path_factory.mktemp("doctor-bind"),
        zones={"doctor.test": records(identity), "doctor-elsewhere.test": elsewhere},
        grants=("subdomain doctor.test TXT",),
    ) as server:
        yield server


def doctor(
    home: Path, ca: AcmeServer, bind: BindServer, *arguments: str, write: bool = False
) -> tuple[Finished, dict[str, Any]]:
    """Run the command; what came of it, and each finding by its code."""
    done = certctl(
        *("doctor", *arguments, "--json", "--write" if write else "--no-write"),
        *("--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
        *("--dns-resolver", bind.address),
        home=home,
    )
    found = done.json()["data"]["findings"]
    return done, {each["code"]: each for each in found}


def in_the_way(found: dict[str, Any]) -> list[str]:
    return [code for code, each in found.items() if each["severity"] != "info"]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("allowed.doctor.test", []),
        ("deep.down.allowed.doctor.test", []),
        ("wild.doctor.test", []),
        ("anything.doctor.test", ["caa.forbidden"]),
        ("account.doctor.test", ["caa.account"]),
        ("method.doctor.test", ["caa.method"]),
        ("critical.doctor.test", ["caa.critical"]),
        ("alias.doctor.test", ["caa.forbidden"]),
        ("empty.doctor.test", ["dns.no_address"]),
        ("gone.doctor.test", ["caa.forbidden", "dns.nxdomain"]),
        ("dead.doctor.test", ["caa.lookup", "dns.lookup"]),
    ],
)
def test_names_and_caa_are_judged_as_a_resolver_shows_them(
    devca: DevCaServer, zones: BindServer, tmp_path: Path, name: str, codes: list[str]
) -> None:
    _, found = doctor(tmp_path, devca, zones, name)

    assert in_the_way(found) == codes


def test_an_alias_is_followed_to_where_its_records_stand(
    devca: DevCaServer, zones: BindServer, tmp_path: Path
) -> None:
    _, found = doctor(tmp_path, devca, zones, "alias.doctor.test")

    assert found["dns.addresses"]["message"] == (
        "an alias of pointed.doctor-elsewhere.test, it resolves to 127.0.0.1"
    )
    assert found["caa.forbidden"]["message"].startswith(
        "the CAA records of pointed.doctor-elsewhere.test permit third.example to issue, not "
    )


def test_a_txt_record_is_written_seen_everywhere_and_taken_away(
    devca: DevCaServer, zones: BindServer, tmp_path: Path
) -> None:
    names = "*.allowed.doctor.test", "wild.doctor.test"
    asked = devca.request_count()

    done, found = doctor(tmp_path, devca, zones, *names, *through(zones), write=True)

    assert (done.exit_status, in_the_way(found)) == (0, [])
    for name in ("allowed", "wild"):
        assert zones.txt(f"_acme-challenge.{name}.doctor.test") == []
        assert f"_acme-challenge.{name}.doctor.test" in zones.output()
    assert [each.path for each in devca.requests(asked)] == ["directory"]
    assert list(tmp_path.glob("journal/*")) == []


def test_a_record_that_may_not_be_written_is_told(
    devca: DevCaServer, zones: BindServer, tmp_path: Path
) -> None:
    name = "pointed.doctor-elsewhere.test"

    done, found = doctor(tmp_path, devca, zones, name, *through(zones), write=True)

    assert done.exit_status == 1
    assert found["dns.write"]["subject"] == name
    assert "REFUSED" in found["dns.write"]["message"]


def test_a_server_that_never_gets_the_record_is_named(devca: DevCaServer, tmp_path: Path) -> None:
    require("named")
    (tmp_path / "bind").mkdir()
    with (
        BindServer(
            directory=tmp_path / "bind", zones={"lag.test": ""}, secondary_host="127.0.0.6"
        ) as bind,
        bind.secondary(made(tmp_path / "second")),
    ):
        arguments = ("a.lag.test", *through(bind), "--dns-propagation-timeout", "1")
        _, found = doctor(tmp_path / "home", devca, bind, *arguments, write=True)
        left = bind.txt("_acme-challenge.a.lag.test")

    assert found["dns.propagation"]["severity"] == "error"
    assert "127.0.0.6" in found["dns.propagation"]["message"]
    assert left == []


def test_an_account_that_a_real_ca_has_deactivated_is_told(
    authority: AcmeServer, zones: BindServer, tmp_path: Path
) -> None:
    arguments = ("--ca", authority.directory_url, "--ca-bundle", str(authority.ca_bundle))
    registered = certctl("register", "--agree-tos", *arguments, home=tmp_path)
    _, before = doctor(tmp_path, authority, zones, "allowed.doctor.test")
    (account,) = tmp_path.glob("accounts/*/*/account.json")
    kept = account.read_bytes()
    gone = certctl("account", "deactivate", "--yes", *arguments[:2], home=tmp_path)
    # a home from a backup, which does not know yet
    account.write_bytes(kept)
    _, after = doctor(tmp_path, authority, zones, "allowed.doctor.test")

    assert (registered.exit_status, gone.exit_status) == (0, 0)
    assert not {"ca.account", "ca.no_account", "clock.skew", "ca.terms"} & set(before)
    assert after["ca.account"]["severity"] == "error"


def test_a_target_with_a_bad_configuration_and_an_impossible_copy_are_reported(
    devca: DevCaServer, zones: BindServer, tmp_path: Path
) -> None:
    require("nginx")
    directory = tmp_path / "nginx"
    site = made_up_site(tmp_path / "site", "allowed.doctor.test")
    deploy = ("--deploy", "nginx", "--nginx-config", str(directory / "nginx.conf"))
    with nginx(directory, [site], backend_port=9) as front:
        _, good = doctor(tmp_path / "home", devca, zones, site.name, *deploy)
        front.spoil()
        _, bad = doctor(tmp_path / "home", devca, zones, site.name, *deploy)
    no_program = (*deploy, "--nginx-binary", str(tmp_path / "none"))
    _, absent = doctor(tmp_path / "home", devca, zones, site.name, *no_program)
    copy = ("--copy", f"fullchain:{tmp_path}/none/here.pem")
    _, lost = doctor(tmp_path / "home", devca, zones, site.name, *copy)

    assert in_the_way(good) == []
    assert (in_the_way(bad), bad["deploy.test"]["subject"]) == (["deploy.test"], "nginx")
    assert in_the_way(absent) == ["deploy.target"]
    assert (in_the_way(lost), lost["deploy.copy"]["fix"]) == (
        ["deploy.copy"],
        f"Create it: mkdir -p {tmp_path}/none",
    )
    assert not (tmp_path / "home").exists()


def through(bind: BindServer) -> tuple[str, ...]:
    """The options that have records written by signed updates."""
    return (
        *("--dns", "rfc2136", "--rfc2136-server", bind.address),
        *("--rfc2136-key-file", str(bind.keyfile)),
    )


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory
