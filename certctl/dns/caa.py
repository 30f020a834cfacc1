"""CAA records: whether they permit a CA to issue for a name, an account and a challenge type.

RFC 8659 (the records and the search for the closest set) and RFC 8657 (`accounturi`,
`validationmethods`). The CA checks them itself; this check predicts the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

import dns.name
import dns.rcode
import dns.rdatatype
from dns.rdtypes.ANY.CAA import CAA

from certctl.dns.resolver import Resolver
from certctl.model.errors import ChallengeError
from certctl.model.identifiers import Identifier
from certctl.model.lazy_dataclass import dataclass
from certctl.model.run import Finding, Severity

_CRITICAL = 128
_CRITICAL_TO_SOME = 1
"""The wrong end of the octet: a common mistake, which some CAs read as the critical flag."""

_KNOWN_TAGS = frozenset(
    {"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"}
)
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9-]+)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)\Z")


@dataclass(frozen=True)
class Property:
    """One record; `issuer` and `parameters` are parsed from an `issue` or `issuewild` value.
    `issuer` is "" if the value names no issuer or is malformed. A repeated parameter has all of its
    values.
    """

    flags: int
    tag: str
    value: str
    issuer: str = ""
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class IssuanceRequest:
    """Who would request the certificate: the CA's issuer names (RFC 8659 §4.2, `caaIdentities`),
    our account there, if there is one, and the challenge type.
    """

    ca: str
    identities: Sequence[str]
    account_url: str | None
    method: str


def parse_property(flags: int, tag: str, value: str) -> Property:
    """Return a record with its value parsed (RFC 8659 §4.2); a malformed one permits no issuer."""
    domain, *rest = (each.strip(" \t") for each in value.split(";"))
    parameters: dict[str, tuple[str, ...]] = {}
    for each in [] if rest == [""] else rest:
        found = _PARAMETER.match(each)
        if found is None:
            return Property(flags, tag.lower(), value)
        key = found[1].lower()
        parameters[key] = (*parameters.get(key, ()), found[2])
    issuer = domain.lower() if _DOMAIN.match(domain) else ""
    return Property(flags, tag.lower(), value, issuer, parameters)


def relevant_set(name: str, resolver: Resolver) -> tuple[str, tuple[Property, ...]]:
    """Return the name of the closest set of CAA records at or above `name`, and the set; empty if
    there is none below the root (RFC 8659 §3). CNAMEs are followed, but the search then continues
    with the parent of the original name.

    Raises `ChallengeError` if the DNS gives no answer: a CA then refuses to issue.
    """
    current = dns.name.from_text(name)
    while current != dns.name.root:
        text = _text(current)
        answer = resolver.ask(text, "CAA")
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.CAA:
                records = (each for each in rrset if isinstance(each, CAA))
                return _text(rrset.name), tuple(map(_property, records))
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise ChallengeError(
                f"a resolver returned {dns.rcode.to_text(answer.rcode())} for the CAA records of"
                f" {text}",
                code="challenge.dns.lookup",
            )
        current = current.parent()
    return "", ()


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text(omit_final_dot=True)


def _property(record: CAA) -> Property:
    tag, value = (each.decode("ascii", errors="replace") for each in (record.tag, record.value))
    return parse_property(record.flags, tag, value)


def caa_findings(
    identifier: Identifier, request: IssuanceRequest, resolver: Resolver
) -> list[Finding]:
    """Return what prevents the CA from issuing for a name; empty if nothing does. Raises
    `Interrupted`.
    """
    try:
        where, records = relevant_set(identifier.base, resolver)
    except ChallengeError as error:
        finding = Finding(
            "caa.lookup",
            Severity.WARNING,
            identifier.value,
            "its CAA records could not be looked up; a CA that cannot look them up refuses to"
            f" issue: {error.message}",
            "Fix the name servers of the zone: they must answer CAA queries.",
        )
        return [finding]
    return list(caa_violations(identifier, where, records, request))


def caa_violations(
    identifier: Identifier, where: str, records: Sequence[Property], request: IssuanceRequest
) -> Iterator[Finding]:
    """Yield why the records at `where` do not permit the CA to issue for a name, if they do not."""
    yield from _critical(identifier, where, records)
    issue_records = _issue_records(identifier, records)
    if not issue_records:
        return
    identities = {each.lower() for each in request.identities}
    ours = [each for each in issue_records if each.issuer in identities]
    if not identities and any(each.issuer for each in issue_records):
        yield _unknown(identifier, where, issue_records, request)
    elif not ours:
        yield _forbidden(identifier, where, issue_records, request)
    elif (finding := _parameter_finding(identifier, where, ours, request)) is not None:
        yield finding


def names_account(records: Sequence[Property], account_url: str) -> bool:
    """Return whether a record permits this account by its URL (RFC 8657 §3)."""
    return any(account_url in each.parameters.get("accounturi", ()) for each in records)


def _critical(identifier: Identifier, where: str, records: Sequence[Property]) -> Iterator[Finding]:
    """Yield critical records with unknown tags, for which a CA must not issue (RFC 8659 §4.1)."""
    for each in records:
        if each.tag in _KNOWN_TAGS or not each.flags & (_CRITICAL | _CRITICAL_TO_SOME):
            continue
        critical = bool(each.flags & _CRITICAL)
        meaning = "critical" if critical else "which some CAs read as critical"
        yield Finding(
            "caa.critical",
            Severity.ERROR if critical else Severity.WARNING,
            identifier.value,
            f"{where} has a CAA record {each.tag!r} with flags {each.flags} ({meaning}): a CA that"
            " does not know the tag must not issue",
            f"Remove the record, or set its flags to 0, at {where}.",
        )


def _issue_records(identifier: Identifier, records: Sequence[Property]) -> list[Property]:
    """Return the records that restrict issuance (RFC 8659 §4.3: for wildcards, `issuewild` takes
    precedence over `issue`).
    """
    wild = [each for each in records if each.tag == "issuewild"] if identifier.wildcard else []
    return wild or [each for each in records if each.tag == "issue"]


def _parameter_finding(
    identifier: Identifier, where: str, ours: Sequence[Property], request: IssuanceRequest
) -> Finding | None:
    """Return how the parameters of the records for our CA prevent issuance (RFC 8657); None if one
    of the records permits it.
    """
    by_method = [each for each in ours if _allows_method(each, request.method)]
    if any(_allows_account(each, request.account_url) for each in by_method):
        return None
    tag = ours[0].tag
    if not by_method:
        allowed = ",".join(ours[0].parameters["validationmethods"])
        return Finding(
            "caa.method",
            Severity.ERROR,
            identifier.value,
            f"the CAA records of {where} permit {ours[0].issuer}, but not with {request.method}:"
            f" validationmethods={allowed}",
            f"Add {request.method} to validationmethods at {where}, or use another challenge type.",
        )
    named = " ".join(by_method[0].parameters["accounturi"])
    if request.account_url is None:
        return Finding(
            "caa.account",
            Severity.WARNING,
            identifier.value,
            f"the CAA records of {where} permit only the account {named}, and certctl has no"
            " account yet",
            "Create one with certctl register, and add its URL (certctl account show) to the"
            " record.",
        )
    return Finding(
        "caa.account",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} permit only the account {named}, not {request.account_url}",
        f'Add: {where}. CAA 0 {tag} "{by_method[0].issuer}; accounturi={request.account_url}"',
    )


def _allows_method(record: Property, method: str) -> bool:
    """RFC 8657 §4; a repeated parameter permits nothing."""
    given = record.parameters.get("validationmethods")
    return given is None or (len(given) == 1 and method in given[0].split(","))


def _allows_account(record: Property, account_url: str | None) -> bool:
    """RFC 8657 §3: compared exactly; a repeated parameter permits nothing."""
    given = record.parameters.get("accounturi")
    return given is None or given == (account_url,)


def _forbidden(
    identifier: Identifier, where: str, issue_records: Sequence[Property], request: IssuanceRequest
) -> Finding:
    ours = request.identities[0] if request.identities else "ISSUER"
    allowed = ", ".join(dict.fromkeys(each.issuer for each in issue_records if each.issuer))
    return Finding(
        "caa.forbidden",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} permit {allowed or 'no CA'} to issue, not {request.ca}",
        f'Add: {where}. CAA 0 {issue_records[0].tag} "{ours}"',
    )


def _unknown(
    identifier: Identifier, where: str, issue_records: Sequence[Property], request: IssuanceRequest
) -> Finding:
    values = ", ".join(f'{each.tag} "{each.value}"' for each in issue_records)
    return Finding(
        "caa.unknown_issuer",
        Severity.WARNING,
        identifier.value,
        f"{where} has CAA records ({values}), and {request.ca} does not publish its issuer name",
        f"Look up the CAA issuer name in the documentation of {request.ca}.",
    )
