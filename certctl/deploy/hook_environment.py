"""What a hook is told, as environment variables; certbot's names too, so that its scripts run.

Values only: nothing here ever becomes part of a command line, whatever a CA put into a certificate.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from certctl.models import CertificateFiles, Version

LONGEST = 100_000
"""Bytes that one list of names may have: Linux runs nothing with a variable over 128 KiB."""


def variables(
    event: str, version: Version, files: CertificateFiles, previous: int | None
) -> dict[str, str]:
    """Return what a hook for one certificate is told about `version`.

    `previous` is the version that was deployed before. What there is not (a first deploy's previous
    version, the key that belongs to somebody else's `--csr`) is empty, not missing, which scripts
    under `set -u` can bear. Lists are separated by spaces; the time is ISO 8601 in UTC.
    """
    domains = space_separated(each.value for each in version.facts.identifiers)
    return {
        "CERTCTL_EVENT": event,
        "CERTCTL_CERT_NAME": version.name,
        "CERTCTL_DOMAINS": domains,
        "CERTCTL_LIVE": files.live,
        "CERTCTL_CERT_FILE": files.cert,
        "CERTCTL_CHAIN_FILE": files.chain,
        "CERTCTL_FULLCHAIN_FILE": files.fullchain,
        "CERTCTL_PRIVKEY_FILE": files.privkey or "",
        "CERTCTL_COMBINED_FILE": files.combined or "",
        "CERTCTL_CERT_VERSION": str(version.number),
        "CERTCTL_PREVIOUS_VERSION": "" if previous is None else str(previous),
        "CERTCTL_NOT_AFTER": _iso(version.facts.not_after),
        "CERTCTL_SERIAL": version.facts.serial,
        "RENEWED_LINEAGE": files.live,
        "RENEWED_DOMAINS": domains,
        "FAILED_DOMAINS": "",
    }


def run_variables(
    event: str, renewed_domains: Iterable[str], failed_domains: Iterable[str]
) -> dict[str, str]:
    """Return what a hook for a whole run (`pre`, `post`, `reload`) is told."""
    return {
        "CERTCTL_EVENT": event,
        "RENEWED_DOMAINS": space_separated(renewed_domains),
        "FAILED_DOMAINS": space_separated(failed_domains),
    }


def space_separated(names: Iterable[str]) -> str:
    """Return names separated by spaces, each once; only the first that fit into `LONGEST` bytes.

    A list that is cut is worth more than a post hook that the kernel refuses to start.
    """
    text = " ".join(dict.fromkeys(names))
    return text if len(text) <= LONGEST else text[: LONGEST + 1].rpartition(" ")[0]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
