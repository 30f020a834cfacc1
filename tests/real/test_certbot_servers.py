"""certbot's command lines that change nginx, some of which ask a person."""

import re
from collections.abc import Iterator

import pytest

from tests.lab import machine as lab
from tests.lab.programs import require
from tests.support.certbot_lines import ANSWERS, D2, D, Scene, command_of, lines, scene

RECEIVED = "Successfully received certificate."
APACHE = b"""<VirtualHost *:80>
    ServerName d.test
    ServerAlias d2.test
    DocumentRoot /srv/www
</VirtualHost>
"""
SITE = (
    b"server { listen 127.0.0.1:80; server_name d.test d2.test; location / { root /srv/www; } }\n"
)
SERVING = [
    each
    for each in lines("run")
    if "enhance" in each or (("--nginx" in each or "--apache" in each) and " renew" not in each)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not lab.possible():
        pytest.skip("only root can make a machine, by namespaces")
    with scene(tmp_path_factory.mktemp("scene"), famous=False) as found:
        yield found


def start(line: str, made: Scene) -> None:
    """Start the web server that a line is about."""
    if "--apache" in line:
        require("apache2")
        made.reset(None, apache=APACHE)
    else:
        made.reset(SITE)


def served(made: Scene, name: str = D) -> set[str]:
    """Return the names of the certificate that nginx serves."""
    shown = made.sh(
        f"openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null"
        " | openssl x509 -noout -ext subjectAltName"
    )
    return set(re.findall(r"DNS:([^,\s]+)", shown))


def wanted(line: str) -> set[str]:
    return {D, D2} if re.search(r"\bD2\b", line) else {D}


@pytest.mark.parametrize("more", [(), ("--force-renewal",)])
def test_a_certificate_for_the_web_server_is_ordered_once_and_said_to_be_received(
    more: tuple[str, ...], made: Scene
) -> None:
    made.reset(SITE)
    ways = ("-a", "webroot", "-w", "/srv/www", "-i", "nginx")
    orders = made.ca.orders()

    done = made.run("certbot", "run", *ways, "-d", D, "-n", "--agree-tos", "-m", "a@d.test", *more)

    assert done.exit_status == 0, done
    assert done.stdout.splitlines()[0] == RECEIVED
    assert made.ca.orders() == orders + 1
    assert served(made) == {D}


@pytest.mark.parametrize("line", SERVING)
def test_a_line_makes_the_web_server_serve_the_certificate(line: str, made: Scene) -> None:
    start(line, made)
    if "install" in line or "enhance" in line:
        made.given(D)

    done = made.run(*command_of(line, made))

    assert done.exit_status == 0, done
    assert made.sh(f"cat /etc/letsencrypt/live/{D}/fullchain.pem") != ""
    if "certonly" in line:
        assert RECEIVED in done.stdout
        assert made.run("curl", "-sk", f"https://{D}/").exit_status != 0  # nothing listens
        return
    assert served(made) == wanted(line)
    page = made.sh(f"curl -sik https://{D}/ --resolve {D}:443:127.0.0.1 --max-time 10 || true")
    assert ("strict-transport-security" in page.lower()) == ("--hsts" in line)
    plain = made.sh(f"curl -si http://{D}/ --max-time 10")
    if "redirect" in line:
        assert ("301" in plain.splitlines()[0]) == ("--no-redirect" not in line)
    for flag in ("--uir", "--staple-ocsp"):
        assert (f"{flag} is ignored" in done.stderr) == (flag in line)


def test_what_was_changed_in_nginx_is_taken_back(made: Scene) -> None:
    made.reset(SITE)
    before = made.machine.files()
    made.run(*command_of("certbot run -n --nginx --agree-tos -d D,D2 -m M --redirect", made))

    done = made.run("certbot", "rollback", "--cert-name", D)

    assert done.exit_status == 0, done
    assert made.machine.files() == before


@pytest.mark.parametrize("line", [each for each in lines("ask") if "certonly" not in each])
def test_a_line_leads_a_person_to_a_certificate_that_is_served(line: str, made: Scene) -> None:
    start(line, made)

    status, printed = made.converse(command_of(line, made), ANSWERS)

    assert status == 0, printed
    assert RECEIVED in printed
    assert served(made) == ({D} if line.endswith("-d D") else {D, D2})
