"""What `certctl snippet` prints, pasted into the configurations of real servers: each answers
challenges beside a redirect, a password and a refusal, and serves the certificate.
"""

import http.client
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from certctl.model.values import Value
from certctl.rules.snippets import (
    Answer,
    Files,
    Forwarded,
    Part,
    Stateless,
    Webroot,
    snippet,
)
from tests.lab.answers import say, serving
from tests.lab.apache import MODULES
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program
from tests.lab.sites import HOST, Site, leaf_at, listens, made_up_site
from tests.support.command import certctl
from tests.support.homes import add_certificate

NAME = "a.example"
TOKEN = "tok_en-1"
THUMBPRINT = "Zg-thumb_print"
EXPECTED = f"{TOKEN}.{THUMBPRINT}"
WAYS = ("webroot", "forwarded", "stateless")


def files_of(site: Site) -> Files:
    directory = site.directory
    return Files(str(site.fullchain), str(site.privkey), str(site.combined), str(directory.parent))


@contextmanager
def answering(way: str, directory: Path) -> Iterator[Answer]:
    """One way to answer, with what certctl would have done for it."""
    if way == "stateless":
        yield Stateless(THUMBPRINT)
    elif way == "webroot":
        root = directory / "root"
        answers = root / ".well-known/acme-challenge"
        answers.mkdir(parents=True)
        (answers / TOKEN).write_text(EXPECTED)
        for each in (directory, root, answers.parent, answers):
            each.chmod(0o755)
        yield Webroot(str(root))
    else:
        with serving(say(200, EXPECTED.encode())) as port:
            yield Forwarded(port)


def fetched(port: int, path: str) -> tuple[int, str]:
    """The status and the text that a server gives for a path of the name, over HTTP."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path, headers={"Host": NAME})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def text_of(parts: Sequence[Part], purpose: str) -> list[str]:
    return [each.text for each in parts if each.purpose == purpose]


# Each returns a configuration with the parts pasted into it, for two ports.


def nginx_configuration(directory: Path, parts: Sequence[Part], port: int, tls: int) -> str:
    challenges, serve = "".join(text_of(parts, "challenges")), "".join(text_of(parts, "tls"))
    serve = re.sub(r"listen \[::\]:443 ssl;\n", "", serve).replace("443", f"{HOST}:{tls}")
    paths = "".join(
        f"\n  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""user root;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
  access_log off;{paths}
  server {{
    {challenges}
    listen {HOST}:{port};
    server_name {NAME};
    {serve}
    auth_basic secret;
    auth_basic_user_file /dev/null;
    deny all;
    return 301 https://$host$request_uri;
  }}
}}
"""


def apache_configuration(directory: Path, parts: Sequence[Part], port: int, tls: int) -> str:
    first, *last = text_of(parts, "challenges")
    needed: tuple[str, ...] = ("mpm_event", "authz_core", "authz_host", "authn_core", "ssl")
    needed += ("socache_shmcb",)
    needed += ("rewrite", "alias", "proxy", "proxy_http", "auth_basic", "authn_file", "authz_user")
    modules = "".join(f"LoadModule {each}_module {MODULES}/mod_{each}.so\n" for each in needed)
    serve = text_of(parts, "tls")[0].replace("*:443", f"{HOST}:{tls}")
    return f"""{modules}
ServerRoot {directory}
ServerName {HOST}
PidFile {directory}/apache.pid
Mutex file:{directory} default
DefaultRuntimeDir {directory}
ErrorLog {directory}/error.log
Listen {HOST}:{port}
Listen {HOST}:{tls}
<VirtualHost {HOST}:{port}>
  ServerName {NAME}
{first}
  Redirect permanent / https://{NAME}/
  ProxyPass / http://127.0.0.1:1/
  <Location "/">
    AuthType Basic
    AuthName secret
    AuthUserFile /dev/null
    Require valid-user
  </Location>
{"".join(last)}
</VirtualHost>
{serve}
"""


def haproxy_configuration(directory: Path, parts: Sequence[Part], port: int, tls: int) -> str:  # noqa: ARG001
    rules, *backend = text_of(parts, "challenges")
    serve = text_of(parts, "tls")[0].replace(":443", f"{HOST}:{tls}")
    return f"""defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend plain
  bind {HOST}:{port}
{rules}
  http-request deny if {{ path_beg /nothing }}
  http-request redirect scheme https code 301
frontend secure
{serve}
  http-request return status 200
{"".join(backend)}
"""


def caddy_configuration(directory: Path, parts: Sequence[Part], port: int, tls: int) -> str:  # noqa: ARG001
    return f"""{{
  admin off
  http_port {port}
  https_port {tls}
  default_bind {HOST}
}}
{"".join(text_of(parts, "challenges"))}
{"".join(text_of(parts, "tls"))}
"""


Configuration = Callable[[Path, Sequence[Part], int, int], str]
SERVERS: dict[str, tuple[Configuration, tuple[str, ...]]] = {
    "nginx": (nginx_configuration, ("nginx", "-g", "daemon off;", "-c")),
    "apache": (apache_configuration, ("apache2", "-D", "FOREGROUND", "-f")),
    "haproxy": (haproxy_configuration, ("haproxy", "-db", "-f")),
    "caddy": (caddy_configuration, ("caddy", "run", "--adapter", "caddyfile", "--config")),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("server", list(SERVERS))
def test_a_server_with_the_snippet_answers_challenges_and_serves_the_certificate(
    server: str, way: str, tmp_path: Path
) -> None:
    if (server, way) == ("haproxy", "webroot"):
        pytest.skip("HAProxy serves no files, and the snippet says so")
    tmp_path.parent.chmod(0o755)
    site = made_up_site(tmp_path / "live" / NAME, NAME)
    configuration, (name, *arguments) = SERVERS[server]
    port, tls = free_port(), free_port()
    config = tmp_path / "config"
    with answering(way, tmp_path / "answers") as answer:
        parts = snippet(server, [NAME], files_of(site), answer)
        config.write_text(configuration(tmp_path, parts, port, tls))
        command = [program(name), *arguments, str(config)]
        with ServerProcess(
            command,
            directory=tmp_path,
            ready=lambda: listens(port) and listens(tls),
            environment={"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        ):
            challenge = fetched(port, f"/.well-known/acme-challenge/{TOKEN}")
            other, _ = fetched(port, "/")
            served = leaf_at(tls, NAME)

    assert challenge == (200, EXPECTED)
    assert other in {301, 308, 401, 403}
    assert served == x509.load_pem_x509_certificate(site.fullchain.read_bytes())


def test_a_port_means_forwarding_also_where_files_answered_until_now(tmp_path: Path) -> None:
    home = tmp_path / "home"
    webroot: dict[str, Value] = {
        "challenge.method": "webroot",
        "challenge.webroots": ("/var/www/html",),
    }
    add_certificate(home, "a.example", chosen=webroot)

    data = certctl("snippet", "nginx", "a.example", "--http-port", "8402", "--json", home=home)

    printed = data.json()["data"]
    assert "proxy_pass http://127.0.0.1:8402;" in printed["parts"][0]["text"]
    assert printed["obtain"] == (
        "certctl edit a.example --challenge standalone --http-address 127.0.0.1 --http-port 8402"
    )
