"""Command lines of certbot, as public scripts have them, on a machine of their own: with nginx, a
name server, and CAs that answer as Let's Encrypt.
"""

import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab import machine as lab
from tests.lab.bind import BindServer
from tests.lab.devca import DevCaServer
from tests.lab.machine import HOME, Machine
from tests.lab.named_servers import ADDRESS, NAMES, Zone, named_servers
from tests.lab.programs import require
from tests.support.command import Finished

FILE = Path(__file__).parents[1] / "data" / "certbot" / "invocations.txt"
LETSENCRYPT = Path("/etc/letsencrypt")
D, D2, D3 = "d.test", "d2.test", "d3.test"
TOKEN = "token-of-the-zone"
ANSWERS = {
    r"1: d.test\s+2: d2.test\s+Which of them[^\n]*\?": "1, 2",
    r"Email address for the account[^\n]*:": "",
    r"\[y/N\] ": "y",
    r"(Add|Remove) these records.*?Press Enter when it is done: ": "",
}
"""What a person answers: questions by pattern."""
LONGEST_SECONDS = 30.0
NGINX = b"""user root;
pid /run/nginx.pid;
events { worker_connections 100; }
http { include /etc/nginx/conf.d/*.conf; }
"""
SITES = b"""
server { listen 127.0.0.1:80; server_name d.test d2.test;
    location / { root /srv/www; } }
server { listen 127.0.0.1:80; server_name d3.test; location / { root /srv/www2; } }
"""
PROXY = b"server { listen 127.0.0.1:80; location / { proxy_pass http://127.0.0.1:8888; } }"
_SERVICE = """#!/bin/sh
echo "$0 $*" >> /srv/services.log
case "$*" in
    *reload*) nginx -s reload ;;
    *stop*) pid=$(cat /run/nginx.pid 2>/dev/null) || exit 0
        kill "$pid"; while test -e "/proc/$pid"; do sleep 0.02; done ;;
    *start*) nginx ;;
esac
"""
_STOP_APACHE = """
pid=$(cat /run/apache2/apache2.pid 2>/dev/null) || exit 0
kill "$pid"; while test -e "/proc/$pid"; do sleep 0.02; done
"""
_DNS_HOOK = """#!{python}
import os, sys
import dns.query, dns.tsig, dns.update
names = ("DOMAIN", "VALIDATION", "REMAINING_CHALLENGES", "ALL_DOMAINS")
domain, value, *_ = (os.environ["CERTBOT_" + each] for each in names)
update = dns.update.UpdateMessage("d.test.")
update.use_tsig(dns.tsig.Key("{name}.", bytes.fromhex("{secret}"), "hmac-sha256"))
name = "_acme-challenge." + domain.removeprefix("*.") + "."
if sys.argv[1:] == ["cleanup"]:
    assert os.environ["CERTBOT_AUTH_OUTPUT"] == "written", os.environ["CERTBOT_AUTH_OUTPUT"]
    update.delete(name, "TXT", value)
else:
    update.add(name, 1, "TXT", value)
dns.query.tcp(update, "127.0.0.1", port={port}, timeout=5)
print("written")
"""
_HTTP_HOOK = """#!/bin/sh
mkdir -p /srv/www/.well-known/acme-challenge
cd /srv/www/.well-known/acme-challenge || exit 1
if test -e "$CERTBOT_TOKEN"; then rm "$CERTBOT_TOKEN"; else
printf %s "$CERTBOT_VALIDATION" > "$CERTBOT_TOKEN"; fi
"""
_DEPLOY_HOOK = """#!/bin/sh
test -s "$RENEWED_LINEAGE/fullchain.pem" || exit 1
echo "$RENEWED_LINEAGE: $RENEWED_DOMAINS" >> /srv/deployed
"""


def lines(kind: str) -> list[str]:
    """Return the command lines of a kind, `run` or `ask`, without that word."""
    text = FILE.read_text(encoding="utf-8")
    words = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return [rest for first, _, rest in words if first == kind]


@dataclass
class Scene:
    """The machine, its CA, and a CA that requires an external account binding."""

    machine: Machine
    ca: DevCaServer
    bound: DevCaServer
    bind: BindServer
    bundle: Path
    directory_url: str | None = None
    """The CA's own URL, where it does not answer as Let's Encrypt."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment: what an administrator set once, and a PATH with `certbot`."""
        return {
            **os.environ,
            "PATH": f"/srv/bin:{os.environ['PATH']}",
            "CERTCTL_HOME": str(HOME),
            "REQUESTS_CA_BUNDLE": str(self.bundle),
            "CERTCTL_DNS_RESOLVER": self.bind.address,
            "HOME": "/srv",
            **({"CERTCTL_CA": self.directory_url} if self.directory_url else {}),
        }

    def run(self, *words: str) -> Finished:
        """Run a command line off a terminal."""
        return self.machine.off_terminal(words, self.variables, LONGEST_SECONDS)

    def sh(self, script: str) -> str:
        """Run a script, which must succeed, and return what it printed."""
        done = self.run("sh", "-ec", script)
        assert done.exit_status == 0, done
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o755) -> None:
        done = self.machine.run("sh", "-ec", f"cat > {path}; chmod {mode:o} {path}", stdin=text)
        assert done.returncode == 0, done

    def reset(self, sites: bytes | None, *, apache: bytes | None = None) -> None:
        """Forget all certificates and accounts; nginx runs with `sites`, or Apache with `apache`,
        or neither.
        """
        self.sh(
            f"rm -rf {HOME} {LETSENCRYPT}/* /srv/dir /srv/deployed /srv/services.log"
            " /srv/www/* /srv/www2/* /srv/out;"
            f" install -d -m 711 {HOME}; mkdir -p /srv/dir /srv/out /srv/www /srv/www2"
        )
        self.sh("systemctl stop nginx; rm -f /srv/services.log")
        self.sh(_STOP_APACHE)
        if sites is not None:
            self.machine.configure({"nginx.conf": NGINX, "conf.d/sites.conf": sites})
            self.machine.start_nginx()
        if apache is not None:
            self.machine.configure_apache({"sites-available/site.conf": apache})
            self.machine.start_apache()

    def given(self, *names: str) -> None:
        """Obtain a certificate, and with it an account, before the line is run."""
        flags = [word for each in names for word in ("-d", each)]
        words = ("certonly", "--webroot", "-w", "/srv/www", *flags)
        done = self.run("certbot", *words, "-n", "--agree-tos", "-m", "admin@d.test")
        assert done.exit_status == 0, done

    def leaf(self, name: str = D) -> x509.Certificate:
        """Return the certificate that scripts find."""
        path = LETSENCRYPT / "live" / name / "fullchain.pem"
        return x509.load_pem_x509_certificate(self.sh(f"cat {path}").encode())

    def names(self, name: str = D) -> list[str]:
        extension = self.leaf(name).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return sorted(extension.value.get_values_for_type(x509.DNSName))

    def converse(self, words: Sequence[str], answers: Mapping[str, str]) -> tuple[int, str]:
        """Run a command line on a terminal, as a person who answers each question whose text
        matches a pattern; `{records}` are added to the DNS. Return its status, and all it printed.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            command = [*self.machine.prefix, *words]
            os.execvpe(command[0], command, self.variables)  # noqa: S606 - no shell is wanted
        return _converse(pid, terminal, answers, self.bind)


def _converse(
    pid: int, terminal: int, answers: Mapping[str, str], bind: BindServer
) -> tuple[int, str]:
    printed, answered, end = "", 0, time.monotonic() + LONGEST_SECONDS
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        while time.monotonic() < end:
            if not select.select([stream], [], [], 1)[0]:
                continue
            try:
                data = stream.read(4096)
            except OSError:  # Linux's end of a terminal
                break
            if not data:
                break
            printed += data.decode("utf-8", "replace")
            for pattern, answer in answers.items():
                found = re.search(pattern, printed[answered:], re.DOTALL)
                if found is None:
                    continue
                for name, value in re.findall(r'(\S+)\.\s+TXT\s+"([^"]+)"', found[0]):
                    if "Add these" in found[0]:
                        bind.add_txt(name, value)
                answered += found.end()
                stream.write(f"{answer}\n".encode())
                break
    if time.monotonic() >= end:
        os.kill(pid, signal.SIGKILL)
        printed += "\n(it did not end)"
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), printed


@contextmanager
def scene(directory: Path, *, famous: bool = True) -> Iterator[Scene]:
    """Make the machine, in a network of its own. Unless `famous`, port 443 is free, and the CA has
    its own URL, as `certctl.toml` may say.
    """
    require("nginx", "named", "unshare", "nsenter", "ip", "pgrep")
    places = {each: directory / each for each in ("bind", "ca", "bound", "servers", "machine")}
    for each in places.values():
        each.mkdir()
    eab = directory / "eab"
    eab.touch(0o600)
    eab.write_text("a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0")
    validates = ("--lifetime", "90d")
    hosts = (f"127.0.0.1 {D} {D2} {D3}", f"{ADDRESS} {' '.join(NAMES)}")
    with (
        lab.mount_point(LETSENCRYPT),
        lab.network(),
        BindServer(directory=places["bind"], zones={D: ""}, grants=("zonesub ANY",)) as bind,
        DevCaServer(
            directory=places["ca"], dns_server=bind.address, http_port=80, arguments=validates
        ) as ca,
        DevCaServer(
            directory=places["bound"],
            http_port=80,
            arguments=(*validates, "--eab", f"KID={eab}"),
        ) as bound,
        named_servers(
            places["servers"], ca, Zone(bind, D, TOKEN), port=443 if famous else 0
        ) as bundle,
        lab.machine(places["machine"], hosts) as machine,
    ):
        bundle.write_bytes(bundle.read_bytes() + bound.ca_bundle.read_bytes())
        made = Scene(machine, ca, bound, bind, bundle, None if famous else ca.directory_url)
        _furnish(made)
        yield made


def _furnish(made: Scene) -> None:
    made.machine.run("mount", "-t", "tmpfs", "tmpfs", str(LETSENCRYPT))
    made.machine.run("mkdir", "-p", "/srv/bin", "/srv/www", "/srv/www2", "/srv/hooks")
    program = f"#!{sys.executable}\nfrom certctl.__main__ import certbot\n\ncertbot()\n"
    made.write("/srv/bin/certbot", program)
    for name in ("systemctl", "service"):
        made.write(f"/srv/bin/{name}", _SERVICE)
        usual = shutil.which(name)
        if usual is not None:  # hooks find the usual programs first
            made.machine.run("mount", "--bind", f"/srv/bin/{name}", os.path.realpath(usual))
    roots = Path("/etc/ssl/certs/ca-certificates.crt")
    made.machine.run("mount", "--bind", str(made.bundle), str(roots))
    hook = _DNS_HOOK.format(
        python=sys.executable,
        name=made.bind.key_name,
        secret=made.bind.key_secret.hex(),
        port=made.bind.port,
    )
    made.write("/srv/hooks/dns", hook)
    made.write("/srv/hooks/http", _HTTP_HOOK)
    made.write("/srv/hooks/deploy", _DEPLOY_HOOK)
    made.write("/srv/cloudflare.ini", f"dns_cloudflare_api_token = {TOKEN}\n", 0o600)
    made.write("/srv/digitalocean.ini", f"dns_digitalocean_token = {TOKEN}\n", 0o600)
    made.write(
        "/srv/rfc2136.ini",
        f"dns_rfc2136_server = 127.0.0.1\ndns_rfc2136_port = {made.bind.port}\n"
        f"dns_rfc2136_name = {made.bind.key_name}.\n"
        f"dns_rfc2136_secret = {made.bind.key_secret_b64}\n"
        "dns_rfc2136_algorithm = HMAC-SHA256\n",
        0o600,
    )
    defaults = "authenticator = webroot\nwebroot-path = /srv/www\nagree-tos = true\n"
    made.write("/srv/cli.ini", defaults)
    made.write("/srv/request.pem", _signing_request())


def _signing_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(D)])
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


_FILES = {
    "--deploy-hook": "/srv/hooks/deploy",
    "--manual-auth-hook": "/srv/hooks/dns",
    "--manual-cleanup-hook": "/srv/hooks/dns cleanup",
    "--config": "/srv/cli.ini",
    "--csr": "/srv/request.pem",
    "--fullchain-path": "/srv/out/fullchain.pem",
    "--cert-path": "/srv/out/cert.pem",
    "--chain-path": "/srv/out/chain.pem",
    "--dns-cloudflare-credentials": "/srv/cloudflare.ini",
    "--dns-digitalocean-credentials": "/srv/digitalocean.ini",
    "--dns-rfc2136-credentials": "/srv/rfc2136.ini",
}
_WORDS = {
    "D": D,
    "D2": D2,
    "D3": D3,
    "*.D": f"*.{D}",
    "D,D2": f"{D},{D2}",
    "W": "/srv/www",
    "W2": "/srv/www2",
    "M": "admin@d.test",
    "DIR": "/srv/dir",
    "NAME": "mine",
    "KID": "KID",
    "--webroot-path=W": "--webroot-path=/srv/www",
}


def command_of(line: str, made: Scene) -> list[str]:
    """Return the words of a line, with something real for each placeholder."""
    table = re.search(r"\{.*?\}", line)
    words = shlex.split(line.replace(table[0], shlex.quote(table[0])) if table else line)
    found: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        by_http = "http" in words and "manual" in before
        if word == "F" or word.startswith("F "):
            found.append("/srv/hooks/http" if by_http else _FILES[before])
        elif word == "https://CA/directory":
            found.append(made.bound.directory_url)
        elif word == "KEY":
            found.append("a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0")
        elif table and word == table[0]:
            found.append(json.dumps({D: "/srv/www", D2: "/srv/www"}))
        else:
            found.append(_WORDS.get(word, word))
    return found
