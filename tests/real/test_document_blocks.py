"""The blocks of commands in the documents, run as they are printed: on a machine of its own, with
nginx, a name server, and a CA that validates at them.
"""

import functools
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import machine as lab
from tests.lab.bind import BindServer
from tests.lab.devca import DevCaServer
from tests.lab.machine import Machine
from tests.lab.programs import require
from tests.support.command import Finished
from tests.support.document_blocks import BLOCKS, Runs, entries_of
from tests.support.documents import ROOT, command_blocks, command_lines

LONGEST_SECONDS = 60.0
NGINX = b"""user root;
pid /run/nginx.pid;
events { worker_connections 100; }
http { include /etc/nginx/conf.d/*.conf; }
"""
PLAIN = """
server {
    listen 127.0.0.1:80 default_server;
    root /var/www/html;
    location /.well-known/acme-challenge/ { try_files $uri @certctl; }
    location @certctl { proxy_pass http://127.0.0.1:8402; }
}
server { listen 127.0.0.1:80; server_name shop.example.com; root /srv/shop; }
"""
TLS = """
server {
    listen 127.0.0.1:443 ssl;
    server_name example.com www.example.com;
    ssl_certificate /etc/certctl/live/example.com/fullchain.pem;
    ssl_certificate_key /etc/certctl/live/example.com/privkey.pem;
}
"""
# What systemd does for nginx. Any other service is its namesake here: what matters is that port 80
# is free between a stop and a start.
SYSTEMCTL = """#!/bin/sh
case "$1" in
reload) case "$2" in nginx) nginx -s reload ;; esac ;;
stop)
    pid=$(cat /run/nginx.pid 2>/dev/null) || exit 0
    kill "$pid"
    while test -e "/proc/$pid"; do sleep 0.02; done
    ;;
start) nginx ;;
esac
"""
WORK = """provider = "rfc2136"
server = "127.0.0.1"
key_file = "/etc/certctl/tsig.key"
"""
DNS_HOOK = """#!{python}
import os, sys
import dns.query, dns.tsig, dns.update
name, value, zone = (os.environ["CERTCTL_DNS_" + each] for each in ("NAME", "VALUE", "ZONE"))
update = dns.update.UpdateMessage(zone)
update.use_tsig(dns.tsig.Key("{name}.", bytes.fromhex("{secret}"), "hmac-sha256"))
if sys.argv[1] == "present":
    update.add(name.rstrip(".") + ".", 1, "TXT", value)
else:
    update.delete(name.rstrip(".") + ".", "TXT", value)
dns.query.tcp(update, "127.0.0.1", timeout=5)
"""
HAPROXY = """defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend plain
    bind 127.0.0.1:8081
"""
# An administrator's own directories: nothing that a block writes is seen outside.
FURNISH = """
for directory in /etc/certctl /etc/haproxy /usr/local/bin /var/www /etc/ssl/private; do
    mount -t tmpfs -o mode=755 tmpfs $directory
done
mkdir -p /var/www/html /srv/shop /srv/reader /srv/user
mount --bind /srv/resolv.conf "$(realpath /etc/resolv.conf)"
"""
MOUNT_POINTS = ("/etc/certctl", "/etc/haproxy", "/var/www", "/etc/ssl/private")

RUN = [
    pytest.param(row, block, id=f"{name}-{row.text.strip()}")
    for name in sorted(BLOCKS)
    for block in command_blocks(ROOT / name)
    for row in entries_of(name, block)
    if isinstance(row, Runs)
]


@dataclass
class Reader:
    """Somebody who types what the documents say, as root of the machine."""

    machine: Machine
    bind: BindServer
    variables: Mapping[str, str]

    def types(self, script: str) -> Finished:
        """Run a script off a terminal, as cron or a provisioning tool does."""
        shell = ("bash", "-ec", f"cd /srv/reader\n{script}")
        return self.machine.off_terminal(shell, self.variables, LONGEST_SECONDS)

    def succeeds(self, script: str) -> None:
        done = self.types(script)
        assert done.exit_status == 0, done

    def writes(self, path: str, text: str, mode: int = 0o644) -> None:
        write = ("sh", "-ec", f"cat > {path}; chmod {mode:o} {path}")
        done = self.machine.run(*write, stdin=text)
        assert done.returncode == 0, done

    def starts_afresh(self, *, issued: bool) -> None:
        """Have nginx at port 80, and no certificates; or at port 443 too, with one."""
        self.bind.remove("example.com", "CAA")
        self.succeeds("systemctl stop nginx; rm -rf /etc/certctl/* /srv/reader/* /etc/cron.d/*")
        self.succeeds("cp /srv/certctl.toml /etc/certctl/")
        sites = PLAIN
        if issued:
            self.succeeds("cp -a /srv/issued/. /etc/certctl/")
            sites += TLS
        self.machine.configure({"nginx.conf": NGINX, "conf.d/sites.conf": sites.encode()})
        self.machine.start_nginx()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    if not lab.possible():
        pytest.skip("only root can make a machine, by namespaces")
    require("nginx", "named", "unshare", "nsenter", "ip", "haproxy")
    directory = tmp_path_factory.mktemp("reader")
    places = {each: directory / each for each in ("bind", "ca", "machine")}
    for place in places.values():
        place.mkdir()
    names = "example.com www.example.com shop.example.com"
    with (
        ExitStack() as stack,
        lab.network(),
        BindServer(
            directory=places["bind"],
            zones={"example.com": "", "example.org": ""},
            grants=("zonesub ANY",),
            port=53,
        ) as bind,
        DevCaServer(
            directory=places["ca"],
            dns_server=bind.address,
            http_port=80,
            tls_port=443,
            arguments=("--lifetime", "90d"),
        ) as ca,
        lab.machine(places["machine"], [f"127.0.0.1 {names} ns1.example.com"]) as machine,
    ):
        for each in MOUNT_POINTS:
            stack.enter_context(lab.mount_point(Path(each)))
        found = Reader(machine, bind, _variables())
        _furnish(found)
        defaults = f'ca = "{ca.directory_url}"\nca_bundle = "{ca.ca_bundle}"\n'
        found.writes("/srv/certctl.toml", defaults)
        found.starts_afresh(issued=False)
        found.succeeds("certctl issue example.com --webroot /var/www/html")
        found.succeeds("cp -a /etc/certctl /srv/issued")
        yield found


def _variables() -> dict[str, str]:
    """Return the environment, in which the terms of the CA are agreed to."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CERTCTL_")},
        "PATH": f"/usr/local/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/srv/user",
        "CERTCTL_AGREE_TOS": "true",
    }


def _furnish(reader: Reader) -> None:
    bind = reader.bind
    reader.writes("/srv/resolv.conf", "nameserver 127.0.0.1\n")
    made = reader.machine.run("sh", "-ec", FURNISH)
    assert made.returncode == 0, made
    reader.writes("/usr/local/bin/systemctl", SYSTEMCTL, 0o755)
    usual = shutil.which("systemctl")
    if usual is not None:  # hooks find the usual programs first
        reader.succeeds(f"mount --bind /usr/local/bin/systemctl {os.path.realpath(usual)}")
    reader.writes("/srv/tsig.key", bind.key_statement(), 0o600)
    reader.writes("/srv/work.toml", WORK, 0o600)
    reader.writes("/srv/haproxy.cfg", HAPROXY)
    hook = DNS_HOOK.format(python=sys.executable, name=bind.key_name, secret=bind.key_secret.hex())
    reader.writes("/usr/local/bin/my-dns-hook", hook, 0o755)


@pytest.mark.parametrize(("row", "block"), RUN)
def test_a_block_of_commands_runs_as_it_is_printed(row: Runs, block: str, reader: Reader) -> None:
    lines = list(command_lines(block))
    commands = [each for each in lines if each and not each.startswith("#")]
    for script in [[each] for each in commands] if row.alternatives else [lines]:
        reader.starts_afresh(issued=row.issued)
        done = reader.types(_prepared(script, row))

        assert done.exit_status == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def _prepared(lines: list[str], row: Runs) -> str:
    """Return a script of these lines, with what has to come before and between them."""
    found = [row.before]
    for line in lines:
        found += [each for start, each in row.between.items() if line.startswith(start)]
        found.append(
            functools.reduce(lambda text, pair: text.replace(*pair), row.words.items(), line)
        )
    return "\n".join(found)


@pytest.mark.parametrize(("row", "block"), RUN)
def test_what_a_block_is_prepared_with_is_about_it(row: Runs, block: str) -> None:
    lines = list(command_lines(block))

    assert all(any(line.startswith(start) for line in lines) for start in row.between)
    assert all(any(word in line for line in lines) for word in row.words)
