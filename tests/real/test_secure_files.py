"""`certctl secure` and the files it changes: what else is kept with them, what cannot be replaced,
a full disk; what is asked and checked before the first of them is touched; and what runs later
with no more rights than the shipped unit of systemd gives.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.browsing import names_served
from tests.lab.machine import HOME, Machine
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.lab.securing import ca_options, confined, host, listens, options, site

NAMES = ("one.example", "two.example")


def attributes(path: Path) -> dict[str, bytes]:
    return {each: os.getxattr(path, each) for each in os.listxattr(path)}


# What a file has, and what it cannot be.


def test_an_access_control_list_and_other_attributes_are_kept(
    here: Machine, ca_here: PebbleServer
) -> None:
    require("setfacl")
    here.configure({"conf.d/a.conf": site("return 200 hello;", name=NAMES[0])})
    path = here.nginx / "conf.d" / "a.conf"
    try:
        subprocess.run(["setfacl", "-m", "u:www-data:r,g:games:r", path], check=True)
        os.setxattr(path, "user.note", b"kept")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this file system keeps no access control lists")
    before = attributes(path)
    here.start_nginx()

    done = here.certctl("secure", NAMES[0], *options(ca_here))

    assert (done.exit_status, b"#certctl" in path.read_bytes()) == (0, True), done
    assert attributes(path) == before
    assert sorted(before) == ["system.posix_acl_access", "user.note"]
    here.certctl("secure", "--undo", NAMES[0], "--yes")
    assert attributes(path) == before


@pytest.mark.parametrize("flag", ["i", "a"])
def test_a_file_that_not_even_root_can_replace_is_refused(here: Machine, flag: str) -> None:
    require("chattr")
    here.configure({"conf.d/a.conf": site("return 200 hello;", name=NAMES[0])})
    path = here.nginx / "conf.d" / "a.conf"
    if subprocess.run(["chattr", f"+{flag}", path], check=False).returncode != 0:
        pytest.skip("this file system has no such flags")
    try:
        here.start_nginx()
        refused = here.certctl("secure", NAMES[0], "--yes")
    finally:
        subprocess.run(["chattr", f"-{flag}", path], check=True)

    assert refused.exit_status == 2, refused
    assert f"even by root: chattr has set its flag {flag}; nothing was changed" in refused.stderr
    assert f"chattr -{flag} /etc/nginx/conf.d/a.conf" in refused.stderr
    assert f"{HOME}/live/{NAMES[0]}/fullchain.pem;" in refused.stderr


@pytest.mark.parametrize(("pages", "changed"), [(3, 0), (4, 1)])
def test_a_full_disk_leaves_every_file_as_it_was(
    here: Machine, ca_here: PebbleServer, pages: int, changed: int
) -> None:
    # Each file has a page, and needs two with our lines; a file is written before its old one goes.
    here.configure({})
    here.run("mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", "/etc/nginx/conf.d")
    directory = Path(f"/proc/{here.pid}/root/etc/nginx/conf.d")
    for name in NAMES:
        block = site(f"# {'x' * 3700}", "return 200 hello;", name=name)
        (directory / f"{name}.conf").write_bytes(block)
    before = {each.name: (each.read_bytes(), each.stat().st_ino) for each in directory.iterdir()}
    here.start_nginx()

    failed = here.certctl("secure", *NAMES, *options(ca_here))

    after = {each.name: (each.read_bytes(), each.stat().st_ino) for each in directory.iterdir()}
    replaced = [name for name, (_, inode) in after.items() if before[name][1] != inode]
    assert (failed.exit_status, "No space left on device" in failed.stderr) == (1, True), failed
    assert {name: data for name, (data, _) in after.items()} == {
        name: data for name, (data, _) in before.items()
    }
    assert len(replaced) == changed
    assert here.run("nginx", "-t").returncode == 0


def test_bytes_are_put_back_also_where_a_second_copy_has_no_room(here: Machine) -> None:
    script = "import pathlib; from certctl.operations.secure_files import put_back\n"
    script += "path = pathlib.Path('/srv/small/a'); path.write_bytes(b'new')\n"
    script += "pathlib.Path('/srv/small/fill').write_bytes(bytes(4096))\n"
    script += "put_back({str(path): b'as before'}); print(path.read_text())"
    here.run("mkdir", "/srv/small")
    here.run("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", "/srv/small")

    done = here.run(sys.executable, "-c", script)

    assert (done.stdout, done.stderr) == ("as before\n", "")


# What comes before the first change.


def test_the_terms_of_the_ca_are_asked_for_before_any_file_is_touched(
    here: Machine, ca_here: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site("return 200 hello;", name=NAMES[0])})
    path = here.nginx / "conf.d" / "a.conf"
    before = (path.stat().st_ino, path.read_bytes())
    here.start_nginx()

    refused = here.certctl("secure", NAMES[0], *ca_options(ca_here), "--yes", "--no-schedule")

    assert (refused.exit_status, "--agree-tos" in refused.stderr) == (2, True), refused
    assert (path.stat().st_ino, path.read_bytes()) == before
    assert not (Path(f"/proc/{here.pid}/root") / HOME.relative_to("/") / "webservers").exists()


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_a_certificate_that_is_validated_by_dns_gets_and_needs_no_lines_for_challenges(
    here: Machine, ca_here: PebbleServer, dns_here: ChallengeTestServer, server: str
) -> None:
    if server == "nginx":
        here.configure({"conf.d/a.conf": site("return 200 hello;", name=NAMES[0])})
        read, start = here.files, here.start_nginx
    else:
        require("apache2")
        host = f"<VirtualHost *:80>\n    ServerName {NAMES[0]}\n</VirtualHost>\n".encode()
        here.configure_apache({"sites-available/a.conf": host})
        read, start = here.apache_files, here.start_apache
    original = read()
    start()
    url = f"http://127.0.0.1:{dns_here.management_port}"
    hook = (
        f"{sys.executable} -c 'import json, os, sys, urllib.request;"
        ' verb = dict(present="set-txt", cleanup="clear-txt")[sys.argv[1]];'
        ' facts = dict(host=os.environ["CERTCTL_DNS_NAME"] + ".",'
        ' value=os.environ["CERTCTL_DNS_VALUE"]);'
        f' urllib.request.urlopen("{url}/" + verb, json.dumps(facts).encode())\''
    )
    script = "/srv/hook"
    here.run("sh", "-c", f"cat >{script}; chmod 755 {script}", stdin=f"#!/bin/sh\nexec {hook} $1\n")
    by_dns = ("--dns", "exec", "--dns-hook", script, "--dns-skip-propagation")
    issued = here.certctl("issue", NAMES[0], *ca_options(ca_here), "--agree-tos", *by_dns)
    assert issued.exit_status == 0, issued

    done = here.certctl("secure", NAMES[0], *options(ca_here))
    renewed = here.certctl("renew", NAMES[0], "--force")
    found = here.certctl("doctor", "--json").json()["data"]["findings"]

    assert (done.exit_status, renewed.exit_status) == (0, 0), (done, renewed)
    assert names_served(NAMES[0]) == [NAMES[0]]
    assert [each for each in read().values() if b"acme-challenge" in each] == []
    assert [each for each in found if each["code"].startswith("secured.")] == []
    here.certctl("secure", "--undo", NAMES[0], "--yes")
    assert read() == original


# What runs later.


def test_all_that_renew_and_doctor_do_to_nginx_works_within_the_limits_of_the_unit(
    here: Machine, ca_here: PebbleServer
) -> None:
    require("setpriv")
    here.configure({"conf.d/a.conf": site("return 200 hello;", name=NAMES[0])})
    here.start_nginx()
    assert here.certctl("secure", NAMES[0], *options(ca_here)).exit_status == 0
    path = here.nginx / "conf.d" / "a.conf"

    run = confined(here)
    workers = here.workers()
    renewed = run("renew", "--force")
    reloaded = here.workers()
    refused = run("delete", NAMES[0], "--yes")
    path.write_text(path.read_text().replace("{", "{\n    return 301 https://x.example/;", 1))
    found = run("doctor")

    assert (renewed.returncode, renewed.stderr) == (0, "")
    assert "nginx: tested, reloaded; served at 127.0.0.1:443." in renewed.stdout
    assert workers.isdisjoint(reloaded)
    assert (refused.returncode, "in use" in refused.stderr) == (2, True), refused
    assert found.returncode == 1
    assert "before the lines of certctl comes /etc/nginx/conf.d/a.conf:2 (return)" in found.stdout


def test_all_that_renew_and_doctor_do_to_apache_works_within_the_limits_of_the_unit(
    here: Machine, ca_here: PebbleServer
) -> None:
    require("setpriv")
    here.configure_apache({"sites-available/a.conf": host("DocumentRoot /srv/www")})
    here.start_apache()
    assert here.certctl("secure", NAMES[0], *options(ca_here)).exit_status == 0
    path = here.apache / "sites-available" / "a.conf"

    run = confined(here)
    children = here.apache_children()
    renewed = run("renew", "--force")
    wait_until(lambda: here.apache_children() != children, "Apache to start new processes")
    refused = run("delete", NAMES[0], "--yes")
    healthy = run("doctor")
    rule = "<VirtualHost *:80>\n    RewriteRule ^ https://x.example/ [R,L]"
    path.write_text(path.read_text().replace("<VirtualHost *:80>", rule))
    found = run("doctor")
    here.run("apache2ctl", "stop")
    wait_until(lambda: not listens("127.0.0.1", 80), "Apache to stop")
    stopped = run("doctor")

    assert (renewed.returncode, renewed.stderr) == (0, "")
    assert "apache: tested, reloaded; served at 127.0.0.1:443" in renewed.stdout, renewed
    assert (refused.returncode, "in use" in refused.stderr) == (2, True), refused
    assert (healthy.returncode, "secured." in healthy.stdout) == (0, False), healthy
    place = "before the lines of certctl comes /etc/apache2/sites-enabled/a.conf:2 (RewriteRule)"
    assert (found.returncode, place in found.stdout) == (1, True), found
    assert "apache does not run, so challenges are not answered" in stopped.stdout
