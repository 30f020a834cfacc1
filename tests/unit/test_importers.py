"""What certctl finds in the homes of other clients: each home that a client really wrote gives what
its `facts.json` says.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from certctl.ca.directories import KNOWN_CAS
from certctl.importers.handover import is_stopped, start_client, stop_client
from certctl.importers.loading import look
from certctl.importers.schedules import find_schedules
from certctl.importers.tree import Tree, Unreadable
from certctl.importers.turned_off import turn_off, turn_on
from certctl.model.importing import (
    FoundCertificate,
    FoundClient,
    FoundFiles,
    FoundMachine,
    ImportRecord,
    ImportState,
    Readiness,
    StopRenewal,
    TakenSchedule,
)
from certctl.system.cron_names import hidden
from certctl.system.timers import RENEW_COMMAND, timers_for
from tests.support.foreign_homes import NAMES, facts, unpack

KNOWN = {each.url.split("/")[2]: each.url for each in KNOWN_CAS if "://" in each.url}

NEEDS_AN_ANSWER = {
    ("acmesh3.1", "example.com"): "a script that works only with acme.sh",
    ("certbot5-account-deactivated", "versions.example.org"): "a new account needs consent",
    ("certbot5-account-deleted", "versions.example.org"): "a new account needs consent",
    ("certbot5-account-other", "versions.example.org"): "two possible accounts",
    ("uacme1.7.4", "ec.example.org"): "no command line names it",
    ("uacme1.7.4", "example.com"): "no command line names it",
    ("uacme1.7.4", "p384.example.org"): "no command line names it",
    ("uacme1.7.4", "zero.example.org"): "no command line names it",
}
"""What certctl asks about although the certificate itself can be taken over, with the reason."""

ASKING = ("ask (", "must be asked for", "credentials are those", "is not known", "no renewal conf")
PRIVKEY = "/etc/letsencrypt/live/versions.example.org/privkey.pem"
REPORT_ONLY = {"caddy", "traefik"}


Reader = Callable[[str], FoundMachine]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Gives what is found on the machine of a home. Each is read once: RSA keys take long."""

    @cache
    def reader(name: str) -> FoundMachine:
        moved = facts(name)["base"] if name == "certbot5-moved" else None
        return look(Tree(unpack(name, tmp_path_factory.mktemp("machine"))), KNOWN, moved)

    return reader


@pytest.mark.parametrize("name", NAMES)
def test_each_certificate_of_a_home_is_found_as_it_was_issued(name: str, read: Reader) -> None:
    said, found = facts(name), read(name)

    assert {identity(each) for each in certificates(found)} >= {
        (
            each["name"],
            tuple(sorted(each["certificate"]["identifiers"])),
            each["certificate"]["key_type"],
            each["certificate"]["sha256"],
            each["certificate"]["not_after"],
        )
        for each in said["certificates"]
        if "certificate" in each
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_certificate_of_a_home_is_ready_to_settle_or_not_moved(
    name: str, read: Reader
) -> None:
    said, found = facts(name), read(name)
    states = {(each.name, each.facts is not None): each for each in certificates(found)}

    assert [
        (each["name"], states[key(each, states)].readiness.value)
        for each in said["certificates"]
        if key(each, states) in states
    ] == [
        (each["name"], expected(said, each).value)
        for each in said["certificates"]
        if key(each, states) in states
    ]
    assert {each["name"] for each in said["certificates"]} <= {one for one, _ in states}


@pytest.mark.parametrize("name", NAMES)
def test_each_account_of_a_home_is_found_with_its_key(name: str, read: Reader) -> None:
    said, found = facts(name), read(name)

    assert {
        (each.url, each.key_kind, each.key_type)
        for client in found.clients
        for each in client.accounts
    } >= {(each["url"], each["key_kind"], each["certctl_key_type"]) for each in said["accounts"]}


@pytest.mark.parametrize("name", [each for each in NAMES if each.startswith("certbot")])
def test_settings_of_certbot_become_settings_of_certctl(name: str, read: Reader) -> None:
    said, found = facts(name), {each.name: each for each in certificates(read(name))}

    assert {
        each["name"]: settings(found[each["name"]])
        for each in said["certificates"]
        if "conf_version" in each
    } == {each["name"]: wanted(each) for each in said["certificates"] if "conf_version" in each}


def test_certbots_hooks_in_directories_are_found_with_whether_they_run(read: Reader) -> None:
    (client,) = read("certbot5-all").clients

    assert [
        {"kind": each.event, "path": each.path, "runs": each.runs} for each in client.hooks
    ] == sorted(
        facts("certbot5-all")["directory_hooks"],
        key=lambda one: (("pre", "deploy", "post").index(one["kind"]), one["path"]),
    )


@pytest.mark.parametrize(
    ("home", "where"),
    [
        ("acmesh3.1", "/var/spool/cron/crontabs/root"),
        ("lego4.9-debian", "/etc/cron.d/lego"),
        ("uacme1.7.4", "/etc/cron.d/uacme"),
        ("dehydrated0.7.0-debian", "/etc/cron.daily/dehydrated"),
    ],
)
def test_what_runs_a_client_is_found(home: str, where: str, read: Reader) -> None:
    found = read(home)

    assert {each.where for each in found.schedules} == {where}


def test_lego_is_read_with_the_command_line_that_renews_each_certificate(read: Reader) -> None:
    (web,) = [
        each for each in certificates(read("lego4.9-debian")) if each.name == "web.example.org"
    ]

    assert dict(web.options) == {
        "challenge.method": "webroot",
        "challenge.webroots": ("/var/www/html",),
        "deploy.deploy_hook": "/usr/local/bin/lego-hook",
        "key_type": "ecdsa-p256",
    }


def test_the_quotes_of_acme_sh_are_read_and_its_copies_become_copies(read: Reader) -> None:
    (web,) = [each for each in certificates(read("acmesh3.1")) if each.name == "web.example.org"]

    assert (web.options["deploy.reload"], web.options["deploy.copy"]) == (
        'nginx -t -q && nginx -s reload; echo "done, it\'s ok"',
        (
            "privkey:/etc/nginx/certs/web.key",
            "chain:/etc/nginx/certs/web.ca",
            "fullchain:/etc/nginx/certs/web.pem",
        ),
    )


def test_shell_in_the_configuration_of_dehydrated_is_told_and_not_executed(tmp_path: Path) -> None:
    root = unpack("dehydrated0.7.0-debian", tmp_path)
    with (root / "etc/dehydrated/config").open("a") as file:
        file.write(f'PREFERRED_CHAIN="$(touch {tmp_path}/executed)"\n')

    (client,) = look(Tree(root), KNOWN).clients

    (told,) = [each for each in client.notes if "touch" in each]
    assert told.startswith("not understood, and left out: /etc/dehydrated/config: PREFERRED_CHAIN=")
    assert not (tmp_path / "executed").exists()


def test_credentials_of_certbots_dns_plug_ins_get_certctls_names(read: Reader) -> None:
    found = {each.name: each.credentials for each in certificates(read("certbot5-dns"))}

    assert {name: given and (given[0], sorted(given[1])) for name, given in found.items()} == {
        "cf.example.net": ("cloudflare", ["auth_token"]),
        "example.net": ("rfc2136", ["key_algorithm", "key_name", "secret", "server"]),
        "r53.example.net": None,
    }


def test_a_link_that_leads_out_of_the_home_is_not_followed(tmp_path: Path) -> None:
    root = unpack("certbot5-conf-crlf", tmp_path)
    live = root / "etc/letsencrypt/live/versions.example.org/privkey.pem"
    (root / "outside.pem").write_bytes(live.read_bytes())
    live.unlink()
    live.symlink_to("/outside.pem")

    (found,) = certificates(look(Tree(root), KNOWN))

    assert (found.readiness, found.why) == (
        Readiness.NOT_MOVED,
        f"private key: {PRIVKEY} is a link that leads out of /etc/letsencrypt",
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2000)

    with pytest.raises(Unreadable, match="larger than 1000 bytes"):
        Tree(tmp_path).read("/large", limit=1000)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(Unreadable, match="not a regular file"):
        Tree(tmp_path).read("/pipe")


def test_web_servers_that_read_the_files_are_found(tmp_path: Path) -> None:
    root = unpack("certbot5-conf-crlf", tmp_path)
    sites = root / "etc/nginx/sites-enabled"
    sites.mkdir(parents=True)
    path = "/etc/letsencrypt/live/versions.example.org/fullchain.pem"
    (sites / "site").write_text(f"server {{\n  ssl_certificate {path};\n}}\n# {path}\n")

    readers = look(Tree(root), KNOWN).readers

    assert [(each.program, each.file, each.line, each.path) for each in readers] == [
        ("nginx", "/etc/nginx/sites-enabled/site", 2, path)
    ]


def test_a_file_of_cron_that_runs_only_the_client_is_hidden_and_shown_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "certbot"
    file.write_text("SHELL=/bin/sh\n0 */12 * * * root certbot -q renew\n")
    taken = TakenSchedule("certbot", str(file), "rename", str(tmp_path / hidden("certbot")))

    turn_off(taken)
    off = [each.name for each in tmp_path.iterdir()]
    turn_on(taken)

    assert (off, [each.name for each in tmp_path.iterdir()]) == ([".certbot.imported"], ["certbot"])


DEBIAN, CRONIE = ("etc/debian_version",), ("usr/sbin/crond",)


@pytest.mark.parametrize(
    ("machine", "name", "runs"),
    [
        (DEBIAN, "certbot", True),
        (DEBIAN, "certbot.sh", False),
        (DEBIAN, "certbot+x", False),
        (DEBIAN, hidden("certbot"), False),
        (CRONIE, "certbot", True),
        (CRONIE, "certbot.sh", True),
        (CRONIE, "certbot.rpmsave", False),
        (CRONIE, "certbot~", False),
        (CRONIE, hidden("certbot"), False),
        ((*DEBIAN, *CRONIE), "certbot.sh", True),
    ],
)
def test_a_file_of_cron_counts_where_the_machines_cron_runs_it(
    tmp_path: Path, machine: Sequence[str], name: str, runs: bool
) -> None:
    for each in (*machine, f"etc/cron.d/{name}"):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).touch()
    (tmp_path / "etc/cron.d" / name).write_text(
        "0 3 * * * root certbot -q renew\n0 4 * * * root certctl renew\n"
    )

    of_certbot = find_schedules(Tree(tmp_path), {"certbot": ("certbot",)})
    of_certctl = timers_for(RENEW_COMMAND, root=tmp_path)

    assert (len(of_certbot), len(of_certctl)) == (int(runs), int(runs))


CRONTAB = """A=1
1 2 * * * root lego -d a.example renew
3 4 * * * root lego -d b.example renew
"""
DOMAINS = """# a.example
A.example  www.a.example # ours
a.example.org
long.name.example > alias
"""


@pytest.mark.parametrize(
    ("name", "text", "line", "number"),
    [
        ("lego", CRONTAB, "lego -d b.example renew", 2),
        ("lego", "0 1 * * *\tlego  -d\ta.example renew\n", "lego -d a.example renew", 0),
        ("domains.txt", DOMAINS, "a.example www.a.example", 1),
        ("domains.txt", DOMAINS, "a.example.org", 2),
        ("domains.txt", DOMAINS, "long.name.example", 3),
    ],
    ids=["crontab", "tabs", "two names", "one name", "alias"],
)
def test_a_line_is_commented_out_and_comes_back(
    tmp_path: Path, name: str, text: str, line: str, number: int
) -> None:
    file = tmp_path / name
    file.write_text(text)
    stop = StopRenewal(str(file), line=line)
    record = a_record(stop)

    stop_client(record)
    stop_client(record)
    lines, stopped = file.read_text().splitlines(), is_stopped(stop)
    start_client(record)

    assert [place for place, each in enumerate(lines) if each.startswith("#imported ")] == [number]
    assert (stopped, file.read_text()) == (True, text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the crontab of another user")
def test_the_crontab_of_a_user_stays_that_users(tmp_path: Path) -> None:
    file = tmp_path / "ops"
    file.write_text("1 2 * * * lego -d a.example renew\n")
    os.chown(file, 65534, 65533)
    file.chmod(0o600)
    record = a_record(StopRenewal(str(file), line="lego -d a.example renew"))
    status = file.stat()
    before = status.st_uid, status.st_gid, status.st_mode

    stop_client(record)

    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode) == before
    assert file.read_text().startswith("#imported ")


def a_record(stop: StopRenewal) -> ImportRecord:
    now = datetime.now(UTC)
    files = FoundFiles()
    state = ImportState.HANDING_OVER
    return ImportRecord("lego", "a", "/", "a", state, (), {}, files, "", now, stop)


def certificates(machine: FoundMachine) -> list[FoundCertificate]:
    clients: tuple[FoundClient, ...] = machine.clients
    return [each for client in clients for each in client.certificates]


def identity(found: FoundCertificate) -> tuple[object, ...]:
    if found.facts is None:
        return (found.name,)
    names = tuple(sorted(each.value for each in found.facts.identifiers))
    ends = found.facts.not_after.isoformat()
    return (found.name, names, found.facts.key_type, found.facts.sha256, ends)


def key(said: dict[str, Any], states: dict[tuple[str, bool], FoundCertificate]) -> tuple[str, bool]:
    """The certificate that a fact is about: where the tree was moved, there are two."""
    has = (said["name"], "certificate" in said)
    return has if has in states else (said["name"], not has[1])


def expected(home: dict[str, Any], said: dict[str, Any]) -> Readiness:
    """Whether a certificate is ready, in the words of its facts."""
    wanted = said["import"]
    if home["fixture"] == "certbot5-moved":  # read with --from, which finds the files again
        return Readiness.READY
    if home["client"] in REPORT_ONLY or wanted == "no" or wanted.startswith("only if"):
        return Readiness.NOT_MOVED
    if wanted.startswith("names and way only"):
        return Readiness.NOT_MOVED
    questions = " ".join([*said.get("say", ()), str(said["challenge"].get("method"))])
    asked = (home["fixture"], said["name"]) in NEEDS_AN_ANSWER
    asks = any(each in questions for each in ASKING) or "nginx plugin changed" in questions
    if asks or asked or wanted != "yes":
        return Readiness.TO_SETTLE
    return Readiness.READY


def settings(found: FoundCertificate) -> dict[str, object]:
    options = found.options
    return {
        "ca": found.ca,
        "account_url": found.account_url,
        "reuse_key": options.get("reuse_key", False),
        "autorenew": found.autorenew,
        "chain": options.get("preferred_chain"),
        "profile": options.get("profile"),
        "required_profile": options.get("required_profile"),
        "subset": options.get("allow_subset", False),
        "hooks": {
            kind: options[f"deploy.{kind}_hook"]
            for kind in ("pre", "deploy", "post")
            if f"deploy.{kind}_hook" in options
        },
        "method": (found.method or "ask").partition(" (")[0],
    }


def wanted(said: dict[str, Any]) -> dict[str, object]:
    method = (said["challenge"].get("method") or "ask").partition(" (")[0]
    return {
        "ca": said["ca"],
        "account_url": said.get("account_url"),
        "reuse_key": said["reuse_key"],
        "autorenew": said["autorenew"],
        "chain": said.get("preferred_chain"),
        "profile": said.get("profile"),
        "required_profile": said.get("required_profile"),
        "subset": said.get("allow_subset", False),
        "hooks": {key: value for key, value in said["deploy"].items() if key != "target"},
        "method": method,
    }
