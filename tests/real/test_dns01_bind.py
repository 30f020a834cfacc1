"""DNS-01 against real BIND: written by signed updates or by a hook, awaited on every server."""

import contextlib
import shlex
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from certctl.challenges.dns01 import create, txt_value
from certctl.challenges.system import SolverSystem
from certctl.dns.tsig_keys import read_key_file
from certctl.dns.updates import MAX_CHANGES_PER_UPDATE, Rfc2136Provider
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, ConfigurationError, Interrupted, PropagationTimeout
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task, TxtRecord
from certctl.model.values import Value
from certctl.system.clock import SystemClock
from tests.lab.bind import BindServer
from tests.lab.clock import SteerableClock
from tests.lab.processes import wait_until
from tests.lab.programs import require
from tests.support.http01 import needs_ipv6


def spec(server: BindServer, plugin: Mapping[str, Value], provider: str) -> ChallengeSpec:
    return ChallengeSpec(
        method="dns",
        dns_provider=provider,
        dns_resolver=server.address,
        dns_propagation_timeout=10,
        plugin=plugin,
    )


def update_spec(bind: BindServer, /, **plugin: Value) -> ChallengeSpec:
    settings: dict[str, Value] = {
        "dns.rfc2136.server": bind.address,
        "dns.rfc2136.key_file": str(bind.keyfile),
    }
    given = {f"dns.rfc2136.{key}": value for key, value in plugin.items()}
    return spec(bind, settings | given, "rfc2136")


def solver_for(challenge: ChallengeSpec, system: SolverSystem | None = None) -> Solver:
    return create(challenge, system or SolverSystem(SystemClock(), threading.Event()))


def task(name: str, token: str = "t", certificate: str = "example.test") -> Task:  # noqa: S107 - a challenge's, no secret
    return Task(
        identifier=parse_identifier(name),
        type=ChallengeType.DNS_01,
        token=token,
        key_authorization=f"{token}-{name}.thumbprint",
        account_url="https://ca.test/account/1",
        certificate=certificate,
    )


def place(solver: Solver, *names: str) -> list[Placement]:
    return [solver.plan(task(name)) for name in names]


def value_of(name: str) -> str:
    return txt_value(f"t-{name}.thumbprint")


def test_a_wildcard_and_its_base_have_two_values_at_one_name(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    placements = place(solver, "pair.example.test", "*.pair.example.test")

    solver.present(placements)
    solver.wait(placements)

    at = "_acme-challenge.pair.example.test"
    assert bind.txt(at) == sorted([value_of("pair.example.test"), value_of("*.pair.example.test")])

    solver.wait_for_validation(placements)
    solver.cleanup(placements)

    assert bind.txt(at) == []


def test_values_of_others_at_the_same_name_stay(bind: BindServer) -> None:
    theirs, ours = solver_for(update_spec(bind)), solver_for(update_spec(bind))
    foreign = [theirs.plan(task("shared.example.test", "foreign"))]
    theirs.present(foreign)
    placements = place(ours, "shared.example.test")
    ours.present(placements)

    ours.cleanup(placements)

    kept = txt_value("foreign-shared.example.test.thumbprint")
    assert bind.txt("_acme-challenge.shared.example.test") == [kept]
    theirs.cleanup(foreign)


def test_orders_side_by_side_write_and_remove_many_values_of_one_zone(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    # More than fit into one update, by several threads.
    names = [f"crowd{number}.example.test" for number in range(2 * MAX_CHANGES_PER_UPDATE)]
    at = [f"_acme-challenge.{name}" for name in names]
    orders = [place(solver, *names[start::10]) for start in range(10)]

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(solver.present, orders))
        assert [bind.txt(each) for each in at] == [[value_of(name)] for name in names]
        list(pool.map(solver.wait, orders))
        list(pool.map(solver.cleanup, orders))

    assert [bind.txt(each) for each in at] == [[] for _ in names]
    solver.close()


def test_another_process_cleans_up_by_the_placements_alone_and_twice(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    placements = place(solver, "crash.example.test")
    solver.present(placements)

    later = solver_for(update_spec(bind))
    later.cleanup(placements)
    later.cleanup(placements)

    assert bind.txt("_acme-challenge.crash.example.test") == []


def test_two_orders_that_share_a_value_both_have_it_until_they_end(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    first = [solver.plan(task("both.example.test", certificate="first"))]
    second = [solver.plan(task("both.example.test", certificate="second"))]
    solver.present(first)
    solver.present(second)

    solver.cleanup(first)
    assert bind.txt("_acme-challenge.both.example.test") == [value_of("both.example.test")]

    solver.cleanup(second)
    assert bind.txt("_acme-challenge.both.example.test") == []


def test_an_alias_is_followed_into_the_zone_that_it_leads_to(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    (placement,) = place(solver, "alias.example.test")

    assert placement.data["name"] == "alias.challenges.test"
    assert placement.data["zone"] == "challenges.test"

    solver.present([placement])
    solver.wait([placement])

    assert bind.txt("alias.challenges.test") == [value_of("alias.example.test")]

    solver.cleanup([placement])

    assert bind.txt("alias.challenges.test") == []


def test_the_zone_is_the_closest_one(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    (placement,) = place(solver, "deep.down.sub.example.test")

    assert placement.data["zone"] == "sub.example.test"


def test_records_of_several_zones_are_written_and_awaited_together(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    names = ("many.example.test", "more.example.test", "many.sub.example.test")
    placements = place(solver, *names)

    solver.present(placements)
    solver.wait(placements)

    assert [bind.txt(f"_acme-challenge.{name}") for name in names] == [
        [value_of(name)] for name in names
    ]
    solver.cleanup(placements)


def test_a_wrong_secret_is_named_with_its_key(bind: BindServer) -> None:
    secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="
    wrong = update_spec(bind, key_file=None, key_name=bind.key_name, secret=secret)
    solver = solver_for(wrong)
    placements = place(solver, "wrong.example.test")

    with pytest.raises(ChallengeError) as caught:
        solver.present(placements)

    assert caught.value.code == "challenge.dns.rfc2136"
    assert f"the secret of the TSIG key {bind.key_name} is wrong (BADSIG)" in caught.value.message
    assert bind.address in caught.value.message
    assert secret not in repr(caught.value) + str(caught.value.hint)


def test_a_key_that_the_server_does_not_know_is_named(bind: BindServer) -> None:
    unknown = update_spec(bind, key_file=None, key_name="stranger", secret=bind.key_secret_b64)
    solver = solver_for(unknown)

    with pytest.raises(ChallengeError, match=r"it does not know the TSIG key stranger .*BADKEY"):
        solver.present(place(solver, "stranger.example.test"))


def test_an_unsigned_update_is_refused_with_a_hint(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind, key_file=None))

    with pytest.raises(ChallengeError) as caught:
        solver.present(place(solver, "unsigned.example.test"))

    assert caught.value.code == "challenge.dns.rfc2136"
    assert "REFUSED" in caught.value.message


def test_a_zone_of_another_server_is_not_its_to_change(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    (placement,) = place(solver, "elsewhere.example.test")
    elsewhere = replace(placement, data={**placement.data, "zone": "elsewhere.test"})

    with pytest.raises(ChallengeError, match="NOTAUTH"):
        solver.present([elsewhere])


def test_every_address_of_the_server_is_tried(bind: BindServer) -> None:
    # BIND listens at 127.0.0.1 only, and localhost has ::1 as well on most machines.
    solver = solver_for(update_spec(bind, server=f"localhost:{bind.port}"))
    placements = place(solver, "localhost.example.test")

    solver.present(placements)

    assert bind.txt("_acme-challenge.localhost.example.test") != []
    solver.cleanup(placements)


@contextlib.contextmanager
def answering(place: tuple[str, int], answer: bytes | None) -> Iterator[None]:
    """Something that accepts connections over IPv6: it sends `answer` and closes them, or keeps
    them open in silence if that is None.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if answer is None:
                self.request.recv(65_536)
                self.request.recv(65_536)
            else:
                self.request.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6
        allow_reuse_address = True
        daemon_threads = True

    with Server(place, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@needs_ipv6
@pytest.mark.parametrize("answer", [None, b"", b"\0\5hello"], ids=["silent", "closing", "nonsense"])
def test_an_address_of_the_server_that_gives_no_answer_is_skipped(
    bind: BindServer, answer: bytes | None
) -> None:
    key = read_key_file(str(bind.keyfile), None, None)
    provider = Rfc2136Provider(
        "ns.test", bind.port, key, answer_seconds=0.3, look_up=lambda _: ("::1", bind.host)
    )
    name = "_acme-challenge.skipped.example.test"
    record = TxtRecord(name, "value", "example.test", "skipped.example.test")

    with answering(("::1", bind.port), answer):
        provider.present([record])

    assert bind.txt(name) == ["value"]
    provider.cleanup([record])


def test_a_zone_that_the_server_does_not_have_may_be_another_view_of_it(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind))
    (placement,) = place(solver, "elsewhere.example.test")
    elsewhere = replace(placement, data={**placement.data, "zone": "internal.test"})

    with pytest.raises(ChallengeError) as caught:
        solver.present([elsewhere])

    assert caught.value.hint is not None
    assert caught.value.hint.endswith(
        "found the zone internal.test. If others see another zone there (split horizon), use a"
        " resolver that sees what the CA sees: --dns-resolver ADDRESS[:PORT]."
    )


def test_a_server_that_is_not_there_is_an_error_that_names_it(bind: BindServer) -> None:
    solver = solver_for(update_spec(bind, server="127.0.0.1:9"))

    with pytest.raises(ChallengeError, match=r"127\.0\.0\.1:9: Connection refused"):
        solver.present(place(solver, "nobody.example.test"))


def test_a_key_that_may_change_other_names_only_is_refused(tmp_path: Path) -> None:
    require("named")
    directory = tmp_path / "bind"
    directory.mkdir()
    grants = ("name _acme-challenge.allowed.policy.test TXT",)
    with BindServer(directory=directory, zones={"policy.test": ""}, grants=grants) as server:
        solver = solver_for(update_spec(server))
        solver.present(place(solver, "allowed.policy.test"))

        with pytest.raises(
            ChallengeError, match="REFUSED, this key is not permitted to change these names"
        ):
            solver.present(place(solver, "other.policy.test"))


def test_a_name_outside_every_zone_is_an_error_that_names_the_resolver_option(
    bind: BindServer,
) -> None:
    solver = solver_for(update_spec(bind))

    with pytest.raises(ChallengeError) as caught:
        place(solver, "example.invalid")

    assert caught.value.code == "challenge.dns.zone"
    assert "the DNS zone of _acme-challenge.example.invalid cannot be found" in caught.value.message
    assert caught.value.hint is not None
    assert "--dns-resolver" in caught.value.hint


def test_an_address_cannot_be_validated(bind: BindServer) -> None:
    with pytest.raises(ChallengeError, match="RFC 8738 §7"):
        place(solver_for(update_spec(bind)), "192.0.2.1")


def test_cname_loops_are_an_error_that_shows_the_chain(tmp_path: Path) -> None:
    require("named")
    directory = tmp_path / "bind"
    directory.mkdir()
    circle = "_acme-challenge.a CNAME b.loop.test.\nb CNAME _acme-challenge.a.loop.test."
    with (
        BindServer(directory=directory, zones={"loop.test": circle}) as server,
        pytest.raises(ChallengeError) as caught,
    ):
        place(solver_for(update_spec(server)), "a.loop.test")

    assert caught.value.code == "challenge.dns.alias"
    assert "_acme-challenge.a.loop.test -> " in caught.value.message


def two_servers(directory: Path) -> BindServer:
    require("named")
    directory.mkdir()
    return BindServer(directory=directory, zones={"lag.test": ""}, secondary_host="127.0.0.2")


def test_a_secondary_that_never_gets_the_record_is_named_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "secondary").mkdir()
    with two_servers(tmp_path / "bind") as primary, primary.secondary(tmp_path / "secondary"):
        system = SolverSystem(SteerableClock(), threading.Event())
        solver = solver_for(update_spec(primary), system)
        placements = place(solver, "lag.test")
        solver.present(placements)

        with pytest.raises(PropagationTimeout) as caught:
            solver.wait(placements)

    address = f"127.0.0.2:{primary.port}"
    missing = f'_acme-challenge.lag.test = "{value_of("lag.test")}"'
    lacks = f"ns2.lag.test ({address}) does not have {missing}"
    assert caught.value.message == (
        f"after 10 s, not every authoritative server has the TXT records: {lacks}"
    )
    assert caught.value.hint is not None
    assert "--dns-propagation-timeout" in caught.value.hint
    assert "--dns-skip-propagation" in caught.value.hint


def test_a_secondary_that_lags_behind_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secondary").mkdir()
    with (
        two_servers(tmp_path / "bind") as primary,
        primary.secondary(tmp_path / "secondary") as secondary,
    ):

        def catch_up(_: float) -> None:
            secondary.catch_up()
            at = "_acme-challenge.lag.test"
            wait_until(lambda: secondary.txt(at) != [], "the secondary has the record")

        clock = SteerableClock(on_wait=catch_up)
        solver = solver_for(update_spec(primary), SolverSystem(clock, threading.Event()))
        placements = place(solver, "lag.test")
        solver.present(placements)

        solver.wait(placements)

        assert secondary.txt("_acme-challenge.lag.test") == [value_of("lag.test")]
        assert len(clock.waits) == 1


def test_a_secondary_that_is_down_is_named_with_the_reason(tmp_path: Path) -> None:
    with two_servers(tmp_path / "bind") as primary:
        # One look only: nobody starts it meanwhile.
        solver = solver_for(replace(update_spec(primary), dns_propagation_timeout=0))
        placements = place(solver, "lag.test")
        solver.present(placements)

        with pytest.raises(PropagationTimeout, match=r"ns2\.lag\.test .* \(Connection refused\)"):
            solver.wait(placements)


def test_skipping_the_check_asks_no_server(tmp_path: Path) -> None:
    with two_servers(tmp_path / "bind") as primary:
        clock = SteerableClock()
        challenge = replace(update_spec(primary), dns_skip_propagation=True)
        solver = solver_for(challenge, SolverSystem(clock, threading.Event()))
        placements = place(solver, "lag.test")
        solver.present(placements)

        solver.wait(placements)

        assert clock.waits == []


def test_a_stopped_run_waits_no_longer(tmp_path: Path) -> None:
    stop = threading.Event()
    clock = SteerableClock(on_wait=lambda _: stop.set())
    with two_servers(tmp_path / "bind") as primary:
        solver = solver_for(update_spec(primary), SolverSystem(clock, stop))
        placements = place(solver, "lag.test")
        solver.present(placements)

        with pytest.raises(Interrupted):
            solver.wait(placements)

        solver.cleanup(placements)
        assert primary.txt("_acme-challenge.lag.test") == []


# A hook as people write them for certctl: one command, the verb as its argument.
HOOK = """
import os, subprocess, sys
verb = {"present": "add", "cleanup": "delete"}[sys.argv[1]]
assert sys.argv[1] == os.environ["CERTCTL_DNS_ACTION"]
name, value = os.environ["CERTCTL_DNS_NAME"], os.environ["CERTCTL_DNS_VALUE"]
ttl = "60 " if verb == "add" else ""
script = f'''server {HOST} {PORT}
zone {os.environ["CERTCTL_DNS_ZONE"]}
update {verb} {name}. {ttl}TXT "{value}"
send
'''
subprocess.run(["nsupdate", "-k", KEYFILE], input=script, text=True, check=True)
"""


def hook_command(directory: Path, server: BindServer) -> str:
    script = directory / "hook.py"
    head = f"HOST, PORT, KEYFILE = {server.host!r}, {server.port!r}, {str(server.keyfile)!r}\n"
    script.write_text(head + HOOK)
    return shlex.join([sys.executable, str(script)])


def test_a_hook_writes_and_removes_the_records(bind: BindServer, tmp_path: Path) -> None:
    require("nsupdate")
    plugin = {"dns.exec.hook": hook_command(tmp_path, bind)}
    solver = solver_for(spec(bind, plugin, "exec"))
    placements = place(solver, "hook.example.test", "*.hook.example.test")

    solver.present(placements)
    solver.wait(placements)

    at = "_acme-challenge.hook.example.test"
    assert bind.txt(at) == sorted([value_of("hook.example.test"), value_of("*.hook.example.test")])

    solver.cleanup(placements)

    assert bind.txt(at) == []


def test_a_hook_that_changes_nothing_is_found_out_by_the_check(bind: BindServer) -> None:
    system = SolverSystem(SteerableClock(), threading.Event())
    solver = solver_for(spec(bind, {"dns.exec.hook": "true"}, "exec"), system)
    placements = place(solver, "lazy.example.test")
    solver.present(placements)

    with pytest.raises(
        PropagationTimeout, match=r"does not have _acme-challenge\.lazy\.example\.test"
    ):
        solver.wait(placements)


def test_a_provider_without_its_settings_says_what_it_needs(bind: BindServer) -> None:
    with pytest.raises(ConfigurationError, match="needs a server"):
        place(solver_for(spec(bind, {}, "rfc2136")), "bare.example.test")
    with pytest.raises(ConfigurationError, match="needs a command"):
        place(solver_for(spec(bind, {}, "exec")), "bare.example.test")
