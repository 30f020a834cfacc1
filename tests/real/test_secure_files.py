"""`certctl secure` and the files it changes: what else is kept with them, what cannot be replaced,
a full disk; what is asked and checked before the first of them is touched; and what runs later
with no more rights than the shipped unit of systemd gives.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import machine as lab
from tests.lab.browsing import names_served
from tests.lab.machine import HOME, Machine, machine, network
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.programs import require

NAMES = ("one.example", "two.example")


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChallengeTestServer]:
    require("nginx", "pebble", "pebble-challtestsrv", "unshare", "nsenter", "ip", "pgrep")
    if not lab.possible():
        pytest.skip("only root can give nginx its usual ports and directories, by namespaces")
    with network(), ChallengeTestServer(directory=tmp_path_factory.mktemp("dns")) as server:
        yield server


@pytest.fixture(scope="module")
def authority(
    dns: ChallengeTestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PebbleServer]:
    """A CA that validates at port 80 of the machine, in a network of the module's own."""
    directory = tmp_path_factory.mktemp("ca")
    with PebbleServer(directory=directory, dns_server=dns.dns_address, http_port=80) as server:
        yield server


@pytest.fixture
def here(authority: PebbleServer, tmp_path: Path) -> Iterator[Machine]:  # noqa: ARG001 - its network
    with machine(tmp_path, (f"127.0.0.1 {' '.join(NAMES)}",)) as made:
        yield made


def of(authority: PebbleServer) -> list[str]:
    return ["--ca", authority.directory_url, "--ca-bundle", str(authority.ca_bundle)]


def options(authority: PebbleServer) -> list[str]:
    return [*of(authority), "--agree-tos", "--yes", "--no-schedule"]


def site(name: str, *lines: str) -> bytes:
    inner = "".join(f"    {line}\n" for line in ("listen 80;", f"server_name {name};", *lines))
    return f"server {{\n{inner}    return 200 hello;\n}}\n".encode()


def attributes(path: Path) -> dict[str, bytes]:
    return {each: os.getxattr(path, each) for each in os.listxattr(path)}


# What a file has, and what it cannot be.


def test_an_access_control_list_and_other_attributes_are_kept(
    here: Machine, authority: PebbleServer
) -> None:
    require("setfacl")
    here.configure({"conf.d/a.conf": site(NAMES[0])})
    path = here.nginx / "conf.d" / "a.conf"
    try:
        subprocess.run(["setfacl", "-m", "u:www-data:r,g:games:r", path], check=True)
        os.setxattr(path, "user.note", b"kept")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this file system keeps no access control lists")
    before = attributes(path)
    here.start_nginx()

    done = here.certctl("secure", NAMES[0], *options(authority))

    assert (done.exit_status, b"#certctl" in path.read_bytes()) == (0, True), done
    assert attributes(path) == before
    assert sorted(before) == ["system.posix_acl_access", "user.note"]
    here.certctl("secure", "--undo", NAMES[0], "--yes")
    assert attributes(path) == before


@pytest.mark.parametrize("flag", ["i", "a"])
def test_a_file_that_not_even_root_can_replace_is_refused(here: Machine, flag: str) -> None:
    require("chattr")
    here.configure({"conf.d/a.conf": site(NAMES[0])})
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
    here: Machine, authority: PebbleServer, pages: int, changed: int
) -> None:
    # Each file has a page, and needs two with our lines; a file is written before its old one goes.
    here.configure({})
    here.run("mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", "/etc/nginx/conf.d")
    directory = Path(f"/proc/{here.pid}/root/etc/nginx/conf.d")
    for name in NAMES:
        (directory / f"{name}.conf").write_bytes(site(name, f"# {'x' * 3700}"))
    before = {each.name: (each.read_bytes(), each.stat().st_ino) for each in directory.iterdir()}
    here.start_nginx()

    failed = here.certctl("secure", *NAMES, *options(authority))

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
    here: Machine, authority: PebbleServer
) -> None:
    here.configure({"conf.d/a.conf": site(NAMES[0])})
    path = here.nginx / "conf.d" / "a.conf"
    before = (path.stat().st_ino, path.read_bytes())
    here.start_nginx()

    refused = here.certctl("secure", NAMES[0], *of(authority), "--yes", "--no-schedule")

    assert (refused.exit_status, "--agree-tos" in refused.stderr) == (2, True), refused
    assert (path.stat().st_ino, path.read_bytes()) == before
    assert not (Path(f"/proc/{here.pid}/root") / HOME.relative_to("/") / "webservers").exists()


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_a_certificate_that_is_validated_by_dns_gets_and_needs_no_lines_for_challenges(
    here: Machine, authority: PebbleServer, dns: ChallengeTestServer, server: str
) -> None:
    if server == "nginx":
        here.configure({"conf.d/a.conf": site(NAMES[0])})
        read, start = here.files, here.start_nginx
    else:
        require("apache2")
        host = f"<VirtualHost *:80>\n    ServerName {NAMES[0]}\n</VirtualHost>\n".encode()
        here.configure_apache({"sites-available/a.conf": host})
        read, start = here.apache_files, here.start_apache
    original = read()
    start()
    url = f"http://127.0.0.1:{dns.management_port}"
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
    issued = here.certctl("issue", NAMES[0], *of(authority), "--agree-tos", *by_dns)
    assert issued.exit_status == 0, issued

    done = here.certctl("secure", NAMES[0], *options(authority))
    renewed = here.certctl("renew", NAMES[0], "--force")
    found = here.certctl("doctor", "--json").json()["data"]["findings"]

    assert (done.exit_status, renewed.exit_status) == (0, 0), (done, renewed)
    assert names_served(NAMES[0]) == [NAMES[0]]
    assert [each for each in read().values() if b"acme-challenge" in each] == []
    assert [each for each in found if each["code"].startswith("secured.")] == []
    here.certctl("secure", "--undo", NAMES[0], "--yes")
    assert read() == original


# What runs later.


def limits() -> list[str]:
    """What starts a command with the rights that the shipped unit gives."""
    unit = Path(__file__).parents[2] / "packaging" / "systemd" / "certctl.service"
    kept = [
        word.removeprefix("CAP_").lower()
        for line in unit.read_text().splitlines()
        if line.startswith("CapabilityBoundingSet=")
        for word in line.partition("=")[2].split()
    ]
    assert "sys_ptrace" not in kept
    bounding = ",".join(("-all", *(f"+{each}" for each in kept)))
    return ["setpriv", "--no-new-privs", f"--bounding-set={bounding}", "--inh-caps=-all"]


def test_all_that_renew_and_doctor_do_to_nginx_works_within_the_limits_of_the_unit(
    here: Machine, authority: PebbleServer
) -> None:
    require("setpriv")
    here.configure({"conf.d/a.conf": site(NAMES[0])})
    here.start_nginx()
    assert here.certctl("secure", NAMES[0], *options(authority)).exit_status == 0
    path = here.nginx / "conf.d" / "a.conf"

    def confined(*words: str) -> subprocess.CompletedProcess[str]:
        return here.run(*limits(), sys.executable, "-m", "certctl", "--home", str(HOME), *words)

    workers = here.workers()
    renewed = confined("renew", "--force")
    reloaded = here.workers()
    refused = confined("delete", NAMES[0], "--yes")
    path.write_text(path.read_text().replace("{", "{\n    return 301 https://x.example/;", 1))
    found = confined("doctor")

    assert (renewed.returncode, renewed.stderr) == (0, "")
    assert "nginx: tested, reloaded; served at 127.0.0.1:443." in renewed.stdout
    assert workers.isdisjoint(reloaded)
    assert (refused.returncode, "in use" in refused.stderr) == (2, True), refused
    assert found.returncode == 1
    assert "before the lines of certctl comes /etc/nginx/conf.d/a.conf:2 (return)" in found.stdout
