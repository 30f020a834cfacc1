"""A name server that is permanently down does not let a certificate expire."""

from datetime import timedelta
from pathlib import Path

from certctl.model.values import Value
from certctl.rules.renewal import latest_renewal, renewal_time
from tests.lab.bind import BindServer
from tests.lab.programs import require
from tests.support.operations import Machine, codes


def test_near_expiry_the_ca_decides_though_a_secondary_is_down(
    machine: Machine, tmp_path: Path
) -> None:
    require("named")
    directory = tmp_path / "bind"
    directory.mkdir()
    # Nobody starts the secondary, which the zone names.
    with BindServer(
        directory=directory, zones={"lag.test": ""}, secondary_host="127.0.0.2"
    ) as primary:
        options: dict[str, Value] = {
            "challenge.method": "dns",
            "challenge.dns_provider": "rfc2136",
            "challenge.dns_resolver": primary.address,
            "challenge.dns_propagation_timeout": 5.0,
            "challenge.dns_propagation_quorum": "1",
            "dns.rfc2136.server": primary.address,
            "dns.rfc2136.key_file": str(primary.keyfile),
        }
        first = machine.issue("www.lag.test", options=options)
        assert codes(first) == []
        spec = machine.spec_file("www.lag.test")
        spec.write_text(
            "\n".join(
                line
                for line in spec.read_text().splitlines()
                if "dns_propagation_quorum" not in line
            )
        )
        live = machine.live("www.lag.test")

        machine.pass_time(renewal_time(live) - machine.clock.now() + timedelta(minutes=1))
        early = machine.renew(force=True)
        machine.pass_time(latest_renewal(live) - machine.clock.now() + timedelta(minutes=1))
        late = machine.renew("www.lag.test")

        assert codes(early) == ["challenge.dns.propagation"]
        assert codes(late) == []
        assert machine.live("www.lag.test").number == 2
        warned = machine.happened("run.warning")[-1].message
        assert "ns2.lag.test" in warned
        assert warned.endswith(
            "the certificate expires soon, so the CA is asked to validate anyway"
        )
