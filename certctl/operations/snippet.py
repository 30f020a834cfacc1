"""What to paste into the configuration of a web server for a certificate, and the commands that go
with it. Registers an account where the lines need the key of one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from certctl.ca.directories import as_typed
from certctl.deploy.loading import target_names
from certctl.engine.current import current_state_of
from certctl.engine.order.accounts import ensure_account
from certctl.engine.order.other_cas import prepare_accounts
from certctl.engine.order.stateless import METHOD as STATELESS
from certctl.engine.order.stateless import thumbprint_of
from certctl.engine.run import Run
from certctl.engine.specs import at_ca, changed, find, load, new
from certctl.model.identifiers import IdentifierType
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name, default_certificate_name, parse_identifier
from certctl.model.spec import CertificateSpec
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
from certctl.rules.spec import split_webroot, with_method

_HTTP_PORT = 80
_METHOD = "challenge.method"
_STANDALONE = "standalone"
_RELOADS = {"lighttpd": "systemctl reload lighttpd"}


@dataclass(frozen=True)
class Snippet:
    """The lines for a server, and the commands: `obtain` after those for challenges, `deploy` after
    those for TLS; None where there is nothing to do.
    """

    server: str
    name: str
    parts: tuple[Part, ...]
    obtain: str | None
    deploy: str | None


def make_snippet(run: Run, server: str, text: str, given: Mapping[str, Value]) -> Snippet:
    """Return what to paste for a certificate, or for a domain name that has none yet; `given` are
    options as for `issue`.

    Raises `UsageError` for an unknown server, or one that cannot answer in that way, and the errors
    of a registration.
    """
    given = _with_forwarding(given)
    spec, exists = _spec(run, text, given)
    names = [each.value for each in spec.identifiers if each.type is IdentifierType.DNS]
    live = Path(run.services.tree.home) / "live"
    own = live / spec.name
    files = Files(*_pair(own), str(own / "combined.pem"), str(live), _second(own, spec))
    answer = _answer(spec, names[0] if names else "", run)
    parts = snippet(server, names or [each.value for each in spec.identifiers], files, answer)
    cas = spec.cas if "ca" in given else ()
    issued = exists and current_state_of(spec.name, run.services).live is not None
    return Snippet(
        server,
        spec.name,
        tuple(parts),
        _obtain(spec, answer, cas, changes=bool(given) or not exists, exists=issued),
        _deploy(server, spec),
    )


def _pair(directory: Path) -> tuple[str, str]:
    return str(directory / "fullchain.pem"), str(directory / "privkey.pem")


def _second(directory: Path, spec: CertificateSpec) -> tuple[str, str] | None:
    kind = spec.second_key_type
    return None if kind is None else _pair(directory / kind.family)


def _with_forwarding(given: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return options in which a port for challenges means that they are forwarded to it, however
    the certificate has been validated until now.
    """
    chosen = with_method(given)
    if _METHOD not in chosen and "challenge.http_port" in given:
        return {**given, _METHOD: _STANDALONE}
    return given


def _spec(run: Run, text: str, given: Mapping[str, Value]) -> tuple[CertificateSpec, bool]:
    records = run.services.records
    if text in records.names():
        existing: CertificateSpec | None = load(run, text)
    else:
        existing = find(run, None, (parse_identifier(text),))
    if existing is not None:
        return changed(run, existing, existing.identifiers, given), True
    identifiers = (parse_identifier(text),)
    name = certificate_name(default_certificate_name(identifiers, records.names()))
    return new(run, name, identifiers, given), False


def _answer(spec: CertificateSpec, name: str, run: Run) -> Answer | None:
    """Return how challenges are answered; None if no web server is involved."""
    challenge = spec.challenge
    if challenge.method == STATELESS:
        prepare_accounts([spec], run)
        first = at_ca(run, spec, spec.ca)
        account = ensure_account(run, first.ca, first.ca_bundle, first.account)
        return Stateless(thumbprint_of(account, run))
    if challenge.method == "webroot" and not challenge.directory:
        found = dict(split_webroot(each) for each in challenge.webroots)
        return Webroot(found.get(name) or found.get(None) or next(iter(found.values())))
    if challenge.method == _STANDALONE:
        return Forwarded(challenge.http_port) if challenge.http_port != _HTTP_PORT else Forwarded()
    return None


def _obtain(
    spec: CertificateSpec,
    answer: Answer | None,
    cas: Sequence[str],
    *,
    changes: bool,
    exists: bool,
) -> str | None:
    """Return the command that obtains the certificate, or saves how it is validated."""
    if exists and not changes:
        return None
    words = ["certctl", "edit" if exists else "issue"]
    words += [spec.name] if exists else [each.value for each in spec.identifiers]
    for ca in cas:
        words += ["--ca", as_typed(ca)]
    if isinstance(answer, Stateless):
        words.append("--stateless")
    elif isinstance(answer, Webroot):
        words += ["--webroot", answer.directory]
    elif isinstance(answer, Forwarded):
        words += ["--challenge", _STANDALONE] if exists else []
        words += ["--http-address", "127.0.0.1", "--http-port", str(answer.port)]
    return shlex.join(words)


def _deploy(server: str, spec: CertificateSpec) -> str | None:
    """Return the command that tells the server of each new version; None if it notices itself."""
    if server in spec.deploy.targets:
        return f"certctl deploy {spec.name}"
    if server in target_names():
        return f"certctl edit {spec.name} --deploy {server}"
    if server in _RELOADS:
        return shlex.join(["certctl", "edit", spec.name, "--reload", _RELOADS[server]])
    return None
