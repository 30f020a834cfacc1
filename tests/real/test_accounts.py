"""Accounts from the command line: registered once, changed, bound to a customer, given up."""

import stat
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import EAB_KEYS
from tests.lab.authority import AcmeServer
from tests.lab.pebble import PebbleServer
from tests.real.driver import Host, Running, host
from tests.real.test_webroot import serving

KID, HMAC_KEY = next(iter(EAB_KEYS.items()))


def accounts(here: Host) -> list[Path]:
    """The directories of all accounts of a home."""
    return sorted(here.home.glob("accounts/*/*"))


def key_file(here: Host) -> Path:
    """The key of the only account of a home."""
    (directory,) = accounts(here)
    return directory / "key.pem"


def hmac_file(directory: Path, text: str = HMAC_KEY, mode: int = 0o600) -> Path:
    path = directory / "hmac"
    path.touch(mode=0o600)
    path.write_text(f"{text}\n")
    path.chmod(mode)
    return path


def everything(directory: Path) -> dict[str, str]:
    """The text of every file below a directory, by its name there."""
    return {
        str(path.relative_to(directory)): path.read_text(errors="replace")
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_registering_twice_finds_the_account_again(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)

    first = here.certctl("register", "--email", "twice@accounts.example", "--json")
    second = here.certctl("register", "--json")

    assert (first.exit_status, second.exit_status) == (0, 0)
    assert (first.json()["data"]["created"], second.json()["data"]["created"]) == (True, False)
    made, found = (each.json()["data"]["account"] for each in (first, second))
    assert (made["url"], made["contact"]) == (found["url"], ["mailto:twice@accounts.example"])
    assert len(accounts(here)) == 1


def test_the_terms_are_named_where_nobody_agreed(pebble: PebbleServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = ("--ca", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle))

    for command in (("register",), ("issue", "terms.example")):
        with Running((*command, *arguments), home) as running:
            finished = running.finish()

        assert finished.exit_status == 2
        assert "data:text/plain,Do%20what%20thou%20wilt" in finished.stderr
        assert "--agree-tos" in finished.stderr
    assert not list(home.glob("accounts/*/*/key.pem"))


@pytest.mark.parametrize("key_type", ["es256", "es384", "rs256"])
def test_an_account_has_the_key_asked_for_and_orders_with_it(
    authority: AcmeServer, tmp_path: Path, key_type: str
) -> None:
    here = host(tmp_path, authority)

    registered = here.certctl("register", "--account-key-type", key_type, "--json")
    assert (registered.exit_status, registered.json()["data"]["account"]["key_type"]) == (
        0,
        key_type,
    )
    here.issue(f"{key_type}.example")

    assert stat.S_IMODE(key_file(here).stat().st_mode) == 0o600


def test_processes_that_come_together_make_one_account(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, root = host(tmp_path, pebble), tmp_path / "www"
    root.mkdir()
    before = pebble.request_count()

    with serving(root, pebble.http_port), ExitStack() as stack:
        running = [
            stack.enter_context(here.begin("issue", f"{word}.example", "--webroot", str(root)))
            for word in ("together-one", "together-two", "together-three", "together-four")
        ]
        finished = [each.finish() for each in running]

    assert [(each.exit_status, each.stderr) for each in finished] == [(0, "")] * 4
    assert len(accounts(here)) == 1
    asked = [each.path for each in pebble.requests(since=before)]
    assert asked.count("/sign-me-up") == 1
    # A directory may stay that one process made while another used it; a file may not.
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_show_lists_them_and_asks_the_ca_only_when_told(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.certctl("register")
    before = authority.request_count()

    shown = here.certctl("account", "show", "--json")
    silent = authority.request_count()
    refreshed = here.certctl("account", "show", "--refresh", "--json")

    (account,) = shown.json()["data"]["accounts"]
    assert (account["ca"], account["status"]) == (authority.directory_url, "valid")
    assert silent == before
    assert refreshed.json()["data"]["accounts"] == [account]
    assert authority.request_count() > before
    assert "BEGIN" not in shown.stdout + refreshed.stdout


def test_update_changes_the_contact_at_the_ca(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    here.certctl("register", "--email", "old@update.example")

    finished = here.certctl(
        *("account", "update", "--email", "new@update.example", "--email", "two@update.example")
    )
    refreshed = here.certctl("account", "show", "--refresh", "--json")

    assert (finished.exit_status, finished.stderr) == (0, "")
    (account,) = refreshed.json()["data"]["accounts"]
    assert account["contact"] == ["mailto:new@update.example", "mailto:two@update.example"]


@pytest.mark.parametrize("key_type", ["es256", "rs256"])
def test_a_rolled_key_is_another_one_and_goes_on_ordering(
    authority: AcmeServer, tmp_path: Path, key_type: str
) -> None:
    here = host(tmp_path, authority)
    here.certctl("register")
    before = key_file(here).read_bytes()

    finished = here.certctl("account", "rollover", "--account-key-type", key_type)

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert key_file(here).read_bytes() != before
    here.issue(f"rolled-{key_type}.example")
    (account,) = here.certctl("account", "show", "--json").json()["data"]["accounts"]
    assert account["key_type"] == key_type


def test_a_deactivated_account_is_used_no_more_and_a_new_one_takes_its_place(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.issue("deactivated.example")

    refused = here.certctl("account", "deactivate")
    finished = here.certctl("account", "deactivate", "--yes", "--json")
    shown = here.certctl("account", "show")
    renewed = here.certctl("renew", "--force")

    assert refused.exit_status == 2
    assert (finished.exit_status, finished.json()["data"]["account"]["status"]) == (
        0,
        "deactivated",
    )
    assert "deactivated" in shown.stdout
    # The terms are agreed to in certctl.toml, so that a new account can be made.
    assert renewed.exit_status == 0
    assert (here.version("deactivated.example"), len(accounts(here))) == (2, 2)


def test_an_account_that_the_ca_deactivated_is_said_to_be(
    authority: AcmeServer, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    here, copy = host(tmp_path, authority), host(tmp_path / "copy", authority)
    here.issue("elsewhere.example")
    for path in here.home.glob("accounts/*/*/*"):
        target = copy.home / path.relative_to(here.home)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.touch(mode=0o600)
        target.write_bytes(path.read_bytes())
    assert copy.certctl("account", "deactivate", "--yes").exit_status == 0

    finished = here.certctl("renew", "--force")

    assert finished.exit_status == 1
    assert "deactivated" in finished.stderr
    assert "certctl register" in finished.stderr
    assert here.version("elsewhere.example") == 1
    # Doing what the hint says mends it.
    assert here.certctl("register").exit_status == 0
    assert here.certctl("renew", "--force").exit_status == 0
    shown = here.certctl("account", "show", "--json").json()["data"]["accounts"]
    assert sorted(each["status"] for each in shown) == ["deactivated", "valid"]


# External account binding.


def test_a_binding_by_a_file_is_accepted(pebble_eab: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble_eab)

    finished = here.certctl(
        *("register", "--eab-kid", KID, "--eab-hmac-key-file", str(hmac_file(tmp_path)))
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    here.issue("eab.example")


def test_a_binding_by_the_environment_is_accepted_where_issue_registers(
    pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble_eab)
    variables = {"CERTCTL_EAB_KID": KID, "CERTCTL_EAB_HMAC_KEY": HMAC_KEY}

    finished = here.certctl("issue", "eab-environment.example", variables=variables)

    assert finished.exit_status == 0, finished
    # The account stays bound: cron needs the key no more.
    assert here.certctl("renew", "--force").exit_status == 0


def test_a_binding_that_the_ca_wants_is_asked_for(pebble_eab: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble_eab)

    for command in (("register",), ("issue", "eab-missing.example")):
        finished = here.certctl(*command)

        assert finished.exit_status == 2
        assert "external account binding" in finished.stderr
        assert "--eab-kid KID --eab-hmac-key-file FILE" in finished.stderr
    assert accounts(here) == []


@pytest.mark.parametrize(
    ("kid", "key"), [(KID, "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXk"), ("kid-unknown", HMAC_KEY)]
)
def test_a_binding_that_the_ca_refuses_makes_no_account(
    pebble_eab: PebbleServer, tmp_path: Path, kid: str, key: str
) -> None:
    here = host(tmp_path, pebble_eab)

    finished = here.certctl(
        *("register", "--eab-kid", kid, "--eab-hmac-key-file", str(hmac_file(tmp_path, key)))
    )

    assert finished.exit_status in {1, 2}
    assert "hint: " in finished.stderr
    assert key not in finished.stderr
    assert accounts(here) == []


def test_half_a_binding_names_the_other_half(pebble_eab: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble_eab)

    finished = here.certctl("register", "--eab-kid", KID)

    assert finished.exit_status == 2
    assert "the HMAC key is missing" in finished.stderr


def test_a_binding_that_others_can_read_is_refused(
    pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    here, path = host(tmp_path, pebble_eab), hmac_file(tmp_path, mode=0o640)

    finished = here.certctl("register", "--eab-kid", KID, "--eab-hmac-key-file", str(path))

    assert finished.exit_status == 2
    assert f"chmod 600 {path}" in finished.stderr


def test_no_secret_is_told_to_anybody_or_written_where_it_does_not_belong(
    pebble_eab: PebbleServer, tmp_path: Path
) -> None:
    here, seen = host(tmp_path, pebble_eab), tmp_path / "seen"
    binding = ("--eab-kid", KID, "--eab-hmac-key-file", str(hmac_file(tmp_path)))
    loud = ("--debug", "-vv", "--log-file", str(tmp_path / "log"))
    # What `ps` shows of certctl, and what it hands on to a command.
    hook = f"cat /proc/$PPID/cmdline /proc/self/environ > {seen} 2>&1; env >> {seen}; false"

    finished = [
        here.certctl("register", *binding, *loud, variables={"CERTCTL_EAB_HMAC_KEY": HMAC_KEY}),
        here.certctl("issue", "secrets.example", *loud, "--deploy-hook", hook),
        here.certctl("account", "rollover", *loud),
        here.certctl("account", "show", "--json"),
        here.certctl("show", "secrets.example", "--json"),
    ]

    assert [each.exit_status for each in finished] == [0, 4, 0, 0, 0]
    account_key = key_file(here).read_text().splitlines()[1]
    private_key = here.live("secrets.example", "privkey.pem").read_text().splitlines()[1]
    told = [*(each.stdout + each.stderr for each in finished), (tmp_path / "log").read_text()]
    assert "request: POST " in told[0]
    if sys.platform == "linux":
        told.append(seen.read_text(errors="replace"))
        assert "certctl" in told[-1]
    for secret in (HMAC_KEY, account_key, private_key):
        assert [text for text in told if secret in text] == []
    holding = {
        secret: {name for name, text in everything(here.home).items() if secret in text}
        for secret in (HMAC_KEY, account_key, private_key)
    }
    version = "archive/secrets.example/1"
    # The live directory is the same one, by a link that is not followed here.
    assert holding == {
        HMAC_KEY: set(),
        account_key: {str(key_file(here).relative_to(here.home))},
        private_key: {f"{version}/privkey.pem", f"{version}/combined.pem"},
    }
