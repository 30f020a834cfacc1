"""`certctl dns`: the providers there are, what each wants, and a test against a real server."""

import json
import signal
import sys
from pathlib import Path

import pytest

from certctl.dns import lexicon
from certctl.dns.loading import options_of, provider_names
from tests.lab.bind import BindServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.real.driver import Host
from tests.support.command import certctl

STEPS = ["find zone", "write", "check", "remove"]


def test_the_list_has_our_own_and_those_of_lexicon(tmp_path: Path) -> None:
    shown = certctl("dns", "list", "--json", home=tmp_path)

    found = {each["name"]: each for each in shown.json()["data"]["providers"]}
    assert found["rfc2136"] == {"name": "rfc2136", "origin": "certctl", "needs": None}
    assert found["cloudflare"] == {"name": "cloudflare", "origin": "lexicon", "needs": None}
    assert found["route53"]["needs"] == f"{sys.executable} -m pip install 'dns-lexicon[route53]'"
    assert shown.json()["data"]["more"] is None
    assert list(found) == sorted(provider_names())


def test_a_search_shows_what_has_the_word_in_its_name(tmp_path: Path) -> None:
    shown = certctl("dns", "list", "--search", "CLOUDF", home=tmp_path)

    assert shown.stdout.split() == ["PROVIDER", "FROM", "NEEDS", "cloudflare", "lexicon"]
    assert "No DNS provider has" in certctl("dns", "list", "--search", "zzz", home=tmp_path).stdout


@pytest.mark.parametrize("name", provider_names())
def test_every_provider_can_be_shown_with_an_example_that_it_takes(
    name: str, tmp_path: Path
) -> None:
    shown = certctl("dns", "show", name, "--json", home=tmp_path)

    provider = shown.json()["data"]["provider"]
    assert [each["name"] for each in provider["options"]] == [
        each.key.rpartition(".")[2] for each in options_of(name)
    ]
    (tmp_path / "certctl.toml").write_text(provider["example"])
    taken = certctl("list", home=tmp_path)
    assert (taken.exit_status, taken.stderr) == (0, "")


def test_every_provider_of_lexicon_declares_its_options_and_no_secret_for_all_to_see() -> None:
    for name in lexicon.names():
        declared = options_of(name)
        assert declared[-1].key.endswith(".ttl")
        assert all(not each.secret or not each.in_file for each in declared)


def test_what_a_provider_wants_is_said_for_people_too(tmp_path: Path) -> None:
    shown = certctl("dns", "show", "cloudflare", home=tmp_path).stdout

    assert "CERTCTL_CLOUDFLARE_AUTH_TOKEN" in shown
    assert 'auth_token_file = "secrets/cloudflare.auth_token"' in shown
    assert "certctl dns test example.com --dns-credentials cloudflare" in shown


def test_a_provider_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    shown = certctl("dns", "show", "cloudflair", home=tmp_path)

    assert shown.exit_status == 2
    assert "Did you mean cloudflare?" in shown.stderr


# The test of a provider.


def home_of(directory: Path, bind: BindServer) -> Host:
    """A home directory whose credentials are those of BIND; no CA is asked for anything."""
    home = directory / "home"
    home.mkdir()
    (home / "certctl.toml").write_text(f"""
challenge.dns_resolver = "{bind.address}"
[dns.credentials.lab]
provider = "rfc2136"
server = "{bind.address}"
key_file = "{bind.keyfile}"
""")
    return Host(home, None)  # type: ignore[arg-type] # no CA is needed


def test_a_dns_test_writes_sees_and_removes_a_record(bind: BindServer, tmp_path: Path) -> None:
    here = home_of(tmp_path, bind)

    shown = certctl(
        *("dns", "test", "trial.example.test", "--dns-credentials", "lab", "--json"),
        home=here.home,
    )

    assert (shown.exit_status, shown.stderr) == (0, "")
    data = shown.json()["data"]
    assert data["name"] == "_acme-challenge.trial.example.test"
    assert (data["zone"], data["credentials"]) == ("example.test", "lab")
    assert data["servers"] == [f"ns1.example.test ({bind.address})"]
    assert [(each["step"], each["done"]) for each in data["steps"]] == [(s, True) for s in STEPS]
    assert bind.txt("_acme-challenge.trial.example.test") == []
    assert here.leftovers() == []


def test_a_dns_test_says_for_people_how_long_each_step_took(
    bind: BindServer, tmp_path: Path
) -> None:
    here = home_of(tmp_path, bind)

    shown = certctl("dns", "test", "told.example.test", "--dns-credentials", "lab", home=here.home)

    lines = shown.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == STEPS
    assert "can be written, resolved and removed" in lines[5]


def test_a_dns_test_that_fails_names_the_step_and_what_to_do(
    bind: BindServer, tmp_path: Path
) -> None:
    here = home_of(tmp_path, bind)

    shown = certctl(
        *("dns", "test", "x.example.test", "--dns", "rfc2136", "--json"),
        *("--rfc2136-server", bind.address),
        home=here.home,
    )

    assert shown.exit_status == 1
    document = shown.json()
    steps = [(each["step"], each["done"]) for each in document["data"]["steps"]]
    assert steps[:2] == [("find zone", True), ("write", False)]
    assert document["errors"][0]["code"] == "challenge.dns.rfc2136"
    assert "refused the update" in document["errors"][0]["message"]


def test_a_dns_test_without_a_provider_says_what_to_type(tmp_path: Path) -> None:
    shown = certctl("dns", "test", "example.com", home=tmp_path)

    assert shown.exit_status == 2
    assert "certctl dns test example.com --dns PROVIDER" in shown.stderr


def test_what_a_killed_dns_test_left_is_removed_by_the_next_run(tmp_path: Path) -> None:
    require("named")
    name = "_acme-challenge.stuck.slow.test"
    (tmp_path / "bind").mkdir()
    # Its second server never answers, so that the test waits for it.
    with BindServer(
        directory=tmp_path / "bind", zones={"slow.test": ""}, secondary_host="127.0.0.9"
    ) as bind:
        here = home_of(tmp_path, bind)
        with here.begin("dns", "test", "stuck.slow.test", "--dns-credentials", "lab") as running:
            wait_until(lambda: bool(bind.txt(name)), "the record stands")
            running.signal(signal.SIGKILL)
            running.finish()
        (file,) = here.home.glob("journal/*")
        entry = json.loads(file.read_text())
        later = here.certctl("renew")

        assert entry["challenge"]["dns_credentials"] == "lab"
        assert (later.exit_status, later.stderr) == (0, "")
        assert bind.txt(name) == []
        assert list(here.home.glob("journal/*")) == []
