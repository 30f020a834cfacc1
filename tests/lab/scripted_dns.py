"""A DNS server that answers as a test tells it to, over UDP and TCP; as bare as a resolver gets."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.lab.ports import free_port

SOA = ("ns1.example.com. hostmaster.example.com. 1 3600 600 86400 1",)
NAME = "_acme-challenge.example.com"


def zone(*, servers: tuple[str, ...] = ("127.0.0.1",)) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the records of example.com, with a name server at each of `servers`."""
    records = {
        ("example.com", "SOA"): SOA,
        ("example.com", "NS"): tuple(f"ns{n}.example.com." for n in range(len(servers))),
    }
    for number, address in enumerate(servers):
        kind = "AAAA" if ":" in address else "A"
        records[f"ns{number}.example.com", kind] = (address,)
    return records


@dataclass
class ScriptedDns:
    """Answers from `records`: values in master-file syntax, by name and type.

    It follows no alias and sends no SOA with a negative answer. A name that begins with `*.` stands
    for what does not exist below (RFC 4592), and a DNAME redirects what is below it. `rcodes` sets
    the response code of single names; an answer for one of `truncated` never fits into a datagram.
    It listens `over` both protocols, or one, calls `gate` with each name before it answers, and
    refers what is in `referrals` to a zone below. `asked` has the questions that came. `forged`
    makes the bytes that are sent of the right reply. It takes dynamic updates and does nothing; it
    signs nothing.
    """

    records: Mapping[tuple[str, str], tuple[str, ...]]
    rcodes: Mapping[str, dns.rcode.Rcode] = field(default_factory=dict)
    truncated: tuple[str, ...] = ()
    referrals: Mapping[tuple[str, str], str] = field(default_factory=dict)
    over: tuple[str, ...] = ("udp", "tcp")
    gate: Callable[[str], object] = str
    forged: Callable[[dns.message.Message], bytes] = dns.message.Message.to_wire
    ttl: int = 1
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    asked: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with contextlib.ExitStack() as opened:
            for kind, over in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")):
                if over not in self.over:
                    continue
                opened.enter_context(_serving(self, family, kind, over))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def answer(self, wire: bytes, over: str) -> bytes:
        query = dns.message.from_wire(wire, keyring=False)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind} {over}")
        self.gate(name)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= dns.flags.AA
        reply.set_rcode(self.rcodes.get(name, dns.rcode.NOERROR))
        owner = self._owner(name)
        held = kind if (owner, kind) in self.records else "CNAME"
        values = self.records.get((owner, held), ())
        if (name, kind) in self.referrals:
            below = dns.name.from_text(self.referrals[name, kind])
            reply.flags &= ~dns.flags.AA
            reply.authority.append(dns.rrset.from_text(below, 1, "IN", "NS", f"ns.{below}"))
        elif over == "udp" and name in self.truncated:
            reply.flags |= dns.flags.TC
        elif values:
            reply.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", held, *values))
        else:
            reply.answer += self._redirection(question.name)
        return self.forged(reply)

    def _owner(self, name: str) -> str:
        """Return whose records are those of `name`: its own, or a wildcard's."""
        if self._exists(name):
            return name
        above = name.partition(".")[2]
        while above and not self._exists(above):
            above = above.partition(".")[2]
        return f"*.{above}"

    def _exists(self, name: str) -> bool:
        return any(owner == name or owner.endswith(f".{name}") for owner, _ in self.records)

    def _redirection(self, name: dns.name.Name) -> list[dns.rrset.RRset]:
        """Return the DNAME above a name, with the CNAME that is made from it (RFC 6672 §3.1)."""
        for (owner, kind), (target, *_) in self.records.items():
            above = dns.name.from_text(owner)
            if kind == "DNAME" and name != above and name.is_subdomain(above):
                made = name.relativize(above) + dns.name.from_text(target)
                return [
                    dns.rrset.from_text(above, self.ttl, "IN", "DNAME", target),
                    dns.rrset.from_text(name, self.ttl, "IN", "CNAME", made.to_text()),
                ]
        return []


@contextlib.contextmanager
def _serving(
    script: ScriptedDns, family: socket.AddressFamily, kind: socket.SocketKind, over: str
) -> Iterator[None]:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sock = self.request
            sock.sendto(script.answer(wire, over), self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # One question a connection, as the simplest of servers do it.
            size = int.from_bytes(self.rfile.read(2), "big")
            reply = script.answer(self.rfile.read(size), over)
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    class DatagramServer(socketserver.ThreadingUDPServer):
        address_family = family

    class StreamServer(socketserver.TCPServer):
        address_family = family
        allow_reuse_address = True

    place = (script.host, script.port)
    server = (
        DatagramServer(place, Datagram)
        if kind is socket.SOCK_DGRAM
        else StreamServer(place, Stream)
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    with server:
        thread.start()
        yield
        server.shutdown()
        thread.join()
