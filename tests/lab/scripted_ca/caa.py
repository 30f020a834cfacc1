"""What a CA must find in the DNS before it issues: CAA (RFC 8659) with the parameters of RFC 8657.

Written from the RFCs alone, so that it shares no mistake with certctl's own reader.
"""

from __future__ import annotations

from typing import Any

import dns.message
import dns.query
import dns.rdatatype

from tests.lab.scripted_ca.problems import document

ISSUER = "ca.example"
"""The name of the CA in CAA records."""

TIMEOUT = 5  # seconds


def refusal(
    server: str, name: str, issuer: str, account_url: str, method: str
) -> dict[str, Any] | None:
    """Returns a problem document if the records that a DNS server (`host:port`) has for a name do
    not let this issuer issue to this account after this method."""
    wildcard = name.startswith("*.")
    records = _relevant(server, name.removeprefix("*."))
    if any(flags & 128 and tag not in ("issue", "issuewild", "iodef") for flags, tag, _ in records):
        return document("caa", f"{name}: a critical property is not known")
    values = [value for _, tag, value in records if tag == "issue"]
    if wildcard and any(tag == "issuewild" for _, tag, _ in records):
        values = [value for _, tag, value in records if tag == "issuewild"]
    elif not any(tag == "issue" for _, tag, _ in records):
        return None
    if any(_allows(value, issuer, account_url, method) for value in values):
        return None
    return document("caa", f"{name}: CAA lets {issuer} not issue to {account_url} by {method}")


def _allows(value: str, issuer: str, account_url: str, method: str) -> bool:
    domain, *rest = (part.strip(" \t") for part in value.split(";"))
    given = dict(part.split("=", 1) for part in rest if "=" in part)
    methods = given.get("validationmethods", method).split(",")
    account = given.get("accounturi", account_url)
    return (domain.lower(), account) == (issuer, account_url) and method in methods


def _relevant(server: str, name: str) -> list[tuple[int, str, str]]:
    """RFC 8659 §3: the records of the name, or of the nearest name above it that has any."""
    labels = name.split(".")
    for start in range(len(labels)):
        found = _records(server, ".".join(labels[start:]))
        if found:
            return found
    return []


def _records(server: str, name: str) -> list[tuple[int, str, str]]:
    host, _, port = server.rpartition(":")
    query = dns.message.make_query(f"{name}.", dns.rdatatype.CAA)
    response = dns.query.tcp(query, host, timeout=TIMEOUT, port=int(port))
    return [
        (record.flags, record.tag.decode().lower(), record.value.decode())
        for rrset in response.answer
        if rrset.rdtype == dns.rdatatype.CAA
        for record in rrset
    ]
