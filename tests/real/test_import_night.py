"""Moving in on a machine of its own, with Debian's nginx: the old client and certctl run side by
side, each by its line of cron, and at no time do both renew a certificate, or neither.
"""

import json
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from tests.lab import machine as lab
from tests.lab.machine import Machine, machine, network
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.lab.processes import wait_until
from tests.lab.programs import program, require

HOME = "/srv/letsencrypt"
CERTBOT = Path(sys.executable).with_name("certbot")
WEBROOT, PORT, HOOK = (f"{each}.example" for each in ("webroot", "port", "hook"))
NAMES = (WEBROOT, PORT, HOOK)
AUTH_HOOK = (
    "mkdir -p /srv/www/.well-known/acme-challenge;"
    ' printf %s "$CERTBOT_VALIDATION" > /srv/www/.well-known/acme-challenge/"$CERTBOT_TOKEN"'
)
SERVER = """server {{
    listen 443 ssl; server_name {name};
    ssl_certificate {chain}; ssl_certificate_key {key};
    return 200 {name};
}}
"""
MAIN = """user www-data; pid /run/nginx.pid; events {{ }}
http {{
    server {{ listen 80 default_server; root /srv/www; }}
    server {{
        listen 80; server_name port.example; root /srv/www;
        location / {{ try_files $uri @alone; }}
        location @alone {{ proxy_pass http://127.0.0.1:8080; }}
    }}
    {servers}
}}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PebbleServer]:
    """A CA that validates at port 80 of the machine."""
    require("nginx", "pebble", "pebble-challtestsrv", "unshare", "nsenter", "ip")
    if not lab.possible():
        pytest.skip("only root can give programs their usual ports and directories")
    directories = [tmp_path_factory.mktemp(each) for each in ("dns", "ca")]
    with (
        network(),
        ChallengeTestServer(directory=directories[0]) as dns,
        PebbleServer(directory=directories[1], dns_server=dns.dns_address, http_port=80) as server,
    ):
        yield server


@dataclass
class Night:
    """A machine with nginx, another client and certctl; each runs as cron runs it."""

    here: Machine
    ca: PebbleServer
    chains: dict[str, str] = field(default_factory=dict)
    """The full chain that nginx reads, by name."""

    def run(self, *command: str) -> str:
        """Run a command to its end; return what it printed."""
        done = self.here.run("env", f"REQUESTS_CA_BUNDLE={self.ca.ca_bundle}", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def certctl(self, *arguments: str) -> str:
        done = self.here.certctl(*arguments)
        assert done.exit_status == 0, done
        return done.stdout

    def take(self, *arguments: str) -> str:
        return self.certctl("import", *arguments, "--ca-bundle", str(self.ca.ca_bundle), "--yes")

    def schedule(self, name: str, line: str) -> None:
        """Write a file of cron."""
        self.run("sh", "-c", f'printf "%s\\n" "$0" >/etc/cron.d/{name}', f"0 3 * * * root {line}")

    def is_scheduled(self, name: str) -> bool:
        return self.here.run("test", "-e", f"/etc/cron.d/{name}").returncode == 0

    def orders(self) -> int:
        return self.ca.orders()

    def serve(self, files: dict[str, tuple[str, str]]) -> None:
        """Let nginx serve each name from its files."""
        servers = "".join(
            SERVER.format(name=name, chain=chain, key=key) for name, (chain, key) in files.items()
        )
        (self.here.nginx / "nginx.conf").write_text(MAIN.format(servers=servers))
        self.chains = {name: chain for name, (chain, _) in files.items()}

    def served(self, name: str) -> int:
        """The serial of the certificate that nginx serves, which is the one in its file as soon as
        a reload has ended.
        """
        text = self.run("cat", self.chains[name]).encode()
        serial = x509.load_pem_x509_certificate(text).serial_number
        wait_until(lambda: self._presented(name) == serial, f"the serial {serial} of {name}")
        return serial

    def _presented(self, name: str) -> int | None:
        """The serial of the certificate for a name; None while a reload opens the port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", 443), timeout=10) as tcp,
                context.wrap_socket(tcp, server_hostname=name) as tls,
            ):
                data = tls.getpeercert(binary_form=True)
        except OSError:
            return None
        assert data is not None
        return x509.load_der_x509_certificate(data).serial_number


@pytest.fixture
def night(authority: PebbleServer, tmp_path: Path) -> Iterator[Night]:
    with machine(tmp_path, (f"127.0.0.1 {' '.join(NAMES)} deb.example",)) as here:
        yield Night(here, authority)


def certbot(*arguments: str) -> Sequence[str]:
    directories = (f"--config-dir={HOME}", "--work-dir=/srv/work", "--logs-dir=/srv/logs")
    return (str(CERTBOT), *arguments, "--non-interactive", *directories)


def certbot_runs(night: Night, *more: str) -> str:
    """Run certbot as its line of cron does."""
    return night.run(*certbot("renew", "--no-random-sleep-on-renew", *more))


def issue_with_certbot(night: Night) -> None:
    ways = {
        WEBROOT: ("--webroot", "-w", "/srv/www", "--deploy-hook", "nginx -s reload"),
        PORT: (
            *("--standalone", "--http-01-port", "8080"),
            *("--pre-hook", "touch /srv/before", "--post-hook", "touch /srv/after"),
            *("--deploy-hook", "nginx -s reload"),
        ),
        HOOK: (
            *("--manual", "--manual-auth-hook", AUTH_HOOK, "--preferred-challenges", "http"),
            *("--deploy-hook", "nginx -s reload; echo $RENEWED_LINEAGE >>/srv/deployed"),
        ),
    }
    night.serve({})
    night.here.start_nginx()
    for name, way in ways.items():
        night.run(
            *certbot("certonly", "-d", name, "--agree-tos", "--register-unsafely-without-email"),
            f"--server={night.ca.directory_url}",
            *way,
        )
    live = f"{HOME}/live"
    night.serve(
        {each: (f"{live}/{each}/fullchain.pem", f"{live}/{each}/privkey.pem") for each in NAMES}
    )
    night.run("nginx", "-s", "reload")
    night.schedule("certbot", f"{CERTBOT} -q renew --config-dir {HOME}")


def serials(night: Night) -> dict[str, int]:
    return {each: night.served(each) for each in NAMES}


def test_certbot_and_certctl_run_side_by_side_and_certbot_is_turned_off_in_the_end(
    night: Night,
) -> None:
    issue_with_certbot(night)
    night.certctl("schedule", "external")
    first = serials(night)
    registered = len([each for each in night.ca.requests() if "sign-me-up" in each.path])

    night.take(WEBROOT, "--from", HOME)
    one, orders = serials(night), night.orders()
    for _ in range(2):
        certbot_runs(night)
        night.certctl("renew")

    assert (one, serials(night), night.orders()) == (first, first, orders)
    certbot_runs(night, "--force-renewal")
    by_certbot = serials(night)
    assert {each for each in NAMES if by_certbot[each] != first[each]} == {PORT, HOOK}

    night.take("--all", "--from", HOME)
    night.run("rm", "-f", "/srv/deployed")
    assert "No renewals were attempted" in certbot_runs(night)
    night.certctl("renew", "--force")
    by_certctl = serials(night)

    assert all(by_certctl[each] != by_certbot[each] for each in NAMES)
    assert night.run("cat", "/srv/deployed") == f"{HOME}/live/{HOOK}\n"

    night.certctl("import", "--undo", PORT, "--yes")
    certbot_runs(night, "--force-renewal")
    in_the_end = serials(night)

    assert {each for each in NAMES if in_the_end[each] != by_certctl[each]} == {PORT}
    left = night.here.certctl("import", "--finish", "--from", HOME, "--yes")
    assert (left.exit_status, PORT in left.stderr) == (2, True)
    night.take(PORT, "--from", HOME)
    night.certctl("import", "--finish", "--from", HOME, "--yes")
    assert (night.is_scheduled("certbot"), night.is_scheduled(".certbot.imported")) == (False, True)
    assert serials(night) == in_the_end
    seen = len([each for each in night.ca.requests() if "sign-me-up" in each.path])
    assert seen == registered


def test_lego_and_certctl_run_side_by_side_and_its_line_of_cron_follows(
    night: Night,
) -> None:
    require("lego")
    name, home = "deb.example", "/srv/lego"
    lego = (
        f"{program('lego')} --path {home} --email ops@example.com --accept-tos"
        f" --server {night.ca.directory_url} -d {name} --http --http.webroot /srv/www"
    )
    trusting = f"LEGO_CA_CERTIFICATES={night.ca.ca_bundle}"
    night.serve({})
    night.here.start_nginx()
    night.run("sh", "-c", f"{trusting} {lego} run")
    base = f"{home}/certificates/{name}"
    night.serve({name: (f"{base}.crt", f"{base}.key")})
    night.run("nginx", "-s", "reload")
    renew = f"{trusting} {lego} renew --no-random-sleep --days 9999 --renew-hook 'nginx -s reload'"
    night.schedule("lego", renew)
    night.certctl("schedule", "external")
    first = night.served(name)

    night.take(name, "--from", home)
    line = night.run("cat", "/etc/cron.d/lego")
    night.certctl("renew", "--force")
    second = night.served(name)

    assert line == f"#imported 0 3 * * * root {renew}\n"
    assert second != first
    night.certctl("import", "--undo", name, "--yes")
    assert night.run("cat", "/etc/cron.d/lego") == f"0 3 * * * root {renew}\n"
    night.run("sh", "-c", renew)
    assert night.served(name) not in (first, second)
    night.take(name, "--from", home)
    assert "nothing was found that runs it" in night.certctl("import", "--finish", "--yes")
    assert night.run("cat", "/etc/cron.d/lego") == f"#imported 0 3 * * * root {renew}\n"


def test_dehydrated_and_certctl_run_side_by_side(night: Night) -> None:
    require("dehydrated")
    home = "/srv/dehydrated"
    config = (
        f'CA="{night.ca.directory_url}"\nBASEDIR={home}\nKEY_ALGO=prime256v1\n'
        "WELLKNOWN=/srv/www/.well-known/acme-challenge\nHOOK=/srv/hook\n"
        f'CURL_OPTS="--cacert {night.ca.ca_bundle}"\n'
    )
    hook = '#!/bin/sh\nif [ "$1" = deploy_cert ]; then nginx -s reload 2>/dev/null || true; fi\n'
    script = (
        f'mkdir -p {home} /srv/www/.well-known/acme-challenge; printf %s "$0" >{home}/config;'
        f' printf %s "$1" >/srv/hook; chmod 755 /srv/hook; echo "{WEBROOT}" >{home}/domains.txt;'
        f' echo "{PORT} {HOOK} > both" >>{home}/domains.txt'
    )
    dehydrated = (program("dehydrated"), "--config", f"{home}/config")
    night.run("sh", "-c", script, config, hook)
    night.serve({})
    night.here.start_nginx()
    night.run(*dehydrated, "--register", "--accept-terms")
    night.run(*dehydrated, "--cron")
    paths = {WEBROOT: WEBROOT, PORT: "both", HOOK: "both"}
    night.serve(
        {
            name: (f"{home}/certs/{place}/fullchain.pem", f"{home}/certs/{place}/privkey.pem")
            for name, place in paths.items()
        }
    )
    night.run("nginx", "-s", "reload")
    night.schedule("dehydrated", f"{' '.join(dehydrated)} --cron")
    night.certctl("schedule", "external")
    first = serials(night)

    night.take("both", "--from", home)
    night.run(*dehydrated, "--cron", "--force")
    by_dehydrated = serials(night)
    night.certctl("renew", "--force")
    by_certctl = serials(night)

    assert {each for each in NAMES if by_dehydrated[each] != first[each]} == {WEBROOT}
    assert {each for each in NAMES if by_certctl[each] != by_dehydrated[each]} == {PORT, HOOK}
    night.certctl("import", "--undo", "both", "--yes")
    night.run(*dehydrated, "--cron", "--force")
    in_the_end = serials(night)
    assert all(in_the_end[each] != by_certctl[each] for each in NAMES)
    night.take("--all", "--from", home)
    night.certctl("import", "--finish", "--from", home, "--yes")
    assert night.is_scheduled(".dehydrated.imported")
    assert serials(night) == in_the_end


def test_uacme_and_certctl_run_side_by_side_and_each_line_of_cron_follows(night: Night) -> None:
    require("uacme")
    home, challenges = "/srv/uacme", "/srv/www/.well-known/acme-challenge"
    night.run("mount", "--bind", str(night.ca.ca_bundle), "/etc/ssl/certs/ca-certificates.crt")
    night.run("mkdir", "-p", challenges)
    uacme = f"{program('uacme')} -y -c {home} -a {night.ca.directory_url}"
    night.serve({})
    night.here.start_nginx()
    night.run("sh", "-c", f"{uacme} new ops@example.com")
    names = {WEBROOT: (WEBROOT,), PORT: (PORT, HOOK)}
    lines = {
        name: f"UACME_CHALLENGE_PATH={challenges} {uacme} -h /usr/share/uacme/uacme.sh issue"
        f" {' '.join(several)} && nginx -s reload"
        for name, several in names.items()
    }
    forced = {name: line.replace(" issue ", " -f issue ") for name, line in lines.items()}
    for line in lines.values():
        night.run("sh", "-c", line)
    files = {
        name: (f"{home}/{first}/cert.pem", f"{home}/private/{first}/key.pem")
        for first, several in names.items()
        for name in several
    }
    night.serve(files)
    night.run("nginx", "-s", "reload")
    crontab = "".join(f"0 3 * * * root {line}\n" for line in lines.values())
    night.run("sh", "-c", 'printf %s "$0" >/etc/cron.d/uacme', crontab)
    night.certctl("schedule", "external")
    first = serials(night)

    night.take(PORT, "--from", home)
    one, orders = serials(night), night.orders()
    for _ in range(2):  # a night: neither has anything to do
        night.here.run("sh", "-c", lines[WEBROOT])
        night.certctl("renew")

    assert (one, serials(night), night.orders()) == (first, first, orders)
    left = night.run("cat", "/etc/cron.d/uacme")
    assert left == crontab.replace("\n0 3", "\n#imported 0 3")
    night.run("sh", "-c", forced[WEBROOT])
    by_uacme = serials(night)
    assert {each for each in NAMES if by_uacme[each] != first[each]} == {WEBROOT}
    night.take("--all", "--from", home)
    night.certctl("renew", "--force")
    by_certctl = serials(night)
    assert all(by_certctl[each] != by_uacme[each] for each in NAMES)

    night.certctl("import", "--undo", PORT, "--yes")
    assert night.run("cat", "/etc/cron.d/uacme").splitlines()[1] == crontab.splitlines()[1]
    night.run("sh", "-c", forced[PORT])
    in_the_end = serials(night)

    assert {each for each in NAMES if in_the_end[each] != by_certctl[each]} == {PORT, HOOK}
    night.take(PORT, "--from", home)
    assert "nothing was found that runs it" in night.certctl("import", "--finish", "--yes")
    assert serials(night) == in_the_end
    accounts = json.loads(night.certctl("account", "show", "--json"))["data"]["accounts"]
    assert len(accounts) == 1
