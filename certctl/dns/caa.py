"""CAA records: whether they let a CA issue for a name, for our account, by our challenge.

RFC 8659 (the records, and climbing to the closest set of them) and RFC 8657 (`accounturi`,
`validationmethods`). A CA asks again by itself; this says beforehand what it would find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rcode
import dns.rdatatype
from dns.rdtypes.ANY.CAA import CAA

from certctl.dns.resolver import Resolver
from certctl.errors import ChallengeError
from certctl.models import Finding, Identifier, Severity

_CRITICAL = 128
_CRITICAL_TO_SOME = 1
"""The other end of the octet: so many people set it that some CAs read it as the critical flag."""

_KNOWN_TAGS = frozenset(
    {"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"}
)
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9-]+)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)\Z")


@dataclass(frozen=True)
class Property:
    """One record; `issuer` and `parameters` are those of an `issue` or `issuewild` value: `issuer`
    is "" where it names nobody, or makes no sense. A parameter that is given more than once has all
    its values.
    """

    flags: int
    tag: str
    value: str
    issuer: str = ""
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class IssuanceRequest:
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
    """Return the closest set of CAA records at or above a name, and where it stands; none at the
    root (RFC 8659 §3). A CNAME on the way is followed, and then the name itself is climbed on.

    Raises `ChallengeError` where the DNS gives no answer: a CA refuses then.
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
                f"a resolver answered {dns.rcode.to_text(answer.rcode())} for CAA of {text}",
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
    """Return what keeps the CA from issuing for a name; nothing where nothing does. Raises
    `Interrupted`.
    """
    try:
        where, records = relevant_set(identifier.base, resolver)
    except ChallengeError as error:
        finding = Finding(
            "caa.lookup",
            Severity.WARNING,
            identifier.value,
            "its CAA records could not be looked up, and a CA that cannot either refuses:"
            f" {error.message}",
            "Mend the name servers of the zone: they must answer questions for CAA.",
        )
        return [finding]
    return list(caa_violations(identifier, where, records, request))


def caa_violations(
    identifier: Identifier, where: str, records: Sequence[Property], request: IssuanceRequest
) -> Iterator[Finding]:
    """Yield why the records at `where` do not let the CA issue for a name; nothing where they
    do.
    """
    yield from _critical(identifier, where, records)
    limiting = _limiting(identifier, records)
    if not limiting:
        return
    identities = {each.lower() for each in request.identities}
    ours = [each for each in limiting if each.issuer in identities]
    if not identities and any(each.issuer for each in limiting):
        yield _unknown(identifier, where, limiting, request)
    elif not ours:
        yield _forbidden(identifier, where, limiting, request)
    elif (limited := _limited(identifier, where, ours, request)) is not None:
        yield limited


def _critical(identifier: Identifier, where: str, records: Sequence[Property]) -> Iterator[Finding]:
    """Yield the records that a CA must understand to issue at all (RFC 8659 §4.1)."""
    for each in records:
        if each.tag in _KNOWN_TAGS or not each.flags & (_CRITICAL | _CRITICAL_TO_SOME):
            continue
        critical = bool(each.flags & _CRITICAL)
        reading = "critical" if critical else "which some CAs read as critical"
        yield Finding(
            "caa.critical",
            Severity.ERROR if critical else Severity.WARNING,
            identifier.value,
            f"{where} has a CAA record {each.tag!r} with flags {each.flags}, {reading}: a CA that"
            " does not know it must refuse",
            f"Remove the record, or set its flags to 0, at {where}.",
        )


def _limiting(identifier: Identifier, records: Sequence[Property]) -> list[Property]:
    """Return the records that say who may issue (RFC 8659 §4.3: `issuewild` beats `issue` for
    wildcards).
    """
    wild = [each for each in records if each.tag == "issuewild"] if identifier.wildcard else []
    return wild or [each for each in records if each.tag == "issue"]


def _limited(
    identifier: Identifier, where: str, ours: Sequence[Property], request: IssuanceRequest
) -> Finding | None:
    """Return what the parameters of the records for our CA rule out (RFC 8657), None where one
    rules out nothing.
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
            f"the CAA records of {where} let {ours[0].issuer} issue, but not by {request.method}:"
            f" validationmethods={allowed}",
            f"Add {request.method} to validationmethods at {where}, or prove control another way.",
        )
    named = " ".join(by_method[0].parameters["accounturi"])
    if request.account_url is None:
        return Finding(
            "caa.account",
            Severity.WARNING,
            identifier.value,
            f"the CAA records of {where} let only the account {named} order, and there is no"
            " account here yet",
            "Make one with certctl register, and put its URL (certctl account show) into the"
            " record.",
        )
    return Finding(
        "caa.account",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} let only the account {named} order; ours is"
        f" {request.account_url}",
        f'Add: {where}. CAA 0 {tag} "{by_method[0].issuer}; accounturi={request.account_url}"',
    )


def _allows_method(record: Property, method: str) -> bool:
    """RFC 8657 §4; nobody satisfies a parameter that is given twice."""
    given = record.parameters.get("validationmethods")
    return given is None or (len(given) == 1 and method in given[0].split(","))


def _allows_account(record: Property, account_url: str | None) -> bool:
    """RFC 8657 §3: to the letter; nobody satisfies a parameter that is given twice."""
    given = record.parameters.get("accounturi")
    return given is None or given == (account_url,)


def _forbidden(
    identifier: Identifier, where: str, limiting: Sequence[Property], request: IssuanceRequest
) -> Finding:
    ours = request.identities[0] if request.identities else "ISSUER"
    allowed = ", ".join(dict.fromkeys(each.issuer for each in limiting if each.issuer))
    return Finding(
        "caa.forbidden",
        Severity.ERROR,
        identifier.value,
        f"the CAA records of {where} let {allowed or 'nobody'} issue, not {request.ca}",
        f'Add: {where}. CAA 0 {limiting[0].tag} "{ours}"',
    )


def _unknown(
    identifier: Identifier, where: str, limiting: Sequence[Property], request: IssuanceRequest
) -> Finding:
    values = ", ".join(f'{each.tag} "{each.value}"' for each in limiting)
    return Finding(
        "caa.unknown_issuer",
        Severity.WARNING,
        identifier.value,
        f"{where} has CAA records ({values}), and {request.ca} does not say by which name it is"
        " called there",
        f"See in the documents of {request.ca} which issuer name it wants.",
    )
