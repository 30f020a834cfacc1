"""acme-dns: a DNS server only for challenges, to which `_acme-challenge` is delegated by a CNAME.

Each domain has its own account there, which is registered at first use and stored in a file (mode
0600) in a format that other acme-dns clients, such as lego, can also use. The server keeps the two
newest values of a name; they cannot be removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields
from pathlib import Path

from certctl.dns.api_requests import Api
from certctl.dns.system import ProviderSystem
from certctl.model.errors import ChallengeError, ConfigurationError, StoreError
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.options import Kind, Option
from certctl.system.files import ensure_directory, write_atomic
from certctl.system.locks import acquire
from certctl.system.reading import read_private

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.acme-dns.url",
        Kind.TEXT,
        None,
        "URL of the acme-dns server's API.",
        flag="--acme-dns-url",
        metavar="URL",
        in_spec=True,
        variable="CERTCTL_ACME_DNS_URL",
    ),
    Option(
        "dns.acme-dns.accounts_file",
        Kind.PATH,
        None,
        "File with the acme-dns accounts; default: credentials/acme-dns.json in the home"
        " directory.",
        flag="--acme-dns-accounts-file",
        in_spec=True,
        variable="CERTCTL_ACME_DNS_ACCOUNTS_FILE",
    ),
    Option(
        "dns.acme-dns.ca_bundle",
        Kind.PATH,
        None,
        "PEM file with the root certificates to trust for the acme-dns server.",
        flag="--acme-dns-ca-bundle",
        in_spec=True,
        variable="CERTCTL_ACME_DNS_CA_BUNDLE",
    ),
)

NAME = "acme-dns"
MAX_VALUES = 2

_LIMIT = 1 << 20
_LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class AcmeDnsAccount:
    """A domain's account: `fulldomain` is the target of its CNAME."""

    fulldomain: str
    subdomain: str
    username: str = field(repr=False)
    password: str = field(repr=False)


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` if the URL or accounts file is missing."""
    url = settings.get("dns.acme-dns.url")
    if not url:
        raise ConfigurationError(
            "the DNS provider acme-dns needs the URL of the server's API",
            hint="Set it with --acme-dns-url URL.",
        )
    file = settings.get("dns.acme-dns.accounts_file")
    if not file and system.directory is None:
        raise ConfigurationError(
            "the DNS provider acme-dns needs a file for its accounts",
            hint="Set it with --acme-dns-accounts-file FILE.",
        )
    path = Path(str(file)) if file else Path(str(system.directory), f"{NAME}.json")
    roots = settings.get("dns.acme-dns.ca_bundle")
    api = Api(NAME, str(url), system.clock, roots=str(roots) if roots else None, proxy=system.proxy)
    return AcmeDnsProvider(api, path, system)


class AcmeDnsProvider:
    """Writes values at the names that an acme-dns server assigned to domains."""

    def __init__(self, api: Api, path: Path, system: ProviderSystem) -> None:
        self._api = api
        self._path = path
        self._system = system
        self._values: dict[str, set[str]] = {}

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Write the values, after registering an account for each new domain.

        Raises `ChallengeError` if a CNAME is missing, naming it, and if a name would need more than
        two values at the same time.
        """
        with self._system.provider_locks.hold((NAME, str(self._path))):
            accounts = {each.domain: self._account(each.domain) for each in records}
            unreachable = [
                each for each in records if not _is_delegated(each, accounts[each.domain])
            ]
            if unreachable:
                raise _missing_cname(unreachable, accounts)
            for each in records:
                self._write(each, accounts[each.domain])

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Forget the values: the server cannot remove them, and later values replace them."""
        with self._system.provider_locks.hold((NAME, str(self._path))):
            for each in records:
                self._values.get(each.domain, set()).discard(each.value)

    def _write(self, record: TxtRecord, account: AcmeDnsAccount) -> None:
        values = self._values.setdefault(record.domain, set())
        if len(values | {record.value}) > MAX_VALUES:
            raise ChallengeError(
                f"acme-dns keeps only {MAX_VALUES} values of a name, and {record.domain} needs more"
                " at the same time",
                hint="Order its certificates one at a time: --jobs 1",
                code="challenge.dns.acme_dns",
            )
        self._api.post(
            "/update",
            {"subdomain": account.subdomain, "txt": record.value},
            self._system.stop,
            subject=record.domain,
            headers={"X-Api-User": account.username, "X-Api-Key": account.password},
        )
        values.add(record.value)

    def _account(self, domain: str) -> AcmeDnsAccount:
        known = self._read().get(domain)
        if known is not None:
            return _account_of(known, domain, self._path)
        ensure_directory(self._path.parent)
        with acquire(
            self._path.with_name(f"{self._path.name}.lock"),
            exclusive=True,
            timeout=_LOCK_SECONDS,
            clock=self._system.clock,
            subject=f"the accounts in {self._path}",
            stop=self._system.stop,
        ):
            document = self._read()
            if domain not in document:
                answer = self._api.post("/register", {}, self._system.stop, subject=domain)
                registered = _account_of(answer, domain, self._api.url)
                document[domain] = {**asdict(registered), "server_url": self._api.url}
                text = json.dumps(document, indent=2, sort_keys=True)
                write_atomic(self._path, f"{text}\n".encode())
        return _account_of(document[domain], domain, self._path)

    def _read(self) -> dict[str, object]:
        if not self._path.exists():
            return {}
        try:
            document = json.loads(read_private(self._path, _LIMIT))
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise StoreError(
                f"the acme-dns accounts file {self._path} is not a JSON object",
                hint="Fix it, or move it away: certctl then registers new accounts.",
            )
        return document


def _account_of(found: object, domain: str, where: object) -> AcmeDnsAccount:
    names = [each.name for each in fields(AcmeDnsAccount)]
    values = found if isinstance(found, Mapping) else {}
    if not all(isinstance(values.get(name), str) for name in names):
        raise ChallengeError(
            f"the acme-dns account of {domain} from {where} is incomplete: it needs"
            f" {', '.join(names)}",
            hint="Check that --acme-dns-url is the URL of an acme-dns server.",
            code="challenge.dns.acme_dns",
        )
    return AcmeDnsAccount(**{name: values[name] for name in names})


def _is_delegated(record: TxtRecord, account: AcmeDnsAccount) -> bool:
    # Without a zone, the DNS was not queried (--dns-skip-propagation), so this cannot be checked.
    return not record.zone or record.name == account.fulldomain.lower().rstrip(".")


def _missing_cname(
    records: Sequence[TxtRecord], accounts: Mapping[str, AcmeDnsAccount]
) -> ChallengeError:
    required = dict.fromkeys(
        f"_acme-challenge.{each.domain}. CNAME {accounts[each.domain].fulldomain.rstrip('.')}."
        for each in records
    )
    return ChallengeError(
        "the DNS does not delegate the challenge to acme-dns: missing " + "; ".join(required),
        hint="Add the CNAME record once, and run the same command again.",
        code="challenge.dns.acme_dns_alias",
    )
