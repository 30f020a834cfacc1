"""Dynamic updates (RFC 2136) signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others.

The options and the key; `certctl.dns.updates` sends the updates.
"""

from __future__ import annotations

from collections.abc import Mapping

from certctl.dns import tsig_keys
from certctl.dns.addresses import split_port
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ConfigurationError
from certctl.model.ports import DnsProvider
from certctl.model.values import Value
from certctl.rules.options import Kind, Option

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.rfc2136.server",
        Kind.TEXT,
        None,
        "Primary DNS server that accepts the updates, as HOST or HOST:PORT.",
        flag="--rfc2136-server",
        metavar="HOST[:PORT]",
        in_spec=True,
        variable="CERTCTL_RFC2136_SERVER",
    ),
    Option(
        "dns.rfc2136.key_name",
        Kind.TEXT,
        None,
        "Name of the TSIG key; default: the name in the key file.",
        flag="--rfc2136-key-name",
        metavar="NAME",
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_NAME",
    ),
    Option(
        "dns.rfc2136.key_algorithm",
        Kind.CHOICE,
        None,
        "Algorithm of the TSIG key; default: that in the key file, otherwise hmac-sha256.",
        flag="--rfc2136-key-algorithm",
        choices=tsig_keys.ALGORITHMS,
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_ALGORITHM",
    ),
    Option(
        "dns.rfc2136.key_file",
        Kind.PATH,
        None,
        "File with the TSIG key, as written by tsig-keygen, or with only the secret in base64.",
        flag="--rfc2136-key-file",
        in_spec=True,
        variable="CERTCTL_RFC2136_KEY_FILE",
    ),
    Option(
        "dns.rfc2136.secret",
        Kind.TEXT,
        None,
        "TSIG secret in base64, if there is no key file.",
        secret=True,
        in_spec=True,
        in_file=False,
        variable="CERTCTL_RFC2136_SECRET",
    ),
)


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:  # noqa: ARG001 - an update is one short exchange
    """Return the provider. Raises `ConfigurationError` for a missing server or an invalid key.

    Without a key, updates are not signed: some servers authorize clients by their address.
    """
    server = _text(settings, "dns.rfc2136.server")
    if server is None:
        raise ConfigurationError(
            "the DNS provider rfc2136 needs a server",
            hint="Set the zone's primary server with --rfc2136-server HOST[:PORT].",
        )
    # dnspython is slow to import, and the table of settings needs only the options
    from certctl.dns.updates import Rfc2136Provider  # noqa: PLC0415

    return Rfc2136Provider(*_host_and_port(server), _key(settings))


def _key(settings: Mapping[str, Value]) -> tsig_keys.TsigKey | None:
    name = _text(settings, "dns.rfc2136.key_name")
    algorithm = _text(settings, "dns.rfc2136.key_algorithm")
    path = _text(settings, "dns.rfc2136.key_file")
    if path is not None:
        return tsig_keys.read_key_file(path, name, algorithm)
    secret = _text(settings, "dns.rfc2136.secret")
    if secret is not None:
        return tsig_keys.make_key(secret, name, algorithm, where="CERTCTL_RFC2136_SECRET")
    if name is not None:
        raise ConfigurationError(
            f"the secret of the TSIG key {name} is missing",
            hint="Set --rfc2136-key-file, or CERTCTL_RFC2136_SECRET.",
        )
    return None


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        return split_port(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not a DNS server",
            hint="Use HOST or HOST:PORT, such as ns1.example.com or [2001:db8::53]:5353.",
            code="configuration.value",
        ) from None


def _text(settings: Mapping[str, Value], key: str) -> str | None:
    value = settings.get(key)
    return str(value) if value else None
