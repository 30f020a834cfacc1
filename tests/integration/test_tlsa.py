"""TLSA records that name a CA, which a certificate of another one would not match."""

import threading

import pytest

from certctl.dns.resolver import Resolver
from certctl.dns.tlsa import tlsa_findings
from certctl.model.run import Severity
from tests.lab.scripted_dns import ScriptedDns

DIGEST = "11" * 32
OWNER = "_443._tcp.example.com"


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ((f"0 0 1 {DIGEST}",), "usage 0"),
        ((f"2 1 1 {DIGEST}",), "usage 2"),
        ((f"2 1 1 {DIGEST}", f"0 0 1 {DIGEST}", f"3 1 1 {DIGEST}"), "usage 0 and 2"),
        ((f"3 1 1 {DIGEST}",), None),
        ((f"1 1 1 {DIGEST}",), None),
        ((), None),
    ],
)
def test_records_that_name_a_ca_are_found(records: tuple[str, ...], found: str | None) -> None:
    with ScriptedDns({(OWNER, "TLSA"): records} if records else {}) as server:
        resolver = Resolver(server.address, threading.Event())

        findings = list(tlsa_findings("example.com", (443, 8443), resolver))

        assert [f"{OWNER} TLSA udp", "_8443._tcp.example.com TLSA udp"] == server.asked
    expected = [] if found is None else [("dns.tlsa", Severity.WARNING)]
    assert [(each.code, each.severity) for each in findings] == expected
    assert all(f"({found})" in each.message for each in findings)


def test_records_that_cannot_be_looked_up_are_no_finding() -> None:
    with ScriptedDns({}, rcodes={OWNER: 2}) as server:  # type: ignore[dict-item]  # SERVFAIL
        assert (
            list(tlsa_findings("example.com", (443,), Resolver(server.address, threading.Event())))
            == []
        )
