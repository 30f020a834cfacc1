"""Hooks of other clients: certctl calls them as their own client does, and those that the clients
document work as they are, with BIND and Pebble.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.lab.bind import BindServer
from tests.lab.http import serving
from tests.lab.pebble import PebbleServer
from tests.lab.programs import program, require
from tests.real.driver import Running, host, names, script
from tests.real.strangers import CERTBOT_ISSUE, TRUST, Lab, certbot, lego, opened_lab
from tests.support.command import Finished

DOMAINS = ("a.example", "*.a.example", "b.example")
NAMES = ("a.example", "b.example")
CHALLENGE_CALLS = {"deploy_challenge", "clean_challenge"}

RECORDER = """#!{python}
import json, os, ssl, sys, urllib.request
from pathlib import Path
words = sys.argv[1:]
facts = {{key: value for key, value in os.environ.items() if key.startswith("CERTBOT_")}}
with open({log!r}, "a") as log:
    log.write(json.dumps([words, facts]) + "\\n")

def dns(method, domain, value):
    name = domain if domain.startswith("_acme") else "_acme-challenge." + domain
    facts = json.dumps({{"name": name.rstrip("."), "value": value}}).encode()
    request = urllib.request.Request(
        "{base}/manage/dns", facts, {{"Content-Type": "application/json"}}, method=method
    )
    urllib.request.urlopen(request, context=ssl.create_default_context(cafile={root!r})).close()

def http(method, token, value):
    path = Path({web!r}, ".well-known", "acme-challenge", token)
    path.parent.mkdir(parents=True, exist_ok=True)
    if method == "POST":
        path.write_text(value)
    else:
        path.unlink(missing_ok=True)

"""

CERTBOT = """
method = "DELETE" if "CERTBOT_AUTH_OUTPUT" in os.environ else "POST"
if "CERTBOT_TOKEN" in os.environ:
    http(method, os.environ["CERTBOT_TOKEN"], os.environ["CERTBOT_VALIDATION"])
else:
    dns(method, os.environ["CERTBOT_DOMAIN"], os.environ["CERTBOT_VALIDATION"])
print("placed", os.environ["CERTBOT_DOMAIN"])
print("a warning", file=sys.stderr)
"""

DEHYDRATED = """
methods = {{"deploy_challenge": "POST", "clean_challenge": "DELETE"}}
if words[0] in methods:
    for domain, token, value in zip(*[iter(words[1:])] * 3):
        if "." in value:
            http(methods[words[0]], token, value)
        else:
            dns(methods[words[0]], domain, value)
"""

LEGO = """
dns({{"present": "POST", "cleanup": "DELETE"}}[words[0]], words[1], words[2])
"""

LEGO_RAW = """
import base64, hashlib
digest = base64.urlsafe_b64encode(hashlib.sha256(words[4].encode()).digest()).decode().rstrip("=")
dns({{"present": "POST", "cleanup": "DELETE"}}[words[0]], words[2].rstrip("."), digest)
"""

UACME = """
method, kind, domain, token, answer = words
if kind != {kind!r}:
    sys.exit(1)
if kind == "dns-01":
    dns("POST" if method == "begin" else "DELETE", domain, answer)
else:
    http("POST" if method == "begin" else "DELETE", token, answer)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with opened_lab(tmp_path) as lab:
        yield lab


def recorder(lab: Lab, body: str, name: str, kind: str = "dns-01") -> Path:
    """A hook that notes each call, and does what it is called for."""
    text = (RECORDER + body).format(
        python=sys.executable,
        log=str(lab.directory / f"{name}.calls"),
        base=lab.ca.base_url,
        root=str(lab.ca.tls_ca_bundle),
        web=str(lab.directory / "web"),
        kind=kind,
    )
    return script(lab.directory / name, text)


def calls(lab: Lab, name: str) -> list[Any]:
    """The calls that were noted, in an order that does not depend on the CA's, with a token, a
    digest and a key authorization as such.
    """
    text = (lab.directory / f"{name}.calls").read_text()
    text = re.sub(r"[\w-]{43}\.[\w-]{43}", "KEY-AUTHORIZATION", text)
    text = re.sub(r"(?<![\w-])[\w-]{43}(?![\w-])", "BASE64URL", text)
    return sorted((json.loads(line) for line in text.splitlines()), key=str)


def ours(lab: Lab, tmp_path: Path, *arguments: str, domains: Sequence[str] = DOMAINS) -> None:
    """Issue with certctl, with a hook."""
    with Running(
        (
            *("issue", *domains, "--agree-tos", "--ca", lab.ca.directory_url),
            *("--ca-bundle", str(lab.ca.tls_ca_bundle), *arguments),
        ),
        tmp_path / "home",
    ) as running:
        finished = running.finish()
    assert (finished.exit_status, finished.stderr) == (0, "")


def by_dns(lab: Lab, hook: Path, *more: str) -> tuple[str, ...]:
    return ("--dns", "exec", "--dns-hook", str(hook), "--dns-resolver", lab.dns, *more)


def domain_flags(flag: str, domains: Sequence[str] = DOMAINS) -> list[str]:
    return [word for each in domains for word in (flag, each)]


def test_certbots_dns_hooks_find_what_certbot_tells_them(lab: Lab, tmp_path: Path) -> None:
    theirs = recorder(lab, CERTBOT, "theirs")
    hooks = ("--manual-auth-hook", theirs, "--manual-cleanup-hook", theirs)
    certbot(
        *(lab, *CERTBOT_ISSUE, "--manual", "--preferred-challenges", "dns", *hooks),
        *domain_flags("-d"),
    )

    hook = recorder(lab, CERTBOT, "ours")
    ours(lab, tmp_path, *by_dns(lab, hook, "--dns-cleanup-hook", str(hook)))

    assert calls(lab, "ours") == calls(lab, "theirs")
    assert len(calls(lab, "ours")) == 6
    assert lab.ca.zone.all_values() == {}


def test_certbots_http_hooks_find_what_certbot_tells_them(lab: Lab, tmp_path: Path) -> None:
    theirs, hook = recorder(lab, CERTBOT, "theirs"), recorder(lab, CERTBOT, "ours")
    with lab.web():
        certbot(
            *(lab, *CERTBOT_ISSUE, "--manual", "--preferred-challenges", "http"),
            *("--manual-auth-hook", theirs, "--manual-cleanup-hook", theirs),
            *domain_flags("-d", NAMES),
        )

        given = ("--http-hook", str(hook), "--http-cleanup-hook", str(hook))
        ours(lab, tmp_path, *given, domains=NAMES)

    assert calls(lab, "ours") == calls(lab, "theirs")
    assert len(calls(lab, "ours")) == 4


@pytest.mark.parametrize(
    ("challenge", "protocol"),
    [("dns-01", "dehydrated"), ("dns-01", "dehydrated-chain"), ("http-01", "dehydrated")],
)
def test_dehydrateds_hook_is_called_as_dehydrated_calls_it(
    lab: Lab, tmp_path: Path, protocol: str, challenge: str
) -> None:
    require("dehydrated", "curl")
    theirs, hook = recorder(lab, DEHYDRATED, "theirs"), recorder(lab, DEHYDRATED, "ours")
    chain = "yes" if protocol == "dehydrated-chain" else "no"
    (lab.directory / "config").write_text(
        f'CA="{lab.ca.directory_url}"\nBASEDIR="{lab.directory}"\nHOOK="{theirs}"\n'
        f'WELLKNOWN="{lab.directory}/web/.well-known/acme-challenge"\nHOOK_CHAIN="{chain}"\n'
        f'CURL_OPTS="--cacert {lab.ca.tls_ca_bundle}"\nCHALLENGETYPE="{challenge}"\n'
    )
    call = (program("dehydrated"), "--config", lab.directory / "config")
    domains = DOMAINS if challenge == "dns-01" else NAMES
    with lab.web() as web:
        (web / ".well-known/acme-challenge").mkdir(parents=True)
        lab.run(*call, "--register", "--accept-terms")
        lab.run(*call, "--cron", "--domain", " ".join(domains))

        if challenge == "dns-01":
            given = by_dns(lab, hook, "--dns-hook-protocol", protocol)
        else:
            given = ("--http-hook", str(hook), "--http-hook-protocol", protocol)
        ours(lab, tmp_path, *given, domains=domains)

    # Its own environment goes through as well, so only the arguments are its protocol; other calls
    # have nothing to do with challenges.
    theirs_words = [each for each in words(calls(lab, "theirs")) if each[0] in CHALLENGE_CALLS]
    assert words(calls(lab, "ours")) == theirs_words
    assert len(theirs_words) == (2 if chain == "yes" else 2 * len(domains))


def words(found: Sequence[Any]) -> list[Any]:
    return sorted(call[0] for call in found)


@pytest.mark.parametrize(("mode", "body"), [("", LEGO), ("RAW", LEGO_RAW)])
def test_legos_program_is_called_as_lego_calls_it(
    lab: Lab, tmp_path: Path, mode: str, body: str
) -> None:
    theirs, hook = recorder(lab, body, "theirs"), recorder(lab, body, "ours")
    lego(
        *(lab, "--dns", "exec", "--dns.resolvers", lab.dns, "--dns.disable-cp"),
        *(*domain_flags("--domains"), "run"),
        EXEC_PATH=str(theirs),
        EXEC_MODE=mode,
        EXEC_SEQUENCE_INTERVAL="1",
        EXEC_POLLING_INTERVAL="1",
        EXEC_PROPAGATION_TIMEOUT="5",
    )

    protocol = "lego-raw" if mode else "lego"
    ours(lab, tmp_path, *by_dns(lab, hook, "--dns-hook-protocol", protocol))

    assert words(calls(lab, "ours")) == words(calls(lab, "theirs"))
    assert len(calls(lab, "ours")) == 6


@pytest.mark.parametrize("challenge", ["dns-01", "http-01"])
def test_uacmes_hook_is_called_as_uacme_calls_it(lab: Lab, tmp_path: Path, challenge: str) -> None:
    require("uacme", "unshare")
    theirs = recorder(lab, UACME, "theirs", challenge)
    hook = recorder(lab, UACME, "ours", challenge)
    trusting = ("unshare", "--map-root-user", "--mount", "sh", "-c", TRUST, lab.ca.tls_ca_bundle)
    call = (program("uacme"), "-y", "-c", lab.directory / "uacme", "-a", lab.ca.directory_url)
    with lab.web():
        lab.run(*trusting, *call, "new")
        lab.run(*trusting, *call, "-h", theirs, "issue", *NAMES)

        if challenge == "dns-01":
            given = by_dns(lab, hook, "--dns-hook-protocol", "uacme")
        else:
            given = ("--http-hook", str(hook), "--http-hook-protocol", "uacme")
        ours(lab, tmp_path, *given, domains=NAMES)

    # uacme offers each challenge in turn, and a hook declines those that it is not for.
    accepted = [each for each in words(calls(lab, "theirs")) if each[1] == challenge]
    assert words(calls(lab, "ours")) == accepted
    assert len(accepted) == 4


# As their projects document them, unchanged.


def filled_in(source: Path, target: Path, *settings: tuple[str, str]) -> Path:
    """A script of a project with its settings filled in; every one of them must be there."""
    text = source.read_text()
    for before, after in settings:
        assert before in text, before
        text = text.replace(before, after)
    return script(target, text)


def issue_with(
    directory: Path,
    pebble: PebbleServer,
    bind: BindServer,
    *arguments: str,
    prefix: Sequence[str] = (),
) -> tuple[Finished, Callable[[str], list[str]]]:
    here = host(directory, pebble, f'challenge.dns_resolver = "{bind.address}"')
    finished = here.certctl("issue", *arguments, prefix=prefix)
    return finished, lambda name: names(here.leaf(name))


CERTBOT_MANUAL = """#!/bin/bash
printf 'server {host} {port}\\nupdate {verb} _acme-challenge.%s. 60 TXT "%s"\\nsend\\n' \\
    "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" | nsupdate -k {key}
"""


def test_a_certbot_manual_hook_with_nsupdate(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    require("nsupdate")
    auth, cleanup = (
        script(
            tmp_path / verb,
            CERTBOT_MANUAL.format(host=bind.host, port=bind.port, key=bind.keyfile, verb=verb),
        )
        for verb in ("add", "delete")
    )

    finished, leaf = issue_with(
        *(tmp_path, pebble_bind, bind, "*.manual.example.test", "manual.example.test"),
        *("--dns", "exec", "--dns-hook", str(auth), "--dns-cleanup-hook", str(cleanup)),
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert len(leaf("manual.example.test")) == 2
    assert bind.txt("_acme-challenge.manual.example.test") == []


@pytest.mark.parametrize("protocol", ["dehydrated", "dehydrated-chain"])
def test_the_hook_that_dehydrated_documents(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path, protocol: str
) -> None:
    require("dehydrated", "nsupdate")
    example = Path("/usr/share/doc/dehydrated/examples/hook.sh")
    if not example.exists():
        pytest.skip("this machine keeps no documentation: dehydrated's example is not there")
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    hook = filled_in(
        example,
        tmp_path / "hook.sh",
        ("# printf 'server 127.0.0.1\\n", f"printf 'server {bind.host} {bind.port}\\n"),
        ("/var/run/named/session.key", str(bind.keyfile)),
        (
            '# cp "${KEYFILE}" "${FULLCHAINFILE}" /etc/nginx/ssl/; chown -R nginx: /etc/nginx/ssl',
            f'cp "${{KEYFILE}}" "${{FULLCHAINFILE}}" {deployed}/',
        ),
    )
    if protocol == "dehydrated-chain":
        # Its functions take one answer each; the chained form is for hooks with a loop like this.
        chained = (
            '\nif [ "$1" = deploy_challenge ] || [ "$1" = clean_challenge ]; then\n'
            '    handler=$1; shift\n    while [ $# -gt 0 ]; do "$0" "$handler-one" "$@"; shift 3;'
            " done\n    exit\nfi\nset -- ${1%-one} ${@:2:3}\n"
        )
        text = hook.read_text()
        hook.write_text(text.replace("#!/usr/bin/env bash\n", f"#!/usr/bin/env bash\n{chained}", 1))
    deploy = (
        f'{hook} deploy_cert "$CERTCTL_CERT_NAME" "$CERTCTL_PRIVKEY_FILE" "$CERTCTL_CERT_FILE"'
        ' "$CERTCTL_FULLCHAIN_FILE" "$CERTCTL_CHAIN_FILE" "$(date +%s)"'
    )

    finished, leaf = issue_with(
        *(tmp_path, pebble_bind, bind, "*.dehydrated.example.test", "dehydrated.example.test"),
        *("--dns", "exec", "--dns-hook", str(hook), "--dns-hook-protocol", protocol),
        *("--deploy-hook", deploy) if protocol == "dehydrated" else (),
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert len(leaf("dehydrated.example.test")) == 2
    assert bind.txt("_acme-challenge.dehydrated.example.test") == []
    copied = {"privkey.pem", "fullchain.pem"} if protocol == "dehydrated" else set()
    assert {each.name for each in deployed.iterdir()} == copied


def test_the_nsupdate_hook_that_uacme_brings(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    require("uacme", "nsupdate", "dig", "unshare")
    # It takes a command without arguments for each.
    dig, nsupdate = (
        script(tmp_path / each, f'#!/bin/sh\nexec {program(each)} -p {bind.port} "$@"\n')
        for each in ("dig", "nsupdate")
    )
    hook = filled_in(
        Path("/usr/share/uacme/nsupdate.sh"),
        tmp_path / "nsupdate.sh",
        ("DIG=dig\n", f"DIG={dig}\n"),
        ("NSUPDATE=nsupdate\n", f"NSUPDATE={nsupdate}\n"),
        ("RNDC_KEY_NSUPDATE=\n", f"RNDC_KEY_NSUPDATE={bind.keyfile}\n"),
    )
    # It asks the system's resolver, which is BIND for the time being.
    resolver, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    resolver.write_text(f"nameserver {bind.host}\n")
    hosts.write_text(f"{bind.host} localhost ns1.example.test ns1.example.test.\n")
    mounts = (
        f"mount --bind {resolver} /etc/resolv.conf && mount --bind {hosts} /etc/hosts"
        ' && exec "$0" "$@"'
    )
    own = ("unshare", "--map-root-user", "--mount", "sh", "-c", mounts)

    finished, leaf = issue_with(
        *(tmp_path, pebble_bind, bind, "uacme.example.test", "other-uacme.example.test"),
        *("--dns", "exec", "--dns-hook", str(hook), "--dns-hook-protocol", "uacme"),
        prefix=own,
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert leaf("uacme.example.test") == ["other-uacme.example.test", "uacme.example.test"]
    assert bind.txt("_acme-challenge.uacme.example.test") == []


@contextmanager
def served(directory: Path, port: int) -> Iterator[None]:
    """A web server for a directory."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    answering = partial(Quiet, directory=str(directory))
    with serving(answering, port):
        yield


def test_the_http_hook_that_uacme_brings(pebble: PebbleServer, tmp_path: Path) -> None:
    require("uacme")
    challenges = tmp_path / "www" / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    hook = f"UACME_CHALLENGE_PATH={challenges} /usr/share/uacme/uacme.sh"
    here = host(tmp_path, pebble)
    with served(tmp_path / "www", pebble.http_port):
        here.issue(
            *("uacme-http.example", "www.uacme-http.example"),
            *("--http-hook", hook, "--http-hook-protocol", "uacme"),
        )
        renewed = here.certctl("renew", "--force")

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert here.version("uacme-http.example") == 2
    assert "HTTP-01, hook UACME_CHALLENGE_PATH" in here.certctl("show", "uacme-http.example").stdout
    assert list(challenges.iterdir()) == []


def test_a_program_for_legos_exec_with_nsupdate(
    pebble_bind: PebbleServer, bind: BindServer, tmp_path: Path
) -> None:
    require("nsupdate")
    hook = script(
        tmp_path / "update-dns.sh",
        f"""#!/bin/sh
case $1 in present) verb=add ;; cleanup) verb=delete ;; *) exit 1 ;; esac
printf 'server {bind.host} {bind.port}\\nupdate %s %s 60 TXT "%s"\\nsend\\n' $verb "$2" "$3" |
    {shutil.which("nsupdate")} -k {bind.keyfile}
""",
    )

    finished, leaf = issue_with(
        *(tmp_path, pebble_bind, bind, "*.lego.example.test", "alias.example.test"),
        *("--dns", "exec", "--dns-hook", str(hook), "--dns-hook-protocol", "lego"),
    )

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert leaf("lego.example.test") == ["*.lego.example.test", "alias.example.test"]
    assert bind.txt("alias.challenges.test") == []
