"""Whose challenges a web server answers, and whose path of HTTP-01 answers is tried again after a
deployment.
"""

from __future__ import annotations

from collections.abc import Sequence

from certctl.model.spec import CertificateSpec

MOST = 20
"""Certificates that are tried in one run. What a reload breaks for all sites of a server is seen at
any of them. What is broken at one of thousands is left to `doctor`, and to the next renewal, which
fails while there are weeks left.
"""

_LEFT_TO_SERVERS = frozenset({"standalone", "webroot", "http-hook", "tls-alpn"})


def left_to_servers(method: str) -> bool:
    """Return whether `certctl secure` has the web server answer the challenges of a certificate in
    place of this challenge method. DNS, and rules that need no files, stay.
    """
    return method in _LEFT_TO_SERVERS


def worth_trying(specs: Sequence[CertificateSpec], most: int = MOST) -> tuple[CertificateSpec, ...]:
    """Return the certificates to try, of those that a server was just reloaded for: one for each
    way of answering first, then others that a web server answers for from a directory, since each
    of them may have a server block of its own.
    """
    ways: dict[object, CertificateSpec] = {}
    for each in specs:
        challenge = each.challenge
        place = challenge.http_address, challenge.http_port, challenge.webroots, challenge.directory
        ways.setdefault((challenge.method, place, each.ca), each)
    others = [each for each in specs if each.challenge.method == "webroot"]
    return tuple({each.name: each for each in (*ways.values(), *others)}.values())[:most]
