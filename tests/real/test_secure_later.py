"""What happens to a certificate of `certctl secure` later: names come and go, servers are started
in other ways, runs are killed; and what it had before comes back.
"""

import sys
from pathlib import Path

import pytest

from tests.lab.browsing import Answer, ask, names_served
from tests.lab.machine import HOME, Machine
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.securing import host, killed_at, listens, options, site

HELLO = Answer(200, "hello")
ONE, TWO = site("return 200 hello;"), site("return 200 hello;", name="two.example")


def start_apache(here: Machine, *names: str) -> None:
    pages = b"<Directory /srv/www>\n    Require all granted\n</Directory>\n"
    sites = {
        f"sites-available/{name}.conf": host("DocumentRoot /srv/www", name=name) for name in names
    }
    here.configure_apache({"conf-enabled/pages.conf": pages, **sites})
    here.start_apache()


# Names.


@pytest.mark.parametrize("server", ["nginx", "apache"])
@pytest.mark.parametrize("command", ["edit", "issue"])
def test_a_name_that_no_lines_are_for_is_refused_with_the_command_that_adds_it(
    here: Machine, ca_here: PebbleServer, server: str, command: str
) -> None:
    both = ["one.example", "two.example"]
    if server == "nginx":
        here.configure({"conf.d/a.conf": ONE, "conf.d/b.conf": TWO})
        here.start_nginx()
    else:
        start_apache(here, *both)
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0

    words = ("one.example", "--add", "two.example") if command == "edit" else tuple(both)
    refused = here.certctl(command, *words)
    told = refused.stderr.partition("certctl secure one.example ")[2].partition("\n")[0]
    added = here.certctl("secure", "one.example", *told.split(), *options(ca_here))

    assert (refused.exit_status, told) == (2, "two.example --name one.example"), refused
    assert f"{server} does not answer the challenges of two.example" in refused.stderr
    assert added.exit_status == 0, added
    assert [names_served(each) for each in both] == [both, both]


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_of_a_name_that_goes_the_lines_go_too_when_secure_runs_again(
    here: Machine, ca_here: PebbleServer, server: str
) -> None:
    both = ["one.example", "two.example"]
    if server == "nginx":
        here.configure({"conf.d/a.conf": ONE, "conf.d/b.conf": TWO})
        here.start_nginx()
        read, changed = here.files, ["conf.d/a.conf"]
    else:
        start_apache(here, *both)
        read, changed = here.apache_files, ["sites-available/one.example.conf"]
    original = read()
    assert here.certctl("secure", *both, *options(ca_here)).exit_status == 0

    edited = here.certctl("edit", "one.example", "--remove", "two.example")
    again = here.certctl("secure", "one.example", "--name", "one.example", *options(ca_here))

    assert f"warning: {server} still serves two.example" in edited.stderr, edited
    assert "certctl secure one.example --name one.example" in edited.stderr
    assert again.exit_status == 0, again
    assert (names_served("one.example"), names_served("two.example")) == (["one.example"], None)
    assert ask("two.example") == HELLO
    assert [name for name, data in original.items() if read()[name] != data] == changed
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert read() == original


# What was there before.


def test_the_webroot_that_a_certificate_had_comes_back_with_undo(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("root /srv/www;")})
    here.start_nginx()
    webroot = ("--webroot", "/srv/www")
    issued = here.certctl("issue", "one.example", *webroot, *options(ca_here)[:-1])
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0

    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    renewed = here.certctl("renew", "one.example", "--force")

    assert (issued.exit_status, undone.exit_status) == (0, 0), undone
    assert "is kept, and is renewed as before" in undone.stdout
    assert renewed.exit_status == 0, renewed


def test_the_webroot_that_a_certificate_had_stays_where_secure_fails(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("root /srv/www;")})
    here.start_nginx()
    webroot = ("--webroot", "/srv/www")
    issued = here.certctl("issue", "one.example", *webroot, *options(ca_here)[:-1])
    # nginx tests nothing of what it cannot do: this port is taken by another program.
    start = "import socket; s = socket.create_server(('127.0.0.1', 8443)); input()"
    here.run("sh", "-c", f'{sys.executable} -c "{start}" </dev/zero >/dev/null 2>&1 &')
    wait_until(lambda: listens("127.0.0.1", 8443), "the other program")
    (here.nginx / "conf.d" / "z.conf").write_text("server { listen 127.0.0.1:8443; }\n")

    failed = here.certctl("secure", "one.example", *options(ca_here))
    (here.nginx / "conf.d" / "z.conf").unlink()
    here.run("nginx", "-s", "reload")
    renewed = here.certctl("renew", "one.example", "--force")

    assert (issued.exit_status, failed.exit_status) == (0, 1), failed
    assert renewed.exit_status == 0, renewed


# How the server was started.


@pytest.mark.parametrize(
    ("command", "main"),
    [
        ("nginx -g 'daemon on; pid /run/other.pid;'", "/etc/nginx/nginx.conf"),
        ("nginx -c other.conf -p /srv/n -g 'pid /run/other.pid;'", "/srv/n/other.conf"),
    ],
)
def test_an_nginx_with_directives_on_its_command_line_is_deployed_to(
    here: Machine, ca_here: PebbleServer, command: str, main: str
) -> None:
    here.configure({"conf.d/a.conf": ONE})
    here.run("mkdir", "-p", "/srv/n/logs")
    block = f"access_log off; {ONE.decode()}"
    here.run("tee", "/srv/n/other.conf", stdin=f"user www-data; events {{ }} http {{ {block} }}")
    path = here.nginx / "nginx.conf"
    path.write_text(path.read_text().replace("pid /run/nginx.pid;", ""))
    here.run("sh", "-c", f"{command} >/run/nginx.said 2>&1")

    done = here.certctl("secure", "one.example", *options(ca_here))
    renewed = here.certctl("renew", "one.example", "--force")
    found = here.certctl("doctor", "--json").json()["data"]["findings"]

    assert (done.exit_status, renewed.exit_status) == (0, 0), (done, renewed)
    assert f", {main})" in done.stderr
    assert "nginx: tested, reloaded; served at 127.0.0.1:443." in renewed.stdout
    assert [each for each in found if each["code"].startswith(("deploy.", "secured."))] == []


def test_another_nginx_that_is_broken_does_not_keep_lines_from_being_taken_back(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": ONE})
    original = here.files()
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    inner = "access_log off; server { listen 127.0.0.1:8081; }"
    main = f"pid /run/other.pid; error_log /run/other.log; events {{ }} http {{ {inner} }}"
    here.run("tee", "/srv/other.conf", stdin=main)
    assert here.run("sh", "-c", "nginx -c /srv/other.conf >/run/other.said 2>&1").returncode == 0
    here.run("tee", "/srv/other.conf", stdin="mistake;")

    again = here.certctl("secure", "one.example", *options(ca_here))
    undone = here.certctl("secure", "--undo", "one.example", "--yes")

    assert (again.exit_status, undone.exit_status) == (0, 0), (again, undone)
    assert here.files() == original
    assert names_served("one.example") is None


# Runs that were killed.


@pytest.mark.parametrize("server", ["nginx", "apache"])
@pytest.mark.parametrize("again", [("secure",), ("secure", "--undo")])
def test_what_a_killed_run_has_written_is_not_called_a_change_of_somebody_else(
    here: Machine, ca_here: PebbleServer, server: str, again: tuple[str, ...]
) -> None:
    require("strace")
    if server == "nginx":
        here.configure({"conf.d/a.conf": ONE})
        here.start_nginx()
        read = here.files
    else:
        start_apache(here, "one.example")
        read = here.apache_files
    original = read()
    secure = ("secure", "one.example", *options(ca_here))
    # The first signal has the server load the lines for challenges.
    killed = killed_at(here, "kill", 2, *secure)
    found = here.certctl("doctor", "--json").json()["data"]["findings"]

    given = ["--yes"] if again[1:] else options(ca_here)
    done = here.certctl(*again, "one.example", *given)

    assert (killed in {-9, 137}, read() == original) == (True, bool(again[1:])), done
    assert [each["message"] for each in found if each["code"].startswith("secured.")] == [
        "a run of certctl secure was interrupted"
    ]
    said = done.stdout + done.stderr
    assert (done.exit_status, "changed" in said, "copy is kept" in said) == (0, False, False), done
    assert not list((Path(f"/proc/{here.pid}/root{HOME}/webservers")).glob("removed/*"))
    assert names_served("one.example") == (None if again[1:] else ["one.example"])
