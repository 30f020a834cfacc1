"""`certctl secure` with Debian's Apache, on machines of their own: with a CA that validates at port
80, one command makes HTTPS of what was there, and `--undo` gives every byte back.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import machine as lab
from tests.lab.browsing import Answer, ask, names_served
from tests.lab.machine import HOME, Machine
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.securing import (
    SELF_SIGNED,
    host,
    killed_at,
    listens,
    options,
    stop_servers,
    wait_for_free_ports,
    web_machine,
)

HELLO = Answer(200, "hello")
PAGES = b"<Directory /srv/www>\n    Options FollowSymLinks\n    Require all granted\n</Directory>\n"


FILES = "DocumentRoot /srv/www"
OTHER = host("Redirect /x http://elsewhere.example/", FILES, name="other.example")
SITES = {
    "000-first": host(FILES, name="first.example"),
    "static": host(FILES, name="static.example"),
    "proxied": host(
        'RequestHeader set X-Forwarded-Proto "http"', "ProxyPass / http://127.0.0.1:8000/",
        name="proxied.example",
    ),
    "elsewhere": host("Redirect permanent / http://other.example/", name="elsewhere.example"),
    "closed": host(
        FILES, "<Location />", "AuthType Basic", "AuthName closed", "AuthUserFile /dev/null",
        "Require valid-user", "Order deny,allow", "Deny from all", "</Location>",
        name="closed.example",
    ),
    "pair": host("ServerAlias \\", "  two.example", FILES, name="one.example"),
    "pattern": host("ServerAlias thr*.example", FILES, name="something.example"),
    "caf": host("# café", FILES, name="caf.example")
    .decode().replace("\n", "\r\n").encode("latin-1"),
    "other": OTHER,
    "backend": b"Listen 127.0.0.1:8000\n" + host(
        FILES, "RewriteEngine On", 'RewriteCond "%{HTTP:X-Forwarded-Proto}" "=https"',
        'RewriteRule "^/$" "/by-https.html"', name="backend", address="127.0.0.1:8000",
    ),
    "macro": b"<Macro Site $name>\n" + host(FILES, name="$name") + b"</Macro>\n"
    b"Use Site macro.example\n",
    "generated": b"# Ansible managed\n" + host(FILES, name="generated.example"),
    "twice": host(FILES, name="twice.example"),
    "again": b"Include sites-available/twice.conf\n",
    "loop": host("Redirect permanent / https://loop.example/", name="loop.example"),
    "asleep": host(FILES, 'RewriteRule "^" "http://other.example/"', name="asleep.example"),
    "writable": host(FILES, name="writable.example"),
}  # fmt: skip
MODULES = ("rewrite", "proxy", "proxy_http", "headers", "macro")


@pytest.fixture(scope="module")
def many(ca_here: PebbleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose Apache has all of `SITES`, and is the only one while it is used."""
    del ca_here
    with web_machine(tmp_path_factory.mktemp("many")) as found:
        files = {f"sites-available/{name}.conf": data for name, data in SITES.items()}
        found.configure_apache({"conf-enabled/pages.conf": PAGES, **files}, MODULES)
        (found.apache / "sites-available" / "writable.conf").chmod(0o666)
        by_https = "echo by https >/srv/www/by-https.html"
        found.run("sh", "-c", by_https)
        yield found


@pytest.fixture
def running(many: Machine) -> Iterator[Machine]:
    wait_for_free_ports()
    many.start_apache()
    yield many
    stop_servers(many)


def start(here: Machine, *sites: bytes, modules: Sequence[str] = ()) -> dict[str, bytes]:
    """Start an Apache with these sites; return its files."""
    files = {f"sites-available/{number}.conf": site for number, site in enumerate(sites)}
    here.configure_apache({"conf-enabled/pages.conf": PAGES, **files}, modules)
    original = here.apache_files()
    here.start_apache()
    return original


@dataclass(frozen=True)
class Case:
    """The names to secure, what visitors get at HTTPS, and what certificates are for."""

    names: Sequence[str]
    https: Answer = HELLO


CASES = {
    "proxied": Case(["proxied.example"], Answer(200, "by https")),
    "static": Case(["static.example"]),
    "redirected elsewhere": Case(
        ["elsewhere.example"], Answer(301, location="http://other.example/")
    ),
    "with a password, and closed": Case(["closed.example"], Answer(403)),
    "three names in two virtual hosts": Case(["one.example", "two.example", "three.example"]),
    "the default of its address": Case(["first.example"]),
    "CRLF and Latin-1": Case(["caf.example"]),
}
OTHERS = ("other.example", "unknown.example")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_command_makes_https_of_it_and_undo_gives_every_byte_back(
    running: Machine, ca_here: PebbleServer, case: Case
) -> None:
    original = running.apache_files()
    before = {each: ask(each) for each in OTHERS}

    done = running.certctl("secure", *case.names, *options(ca_here))

    assert (done.exit_status, done.stderr.count("error")) == (0, 0), done
    for name in case.names:
        assert ask(name, tls=True) == case.https
        assert names_served(name) == sorted(case.names)
        assert ask(name, "/a%20b?c=%2F") == Answer(301, location=f"https://{name}/a%20b?c=%2F")
    assert {each: ask(each) for each in OTHERS} == before
    assert [names_served(each) for each in OTHERS] == [None, None]

    changed = running.apache_files()
    again = running.certctl("secure", *case.names, *options(ca_here))
    assert (again.exit_status, running.apache_files()) == (0, changed), again
    assert "Its configuration has all lines already." in again.stderr

    undone = running.certctl("secure", "--undo", case.names[0], "--yes")
    assert undone.exit_status == 0, undone
    assert running.apache_files() == original
    assert {each: ask(each) for each in OTHERS} == before
    assert not listens("127.0.0.1", 443)


# What is refused, before anything is changed.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("macro.example", "the virtual host of macro.example comes from a macro"),
        ("generated.example", "generated.conf is generated (Ansible managed)"),
        ("twice.example", "twice.conf is read more than once"),
        ("loop.example", "loop.conf:1 redirects every request to HTTPS, but no virtual host"),
        ("asleep.example", "asleep.conf:1 has a RewriteRule that is off"),
        ("writable.example", "writable.conf can be written by other users"),
    ],
)
def test_a_virtual_host_that_cannot_be_changed_is_refused_with_the_lines_to_add(
    running: Machine, name: str, said: str
) -> None:
    assert_refused(running, said, name)


def assert_refused(here: Machine, said: str, name: str = "one.example") -> None:
    """Fail unless nothing is changed, and the reason and the lines to add are printed."""
    before = here.apache_files()

    refused = here.certctl("secure", name, "--yes", "--agree-tos")

    assert refused.exit_status == 2, refused
    assert said in refused.stderr
    assert f"{HOME}/live/{name}/fullchain.pem" in refused.stderr
    assert here.apache_files() == before


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ((host(FILES, address="*"),), "0.conf:1 has a virtual host for every port, 443 too"),
        (
            (host(FILES), host("RemoteIPProxyProtocol On", name="two.example")),
            "1.conf:3 expects the PROXY protocol",
        ),
        (
            (host(FILES), b"Listen 443\n" + host(FILES, address="*:443")),
            "1.conf:2 is for port 443, but without `SSLEngine on`",
        ),
        (
            (b"Listen 127.0.0.1:443\n" + host(FILES),),
            "Apache would listen twice on port 443 of an address, and end",
        ),
    ],
)
def test_a_configuration_in_which_tls_cannot_be_added_is_refused(
    here: Machine, sites: Sequence[bytes], said: str
) -> None:
    start(here, *sites, modules=("remoteip",))

    assert_refused(here, said)


def test_a_test_that_fails_already_is_refused(here: Machine) -> None:
    start(here, host(FILES))
    (here.apache / "conf-enabled" / "mistake.conf").write_text("Mistake\n")

    assert_refused(here, "Invalid command 'Mistake'")


def test_port_443_of_another_program_is_refused_since_apache_would_end(here: Machine) -> None:
    start(here, host(FILES))
    python = f"import socket; s = socket.create_server(('{lab.ADDRESS}', 443)); input()"
    here.run("sh", "-c", f'{sys.executable} -c "{python}" </dev/zero >/dev/null 2>&1 &')
    wait_until(lambda: listens(lab.ADDRESS, 443), "the other program")

    assert_refused(here, "port 443 is taken by python")


def test_apache_in_a_container_is_refused(here: Machine) -> None:
    here.configure_apache({"sites-available/0.conf": host(FILES)})
    here.run("sh", "-c", "unshare --mount apache2ctl start >/run/apache.said 2>&1")
    wait_until(lambda: listens("127.0.0.1", 80), "Apache")

    assert_refused(here, "Apache runs in a container")


# Other layouts and addresses.


def test_the_site_that_debian_installs_becomes_https(here: Machine, ca_here: PebbleServer) -> None:
    original = here.apache_files()
    here.start_apache()

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert "no ServerName or ServerAlias has one.example" in done.stderr
    assert ask("one.example", tls=True).status == ask("other.example").status == 200
    assert names_served("other.example") is None
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.apache_files() == original


def test_an_ipv6_address_alone_becomes_https(here: Machine, ca_here: PebbleServer) -> None:
    (here.apache / "ports.conf").write_text("Listen [::1]:80\n")
    original = start(here, host(FILES, name="six.example", address="[::1]:80"))

    done = here.certctl("secure", "six.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert ask("six.example", tls=True, address="::1") == HELLO
    assert names_served("other.example", "::1") is None
    assert not listens("127.0.0.1", 443)
    here.certctl("secure", "--undo", "six.example", "--yes")
    assert here.apache_files() == original


RHEL = b"""ServerRoot /srv/httpd
PidFile /run/httpd.pid
Include conf.modules.d/*.conf
Listen 80
User www-data
Group www-data
ServerName localhost
ErrorLog /run/httpd.log
<Directory />
    AllowOverride none
    Require all denied
</Directory>
%sIncludeOptional conf.d/*.conf
"""


MOD_SSL = {
    "conf.modules.d/00-ssl.conf": b"LoadModule ssl_module modules/mod_ssl.so\n",
    "conf.d/ssl.conf": b"Listen 443 https\n<VirtualHost _default_:443>\nSSLEngine on\n"
    b"SSLCertificateFile /srv/own.pem\nSSLCertificateKeyFile /srv/own.key\n</VirtualHost>\n",
}
"""What RHEL's package mod_ssl installs."""


@pytest.mark.parametrize(
    ("place", "more", "others"),
    [("conf.d/one.conf", MOD_SSL, ["own.example"]), ("conf/httpd.conf", {}, None)],
)
def test_the_layout_of_rhel_becomes_https(
    here: Machine,
    ca_here: PebbleServer,
    place: str,
    more: Mapping[str, bytes],
    others: list[str] | None,
) -> None:
    here.run("sh", "-c", SELF_SIGNED)
    root = Path(f"/proc/{here.pid}/root/srv/httpd")
    modules = ("mpm_event", "authz_core", "alias", "dir", "socache_shmcb")
    loads = "".join(f"LoadModule {each}_module modules/mod_{each}.so\n" for each in modules)
    site = host(FILES)
    made = {
        "conf/httpd.conf": RHEL % (site if place == "conf/httpd.conf" else b""),
        "conf.modules.d/00-base.conf": loads.encode(),
        "conf.d/other.conf": PAGES + OTHER,
        **more,
        **({place: site} if place == "conf.d/one.conf" else {}),
    }
    for name, data in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "modules").symlink_to("/usr/lib/apache2/modules")
    here.run("cp", "/usr/sbin/apache2", "/srv/httpd/httpd")
    here.start_apache("/srv/httpd/httpd", "-d", "/srv/httpd", "-f", "conf/httpd.conf")

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done.stderr
    assert (ask("one.example", tls=True), names_served("one.example")) == (HELLO, ["one.example"])
    assert names_served("other.example") == others
    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    assert undone.exit_status == 0, undone
    kept = {path: path.read_bytes() for path in root.glob("conf*/*")}
    assert kept == {root / name: data for name, data in made.items()}


def test_the_main_server_of_rhel_is_refused_and_becomes_https_with_the_lines_of_the_hint(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.run("sh", "-c", SELF_SIGNED)
    root = Path(f"/proc/{here.pid}/root/srv/httpd")
    modules = ("mpm_event", "authz_core", "alias", "dir", "socache_shmcb", "rewrite")
    loads = "".join(f"LoadModule {each}_module modules/mod_{each}.so\n" for each in modules)
    made = {
        "conf/httpd.conf": RHEL % f"{FILES}\nAlias /a /srv/www\n".encode(),
        "conf.modules.d/00-base.conf": loads.encode(),
        "conf.d/pages.conf": PAGES,
        **MOD_SSL,
    }
    for name, data in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "modules").symlink_to("/usr/lib/apache2/modules")
    here.run("cp", "/usr/sbin/apache2", "/srv/httpd/httpd")
    here.start_apache("/srv/httpd/httpd", "-d", "/srv/httpd", "-f", "conf/httpd.conf")
    wait_until(lambda: listens("127.0.0.1", 80), "Apache")

    refused = here.certctl("secure", "one.example", *options(ca_here))
    told = refused.stderr.partition("<VirtualHost *:80>")[2].partition("</VirtualHost>")[0]
    added = f"<VirtualHost *:80>{told}</VirtualHost>\n"
    (root / "conf.d" / "one.conf").write_text(added)
    here.run("/srv/httpd/httpd", "-d", "/srv/httpd", "-f", "conf/httpd.conf", "-k", "graceful")
    done = here.certctl("secure", "one.example", *options(ca_here))

    assert (refused.exit_status, done.exit_status) == (2, 0), done
    assert "no virtual host is for port 80" in refused.stderr
    assert (ask("one.example", tls=True), ask("one.example", "/a/", tls=True)) == (HELLO, HELLO)
    assert (ask("other.example"), names_served("other.example")) == (HELLO, ["own.example"])
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert (root / "conf.d" / "one.conf").read_text() == added
    assert (root / "conf" / "httpd.conf").read_bytes() == made["conf/httpd.conf"]


def test_a_certificate_that_is_served_already_is_replaced(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.run("sh", "-c", SELF_SIGNED)
    served = host(
        "<IfModule mod_ssl.c>", "SSLEngine on", "  SSLCertificateFile /srv/own.pem",
        "SSLCertificateKeyFile \\", "  /srv/own.key", "</IfModule>", FILES, address="*:443",
    )  # fmt: skip
    plain = host(
        "RewriteEngine on", "RewriteCond %{SERVER_NAME} =one.example",
        "RewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [END,NE,R=permanent]",
    )  # fmt: skip
    original = start(here, plain, served, modules=("ssl", "socache_shmcb", "rewrite"))

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert (names_served("one.example"), ask("one.example", tls=True)) == (["one.example"], HELLO)
    changed = here.apache_files()["sites-available/1.conf"]
    assert b"#certctl# SSLCertificateFile /srv/own.pem #certctl one.example" in changed
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.apache_files() == original
    assert names_served("one.example") == ["own.example"]


# What happens later, or goes wrong.


def test_where_the_ca_refuses_every_byte_is_put_back(here: Machine, ca_here: PebbleServer) -> None:
    original = start(here, host(FILES, name="blocked.example"))

    failed = here.certctl("secure", "blocked.example", *options(ca_here))

    assert failed.exit_status == 1, failed
    assert "The configuration of the web server is as it was before." in failed.stderr
    assert here.apache_files() == original
    assert ask("blocked.example") == HELLO


def test_an_apache_that_ends_while_it_reloads_is_started_again_as_it_was(
    here: Machine, ca_here: PebbleServer
) -> None:
    original = start(here, host(FILES))
    # Takes the port while the CA validates, when it has been looked at.
    taker = (
        "import glob, socket, time\n"
        f"while not glob.glob('{HOME}/challenges/.well-known/acme-challenge/*'): time.sleep(0.01)\n"
        "s = socket.create_server(('127.0.0.1', 443)); s.accept()\n"
    )
    (here.directory / "taker.py").write_text(taker)
    run = f"{sys.executable} {here.directory}/taker.py </dev/null >/dev/null 2>&1 &"
    here.run("sh", "-c", run)

    failed = here.certctl("secure", "one.example", *options(ca_here))

    assert failed.exit_status == 1, failed
    assert "Apache ended when it was to load its configuration" in failed.stderr
    assert "The configuration of the web server is as it was before." in failed.stderr
    assert here.apache_files() == original
    assert ask("one.example") == HELLO


def test_behind_a_router_nothing_is_redirected_and_its_address_is_only_reported(
    here: Machine, ca_here: PebbleServer
) -> None:
    original = start(here, host(FILES, name="nat.example"))

    done = here.certctl("secure", "nat.example", *options(ca_here))
    renewed = here.certctl("renew", "nat.example", "--force")

    assert (done.exit_status, renewed.exit_status) == (0, 0), (done, renewed)
    assert "nat.example leads to 203.0.113.5, which is not only this machine" in done.stderr
    assert "nat.example at 203.0.113.5, its address in DNS: not checked from here" in done.stdout
    assert (ask("nat.example"), ask("nat.example", tls=True)) == (HELLO, HELLO)
    here.certctl("secure", "--undo", "nat.example", "--yes")
    assert here.apache_files() == original


def test_names_are_added_later_and_two_certificates_do_not_disturb_each_other(
    here: Machine, ca_here: PebbleServer
) -> None:
    sites = [host(FILES, name=f"{each}.example") for each in ("one", "two", "three")]
    original = start(here, *sites)
    chosen = ("--no-redirect", "--hsts", *options(ca_here))
    assert here.certctl("secure", "one.example", *chosen).exit_status == 0
    assert here.certctl("secure", "three.example", *options(ca_here)).exit_status == 0

    added = here.certctl("secure", "one.example", "two.example", *options(ca_here))

    assert added.exit_status == 0, added
    both = ["one.example", "two.example"]
    assert [names_served(each) for each in both] == [both, both]
    assert [ask(each) for each in both] == [HELLO, HELLO]
    copies = here.apache_files()["sites-available/zz-certctl-site-one.example.conf"]
    assert copies.count(b"Header always set Strict-Transport-Security") == 2
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert (names_served("one.example"), names_served("three.example")) == (
        None,
        ["three.example"],
    )
    here.certctl("secure", "--undo", "three.example", "--yes")
    assert here.apache_files() == original


def test_both_of_two_keys_are_served_from_the_beginning_or_once_they_are_added(
    here: Machine, ca_here: PebbleServer
) -> None:
    original = start(here, *(host(FILES, name=f"{each}.example") for each in ("one", "two")))
    both = ("--key-type", "ecdsa-p256", "--key-type", "rsa-2048")
    first = here.certctl("secure", "one.example", *both, *options(ca_here))
    assert here.certctl("secure", "two.example", *options(ca_here)).exit_status == 0
    added = here.certctl("secure", "two.example", *both, *options(ca_here))
    verified = [here.certctl("verify", each) for each in ("one.example", "two.example")]
    less = here.certctl("edit", "one.example", "--key-type", "ecdsa-p256")

    assert first.exit_status == 0, first
    assert added.exit_status == 0, added
    copies = [
        here.apache_files()[f"sites-available/zz-certctl-site-{each}.example.conf"]
        for each in ("one", "two")
    ]
    assert [each.count(b"/rsa/fullchain.pem") for each in copies] == [1, 1]
    assert [each.exit_status for each in verified] == [0, 0], verified
    assert "which the configuration of a server names" in less.stderr
    for each in ("one.example", "two.example"):
        assert here.certctl("secure", "--undo", each, "--yes").exit_status == 0
    assert here.apache_files() == original


def test_a_renewal_is_validated_without_a_reload_whatever_is_added_below(
    here: Machine, ca_here: PebbleServer
) -> None:
    start(here, host(FILES))
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.apache / "sites-available" / "0.conf"
    below = "    Redirect / https://one.example/\n    <Location />\nRequire ip 192.0.2.99\n"
    below += "</Location>\n    ServerName"
    path.write_text(path.read_text().replace("    ServerName", below))
    here.run("apache2ctl", "stop")
    wait_until(lambda: not listens("127.0.0.1", 80), "Apache to stop")
    here.start_apache()
    wait_until(lambda: here.apache_children() != set(), "Apache to start its processes")
    children = here.apache_children()

    renewed = here.certctl("renew", "one.example", "--dry-run")

    assert renewed.exit_status == 0, renewed
    assert children <= here.apache_children()  # a reload replaces all of them
    assert ask("one.example", tls=True) == HELLO
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    assert ask("one.example", tls=True) == HELLO


def test_a_copy_that_was_edited_stays_and_is_kept_when_it_is_taken_back(
    here: Machine, ca_here: PebbleServer
) -> None:
    original = start(here, host(FILES))
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.apache / "sites-available" / "zz-certctl-site-one.example.conf"
    path.write_text(path.read_text().replace(FILES, f"{FILES}\n    Redirect /x /y"))

    again = here.certctl("secure", "one.example", "--hsts", *options(ca_here))
    served = ask("one.example", "/x", tls=True)
    undone = here.certctl("secure", "--undo", "one.example", "--yes")

    assert (again.exit_status, served.status) == (0, 302), again
    kept = HOME / "webservers" / "removed" / path.name
    assert f"a copy is kept: {kept}" in undone.stdout.replace("\n", " "), undone.stdout
    assert here.apache_files() == original


def test_what_answers_before_the_lines_is_found_by_doctor(
    here: Machine, ca_here: PebbleServer
) -> None:
    start(here, host(FILES))
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.apache / "sites-available" / "0.conf"
    rule = "<VirtualHost *:80>\n    RewriteRule ^ https://x.example/ [R,L]"
    path.write_text(path.read_text().replace("<VirtualHost *:80>", rule))

    found = here.certctl("doctor", "--json").json()["data"]["findings"]
    refused = here.certctl("delete", "one.example", "--yes")

    messages = [each["message"] for each in found if each["code"] == "secured.obstacle"]
    place = "before the lines of certctl comes /etc/apache2/sites-enabled/0.conf:2 (RewriteRule)"
    assert messages == [f"its challenges are not answered: {place}"]
    assert (refused.exit_status, "zz-certctl-site-one.example.conf:12" in refused.stderr) == (
        2,
        True,
    ), refused


def test_the_lines_for_challenges_alone_are_enough_for_issue(
    here: Machine, ca_here: PebbleServer
) -> None:
    start(here, host("Redirect / https://elsewhere.example/"))

    added = here.certctl("secure", "one.example", "--challenges-only", *options(ca_here))

    assert added.exit_status == 0, added
    assert not listens("127.0.0.1", 443)
    challenges = ("--webroot", str(HOME / "challenges"))
    issued = here.certctl("issue", "one.example", *challenges, *options(ca_here)[:5])
    assert issued.exit_status == 0, issued


def test_a_module_that_other_lines_need_by_now_stays_enabled(
    here: Machine, ca_here: PebbleServer
) -> None:
    original = start(here, host(FILES))
    added = here.certctl("secure", "one.example", "--challenges-only", *options(ca_here))
    rules = here.apache / "conf-enabled" / "rules.conf"
    rules.write_text("RewriteEngine On\n")

    undone = here.certctl("secure", "--undo", "one.example", "--yes")

    assert (added.exit_status, undone.exit_status) == (0, 0), undone
    left = dict(here.apache_files().items() - original.items())
    assert set(left) == {"conf-enabled/rules.conf", "mods-enabled/rewrite.load"}
    assert ask("one.example") == HELLO


def test_of_two_servers_the_one_at_port_80_is_changed(here: Machine) -> None:
    start(here, host(FILES))
    here.configure({"conf.d/a.conf": b"server { listen 127.0.0.1:8081; }\n"})
    here.start_nginx()
    confined = ("setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-m", "certctl")

    shown = here.certctl("secure", "one.example", "--dry-run")
    blind = here.run(*confined, "--home", str(HOME), "secure", "one.example", "--dry-run")
    chosen = here.run(
        *confined, "--home", str(HOME),
        *("secure", "one.example", "--dry-run", "--web-server", "apache"),
    )  # fmt: skip

    assert shown.stdout.startswith("Found Apache 2.4"), shown
    assert "several web servers run on this machine: nginx" in blind.stderr
    assert chosen.stdout.startswith("Found Apache 2.4"), chosen
    assert "without CAP_SYS_PTRACE; /usr/sbin/apache2ctl is taken for it" in chosen.stdout


@pytest.mark.parametrize("number", [9, 18, 27, 31])
def test_a_kill_at_a_rename_leaves_a_configuration_that_apache_loads(
    here: Machine, ca_here: PebbleServer, number: int
) -> None:
    require("strace")
    original = start(here, host(FILES))
    killed = killed_at(here, "/^rename", number, "secure", "one.example", *options(ca_here))

    assert killed in {-9, 137}
    assert here.run("apache2ctl", "-t").returncode == 0
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    assert names_served("one.example") == ["one.example"]
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.apache_files() == original
