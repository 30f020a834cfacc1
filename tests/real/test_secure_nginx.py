"""`certctl secure` with Debian's nginx, on machines of their own: with a CA that validates at port
80, one command makes HTTPS of what was there, and `--undo` gives every byte back.
"""

import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab import machine as lab
from tests.lab.browsing import Answer, ask, names_served
from tests.lab.machine import HOME, Machine
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.securing import SELF_SIGNED, killed_at, listens, options, site

BACKEND = b'server { listen 127.0.0.1:8000; return 200 "the application\\n"; }\n'
OTHER = b'server { listen 80; server_name old.example; return 200 "another site\\n"; }\n'
DEFAULT = b'server { listen 80 default_server; return 200 "the default\\n"; }\n'
MAIN = b"""user www-data;
pid /run/nginx.pid;
events { worker_connections 100; }
http {
    default_type text/html;
    include /etc/nginx/conf.d/*.conf;
%s}
"""
ONE_LINE = (
    b"user www-data; pid /run/nginx.pid; events { } http { "
    b'server { listen 80; server_name one.example; return 200 "in one line"; } '
    b'server { listen 80; server_name old.example; return 200 "another site"; } }'
)


@dataclass(frozen=True)
class Case:
    """A configuration, the names to secure, what visitors get at HTTPS, and what others get."""

    files: Mapping[str, bytes]
    names: Sequence[str]
    https: Answer
    http: Answer | None = None
    """None: redirected to HTTPS."""
    others: Sequence[str] = ("old.example",)
    address: str = "127.0.0.1"
    setup: Sequence[str] = field(default=("true",))


HELLO = Answer(200, "hello")
CASES = {
    "proxied": Case(
        {
            "sites-enabled/one": site("location / { proxy_pass http://127.0.0.1:8000; }"),
            "conf.d/more.conf": BACKEND + OTHER,
        },
        ["one.example"],
        Answer(200, "the application"),
    ),
    "static": Case(
        {"sites-enabled/one": site("root /srv/www;"), "conf.d/more.conf": OTHER},
        ["one.example"],
        HELLO,
        setup=("sh", "-c", "echo hello >/srv/www/index.html"),
    ),
    "redirected elsewhere": Case(
        {"sites-enabled/one": site("return 301 http://old.example/;"), "conf.d/a.conf": OTHER},
        ["one.example"],
        Answer(301, location="http://old.example/"),
    ),
    "with a password": Case(
        {
            "sites-enabled/one": site(
                "auth_basic closed;", "auth_basic_user_file passwords;", "deny all;",
                "root /srv/www;", "location ~ /\\. { return 404; }",
            ),
            "conf.d/a.conf": OTHER,
            "passwords": b"",
        },
        ["one.example"],
        Answer(403),
    ),
    "IPv6 only": Case(
        {
            "sites-enabled/six": b"server {\n\tlisten [::]:80;\n\tserver_name six.example;\n"
            b"\treturn 200 six;\n}\n"
        },
        ["six.example"],
        Answer(200, "six"),
        others=(),
        address="::1",
    ),
    "three names in two blocks": Case(
        {
            "sites-enabled/one": site("return 200 hello;", name="one.example two.example"),
            "sites-enabled/three": site("return 200 hello;", name="three.example"),
            "conf.d/a.conf": OTHER,
        },
        ["one.example", "two.example", "three.example"],
        HELLO,
    ),
    "the default server": Case(
        {
            "sites-enabled/one": b"server {\n    listen 80 default_server;\n"
            b"    listen [::]:80 default_server;\n    server_name one.example;\n"
            b"    return 200 hello;\n}\n",
            "sites-enabled/two": site("return 200 second;", name="two.example"),
            "conf.d/a.conf": OTHER,
        },
        ["one.example"],
        HELLO,
        others=("two.example", "old.example", "unknown.example"),
    ),
    "a name that no block has": Case(
        {"conf.d/a.conf": DEFAULT + OTHER},
        ["one.example"],
        Answer(200, "the default"),
        others=("old.example", "unknown.example"),
    ),
    "in one line": Case(
        {"nginx.conf": ONE_LINE}, ["one.example"], Answer(200, "in one line")
    ),
    "CRLF and Latin-1": Case(
        {
            "nginx.conf": MAIN % b"",
            "conf.d/caf\u00e9.conf": site("# caf\u00e9", "return 200 hello;")
            .decode().replace("\n", "\r\n").encode("latin-1"),
            "conf.d/old.conf": OTHER,
        },
        ["one.example"],
        HELLO,
    ),
    "in nginx.conf, as on RHEL": Case(
        {"nginx.conf": MAIN % site("return 200 hello;"), "conf.d/old.conf": OTHER},
        ["one.example"],
        HELLO,
    ),
    "without a listen": Case(
        {"conf.d/a.conf": b"server { server_name one.example; return 200 hello; }" + OTHER},
        ["one.example"],
        HELLO,
    ),
    "with lines of another client": Case(
        {
            "sites-enabled/one": site(
                "location /.well-known/acme-challenge/ { root /nowhere; }",
                "location / { return 200 hello; }",
            ),
            "conf.d/old.conf": OTHER,
        },
        ["one.example"],
        HELLO,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_command_makes_https_of_it_and_undo_gives_every_byte_back(
    here: Machine, ca_here: PebbleServer, case: Case
) -> None:
    here.configure(case.files)
    here.run(*case.setup)
    original = here.files()
    here.start_nginx()
    before = {each: ask(each) for each in case.others}

    done = here.certctl("secure", *case.names, *options(ca_here))

    assert (done.exit_status, done.stderr.count("error")) == (0, 0), done
    for name in case.names:
        assert ask(name, tls=True, address=case.address) == case.https
        assert names_served(name, case.address) == sorted(case.names)
        assert ask(name, "/a?b", address=case.address) == (
            case.http or Answer(301, location=f"https://{name}/a?b")
        )
    assert {each: ask(each) for each in case.others} == before
    assert [names_served(each) for each in case.others] == [None] * len(case.others)
    assert "certctl renew" in here.run("sh", "-c", "cat /etc/cron.d/*").stdout.replace("-m ", "")

    changed = here.files()
    again = here.certctl("secure", *case.names, *options(ca_here))
    assert (again.exit_status, here.files()) == (0, changed), again
    assert "Its configuration has all lines already." in again.stderr

    undone = here.certctl("secure", "--undo", case.names[0], "--yes")
    assert undone.exit_status == 0, undone
    assert here.files() == original
    assert {each: ask(each) for each in case.others} == before
    with pytest.raises(ConnectionRefusedError, match="refused"):
        socket.create_connection((case.address, 443), timeout=10)


# What is refused, before anything is changed.


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"conf.d/a.conf": b"# Ansible managed\n" + site("return 200 hello;")},
            "/etc/nginx/conf.d/a.conf is generated (Ansible managed)",
        ),
        (
            {
                "conf.d/a.conf": site("return 200 hello;"),
                "conf.d/b.conf": b"include conf.d/a.conf;",
            },
            "/etc/nginx/conf.d/a.conf is included more than once",
        ),
        (
            {"conf.d/a.conf": site("return 200 hello;").replace(b"80;", b"80 proxy_protocol;")},
            "/etc/nginx/conf.d/a.conf:1 expects the PROXY protocol",
        ),
        (
            {"conf.d/a.conf": site("return 200 hello;").replace(b"80;", b"unix:/run/one.sock;")},
            "no server block listens on port 80",
        ),
        (
            {"conf.d/a.conf": site("return 301 https://$host$request_uri;")},
            "/etc/nginx/conf.d/a.conf:1 redirects every request to HTTPS, but no server block",
        ),
        (
            {"conf.d/a.conf": site("location / { return 302 https://one.example/; }")},
            "/etc/nginx/conf.d/a.conf:1 redirects every request to HTTPS, but no server block",
        ),
        (
            {"conf.d/a.conf": b"# one\r# two\n" + site("return 200 hello;")},
            "disagree about the server block at /etc/nginx/conf.d/a.conf:2",
        ),
        (
            {"conf.d/a.conf": site("listen 443;", "return 200 hello;")},
            "/etc/nginx/conf.d/a.conf:1 listens on port 443 without TLS",
        ),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_changed_is_refused_with_the_lines_to_add(
    here: Machine, files: Mapping[str, bytes], said: str
) -> None:
    here.configure(files)
    here.start_nginx()

    assert_refused(here, said)


def assert_refused(here: Machine, said: str) -> None:
    """Fail unless nothing is changed, and the reason and the lines to add are printed."""
    before = here.files()

    refused = here.certctl("secure", "one.example", "--yes", "--agree-tos")

    assert refused.exit_status == 2, refused
    assert said in refused.stderr
    assert f"{HOME}/live/one.example/fullchain.pem;" in refused.stderr
    assert here.files() == before


def test_a_test_that_fails_already_is_refused(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    (here.nginx / "conf.d" / "b.conf").write_text("mistake;\n")

    assert_refused(here, 'unknown directive "mistake" in /etc/nginx/conf.d/b.conf:1')


@pytest.mark.parametrize("port", [80, 443])
def test_a_port_of_another_program_is_refused(here: Machine, port: int) -> None:
    listen = site("return 200 hello;").replace(b"80;", b"127.0.0.1:80;")
    here.configure({"conf.d/a.conf": listen})
    here.start_nginx()
    python = f"import socket; s = socket.create_server(('{lab.ADDRESS}', {port})); input()"
    here.run("sh", "-c", f'{sys.executable} -c "{python}" </dev/zero >/dev/null 2>&1 &')
    wait_until(lambda: listens(lab.ADDRESS, port), "the other program")

    assert_refused(here, f"port {port} is taken by python")


def test_a_read_only_configuration_is_refused(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    directory = "/etc/nginx/conf.d"
    here.run("mount", "--bind", directory, directory)
    here.run("mount", "-o", "remount,ro,bind", directory)
    here.start_nginx()

    assert_refused(here, "/etc/nginx/conf.d/a.conf is read-only")


def test_nginx_in_a_container_is_refused(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.run("sh", "-c", "unshare --mount nginx >/run/nginx.said 2>&1")
    wait_until(lambda: listens("127.0.0.1", 80), "nginx")

    assert_refused(here, "nginx runs in a container")


def test_nginx_in_another_root_directory_is_refused(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.run("sh", "-c", "mkdir /srv/root && mount --rbind / /srv/root && chroot /srv/root nginx")
    wait_until(lambda: listens("127.0.0.1", 80), "nginx")

    assert_refused(here, "nginx runs in a container, or in another root directory")


def test_nginx_with_a_prefix_of_its_own_is_reloaded_by_later_deployments(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.run("mkdir", "-p", "/srv/n/conf", "/srv/n/logs")
    inner = f"access_log off; {site('return 200 hello;').decode()}"
    main = f"user www-data; pid logs/nginx.pid; events {{ }} http {{ {inner} }}"
    here.run("tee", "/srv/n/conf/nginx.conf", stdin=main)
    here.run("sh", "-c", "cd /srv/n && nginx -p . -c conf/nginx.conf >/run/nginx.said 2>&1")

    done = here.certctl("secure", "one.example", *options(ca_here))
    renewed = here.certctl("renew", "one.example", "--force")

    assert (done.exit_status, renewed.exit_status) == (0, 0), (done, renewed)
    assert ask("one.example", tls=True) == HELLO


def test_the_default_of_port_443_stays_the_default(here: Machine, ca_here: PebbleServer) -> None:
    here.run("sh", "-c", SELF_SIGNED)
    other = b"server { listen 443 ssl; ssl_certificate /srv/own.pem;\n"
    other += b"ssl_certificate_key /srv/own.key; return 200 other; }\n"
    here.configure({"conf.d/a.conf": site("return 200 hello;"), "conf.d/b.conf": other})
    original = here.files()
    here.start_nginx()

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert names_served("unknown.example") == ["own.example"]
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files() == original


@pytest.mark.parametrize(
    ("program", "hint"),
    [
        ("haproxy", "certctl snippet haproxy one.example"),
        ("apache2", "certctl snippet apache one.example"),
        ("other", "certctl issue one.example --webroot DIR"),
    ],
)
def test_of_another_server_at_port_80_it_says_what_to_do(
    here: Machine, program: str, hint: str
) -> None:
    here.run("cp", "/bin/bash", f"/srv/{program}")
    # The name of a process is that of its file; Python gives its socket to it.
    start = "import os, socket; s = socket.create_server(('127.0.0.1', 80)); "
    start += f"s.set_inheritable(True); os.execv('/srv/{program}', ['x', '-c', 'read x'])"
    here.run("sh", "-c", f'{sys.executable} -c "{start}" </dev/zero >/dev/null 2>&1 &')
    wait_until(lambda: program in here.run("ps", "-eo", "comm").stdout, "the other server")

    refused = here.certctl("secure", "one.example")

    assert refused.exit_status == 2, refused
    assert f"{program} listens on port 80" in refused.stderr
    assert hint in refused.stderr


def test_a_process_of_another_user_that_calls_itself_nginx_is_not_believed(here: Machine) -> None:
    evil = "/srv/evil"
    here.run("sh", "-c", f"echo '#!/bin/sh\ntouch /srv/ran' >{evil}; chmod 755 {evil}")
    title = "exec -a 'nginx: master process /srv/evil' sleep 60"
    here.run(
        "sh", "-c", f'setpriv --reuid nobody --clear-groups bash -c "{title}" >/dev/null 2>&1 &'
    )
    wait_until(lambda: "master" in here.run("ps", "ax").stdout, "the impostor")

    refused = here.certctl("secure", "one.example", "--yes")

    assert refused.exit_status == 2
    assert "no nginx or apache runs on this machine" in refused.stderr
    assert not (Path(f"/proc/{here.pid}/root") / "srv" / "ran").exists()


def test_a_file_that_other_users_can_write_is_refused(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    (here.nginx / "conf.d" / "a.conf").chmod(0o666)

    refused = here.certctl("secure", "one.example", "--yes")

    assert (refused.exit_status, "a.conf can be written by other users" in refused.stderr) == (
        2,
        True,
    ), refused


# What happens later, or goes wrong.


def test_where_the_ca_refuses_every_byte_is_put_back(here: Machine, ca_here: PebbleServer) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;", name="blocked.example")})
    original = here.files()
    here.start_nginx()

    failed = here.certctl("secure", "blocked.example", *options(ca_here))

    assert failed.exit_status == 1, failed
    assert "The configuration of the web server is as it was before." in failed.stderr
    assert here.files() == original
    assert ask("blocked.example") == HELLO
    assert ask("blocked.example", "/.well-known/acme-challenge/x") == HELLO


def test_a_reload_that_nginx_gives_up_in_silence_is_noticed(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    # Its test does not see that the port is taken, and it says nothing when it is reloaded.
    with socket.create_server(("127.0.0.1", 8080)):
        (here.nginx / "conf.d" / "b.conf").write_text("server { listen 127.0.0.1:8080; }\n")
        before = here.files()

        failed = here.certctl("secure", "one.example", *options(ca_here))

    assert failed.exit_status == 1, failed
    assert "nginx keeps its old configuration: no new worker process" in failed.stderr
    assert here.files() == before
    assert ask("one.example") == HELLO


def test_behind_a_router_nothing_is_redirected_and_its_address_is_only_reported(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;", name="nat.example")})
    here.start_nginx()

    done = here.certctl("secure", "nat.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert "nat.example leads to 203.0.113.5, which is not only this machine" in done.stderr
    assert "nat.example at 203.0.113.5, its address in DNS: not checked from here" in done.stdout
    assert (ask("nat.example"), ask("nat.example", tls=True)) == (HELLO, HELLO)


def test_limits_of_requests_do_not_count_for_challenges(
    here: Machine, ca_here: PebbleServer
) -> None:
    limits = ("limit_req zone=requests;", "limit_conn visitors 1;")
    zones = b"limit_req_zone $server_name zone=requests:1m rate=1r/m;\n"
    zones += b"limit_conn_zone $server_name zone=visitors:1m;\n"
    block = site(*limits, "root /srv/www;")
    here.configure({"conf.d/0.conf": zones, "conf.d/a.conf": block})
    here.start_nginx()

    done = here.certctl("secure", "one.example", *options(ca_here))
    visits = {ask("one.example", tls=True).status for _ in range(3)}

    assert done.exit_status == 0, done
    assert 503 in visits
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files()["conf.d/a.conf"] == block


def test_what_answers_before_the_lines_is_found_by_doctor(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.nginx / "conf.d" / "a.conf"
    path.write_text(path.read_text().replace("{", "{\n    return 301 https://x.example/;", 1))

    found = here.certctl("doctor", "--json").json()["data"]["findings"]

    messages = [each["message"] for each in found if each["code"] == "secured.obstacle"]
    place = "before the lines of certctl comes /etc/nginx/conf.d/a.conf:2 (return)"
    assert messages == [f"its challenges are not answered: {place}"]


def test_a_change_that_nginx_has_not_loaded_is_pointed_out(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    wait_until(lambda: here.workers() != set(), "nginx to start its workers")
    later = time.time() + 60
    os.utime(here.nginx / "nginx.conf", (later, later))

    shown = here.certctl("secure", "one.example", "--dry-run")

    assert (
        "Note: /etc/nginx/nginx.conf was changed after nginx had loaded it: the reload activates"
        " that change too." in shown.stdout
    )


def test_the_development_ca_needs_no_network(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()

    done = here.certctl("secure", "one.example", "--ca", "dev", "--yes", "--no-schedule")

    assert done.exit_status == 0, done
    assert (names_served("one.example"), ask("one.example", tls=True)) == (["one.example"], HELLO)


def test_a_certificate_that_is_served_already_is_replaced(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.run("sh", "-c", SELF_SIGNED)
    here.configure(
        {
            "conf.d/a.conf": site("return 301 https://$host$request_uri;"),
            "conf.d/b.conf": b"server {\n    listen 443 ssl;\n    server_name one.example;\n"
            b"    ssl_certificate /srv/own.pem; ssl_certificate_key /srv/own.key;\n"
            b"    return 200 hello;\n}\n",
        }
    )
    original = here.files()
    here.start_nginx()

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert (names_served("one.example"), ask("one.example", tls=True)) == (["one.example"], HELLO)
    assert (
        b"#certctl#| ssl_certificate /srv/own.pem; #certctl one.example"
        in (here.files()["conf.d/b.conf"])
    )
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files() == original
    assert names_served("one.example") == ["own.example"]


def test_the_site_that_debian_installs_becomes_https(here: Machine, ca_here: PebbleServer) -> None:
    original = here.files()
    here.start_nginx()
    before = ask("one.example", "/index.html")

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert (here.nginx / "sites-enabled" / "default").is_symlink()
    assert ask("one.example", "/index.html", tls=True) == before
    assert names_served("other.example") is None
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files() == original


def test_names_are_added_later_while_the_first_one_stays_served(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure(
        {
            "conf.d/a.conf": site("return 200 hello;"),
            "conf.d/b.conf": site("return 200 hello;", name="two.example"),
        }
    )
    original = here.files()
    here.start_nginx()
    chosen = ("--no-redirect", "--hsts", *options(ca_here))
    assert here.certctl("secure", "one.example", *chosen).exit_status == 0

    added = here.certctl("secure", "one.example", "two.example", *options(ca_here))

    assert added.exit_status == 0, added
    # What was chosen with the first name stays, also for the second one.
    assert here.files()["conf.d/b.conf"].count(b"add_header Strict-Transport-Security") == 1
    assert [ask(each) for each in ("one.example", "two.example")] == [HELLO, HELLO]
    both = ["one.example", "two.example"]
    assert [names_served(each) for each in both] == [both, both]
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files() == original


def test_both_of_two_keys_are_served_from_the_beginning_or_once_they_are_added(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure(
        {
            "conf.d/a.conf": site("return 200 hello;"),
            "conf.d/b.conf": site("return 200 hello;", name="two.example"),
        }
    )
    original = here.files()
    here.start_nginx()
    both = ("--key-type", "ecdsa-p256", "--key-type", "rsa-2048")
    first = here.certctl("secure", "one.example", *both, *options(ca_here))
    assert here.certctl("secure", "two.example", *options(ca_here)).exit_status == 0
    added = here.certctl("secure", "two.example", *both, *options(ca_here))
    verified = [here.certctl("verify", each) for each in ("one.example", "two.example")]
    less = here.certctl("edit", "one.example", "--key-type", "ecdsa-p256")

    assert first.exit_status == 0, first
    assert added.exit_status == 0, added
    files = here.files()
    assert [files[f"conf.d/{each}.conf"].count(b"/rsa/fullchain.pem") for each in "ab"] == [1, 1]
    assert [each.exit_status for each in verified] == [0, 0], verified
    # nginx would not start again without the files that it names
    assert less.exit_status != 0
    assert "which the configuration of a server names" in less.stderr
    for each in ("one.example", "two.example"):
        assert here.certctl("secure", "--undo", each, "--yes").exit_status == 0
    assert here.files() == original


def test_all_names_of_a_certificate_are_secured_with_one_of_them(
    here: Machine, ca_here: PebbleServer
) -> None:
    both = ["one.example", "two.example"]
    here.run("mkdir", "/srv/pages")
    sites = {name: site("root /srv/pages;", name=name) for name in both}
    here.configure({f"conf.d/{name}.conf": data for name, data in sites.items()})
    here.start_nginx()
    issued = here.certctl("issue", *both, "--webroot", "/srv/pages", *options(ca_here)[:5])

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert (issued.exit_status, done.exit_status) == (0, 0), done
    assert "two.example is secured too: the certificate one.example has it already" in done.stderr
    assert [names_served(each) for each in both] == [both, both]
    assert here.certctl("renew", "--force").exit_status == 0


def test_a_certificate_whose_lines_were_taken_back_is_deployed_nowhere_until_they_are_added_again(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0

    here.certctl("secure", "--undo", "ONE.example", "--yes")
    shown = here.certctl("show", "one.example", "--json").json()["data"]
    found = here.certctl("doctor", "--json").json()["data"]["findings"]
    again = here.certctl("secure", "one.example", *options(ca_here))

    assert (shown["targets"], shown["verified_at"]) == ([], None)
    assert [each for each in found if each["code"].startswith("deploy.")] == []
    assert (again.exit_status, names_served("one.example")) == (0, ["one.example"]), again


def test_what_two_certificates_share_stays_until_the_last_one_is_taken_back(
    here: Machine, ca_here: PebbleServer
) -> None:
    sites = {each: site("return 200 hello;", name=f"{each}.example") for each in ("one", "two")}
    here.configure({f"conf.d/{name}.conf": data for name, data in sites.items()})
    original = here.files()
    here.start_nginx()
    for name in sites:
        done = here.certctl("secure", f"{name}.example", *options(ca_here))
        assert done.exit_status == 0, done

    here.certctl("secure", "--undo", "one.example", "--yes")

    assert names_served("old.example") is None
    assert names_served("two.example") == ["two.example"]
    here.certctl("secure", "--undo", "two.example", "--yes")
    assert here.files() == original


def test_a_renewal_is_validated_without_a_reload_whatever_is_added_below(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.nginx / "conf.d" / "a.conf"
    below = "return 301 https://elsewhere.example/; auth_basic closed; deny all; return"
    path.write_text(path.read_text().replace("return 200", f"{below} 200"))
    here.run("nginx", "-s", "stop")
    wait_until(lambda: not listens("127.0.0.1", 80), "nginx to stop")
    here.start_nginx()
    each_core = os.cpu_count() or 1  # Debian's worker_processes is auto
    wait_until(lambda: len(here.workers()) == each_core, "nginx to start its workers")
    workers = here.workers()

    renewed = here.certctl("renew", "one.example", "--dry-run")

    assert renewed.exit_status == 0, renewed
    assert here.workers() == workers
    assert ask("one.example", tls=True).location == "https://elsewhere.example/"


def test_only_marked_lines_are_removed_from_a_file_that_was_edited_since(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    path = here.nginx / "conf.d" / "a.conf"
    path.write_text(path.read_text().replace("return 200 hello", "return 200 changed"))

    undone = here.certctl("secure", "--undo", "one.example", "--yes")

    assert "a.conf had been changed since, so only certctl's lines were removed" in undone.stdout
    assert path.read_bytes() == site("return 200 changed;")
    assert ask("one.example") == Answer(200, "changed")


def test_a_certificate_in_use_is_not_deleted(here: Machine, ca_here: PebbleServer) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0

    refused = here.certctl("delete", "one.example", "--yes")

    assert (refused.exit_status, "/etc/nginx/conf.d/a.conf:11, /etc" in refused.stderr) == (
        2,
        True,
    ), refused
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.certctl("delete", "one.example", "--yes").exit_status == 0


def test_doctor_names_a_server_whose_certificate_was_deleted_by_force(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    original = here.files()
    here.start_nginx()
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    assert here.certctl("delete", "one.example", "--yes", "--force").exit_status == 0

    found = here.certctl("doctor", "--json").json()["data"]["findings"]
    refused = here.certctl("secure", "one.example", *options(ca_here))

    assert [each["fix"] for each in found if each["code"] == "secured.deleted"] == [
        "certctl secure --undo one.example"
    ]
    assert "without certctl's lines: certctl secure --undo one.example" in refused.stderr
    assert here.certctl("secure", "--undo", "one.example", "--yes").exit_status == 0
    assert here.files() == original


def test_the_lines_for_challenges_alone_are_enough_for_issue(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 301 https://elsewhere.example/;")})
    here.start_nginx()

    added = here.certctl("secure", "one.example", "--challenges-only", *options(ca_here))

    assert added.exit_status == 0, added
    assert not listens("127.0.0.1", 443)
    challenges = ("--webroot", str(HOME / "challenges"))
    issued = here.certctl("issue", "one.example", *challenges, *options(ca_here)[:5])
    assert issued.exit_status == 0, issued


def test_links_owners_and_modes_stay(here: Machine, ca_here: PebbleServer) -> None:
    here.configure({"sites-available/one": site("return 200 hello;")})
    link = here.nginx / "sites-enabled" / "one"
    link.symlink_to("../sites-available/one")
    file = here.nginx / "sites-available" / "one"
    file.chmod(0o640)
    shutil.chown(file, "root", "www-data")
    before = (file.stat().st_mode, file.stat().st_gid)
    here.start_nginx()

    done = here.certctl("secure", "one.example", *options(ca_here))

    assert done.exit_status == 0, done
    assert link.is_symlink()
    assert (file.stat().st_mode, file.stat().st_gid) == before
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def test_what_runs_is_guessed_without_the_right_to_trace(here: Machine) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    confined = ("setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-m", "certctl")

    shown = here.run(*confined, "--home", str(HOME), "secure", "one.example", "--dry-run")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "without CAP_SYS_PTRACE" in shown.stdout
    assert "+    listen 443 ssl; #certctl one.example" in shown.stdout


@pytest.mark.parametrize("number", [3, 8, 14, 20, 26])
def test_a_kill_at_a_rename_leaves_a_configuration_that_nginx_loads(
    here: Machine, ca_here: PebbleServer, number: int
) -> None:
    require("strace")
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    original = here.files()
    here.start_nginx()
    killed = killed_at(here, "/^rename", number, "secure", "one.example", *options(ca_here))

    assert killed in {-9, 137}
    assert here.run("nginx", "-t").returncode == 0
    assert here.certctl("secure", "one.example", *options(ca_here)).exit_status == 0
    assert names_served("one.example") == ["one.example"]
    here.certctl("secure", "--undo", "one.example", "--yes")
    assert here.files() == original


@pytest.mark.parametrize("again", [("secure",), ("secure", "--undo")])
def test_a_run_that_was_killed_before_the_reload_is_finished_by_the_next_one(
    here: Machine, ca_here: PebbleServer, again: tuple[str, ...]
) -> None:
    require("strace")
    here.configure({"conf.d/a.conf": site("return 200 hello;")})
    here.start_nginx()
    # The first one has nginx load the challenge lines.
    killed = killed_at(here, "kill", 2, "secure", "one.example", *options(ca_here))
    left = here.files()["conf.d/a.conf"]

    given = ["--yes"] if again[1:] else options(ca_here)
    done = here.certctl(*again, "one.example", *given)

    assert (killed in {-9, 137}, b"listen 443" in left) == (True, True)
    assert done.exit_status == 0, done
    assert names_served("one.example") == (None if again[1:] else ["one.example"])
