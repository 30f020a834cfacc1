"""The environment variables of hooks, including certbot's, so that its hook scripts work unchanged.

Data from a CA or from the DNS reaches a hook only in these variables, never in its command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from certctl.model.certificate import Version
from certctl.model.delivery import CertificateFiles
from certctl.model.spec import FAMILIES

MAX_BYTES = 100_000
"""The maximum size of a list of names: Linux limits one environment variable to 128 KiB."""


def variables(
    event: str,
    version: Version,
    files: CertificateFiles,
    previous: int | None,
    lineage: str | None = None,
) -> dict[str, str]:
    """Return the variables for a hook of one certificate that has `version`.

    `lineage` is the directory for RENEWED_LINEAGE, if it is not the live one, and `previous` the
    version deployed before it. A value that does not exist (the previous version in a first
    deployment, the private key with `--csr`) is an empty string, so that scripts may use `set -u`.
    Lists are separated by spaces; the time is ISO 8601 in UTC.
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
        **_by_key(version, files),
        "CERTCTL_CERT_VERSION": str(version.number),
        "CERTCTL_PREVIOUS_VERSION": "" if previous is None else str(previous),
        "CERTCTL_NOT_AFTER": _iso(version.not_after),
        "CERTCTL_SERIAL": version.facts.serial,
        "RENEWED_LINEAGE": lineage or files.live,
        "RENEWED_DOMAINS": domains,
        "FAILED_DOMAINS": "",
    }


def _by_key(version: Version, files: CertificateFiles) -> dict[str, str]:
    """Return the variables for the certificate with each kind of key, if the version has it."""
    certificates = zip(version.certificates, files.parts, strict=True)
    known = {each.family: own for each, own in certificates}
    found: dict[str, str] = {}
    for family in FAMILIES:
        own, prefix = known.get(family), f"CERTCTL_{family.upper()}"
        found |= {
            f"{prefix}_CERT_FILE": own.cert if own else "",
            f"{prefix}_CHAIN_FILE": own.chain if own else "",
            f"{prefix}_FULLCHAIN_FILE": own.fullchain if own else "",
            f"{prefix}_PRIVKEY_FILE": (own and own.privkey) or "",
            f"{prefix}_COMBINED_FILE": (own and own.combined) or "",
        }
    return found


def run_variables(
    event: str, renewed_domains: Iterable[str], failed_domains: Iterable[str]
) -> dict[str, str]:
    """Return the variables for a hook of a whole run (`pre`, `post`, `reload`)."""
    return {
        "CERTCTL_EVENT": event,
        "RENEWED_DOMAINS": space_separated(renewed_domains),
        "FAILED_DOMAINS": space_separated(failed_domains),
    }


def space_separated(names: Iterable[str]) -> str:
    """Return names separated by spaces, without duplicates, cut to `MAX_BYTES` between two names.

    A truncated list is better than a hook that the kernel refuses to start.
    """
    text = " ".join(dict.fromkeys(names))
    return text if len(text) <= MAX_BYTES else text[: MAX_BYTES + 1].rpartition(" ")[0]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
