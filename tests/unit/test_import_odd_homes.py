"""Homes of other clients that nobody would write in this way, and that exist all the same: each
oddity is one line, and the other certificates are found as ever.
"""

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from certctl.importers.schedules import runs_of
from certctl.model.importing import FoundCertificate
from certctl.operations.import_choice import Consent, choose, find_machine
from tests.lab.certificates import make_server_certificate

LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STANDALONE = f"authenticator = standalone\nserver = {LETSENCRYPT}\n"
WEBROOT = f"authenticator = webroot\nserver = {LETSENCRYPT}\n"


def pair(directory: Path, *names: str) -> tuple[bytes, bytes]:
    """A certificate and its key."""
    directory.mkdir(parents=True, exist_ok=True)
    made = make_server_certificate(directory, names)
    return made.certificate.read_bytes(), made.private_key.read_bytes()


def lineage(root: Path, name: str, conf: str | bytes, *names: str) -> Path:
    """A certificate of certbot; the directory with its links."""
    home = root / "etc/letsencrypt"
    cert, key = pair(root / "made" / name, *(names or (name,)))
    archive, live = home / "archive" / name, home / "live" / name
    for each in (archive, live, home / "renewal"):
        each.mkdir(parents=True, exist_ok=True)
    archive.parent.chmod(0o700)
    for kind, data in (("cert", cert), ("chain", cert), ("fullchain", cert), ("privkey", key)):
        (archive / f"{kind}1.pem").write_bytes(data)
        (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
    data = conf if isinstance(conf, bytes) else f"[renewalparams]\n{conf}".encode()
    (home / "renewal" / f"{name}.conf").write_bytes(data)
    return live


def acme_sh(root: Path, directory: str, conf: str, *names: str, place: str = "") -> None:
    """A certificate of acme.sh."""
    home = root / "root/.acme.sh"
    home.mkdir(parents=True, exist_ok=True)
    (home / "account.conf").touch()
    domain = directory.removesuffix("_ecc")
    cert, key = pair(root / "made" / directory, *(names or (domain,)))
    where = root / place / directory if place else home / directory
    where.mkdir(parents=True)
    (where / f"{domain}.conf").write_text(f"Le_Domain='{domain}'\nLe_Alt='no'\n{conf}")
    for name, data in ((f"{domain}.cer", cert), ("fullchain.cer", cert), ("ca.cer", cert)):
        (where / name).write_bytes(data)
    (where / f"{domain}.key").write_bytes(key)
    (where / f"{domain}.key").chmod(0o600)


def lego(root: Path, *names: str) -> None:
    """Certificates of lego 4, with an account."""
    home = root / "var/lib/lego"
    account = home / "accounts/acme-v02.api.letsencrypt.org/ops@example.org"
    (account / "keys").mkdir(parents=True)
    registration = {"body": {}, "uri": "https://acme-v02.api.letsencrypt.org/acme/acct/1"}
    (account / "account.json").write_text(json.dumps({"registration": registration}))
    (home / "certificates").mkdir()
    for name in names:
        cert, key = pair(root / "made" / name, name)
        if not (account / "keys/ops@example.org.key").exists():
            (account / "keys/ops@example.org.key").write_bytes(key)
        document = {"domain": name, "certUrl": LETSENCRYPT}
        (home / "certificates" / f"{name}.json").write_text(json.dumps(document))
        (home / "certificates" / f"{name}.crt").write_bytes(cert)
        (home / "certificates" / f"{name}.key").write_bytes(key)
        (home / "certificates" / f"{name}.key").chmod(0o600)


def found(root: Path) -> dict[str, FoundCertificate]:
    clients = find_machine(root, None).clients
    return {each.name: each for client in clients for each in client.certificates}


def asked(certificate: FoundCertificate) -> list[str]:
    """The questions about it, without that about the account, which these homes have not."""
    every = (each for each in certificate.questions if each.option != "--agree-tos")
    return [f"{each.message} → {each.option}" for each in every]


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (f"{STANDALONE}post_hook = a b, c d, e\n", "deploy.post_hook", "a b, c d, e"),
        (
            f"{STANDALONE}renew_hook = '''sh -c 'echo \"a, b\"; # 100%''''\n",
            "deploy.deploy_hook",
            "sh -c 'echo \"a, b\"; # 100%'",
        ),
        (f"{WEBROOT}webroot_path = /var/%(x)s/$y,\n", "challenge.webroots", ("/var/%(x)s/$y",)),
        (
            f"{WEBROOT}webroot_path = /a, /b\n[[webroot_map]]\nODD.example.org = /c, /d\n",
            "challenge.webroots",
            ("/b",),
        ),
    ],
    ids=["list", "quotes", "percent", "map with a list"],
)
def test_odd_settings_of_certbot_are_read_as_certbot_reads_them(
    tmp_path: Path, settings: str, key: str, value: object
) -> None:
    lineage(tmp_path, "odd.example.org", settings)

    odd = found(tmp_path)["odd.example.org"]

    assert (odd.options[key], asked(odd)) == (value, [])


@pytest.mark.parametrize(
    ("settings", "question"),
    [
        (
            f'{STANDALONE}renew_hook = """one\ntwo"""\n',
            (
                "its deploy.deploy_hook is a script of several lines; write it to a file"
                " → --deploy-hook COMMAND"
            ),
        ),
        (
            f"{WEBROOT}webroot_path = www/html,\n",
            (
                "its challenge.webroots is relative to an unknown directory ('www/html')"
                " → --webroot [NAME=]DIR"
            ),
        ),
        (
            f"[renewalparams]\n{WEBROOT}webroot_path = /var/www/h\xf6st,\n".encode("latin-1"),
            "its challenge.webroots is damaged, or not UTF-8 → --webroot [NAME=]DIR",
        ),
        (
            f"{STANDALONE}http01_port = 99999\n",
            (
                "its challenge.http_port is not usable: 99999 is not a whole number from 1 to 65535"
                " → --http-port PORT"
            ),
        ),
        (
            "authenticator = standalone\nserver = http://ca.example.org/directory\n",
            "its CA 'http://ca.example.org/directory' is not a URL with https → --ca CA",
        ),
    ],
    ids=["lines", "relative", "latin-1", "port", "http"],
)
def test_a_setting_that_certctl_cannot_take_is_asked_for(
    tmp_path: Path, settings: str | bytes, question: str
) -> None:
    lineage(tmp_path, "odd.example.org", settings)

    assert question in asked(found(tmp_path)["odd.example.org"])


def test_a_wildcard_that_could_not_be_validated_is_asked_about(tmp_path: Path) -> None:
    lineage(tmp_path, "wild", STANDALONE, "*.example.org")

    assert asked(found(tmp_path)["wild"]) == [
        "*.example.org can only be validated by DNS records, not by standalone → --dns PROVIDER"
    ]


def test_a_key_that_all_may_read_is_asked_about_only_if_they_can_reach_it(tmp_path: Path) -> None:
    tmp_path = tmp_path / "machine"
    live = lineage(tmp_path, "old.example.org", STANDALONE)
    archive = live.parents[1] / "archive"
    (archive / "old.example.org" / "privkey1.pem").chmod(0o644)
    behind = asked(found(tmp_path)["old.example.org"])
    for each in (archive, tmp_path):
        each.chmod(0o755)

    open_to_all = asked(found(tmp_path)["old.example.org"])

    assert behind == []
    assert [each.partition(";")[0] for each in open_to_all] == [
        "its private key is readable by all users"
    ]


def test_a_directory_of_acmev1_is_followed_to_its_current_one(tmp_path: Path) -> None:
    old = "server = https://acme-v01.api.letsencrypt.org/directory\n"
    lineage(tmp_path, "old.example.org", f"authenticator = standalone\n{old}")

    assert found(tmp_path)["old.example.org"].ca == LETSENCRYPT


def test_what_is_no_file_is_one_line_and_stops_nothing_else(tmp_path: Path) -> None:
    lineage(tmp_path, "good.example.org", STANDALONE)
    for name, make in (
        ("pipe.example.org", os.mkfifo),
        ("directory.example.org", os.mkdir),
        ("device.example.org", lambda path: path.symlink_to("/dev/zero")),
        ("loop.example.org", lambda path: path.symlink_to("privkey.pem")),
        ("out.example.org", lambda path: path.symlink_to("/etc/passwd")),
    ):
        key = lineage(tmp_path, name, STANDALONE) / "privkey.pem"
        key.unlink()
        make(key)
    (tmp_path / "etc/letsencrypt/renewal/.conf").write_text("x")
    os.mkfifo(tmp_path / "etc/letsencrypt/renewal/fifo.conf")

    why = {name: each.why for name, each in found(tmp_path).items()}

    place = "private key: /etc/letsencrypt/live/{}/privkey.pem"
    assert why == {
        "good.example.org": None,
        "pipe.example.org": f"{place.format('pipe.example.org')} is not a regular file",
        "directory.example.org": f"{place.format('directory.example.org')} is not a regular file",
        "device.example.org": f"{place.format('device.example.org')}: No such file or directory",
        "loop.example.org": f"{place.format('loop.example.org')}: too many links",
        "out.example.org": f"{place.format('out.example.org')}: No such file or directory",
    }


@pytest.mark.parametrize(
    ("conf", "questions"),
    [
        ("Le_API='letsencrypt'\nLe_Webroot='/w'\n", []),
        (
            (
                "Le_API='letsencrypt'\nLe_Webroot='/w'\n"
                "Le_ReloadCmd='__ACME_BASE64__START_!__ACME_BASE64__END_'\n"
            ),
            ["its deploy.reload is damaged, or not UTF-8 → --reload COMMAND"],
        ),
        (
            "Le_API='letsencrypt'\nLe_Webroot='/w'\nLe_RealKeyPath='certs/key.pem'\n",
            [
                (
                    "its deploy.copy is relative to an unknown directory ('certs/key.pem')"
                    " → --copy FORMAT:PATH"
                )
            ],
        ),
        (
            "Le_API='letsencrypt'\nLe_Webroot='./www'\n",
            [
                (
                    "its challenge.webroots is relative to an unknown directory ('./www')"
                    " → --webroot [NAME=]DIR"
                )
            ],
        ),
    ],
    ids=["CA by name", "base64", "copy", "webroot"],
)
def test_odd_settings_of_acme_sh_are_read_or_asked_for(
    tmp_path: Path, conf: str, questions: Sequence[str]
) -> None:
    acme_sh(tmp_path, "odd.example.org_ecc", conf)

    odd = found(tmp_path)["odd.example.org"]

    assert (asked(odd), odd.ca) == (questions, LETSENCRYPT)


def test_the_directories_that_acme_sh_was_told_to_use_are_read(tmp_path: Path) -> None:
    reload = base64.b64encode(b"echo 'it''s ok'; true 100%").decode()
    acme_sh(
        tmp_path,
        "moved.example.org",
        f"Le_Webroot='/w'\nLe_API='{LETSENCRYPT}'\n"
        f"Le_ReloadCmd='__ACME_BASE64__START_{reload}__ACME_BASE64__END_'\n",
        place="srv/certs",
    )
    account = tmp_path / "srv/ca/acme-v02.api.letsencrypt.org/directory"
    account.mkdir(parents=True)
    key = (tmp_path / "made/moved.example.org").glob("*.key")
    (account / "account.key").write_bytes(next(key).read_bytes())
    (account / "ca.conf").write_text("ACCOUNT_URL='https://ca.example/1'\n")
    (account / "account.json").write_text("{}")
    (tmp_path / "root/.acme.sh/account.conf").write_text(
        "CERT_HOME='/srv/certs'\nCA_HOME='/srv/ca'\n"
    )

    moved = found(tmp_path)["moved.example.org"]

    assert (moved.readiness.value, moved.account_url, moved.options["deploy.reload"]) == (
        "ready",
        "https://ca.example/1",
        "echo 'it''s ok'; true 100%",
    )


def test_acme_sh_leaves_out_the_port_of_a_ca_in_the_names_of_directories(tmp_path: Path) -> None:
    url = "https://ca.example:9000/acme/acme/directory"
    acme_sh(tmp_path, "port.example.org_ecc", f"Le_Webroot='/w'\nLe_API='{url}'\n")
    account = tmp_path / "root/.acme.sh/ca/ca.example/acme/acme/directory"
    account.mkdir(parents=True)
    (key,) = (tmp_path / "made/port.example.org_ecc").glob("*.key")
    (account / "account.key").write_bytes(key.read_bytes())
    (account / "ca.conf").write_text("ACCOUNT_URL='https://ca.example:9000/account/1'\n")
    (account / "account.json").write_text("{}")

    (client,) = find_machine(tmp_path, None).clients

    assert [each.ca for each in client.accounts] == [url]
    assert [each.readiness.value for each in client.certificates] == ["ready"]


CRON = """0 3 * * * root lego --path /var/lib/lego -d a.example.org --http renew && true x
0 3 * * * root cd /var/lib && lego --path lego -d b.example.org --tls renew
0 3 * * * root lego -d c.example.org --http renew; lego -d d.example.org --http renew
"""
UNIT = (
    "[Service]\nEnvironment=LEGO_PATH=/var/lib/lego\nExecStart=/usr/bin/lego -d {} --http renew\n"
)


def test_what_runs_lego_says_how_one_certificate_stops_being_renewed(tmp_path: Path) -> None:
    names = [f"{each}.example.org" for each in "abcdefg"]
    lego(tmp_path, *names)
    units, wants = (tmp_path / "etc/systemd/system", "timers.target.wants")
    (units / wants).mkdir(parents=True)
    (tmp_path / "etc/cron.d").mkdir()
    (tmp_path / "etc/cron.d/lego").write_text(f"LEGO_PATH=/var/lib/lego\n{CRON}")
    (units / "lego.service").write_text(UNIT.format("e.example.org"))
    (units / "off.service").write_text(UNIT.format("f.example.org"))
    (units / "lego@.service").write_text(UNIT.format("%i"))
    for each in ("lego", "off", "lego@"):
        (units / f"{each}.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (units / wants / "lego.timer").symlink_to("../lego.timer")
    (units / wants / "lego@g.example.org.timer").symlink_to("../lego@.timer")

    said = {
        name: (each.stop and each.stop.line, asked(each)) for name, each in found(tmp_path).items()
    }

    a, b, *_ = (each.partition("root ")[2] for each in CRON.splitlines())
    cron, own = "/etc/cron.d/lego would go on renewing it with lego", "give it a line of its own in"
    timer = "/etc/systemd/system/{} would go on renewing it with lego → turn it off: systemctl"
    assert said == {
        "a.example.org": (a, []),
        "b.example.org": (b, []),
        "c.example.org": (
            None,
            [f"{cron} → {own} /etc/cron.d/lego: lego -d c.example.org --http renew"],
        ),
        "d.example.org": (
            None,
            [f"{cron} → {own} /etc/cron.d/lego: lego -d d.example.org --http renew"],
        ),
        "e.example.org": (None, [f"{timer.format('lego.timer')} disable --now lego.timer"]),
        "f.example.org": (None, []),
        "g.example.org": (
            None,
            [
                (
                    f"{timer.format('lego@g.example.org.timer')}"
                    " disable --now lego@g.example.org.timer"
                )
            ],
        ),
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("lego -d a renew", [("lego -d a renew", "", True)]),
        (
            "test -x x && sudo -u lego lego run && nginx -s reload",
            [("sudo -u lego lego run", "nginx -s reload", True)],
        ),
        (
            "sh -c 'lego -d a renew; lego -d b renew'",
            [("lego -d a renew", "", False), ("lego -d b renew", "", False)],
        ),
        (
            "lego --renew-hook 'a; b && c' renew",
            [("lego --renew-hook 'a; b && c' renew", "", True)],
        ),
        ("lego 'unclosed", [("lego 'unclosed", "", True)]),
    ],
    ids=["one", "after", "shell", "quoted", "damaged"],
)
def test_the_runs_of_a_client_on_a_command_line_are_told_apart(
    command: str, expected: Sequence[tuple[str, str, bool]]
) -> None:
    assert [(each.text, each.after, each.alone) for each in runs_of(command, ("lego",))] == expected


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        ("certbot certonly --webroot -w /w -d shop.example.org", True),
        ("certbot run -n --nginx --domains www.example.org,shop.example.org", True),
        ("certbot -n --nginx -d shop.example.org", True),
        ("certbot certonly --cert-name shop.example.org -d other.example.org", True),
        ("certbot renew -q", False),
        ("certbot renew --cert-name shop.example.org", False),
        ("certbot certonly -d another-shop.example.org", False),
        ("certbot certonly -d shop.example.org.uk", False),
        ("certbot certonly -d '*.shop.example.org'", False),
    ],
)
def test_a_schedule_that_orders_a_certificate_by_its_names_is_to_be_settled(
    tmp_path: Path, command: str, asks: bool
) -> None:
    lineage(tmp_path, "shop.example.org", STANDALONE)
    (tmp_path / "etc/cron.d").mkdir()
    (tmp_path / "etc/cron.d/certbot").write_text(f"0 3 * * * root {command}\n")

    said = [each for each in asked(found(tmp_path)["shop.example.org"]) if "second" in each]

    assert said == (
        [
            (
                "/etc/cron.d/certbot runs certbot to get it again, which would make a second one"
                " → remove that line"
            )
        ]
        if asks
        else []
    )


def test_what_a_person_has_to_do_is_not_settled_by_options(tmp_path: Path) -> None:
    lego(tmp_path, "a.example.org")
    (tmp_path / "etc/cron.daily").mkdir(parents=True)
    (tmp_path / "etc/cron.daily/lego").write_text(
        "lego --path /var/lib/lego -d a.example.org --dns exec renew\n"
    )
    machine = find_machine(tmp_path, None)

    with pytest.raises(Exception, match="would go on renewing it with lego"):
        choose(machine, ["a.example.org"], {"challenge.method": "standalone"}, Consent(terms=True))


@pytest.mark.parametrize(
    "conf",
    [
        "authenticator = standalone\nserver = https://[bad/directory\n",
        "authenticator = standalone\nserver = https://ca.example.org:port/directory\n",
        f"{STANDALONE}http01_port = \N{SUPERSCRIPT TWO}\n",
        f"{STANDALONE}http01_port = {'9' * 5000}\n",
        f"version = \N{SUPERSCRIPT TWO}\n[renewalparams]\n{STANDALONE}".encode(),
        f"fullchain = /etc/letsencrypt/live/a\0b\n[renewalparams]\n{STANDALONE}".encode(),
    ],
    ids=["CA", "port of the CA", "digit", "long number", "version", "null byte"],
)
def test_a_value_that_no_client_writes_stops_no_other_certificate(
    tmp_path: Path, conf: str | bytes
) -> None:
    lineage(tmp_path, "odd.example.org", conf)
    lineage(tmp_path, "good.example.org", STANDALONE)

    every = found(tmp_path)

    assert every.keys() == {"odd.example.org", "good.example.org"}
    assert asked(every["good.example.org"]) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("etc/crontab", "0 3 * * *\troot\tcertbot renew -q"),
        ("etc/cron.d/certbot", "0~59 3 * * * root certbot renew -q"),
        ("etc/anacrontab", "7 10 certificates certbot renew -q"),
        ("etc/crontabs/root", "0 3 * * * certbot renew -q"),
    ],
    ids=["tabs", "random minute", "anacron", "BusyBox"],
)
def test_a_line_of_cron_is_found_in_every_notation(tmp_path: Path, file: str, line: str) -> None:
    lineage(tmp_path, "a.example.org", STANDALONE)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n")

    (schedule,) = find_machine(tmp_path, None).schedules

    assert (schedule.where, schedule.command) == (f"/{file}", "certbot renew -q")


@pytest.mark.parametrize("is_ours", [True, False])
def test_links_of_certbot_to_another_home_are_certctls_only_if_that_home_is(
    tmp_path: Path, is_ours: bool
) -> None:
    live = lineage(tmp_path, "a.example", STANDALONE)
    (tmp_path / "etc/letsencrypt/renewal/a.example.conf").unlink()
    other = tmp_path / "srv/home"
    version = other / "archive/a.example/1"
    version.mkdir(parents=True)
    (other / "live").mkdir()
    if is_ours:
        (other / "live/a.example").symlink_to("../archive/a.example/1")
    else:
        (other / "live/a.example").mkdir()
    for kind in ("cert", "chain", "fullchain", "privkey"):
        (live / f"{kind}.pem").unlink()
        (live / f"{kind}.pem").symlink_to(f"/srv/home/live/a.example/{kind}.pem")

    (client,) = find_machine(tmp_path, None).clients

    assert [each.name for each in client.certificates] == ([] if is_ours else ["a.example"])


def uacme(root: Path, line: str, *names: str) -> FoundCertificate:
    """A certificate of uacme, which a line of cron renews."""
    home = root / "etc/ssl/uacme"
    cert, key = pair(root / "made", *names)
    for directory in (home / names[0], home / "private" / names[0], root / "etc/cron.d"):
        directory.mkdir(parents=True)
    (home / names[0] / "cert.pem").write_bytes(cert)
    for path in (home / "private/key.pem", home / "private" / names[0] / "key.pem"):
        path.write_bytes(key)
        path.chmod(0o600)
    (root / "etc/cron.d/uacme").write_text(f"MAILTO=ops\n0 3 * * * root {line}\n")
    (client,) = find_machine(root, None).clients
    return client.certificates[0]


@pytest.mark.parametrize(
    ("variable", "directory"),
    [
        ("UACME_CHALLENGE_PATH=/srv/answers ", "/srv/answers"),
        ("", "/var/www/.well-known/acme-challenge"),
    ],
)
def test_the_hook_that_comes_with_uacme_writes_into_a_directory(
    tmp_path: Path, variable: str, directory: str
) -> None:
    line = f"{variable}uacme -h /usr/share/uacme/uacme.sh issue a.example"

    found = uacme(tmp_path, line, "a.example")

    assert found.questions == ()
    assert found.options["challenge.method"] == "webroot"
    assert found.options["challenge.directory"] == directory


def test_what_is_set_for_a_hook_of_uacme_is_asked_about_and_not_shown(tmp_path: Path) -> None:
    line = "TOKEN=secret uacme -h /opt/hook issue a.example"

    found = uacme(tmp_path, line, "a.example")

    (question,) = found.questions
    assert "/etc/cron.d/uacme sets TOKEN for its hook" in question.message
    assert "secret" not in question.message
    assert question.option == "--http-hook COMMAND"
    machine = find_machine(tmp_path, None)
    given = {"challenge.http_hook": "/opt/calls-the-hook"}
    (chosen,) = choose(machine, ["a.example"], given, Consent())
    assert chosen.options["challenge.http_hook_protocol"] == "uacme"


def of_ops(root: Path, line: str) -> None:
    """A crontab of the user ops, whose home is /home/ops."""
    spool = root / "var/spool/cron/crontabs"
    spool.mkdir(parents=True)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nops:x:7:7::/home/ops:/bin/sh\n")
    (spool / "ops").write_text(f"0 3 * * * {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "lego --path $HOME/.lego -d a.example --http renew",
        "lego --path ~/.lego -d a.example --http renew",
        "lego --path .lego -d a.example --http renew",
        "cd ~ && lego -d a.example --http renew",
        "LEGO_PATH=${HOME}/.lego lego -d a.example --http renew",
        "lego -d a.example --http renew",
    ],
)
def test_a_path_in_a_crontab_is_of_the_user_who_has_it(tmp_path: Path, line: str) -> None:
    lego(tmp_path, "a.example")
    (tmp_path / "home/ops").mkdir(parents=True)
    (tmp_path / "var/lib/lego").rename(tmp_path / "home/ops/.lego")
    of_ops(tmp_path, line)

    (client,) = find_machine(tmp_path, None).clients

    assert client.home == "/home/ops/.lego"
    (found,) = client.certificates
    assert found.method == "standalone"
    assert found.stop is not None
    assert found.stop.path == "/var/spool/cron/crontabs/ops"


def test_homes_of_certbot_and_dehydrated_are_found_where_command_lines_say(tmp_path: Path) -> None:
    lineage(tmp_path, "a.example", STANDALONE)
    (tmp_path / "etc/letsencrypt").rename(tmp_path / "etc/certbot-of-ops")
    (tmp_path / "srv/dehydrated").mkdir(parents=True)
    for name in ("config", "domains.txt"):
        (tmp_path / "srv/dehydrated" / name).touch()
    certbot = "certbot -q renew --config-dir=/etc/certbot-of-ops"
    of_ops(tmp_path, f"{certbot} ; dehydrated -c --config /srv/dehydrated/config")

    found = find_machine(tmp_path, None)

    assert [each.home for each in found.clients] == ["/etc/certbot-of-ops", "/srv/dehydrated"]


def test_a_home_of_lego_is_none_of_certbot_although_both_have_accounts(tmp_path: Path) -> None:
    lego(tmp_path, "a.example")

    found = find_machine(tmp_path, "/var/lib/lego")

    assert [each.client for each in found.clients] == ["lego"]
