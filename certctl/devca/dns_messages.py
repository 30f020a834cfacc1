"""Answers DNS queries and updates from the built-in zone. Needs dnspython."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.update

from certctl.devca.zone import MockZone

_TTL = 0
_SERVER = "localhost."


def answer(data: bytes, zone: MockZone) -> bytes | None:
    """Return the response to a DNS message; None if it cannot be parsed, or is signed."""
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return None
    reply = dns.message.make_response(message)
    if isinstance(message, dns.update.UpdateMessage):
        _update(message, zone)
    else:
        _question(message, reply, zone)
    wire: bytes = reply.to_wire(max_size=65535)
    return wire


def _update(message: dns.update.UpdateMessage, zone: MockZone) -> None:
    """RFC 2136 §2.5: add a record, delete one, or delete all records of a name."""
    for rrset in message.update:
        if rrset.rdtype not in (dns.rdatatype.TXT, dns.rdatatype.ANY):
            continue
        name = rrset.name.to_text()
        values = [_text(each) for each in rrset]
        if rrset.deleting is None:
            for value in values:
                zone.add(name, value)
        elif rrset.deleting == dns.rdataclass.NONE:
            for value in values:
                zone.remove(name, value)
        else:
            zone.remove(name)


def _question(message: dns.message.Message, reply: dns.message.Message, zone: MockZone) -> None:
    reply.flags |= dns.flags.AA | dns.flags.RA
    if len(message.question) != 1:
        reply.set_rcode(dns.rcode.FORMERR)
        return
    question = message.question[0]
    name, kind = question.name, question.rdtype
    apex = dns.name.Name(name.labels[-3:])
    records = {
        dns.rdatatype.TXT: [f'"{value}"' for value in zone.values(name.to_text())],
        dns.rdatatype.A: ["127.0.0.1"],
        dns.rdatatype.SOA: [_soa()] if name == apex else [],
        dns.rdatatype.NS: [_SERVER] if name == apex else [],
    }.get(kind, [])
    if records:
        reply.answer.append(dns.rrset.from_text(name, _TTL, "IN", kind, *records))
    else:
        reply.authority.append(dns.rrset.from_text(apex, _TTL, "IN", "SOA", _soa()))


def _soa() -> str:
    return f"{_SERVER} hostmaster.invalid. 1 3600 600 86400 0"


def _text(record: dns.rdata.Rdata) -> str:
    strings: tuple[bytes, ...] = getattr(record, "strings", ())
    return b"".join(strings).decode("ascii", "replace")
