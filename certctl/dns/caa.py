"""CAA records: whether they let a CA issue for a name, for our account, by our challenge.

RFC 8659 (the records, and climbing to the closest set of them) and RFC 8657 (`accounturi`,
`validationmethods`). A CA asks again by itself; this says beforehand what it would find.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rcode
import dns.rdatatype

from certctl.dns.resolver import Resolver
from certctl.errors import ChallengeError
from certctl.models import Finding, Identifier, Severity

_CRITICAL = 128
_KNOWN_TAGS = frozenset({"issue", "issuewild", "iodef", "contactemail", "contactphone"})
_KNOWN_TAGS_OF_OTHERS = frozenset({"issuemail", "issuevmc"})
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9-]+)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)\Z")


@dataclass(frozen=True)
class Property:
    """One record; `issuer` and `parameters` are those of an `issue` or `issuewild` value: `issuer`
    is "" where it names nobody, or makes no sense.
    """

    flags: int
    tag: str
    value: str
    issuer: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asking:
    """Who would ask for the certificate: the CA's identities (RFC 8659 §4.2, `caaIdentities`), our
    account there, if there is one, and the challenge.
    """

    ca: str
    identities: Sequence[str]
    account_url: str | None
    method: str


def parse_property(flags: int, tag: str, value: str) -> Property:
    """Return a record with its value taken apart (RFC 8659 §4.2); one that makes no sense lets
    nobody issue.
    """
    domain, *rest = (each.strip(" \t") for each in value.split(";"))
    parameters: dict[str, str] = {}
    for each in filter(None, rest):
        found = _PARAMETER.match(each)
        if found is None:
            return Property(flags, tag.lower(), value)
        parameters[found[1].lower()] = found[2]
    issuer = domain.lower() if _DOMAIN.match(domain) else ""
    return Property(flags, tag.lower(), value, issuer, parameters)


def relevant_set(name: str, resolver: Resolver) -> tuple[str, tuple[Property, ...]]:
    """Return the closest set of CAA records at or above a name, and where it stands; none at the
    root (RFC 8659 §3). An alias is followed, and climbed from where it stands.

    Raises `ChallengeError` where the DNS gives no answer: a CA refuses then.
    """
    current = dns.name.from_text(name)
    while current != dns.name.root:
        text = current.canonicalize().to_text(omit_final_dot=True)
        answer = resolver.ask(text, "CAA")
        found = tuple(
            parse_property(
                record.flags,
                record.tag.decode("ascii", errors="replace"),
                record.value.decode("ascii", errors="replace"),
            )
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.CAA
            for record in rrset
        )
        if found:
            return text, found
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise ChallengeError(
                f"a resolver answered {dns.rcode.to_text(answer.rcode())} for CAA of {text}",
                code="challenge.dns.lookup",
            )
        current = current.parent()
    return "", ()


def caa_finding(identifier: Identifier, asking: Asking, resolver: Resolver) -> Finding | None:
    """Return what keeps the CA from issuing for a name, None where nothing does. Raises
    `Interrupted`.
    """
    try:
        where, records = relevant_set(identifier.base, resolver)
    except ChallengeError as error:
        return Finding(
            "caa.lookup",
            Severity.WARNING,
            identifier.value,
            f"its CAA records could not be looked up, and a CA that cannot either refuses:"
            f" {error.message}",
            "Mend the name servers of the zone: they must answer questions for CAA.",
        )
    return judge(identifier, where, records, asking)


def judge(
    identifier: Identifier, where: str, records: Sequence[Property], asking: Asking
) -> Finding | None:
    """Return why the records at `where` do not let the CA issue for a name; None where they do."""
    odd = next(
        (
            each.tag
            for each in records
            if each.flags & _CRITICAL and each.tag not in _KNOWN_TAGS | _KNOWN_TAGS_OF_OTHERS
        ),
        None,
    )
    if odd is not None:
        return Finding(
            "caa.critical",
            Severity.ERROR,
            identifier.value,
            f"{where} has a critical CAA record {odd!r}, for which a CA that does not know it"
            " must refuse",
            f"Remove the record, or its critical flag, at {where}.",
        )
    limiting = _limiting(identifier, records)
    if not limiting:
        return None
    if not asking.identities:
        return _unknown(identifier, where, limiting, asking)
    ours = [each for each in limiting if each.issuer in {one.lower() for one in asking.identities}]
    if not ours:
        return _forbidden(identifier, where, limiting, asking)
    return _limited(identifier, where, ours, asking)


def _limiting(identifier: Identifier, records: Sequence[Property]) -> list[Property]:
    """Return the records that say who may issue (RFC 8659 §4.3: `issuewild` beats `issue` for
    wildcards).
    """
    wild = [each for each in records if each.tag == "issuewild"] if identifier.wildcard else []
    return wild or [each for each in records if each.tag == "issue"]


def _limited(
    identifier: Identifier, where: str, ours: Sequence[Property], asking: Asking
) -> Finding | None:
    """Return what the parameters of the records for our CA rule out (RFC 8657), None where one
    rules out nothing.
    """
    by_method = [each for each in ours if _allows_method(each, asking.method)]
    if any(_allows_account(each, asking.account_url) for each in by_method):
        return None
    tag = ours[0].tag
    if not by_method:
        return Finding(
            "caa.method",
            Severity.ERROR,
            identifier.value,
            f"the CAA records of {where} let {ours[0].issuer} issue, but not by {asking.method}:"
            f" validationmethods={ours[0].parameters['validationmethods']}",
            f"Add {asking.method} to validationmethods at {where}, or prove control another way.",
        )
    named = by_method[0].parameters["accounturi"]
    if asking.account_url is None:
        return Finding(
            "caa.account",
            Severity.WARNING,
            identifier.value,
            f"the CAA records of {where} let only the account {named} order, and there is no"
            " account here yet",
            "certctl register, then put the new account's URL into the record.",
        )
    return Finding(
        "caa.account",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} let only the account {named} order; ours is"
        f" {asking.account_url}",
        f'{where}. CAA 0 {tag} "{by_method[0].issuer}; accounturi={asking.account_url}"',
    )


def _allows_method(record: Property, method: str) -> bool:
    allowed = record.parameters.get("validationmethods")
    return allowed is None or method in allowed.split(",")


def _allows_account(record: Property, account_url: str | None) -> bool:
    allowed = record.parameters.get("accounturi")
    return allowed is None or allowed == account_url


def _forbidden(
    identifier: Identifier, where: str, limiting: Sequence[Property], asking: Asking
) -> Finding:
    allowed = ", ".join(dict.fromkeys(each.issuer for each in limiting if each.issuer))
    return Finding(
        "caa.forbidden",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} let {allowed or 'nobody'} issue, not {asking.ca}",
        f'{where}. CAA 0 {limiting[0].tag} "{asking.identities[0]}"',
    )


def _unknown(
    identifier: Identifier, where: str, limiting: Sequence[Property], asking: Asking
) -> Finding:
    values = ", ".join(f'{each.tag} "{each.value}"' for each in limiting)
    return Finding(
        "caa.unknown_issuer",
        Severity.WARNING,
        identifier.value,
        f"{where} has CAA records ({values}), and {asking.ca} does not say by which name it is"
        " called there",
        f"See in the documents of {asking.ca} which issuer name it wants.",
    )
