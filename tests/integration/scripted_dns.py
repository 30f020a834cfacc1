"""A DNS server that answers as a test tells it to, over UDP and TCP; as bare as a resolver gets."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.lab.ports import free_port


@dataclass
class ScriptedDns:
    """Answers from `records`: values in master-file syntax, by name and type.

    It follows no alias and sends no SOA with a negative answer. `rcodes` sets the response code of
    single names; an answer for one of `truncated` never fits into a datagram. `asked` has the
    questions that came.
    """

    records: Mapping[tuple[str, str], tuple[str, ...]]
    rcodes: Mapping[str, dns.rcode.Rcode] = field(default_factory=dict)
    truncated: tuple[str, ...] = ()
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
                opened.enter_context(_serving(self, family, kind, over))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def answer(self, wire: bytes, over: str) -> bytes:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind} {over}")
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(self.rcodes.get(name, dns.rcode.NOERROR))
        held = kind if (name, kind) in self.records else "CNAME"
        values = self.records.get((name, held), ())
        if over == "udp" and name in self.truncated:
            reply.flags |= dns.flags.TC
        elif values:
            reply.answer.append(dns.rrset.from_text(question.name, 1, "IN", held, *values))
        return reply.to_wire()


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
            size = int.from_bytes(self.rfile.read(2), "big")
            reply = script.answer(self.rfile.read(size), over)
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)

    class DatagramServer(socketserver.UDPServer):
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
