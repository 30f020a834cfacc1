"""Chooses the provider and the credentials for a record: the certificate's own, or the zone's.

The credentials of a zone in `[dns.zones]` are used if the certificate has none of its own
(`--dns auto`), and if a CNAME leads into the zone, since another provider may host that zone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from certctl.dns.loading import ProviderSystem, create_provider, is_builtin_or_plugin, options_of
from certctl.dns.profiles import find_profile, settings_of, settings_of_environment
from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.ports import CaaWriter, DnsProvider
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.cleanup import partly_placed
from certctl.rules.credentials import AUTO, DnsCredentials, Profile, read_options
from certctl.rules.options import Option


class ChosenProviders:
    """Passes each record to the provider for its `credentials`, which is created when needed."""

    def __init__(
        self, challenge: ChallengeSpec, credentials: DnsCredentials, system: ProviderSystem
    ) -> None:
        self._challenge = challenge
        self._credentials = credentials
        self._system = system
        self._guard = threading.Lock()
        self._providers: dict[str, DnsProvider] = {}

    def require(self) -> None:
        """Create the certificate's own provider, before any DNS queries. Raises `UsageError` or
        `ConfigurationError` if that fails, if the provider already knows that it cannot work, or if
        no provider is configured at all.
        """
        if self._own:
            check = getattr(self._provider(""), "check", None)
            if check is not None:
                check()
        elif not self._credentials.zones:
            raise _no_provider()

    def choose(self, name: str, queried_name: str) -> str:
        """Return the credentials for a record at `name`, the target of the CNAMEs of
        `queried_name`; empty for the certificate's own. Raises `UsageError` or `ConfigurationError`
        if the provider cannot be created.
        """
        chosen = ""
        if name != queried_name or not self._own:
            chosen = self._credentials.of_zone(name) or ""
        if not chosen and not self._own:
            raise _no_provider(f" for {name}")
        self._provider(chosen)
        return chosen

    def caa_writer(self, name: str) -> CaaWriter | None:
        """Return the provider for records at `name` if it can write CAA records; None if it cannot.
        Raises as `choose`.
        """
        provider = self._provider(self.choose(name, name))
        return provider if isinstance(provider, CaaWriter) else None

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Add the values, each with its credentials. Raises the error of the first that fails."""
        for index, (credentials, some) in enumerate(_by_credentials(records).items()):
            with partly_placed(index > 0):
                self._provider(credentials).present(some)

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Remove the values, continuing after an error; raises the first error at the end."""
        failures: list[CertctlError] = []
        for credentials, some in _by_credentials(records).items():
            try:
                self._provider(credentials).cleanup(some)
            except CertctlError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    @property
    def _own(self) -> bool:
        challenge = self._challenge
        return challenge.dns_credentials is not None or challenge.dns_provider not in (None, AUTO)

    def _provider(self, credentials: str) -> DnsProvider:
        with self._guard:
            if credentials not in self._providers:
                self._providers[credentials] = self._create(credentials)
            return self._providers[credentials]

    def _create(self, credentials: str) -> DnsProvider:
        challenge = self._challenge
        name = credentials or challenge.dns_credentials
        if name is not None:
            profile = find_profile(name, self._credentials)
            given = challenge.dns_provider
            if not credentials and given not in (None, AUTO, profile.provider):
                raise ConfigurationError(
                    f"{profile.where} has credentials for {profile.provider}, not for {given}",
                    hint=f"Leave out --dns {given}, or choose other credentials.",
                )
            return self._of_profile(profile)
        provider = challenge.dns_provider or ""
        options = options_of(provider)
        further = read_options(challenge.dns_options, provider)
        settings: dict[str, Value] = {
            **_defaults(options),
            **challenge.plugin,
            **({} if is_builtin_or_plugin(provider) else self._of_environment(provider)),
            **settings_of(further, options, self._credentials, self._system),
        }
        return create_provider(provider, settings, self._system)

    def _of_profile(self, profile: Profile) -> DnsProvider:
        options = options_of(profile.provider)
        further = read_options(self._challenge.dns_options, profile.provider)
        own = self._challenge.dns_credentials == profile.name
        settings = {
            **_defaults(options),
            **settings_of(profile, options, self._credentials, self._system),
            **(settings_of(further, options, self._credentials, self._system) if own else {}),
        }
        return create_provider(profile.provider, settings, self._system)

    def _of_environment(self, provider: str) -> dict[str, Value]:
        return settings_of_environment(provider, options_of(provider), self._credentials.variables)


def _no_provider(record: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"no DNS provider is set{record}",
        hint="Set the provider that writes the records (--dns PROVIDER), or add the credentials of"
        " the zone to [dns.zones] in certctl.toml.",
    )


def _defaults(options: Sequence[Option]) -> dict[str, Value]:
    return {option.key: option.default for option in options}


def _by_credentials(records: Sequence[TxtRecord]) -> dict[str, list[TxtRecord]]:
    found: dict[str, list[TxtRecord]] = {}
    for record in records:
        found.setdefault(record.credentials, []).append(record)
    return found
