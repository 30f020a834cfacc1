"""What to paste into the configuration of a web server: lines that answer HTTP-01 challenges, and
lines that serve the certificate.

Challenges are answered in one of three ways: from a directory, by certctl's own server on another
port, to which the requests are forwarded, or by a static rule (`Stateless`) that needs nothing of
certctl. Pure functions; nothing here looks at a machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import MappingProxyType

from certctl.model.errors import UsageError
from certctl.model.lazy_dataclass import dataclass

PATH = "/.well-known/acme-challenge/"
EXPRESSION = r"^/\.well-known/acme-challenge/([A-Za-z0-9_-]+)$"
"""Matches the path of a challenge; its group is the token (RFC 8555 §8.3)."""

DEFAULT_PORT = 8402
"""The port to which challenges are forwarded, unless another is given."""


@dataclass(frozen=True)
class Webroot:
    """The server reads the answers below a directory, as files."""

    directory: str


@dataclass(frozen=True)
class Forwarded:
    """The server forwards challenges to certctl's own server, which runs during validation."""

    port: int = DEFAULT_PORT


@dataclass(frozen=True)
class Stateless:
    """The server answers any token with the token and the thumbprint of the account's key."""

    thumbprint: str


Answer = Webroot | Forwarded | Stateless


@dataclass(frozen=True)
class Files:
    """The paths of a certificate's live files. `live` is the directory with the link of each
    certificate; `second` are chain and key of the second certificate, if there are two.
    """

    fullchain: str
    privkey: str
    combined: str
    live: str
    second: tuple[str, str] | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Chain and key of each certificate."""
        first = (self.fullchain, self.privkey)
        return (first,) if self.second is None else (first, self.second)

    @property
    def all_combined(self) -> tuple[str, ...]:
        """The file with key and chain of each certificate."""
        if self.second is None:
            return (self.combined,)
        directory, _, _ = self.second[0].rpartition("/")
        return self.combined, f"{directory}/combined.pem"


@dataclass(frozen=True)
class Part:
    """Lines to paste; `where` is a sentence that says into what."""

    purpose: str
    where: str
    text: str


def snippet(server: str, names: Sequence[str], files: Files, answer: Answer | None) -> list[Part]:
    """Return what to paste for a server, one of `SERVERS`: for challenges, unless `answer` is None,
    and for TLS.

    Raises `UsageError` if the server cannot answer in that way, or if a name or a path cannot be
    written in its configuration.
    """
    _check(server, names, files, answer)
    challenges, tls = _SERVERS[server]
    first = [] if answer is None else challenges(names, answer)
    return [*first, *tls(names, files)]


def _check(server: str, names: Sequence[str], files: Files, answer: Answer | None) -> None:
    if server not in _SERVERS:
        raise UsageError(
            f"there is no snippet for {server!r}", hint=f"Choose one of {', '.join(_SERVERS)}."
        )
    paths = [*(each for pair in files.pairs for each in pair), *files.all_combined, files.live]
    paths += [answer.directory] if isinstance(answer, Webroot) else []
    for path in paths:
        if _UNSAFE.search(path):
            raise UsageError(
                f"the path {path!r} has characters that mean something in the configuration of"
                f" {server}",
                hint="Use a path of letters, digits and ._-/ for it.",
            )
    if not names:
        raise UsageError("a snippet needs a name", hint=f"certctl snippet {server} example.com")


_UNSAFE = re.compile(r"[^A-Za-z0-9._/@+-]")


# nginx


def _nginx_challenges(names: Sequence[str], answer: Answer) -> list[Part]:
    where = f"As the first lines of the server block of {names[0]} for port 80:"
    if isinstance(answer, Stateless):
        rule = f'''if ($uri ~ "{EXPRESSION}") {{
    return 200 "$1.{answer.thumbprint}";
}}
'''
        return [Part("challenges", where, rule)]
    if isinstance(answer, Webroot):
        source = f"root {answer.directory};\n    default_type text/plain;"
    else:
        source = f"proxy_pass http://127.0.0.1:{answer.port};\n    proxy_set_header Host $host;"
    text = rf"""rewrite ^/\.well-known/acme-challenge/[A-Za-z0-9_-]+$ $uri break;
location ^~ {PATH} {{
    {source}
    auth_basic off;
    allow all;
}}
"""
    return [Part("challenges", where, text)]


def _nginx_tls(names: Sequence[str], files: Files) -> list[Part]:
    where = (
        f"In the server block of {names[0]} (add `listen 80;` to it if it has no listen of its own"
        " yet):"
    )
    pairs = "".join(
        f"ssl_certificate     {fullchain};\nssl_certificate_key {privkey};\n"
        for fullchain, privkey in files.pairs
    )
    return [Part("tls", where, f"listen 443 ssl;\nlisten [::]:443 ssl;\n{pairs}")]


# Apache


def _apache_challenges(names: Sequence[str], answer: Answer) -> list[Part]:
    where = f"As the first lines of the <VirtualHost *:80> of {names[0]}"
    location = f"""<Location "{PATH}">
    AuthType None
    Require all granted
</Location>
"""
    last = Part("challenges", "As the last lines of the same block:", location)
    if isinstance(answer, Stateless):
        text = f"""RewriteEngine On
RewriteRule "{EXPRESSION}" "-" [E=CERTCTL_TOKEN:$1,R=200,END]
<Location "{PATH}">
    ErrorDocument 200 "%{{ENV:CERTCTL_TOKEN}}.{answer.thumbprint}"
</Location>
"""
        return [Part("challenges", f"{where} (a2enmod rewrite):", text)]
    expression = EXPRESSION.replace("(", "").replace(")", "")
    if isinstance(answer, Webroot):
        text = f"""RewriteEngine On
RewriteRule "{expression}" "{answer.directory}$0" [END]
<Directory "{answer.directory}{PATH}">
    Options None
    AllowOverride None
    Require all granted
</Directory>
"""
        return [Part("challenges", f"{where} (a2enmod rewrite):", text), last]
    text = f"""RewriteEngine On
RewriteRule "{expression}" "http://127.0.0.1:{answer.port}$0" [P,END]
"""
    return [Part("challenges", f"{where} (a2enmod rewrite proxy proxy_http):", text), last]


def _apache_tls(names: Sequence[str], files: Files) -> list[Part]:
    where = (
        "Beside that block, with the lines that it has for its content (a2enmod ssl; `Listen 443`"
        " once):"
    )
    aliases = "".join(f"\n    ServerAlias {each}" for each in names[1:])
    pairs = "\n".join(
        f"    SSLCertificateFile    {fullchain}\n    SSLCertificateKeyFile {privkey}"
        for fullchain, privkey in files.pairs
    )
    text = f"""<VirtualHost *:443>
    ServerName {names[0]}{aliases}
    SSLEngine on
{pairs}
</VirtualHost>
"""
    return [Part("tls", where, text)]


# HAProxy


def _haproxy_challenges(names: Sequence[str], answer: Answer) -> list[Part]:  # noqa: ARG001 - for all
    where = "In the frontend that binds port 80, before its other http-request lines:"
    if isinstance(answer, Webroot):
        raise _no_files("haproxy")
    if isinstance(answer, Stateless):
        text = (
            f"acl certctl path_reg {EXPRESSION.replace('(', '').replace(')', '')}\n"
            "http-request return status 200 content-type text/plain lf-string"
            f' "%[path,field(4,/)].{answer.thumbprint}" if certctl\n'
        )
        return [Part("challenges", where, text)]
    text = f"""acl certctl path_beg {PATH}
http-request allow if certctl
use_backend certctl if certctl
"""
    backend = f"""backend certctl
    server certctl 127.0.0.1:{answer.port}
"""
    return [
        Part("challenges", where, text),
        Part("challenges", "As a backend of its own:", backend),
    ]


def _haproxy_tls(names: Sequence[str], files: Files) -> list[Part]:  # noqa: ARG001 - the file says it
    where = "In the frontend that serves HTTPS (several `crt` in one line are chosen by name):"
    files_of_all = " ".join(f"crt {each}" for each in files.all_combined)
    return [Part("tls", where, f"bind :443 ssl {files_of_all} alpn h2,http/1.1\n")]


# Caddy


def _caddy_challenges(names: Sequence[str], answer: Answer) -> list[Part]:
    if isinstance(answer, Stateless):
        handler = f"""@certctl path_regexp certctl {EXPRESSION}
    handle @certctl {{
        respond "{{re.certctl.1}}.{answer.thumbprint}"
    }}"""
    elif isinstance(answer, Webroot):
        handler = f"""handle {PATH}* {{
        root * {answer.directory}
        file_server
    }}"""
    else:
        handler = f"""handle {PATH}* {{
        reverse_proxy 127.0.0.1:{answer.port}
    }}"""
    sites = ", ".join(f"http://{each}" for each in names)
    text = f"""{sites} {{
    {handler}
    handle {{
        redir https://{{host}}{{uri}} permanent
    }}
}}
"""
    return [Part("challenges", "As a site of its own in the Caddyfile:", text)]


def _caddy_tls(names: Sequence[str], files: Files) -> list[Part]:
    where = (
        "In the Caddyfile, with what the site serves (Caddy then obtains no certificate of its own"
        " for these names):"
    )
    text = f"""{", ".join(names)} {{
    tls {files.fullchain} {files.privkey}
}}
"""
    return [Part("tls", where, text)]


# Traefik

_TRAEFIK_PRIORITY = 2**31 - 1 - 1000
"""The highest that every version takes, also on machines with 32 bits: those above are its own."""


def _traefik_challenges(names: Sequence[str], answer: Answer) -> list[Part]:  # noqa: ARG001 - for all
    if isinstance(answer, Webroot):
        raise _no_files("traefik")
    if isinstance(answer, Stateless):
        raise _no_rule("traefik")
    where = (
        "In a file of its dynamic configuration; `web` is the entry point for port 80. If it"
        " redirects (http.redirections.entryPoint), set priority: 1 there, which is above all"
        " routers otherwise:"
    )
    text = f"""http:
  routers:
    certctl:
      rule: "PathPrefix(`{PATH}`)"
      entryPoints: ["web"]
      priority: {_TRAEFIK_PRIORITY}
      service: certctl
  services:
    certctl:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:{answer.port}"
"""
    return [Part("challenges", where, text)]


def _traefik_tls(names: Sequence[str], files: Files) -> list[Part]:  # noqa: ARG001 - the file says it
    where = (
        "In another file of its dynamic configuration (`--deploy traefik --traefik-directory DIR`"
        " writes it, and again after each renewal):"
    )
    text = f"""tls:
  certificates:
    - certFile: {files.fullchain}
      keyFile: {files.privkey}
"""
    return [Part("tls", where, text)]


# Envoy


def _envoy_challenges(names: Sequence[str], answer: Answer) -> list[Part]:  # noqa: ARG001 - for all
    if isinstance(answer, Webroot):
        raise _no_files("envoy")
    if isinstance(answer, Stateless):
        raise _no_rule("envoy")
    route = f"""- match:
    prefix: "{PATH}"
  route:
    cluster: certctl
"""
    cluster = f"""- name: certctl
  type: STATIC
  connect_timeout: 1s
  load_assignment:
    cluster_name: certctl
    endpoints:
      - lb_endpoints:
          - endpoint:
              address:
                socket_address:
                  address: 127.0.0.1
                  port_value: {answer.port}
"""
    first = "As the first of the routes of the virtual host for port 80:"
    return [
        Part("challenges", first, route),
        Part("challenges", "Under static_resources.clusters:", cluster),
    ]


def _envoy_tls(names: Sequence[str], files: Files) -> list[Part]:
    secret = f"""resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: {names[0]}
    tls_certificate:
      certificate_chain:
        filename: {files.fullchain}
      private_key:
        filename: {files.privkey}
      watched_directory:
        path: {files.live}
"""
    socket = f"""transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    common_tls_context:
      tls_certificate_sds_secret_configs:
        - name: {names[0]}
          sds_config:
            path_config_source:
              path: /etc/envoy/certctl.yaml
"""
    return [
        Part("tls", "As /etc/envoy/certctl.yaml (Envoy notices each renewal itself):", secret),
        Part("tls", "In the filter chain of the listener for port 443:", socket),
    ]


# lighttpd


def _lighttpd_challenges(names: Sequence[str], answer: Answer) -> list[Part]:  # noqa: ARG001 - for all
    if isinstance(answer, Stateless):
        raise _no_rule("lighttpd")
    expression = EXPRESSION.replace("(", "").replace(")", "")
    where = "In lighttpd.conf, after the lines that redirect or ask for passwords"
    if isinstance(answer, Webroot):
        lines = f'server.document-root = "{answer.directory}"'
    else:
        where += " (server.modules with mod_proxy)"
        lines = f'proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => {answer.port} ) ) )'
    text = f"""$HTTP["url"] =~ "{expression}" {{
    url.redirect = ()
    auth.require = ()
    {lines}
}}
"""
    return [Part("challenges", f"{where}:", text)]


def _lighttpd_tls(names: Sequence[str], files: Files) -> list[Part]:  # noqa: ARG001 - the default of the socket
    text = f"""server.modules += ( "mod_openssl" )
$SERVER["socket"] == ":443" {{
    ssl.engine  = "enable"
    ssl.pemfile = "{files.fullchain}"
    ssl.privkey = "{files.privkey}"
}}
"""
    return [Part("tls", "In lighttpd.conf:", text)]


def _no_files(server: str) -> UsageError:
    return UsageError(
        f"{server} serves no files, so that a webroot cannot answer",
        hint=f"Forward challenges to certctl: certctl snippet {server} NAME --http-port"
        f" {DEFAULT_PORT}",
    )


def _no_rule(server: str) -> UsageError:
    return UsageError(
        f"there is no static rule for {server} that answers challenges",
        hint=f"Forward challenges to certctl: certctl snippet {server} NAME --http-port"
        f" {DEFAULT_PORT}",
    )


_Challenges = Callable[[Sequence[str], Answer], list[Part]]
_Tls = Callable[[Sequence[str], Files], list[Part]]

_SERVERS: MappingProxyType[str, tuple[_Challenges, _Tls]] = MappingProxyType(
    {
        "nginx": (_nginx_challenges, _nginx_tls),
        "apache": (_apache_challenges, _apache_tls),
        "haproxy": (_haproxy_challenges, _haproxy_tls),
        "caddy": (_caddy_challenges, _caddy_tls),
        "traefik": (_traefik_challenges, _traefik_tls),
        "envoy": (_envoy_challenges, _envoy_tls),
        "lighttpd": (_lighttpd_challenges, _lighttpd_tls),
    }
)

SERVERS: tuple[str, ...] = tuple(_SERVERS)
"""The servers that there are snippets for."""
