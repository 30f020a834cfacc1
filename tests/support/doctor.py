"""`doctor` as an operation, on the machine of a test, with a DNS that is scripted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.rcode

from certctl.inspection.doctor import MAX_CERTIFICATES, Diagnosis, DoctorRequest, diagnose
from certctl.inspection.scheduled import MachineContext
from certctl.model.ca import Endpoint
from certctl.model.ports import EndpointFactory
from certctl.model.run import Finding
from certctl.model.values import Value
from tests.lab.scripted_dns import ScriptedDns
from tests.support.operations import Machine

HERE = {("a.example", "A"): ("127.0.0.1",), ("b.example", "A"): ("127.0.0.1",)}
"""Names that lead to this machine."""


def doctor(
    machine: Machine,
    *names: str,
    records: Mapping[tuple[str, str], tuple[str, ...]] = HERE,
    write: bool | None = None,
    given: Mapping[str, Value] | None = None,
    rcodes: Mapping[str, dns.rcode.Rcode] | None = None,
    max_certificates: int = MAX_CERTIFICATES,
) -> Diagnosis:
    """`certctl doctor` where the DNS has these records, and the CA asks at the machine's port."""
    with ScriptedDns(records, rcodes or {}) as resolver:
        machine.endpoints[machine.ca.directory_url] = asking_at(machine)
        options = {**machine.flags, "challenge.dns_resolver": resolver.address, **(given or {})}
        options.pop("account.agree_tos")
        context = MachineContext(root=machine.home / "none", ask_crontab=False)
        request = DoctorRequest(names, options, write, context, max_certificates)
        with machine.run(given) as run:
            return diagnose(request, run)


def asking_at(machine: Machine) -> EndpointFactory:
    """What makes the CA look at a port that a test may have."""

    @contextmanager
    def endpoint() -> Iterator[Endpoint]:
        ca, port = machine.ca, machine.port
        bundle = str(ca.ca_bundle)
        yield Endpoint(ca.directory_url, bundle, http_port=port, tls_alpn_port=port)

    return endpoint


def told(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """What stands in the way; what is only good to know is left out."""
    return [
        (each.code, str(each.severity), each.subject)
        for each in diagnosis.findings
        if each.severity != "info"
    ]


def one(diagnosis: Diagnosis, code: str) -> Finding:
    (found,) = [each for each in diagnosis.findings if each.code == code]
    return found
