"""DNS-01 from the command line: signed updates to BIND, and commands of a user's own."""

import sys
import threading
from pathlib import Path

import pytest

from tests.lab.bind import BindServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.programs import program, require
from tests.lab.scripted_dns import ScriptedDns
from tests.real.driver import Host, host, names, script


def bind_host(directory: Path, pebble: PebbleServer, bind: BindServer) -> Host:
    """A host whose certctl.toml says how this DNS is updated."""
    return host(
        directory,
        pebble,
        f'challenge.dns_provider = "rfc2136"\nchallenge.dns_resolver = "{bind.address}"\n'
        f'dns.rfc2136.server = "{bind.address}"\ndns.rfc2136.key_file = "{bind.keyfile}"',
    )


def challenge_hook(directory: Path, dns: ChallengeTestServer) -> Path:
    """A hook that writes TXT records into the DNS by HTTP, and a line for each call beside it."""
    return script(
        directory / "dns-hook",
        f"""#!{sys.executable}
import json, os, sys, urllib.request
name, value = os.environ["CERTCTL_DNS_NAME"], os.environ["CERTCTL_DNS_VALUE"]
with open({str(directory / "calls")!r}, "a") as calls:
    calls.write(f"{{sys.argv[1]}} {{name}}\\n")
facts = {{"host": name.rstrip(".") + "."}}
if sys.argv[1] == "present":
    verb, facts["value"] = "set-txt", value
else:
    verb = "clear-txt"
address = "http://127.0.0.1:{dns.management_port}/" + verb
urllib.request.urlopen(address, data=json.dumps(facts).encode()).close()
""",
    )


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines()


def test_a_wildcard_and_its_base_are_validated_with_signed_updates(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble_bind)

    here.issue(
        *("*.signed.example.test", "signed.example.test", "--dns", "rfc2136"),
        *("--rfc2136-server", bind.address, "--rfc2136-key-file", str(bind.keyfile)),
        *("--dns-resolver", bind.address),
    )

    assert names(here.leaf("signed.example.test")) == [
        "*.signed.example.test",
        "signed.example.test",
    ]
    assert bind.txt("_acme-challenge.signed.example.test") == []
    assert here.leftovers() == []


def test_names_in_two_zones_are_one_certificate(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)

    here.issue("zones.example.test", "zones.sub.example.test", "*.challenges.test")

    assert len(names(here.leaf("zones.example.test"))) == 3


def test_renew_needs_no_flags_of_the_first_time(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble_bind)
    key = tmp_path / "tsig.key"
    key.touch(mode=0o600)
    key.write_text(f"{bind.key_secret_b64}\n")
    here.issue(
        *("again.example.test", "--dns", "rfc2136", "--dns-resolver", bind.address),
        *("--rfc2136-server", bind.address, "--rfc2136-key-name", bind.key_name),
        *("--rfc2136-key-file", "tsig.key"),
        directory=tmp_path,
    )

    finished = here.certctl("renew", "--force", directory=Path("/"))

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert here.version("again.example.test") == 2


def test_an_alias_is_followed_to_the_zone_where_the_record_belongs(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)

    here.issue("alias.example.test")

    assert names(here.leaf("alias.example.test")) == ["alias.example.test"]
    assert bind.txt("alias.challenges.test") == []


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("*.a.wild.example.test", "_acme-challenge.a.wild.example.test"),
        ("own.wild.example.test", "own.challenges.test"),
        ("x.moved.example.test", "_acme-challenge.x.challenges.test"),
    ],
    ids=["a wildcard's", "its own beside a wildcard's", "by a DNAME"],
)
def test_only_a_cname_that_is_no_wildcards_is_followed(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path, name: str, record: str
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)

    tested = here.certctl("dns", "test", name, "--json")
    here.issue(name)

    assert tested.json()["data"]["name"] == record
    assert names(here.leaf(name.removeprefix("*."))) == [name]
    assert bind.txt(record) == []


def test_a_cname_is_not_followed_on_request(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)

    finished = here.certctl(
        *("dns", "test", "alias.example.test", "--dns-no-follow-cname", "--dns-skip-propagation"),
        "--json",
    )

    assert finished.json()["data"]["name"] == "_acme-challenge.alias.example.test"


def test_a_wrong_key_is_named_and_nothing_stays_behind(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble_bind)
    key = tmp_path / "tsig.key"
    key.touch(mode=0o600)
    key.write_text(bind.keyfile.read_text().replace(bind.key_secret_b64, "bm90IHRoZSBrZXk="))

    finished = here.certctl(
        *("issue", "wrong-key.example.test", "--dns", "rfc2136", "--dns-resolver", bind.address),
        *("--rfc2136-server", bind.address, "--rfc2136-key-file", str(key)),
    )

    assert finished.exit_status == 1
    assert "TSIG" in finished.stderr
    assert "hint: " in finished.stderr
    assert "bm90IHRoZSBrZXk" not in finished.stdout + finished.stderr


def test_a_key_that_others_can_read_is_refused(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here, key = bind_host(tmp_path, pebble_bind, bind), tmp_path / "tsig.key"
    key.write_text(bind.key_statement())
    key.chmod(0o644)

    finished = here.certctl("issue", "open-key.example.test", "--rfc2136-key-file", str(key))

    assert finished.exit_status == 2
    assert f"chmod 600 {key}" in finished.stderr


def test_a_name_outside_every_zone_is_named(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)

    finished = here.certctl("issue", "inside.example.test", "outside.elsewhere.test")

    assert finished.exit_status == 1
    assert "elsewhere.test" in finished.stderr
    assert (bind.txt("_acme-challenge.inside.example.test"), here.leftovers()) == ([], [])


def test_a_users_command_writes_the_records(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here, hook = host(tmp_path, pebble), challenge_hook(tmp_path, challenge_dns)

    here.issue(
        *("*.exec.example", "exec.example", "--dns", "exec", "--dns-hook", str(hook)),
        "--dns-skip-propagation",
    )

    assert names(here.leaf("exec.example")) == ["*.exec.example", "exec.example"]
    record = "_acme-challenge.exec.example"
    assert calls(tmp_path) == [f"present {record}"] * 2 + [f"cleanup {record}"] * 2
    assert here.leftovers() == []


def test_nsupdate_in_a_hook_is_enough_for_real_dns(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    require("nsupdate")
    here = host(tmp_path, pebble_bind)
    hook = script(
        tmp_path / "dns-hook",
        f"""#!/bin/sh
set -eu
case "$1" in
    present) change="add $CERTCTL_DNS_NAME 1 TXT $CERTCTL_DNS_VALUE" ;;
    cleanup) change="delete $CERTCTL_DNS_NAME TXT $CERTCTL_DNS_VALUE" ;;
esac
{program("nsupdate")} -k {bind.keyfile} <<END
server 127.0.0.1 {bind.port}
zone $CERTCTL_DNS_ZONE
update $change
send
END
""",
    )

    here.issue(
        *("*.hook.example.test", "hook.example.test", "alias.example.test", "--dns", "exec"),
        *("--dns-hook", str(hook), "--dns-resolver", bind.address),
    )

    assert len(names(here.leaf("hook.example.test"))) == 3
    assert bind.txt("_acme-challenge.hook.example.test") == []
    assert bind.txt("alias.challenges.test") == []


def test_hooks_that_were_written_for_certbot_work_as_they_are(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    address = f"http://127.0.0.1:{challenge_dns.management_port}"
    record = 'sys.argv.append("_acme-challenge." + os.environ["CERTBOT_DOMAIN"] + ".")'
    auth, cleanup = (
        script(
            tmp_path / verb,
            f"#!{sys.executable}\nimport json, os, sys, urllib.request\n"
            "assert len(sys.argv) == 1, sys.argv\n"
            f"{record}\n"
            'facts = {"host": sys.argv[1], "value": os.environ["CERTBOT_VALIDATION"]}\n'
            f'urllib.request.urlopen("{address}/{verb}", data=json.dumps(facts).encode()).close()\n'
            'print("said", os.environ.get("CERTBOT_AUTH_OUTPUT", "before"))\n'
            f"with open({str(tmp_path / 'outputs')!r}, 'a') as outputs:\n"
            "    print(os.environ.get('CERTBOT_AUTH_OUTPUT'), file=outputs)\n",
        )
        for verb in ("set-txt", "clear-txt")
    )

    here.issue(
        *("*.certbot.example", "--dns", "exec", "--dns-skip-propagation"),
        *("--dns-hook", str(auth), "--dns-cleanup-hook", str(cleanup)),
    )

    assert names(here.leaf("certbot.example")) == ["*.certbot.example"]
    # Cleanup is told what auth printed.
    assert (tmp_path / "outputs").read_text().splitlines() == ["None", "said before"]


def test_a_hook_that_fails_is_quoted_and_what_was_written_is_removed(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here, hook = host(tmp_path, pebble), challenge_hook(tmp_path, challenge_dns)
    failing = script(
        tmp_path / "failing",
        '#!/bin/sh\nif [ "$1$CERTCTL_DNS_DOMAIN" = presenttwo.fails.example ]; then\n'
        '    echo "the zone is frozen"; exit 3\nfi\n'
        f'exec {hook} "$@"\n',
    )

    finished = here.certctl(
        *("issue", "one.fails.example", "two.fails.example", "--dns", "exec"),
        *("--dns-hook", str(failing), "--dns-skip-propagation"),
    )

    assert finished.exit_status == 1
    assert "the zone is frozen" in finished.stderr
    assert "exit status 3" in finished.stderr
    assert "cleanup _acme-challenge.one.fails.example" in calls(tmp_path)
    assert here.leftovers() == []


def test_a_hook_that_writes_nothing_is_found_out_before_the_ca_looks(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble_bind)
    before = pebble_bind.request_count()

    finished = here.certctl(
        *("issue", "silent.example.test", "--dns", "exec", "--dns-hook", "true"),
        *("--dns-resolver", bind.address, "--dns-propagation-timeout", "1"),
    )

    asked = [each.path for each in pebble_bind.requests(since=before)]
    assert finished.exit_status == 1
    assert "_acme-challenge.silent.example.test" in finished.stderr
    assert bind.address in finished.stderr
    assert not [path for path in asked if path.startswith("/chalZ")]


@pytest.mark.parametrize("provider", ["exec", "rfc2136"])
def test_a_provider_without_its_options_says_which_are_missing(
    pebble: PebbleServer, tmp_path: Path, provider: str
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "options.example", "--dns", provider)

    wanted = {"exec": "--dns-hook", "rfc2136": "--rfc2136-server"}[provider]
    assert (finished.exit_status, wanted in finished.stderr) == (2, True)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--dns-propagation-quorum", "none"),
        ("--dns-propagation-quorum", "101%"),
        ("--dns-public-resolver", "dns.example"),
        ("--dns-resolver", "dns.example"),
    ],
)
def test_invalid_propagation_settings_are_refused_before_an_order_is_placed(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path, flag: str, value: str
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)
    before = pebble_bind.request_count()

    finished = here.certctl("issue", "sense.example.test", flag, value)

    assert finished.exit_status == 2, finished
    assert value in finished.stderr
    assert "hint: " in finished.stderr
    assert pebble_bind.orders(before) == 0


def test_where_the_records_of_several_names_belong_is_looked_up_side_by_side(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    names = [f"side{number}.example" for number in range(4)]
    inside: list[str] = []
    all_inside = threading.Event()

    def gate(name: str) -> None:
        if name.startswith("side"):
            inside.append(name)
            if len(set(inside)) == len(names):
                all_inside.set()
            all_inside.wait(2)
            inside.remove(name)

    with ScriptedDns({}, gate=gate) as script:
        host(tmp_path, pebble).certctl(
            *("issue", *names, "--dns", "exec", "--dns-hook", "true"),
            *("--dns-skip-propagation", "--dns-resolver", script.address),
        )

    assert all_inside.is_set()


def test_a_provider_that_does_not_exist_is_answered_with_those_that_do(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "provider.example", "--dns", "rfc2163")

    assert finished.exit_status == 2
    assert "rfc2136" in finished.stderr


def test_the_key_s_secret_is_in_its_file_alone(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    here = bind_host(tmp_path, pebble_bind, bind)
    # Its parent's command line and environment are what `ps` shows of certctl.
    seen = tmp_path / "seen"
    hook = f"cat /proc/$PPID/cmdline > {seen}; env >> {seen}"
    arguments = ("issue", "secret.example.test", "--deploy-hook", hook, "--debug", "-vv")

    finished = here.certctl(*arguments)

    assert finished.exit_status == 0, finished
    written = [path.read_text() for path in here.home.rglob("*") if path.is_file()]
    told = [finished.stdout, finished.stderr, *written]
    if sys.platform == "linux":
        told.append(seen.read_text(errors="replace"))
        assert "secret.example.test" in told[-1]
    assert [text for text in told if bind.key_secret_b64 in text] == []
