"""Hooks as users write them: which run, what they are told, and what is said when they fail."""

import shlex
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from certctl.deploy.hook_environment import run_variables, space_separated, variables
from certctl.deploy.hooks import Hook, HookSystem, deploy_hooks, run_hook
from certctl.model.certificate import CertificateFacts, IssuedCertificate, Request, Version
from certctl.model.delivery import CertificateFiles
from certctl.model.errors import HookFailed, Interrupted
from certctl.model.events import Event, HookFinished, HookStarted
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec, ChallengeSpec, DeploySpec, KeyType
from certctl.rules.options import OPTIONS
from tests.lab.clock import START, SteerableClock

NAMES = parse_identifiers(["example.com", "*.example.com", "192.0.2.1"])
LONG = 60.0
FILES = CertificateFiles(
    live="/etc/certctl/live/example.com",
    cert="/etc/certctl/archive/example.com/4/cert.pem",
    chain="/etc/certctl/archive/example.com/4/chain.pem",
    fullchain="/etc/certctl/archive/example.com/4/fullchain.pem",
    privkey="/etc/certctl/archive/example.com/4/privkey.pem",
    combined="/etc/certctl/archive/example.com/4/combined.pem",
)
CERTIFICATE = IssuedCertificate(
    facts=CertificateFacts(
        identifiers=NAMES,
        not_before=START,
        not_after=datetime(2026, 4, 1, 12, 0, 30, tzinfo=timezone(timedelta(hours=2))),
        serial="01f3a0",
        sha256="aa" * 32,
        issuer="Intermediate E1",
        key_type="ecdsa-p256",
        key_sha256="bb" * 32,
    ),
    request=Request(NAMES, KeyType.ECDSA_P256, "https://ca.example/directory"),
)
VERSION = Version("example.com", 4, (CERTIFICATE,), START)


@dataclass(frozen=True)
class Directories:
    """A `Tree` whose hooks are given."""

    executables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    home: str = "/etc/certctl"

    def files(self, version: Version) -> CertificateFiles:
        assert version == VERSION
        return FILES

    def hooks(self, event: str) -> Sequence[str]:
        return self.executables.get(event, ())


@dataclass(frozen=True)
class Stage:
    """Where a hook runs in a test, and all that was told meanwhile."""

    clock: SteerableClock = field(default_factory=SteerableClock)
    events: list[Event] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def system(self) -> HookSystem:
        return HookSystem(self.clock, self.events.append, self.stop)

    def run(
        self,
        command: str | tuple[str, ...],
        *,
        event: str = "deploy",
        name: str = "example.com",
        timeout: float = LONG,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        run_hook(
            Hook(event, command),
            environment or {},
            timeout=timeout,
            run=self.system,
            name=name,
        )


def spec(deploy: DeploySpec) -> CertificateSpec:
    return CertificateSpec(
        name="example.com",
        identifiers=NAMES,
        ca="https://ca.example/directory",
        ca_bundle=None,
        account=None,
        key_type=KeyType.ECDSA_P256,
        reuse_key=False,
        profile=None,
        required_profile=None,
        preferred_chain=None,
        csr=None,
        autorenew=True,
        allow_subset=False,
        key_group=None,
        key_mode=None,
        challenge=ChallengeSpec("standalone"),
        deploy=deploy,
    )


# What a hook is told

PARTS = ("cert", "chain", "fullchain", "privkey", "combined")


def test_a_deploy_hook_is_told_everything_about_its_certificate() -> None:
    assert variables("deploy", VERSION, FILES, 3) == {
        "CERTCTL_EVENT": "deploy",
        "CERTCTL_CERT_NAME": "example.com",
        "CERTCTL_DOMAINS": "example.com *.example.com 192.0.2.1",
        "CERTCTL_LIVE": "/etc/certctl/live/example.com",
        "CERTCTL_CERT_FILE": "/etc/certctl/archive/example.com/4/cert.pem",
        "CERTCTL_CHAIN_FILE": "/etc/certctl/archive/example.com/4/chain.pem",
        "CERTCTL_FULLCHAIN_FILE": "/etc/certctl/archive/example.com/4/fullchain.pem",
        "CERTCTL_PRIVKEY_FILE": "/etc/certctl/archive/example.com/4/privkey.pem",
        "CERTCTL_COMBINED_FILE": "/etc/certctl/archive/example.com/4/combined.pem",
        "CERTCTL_CERT_VERSION": "4",
        "CERTCTL_PREVIOUS_VERSION": "3",
        "CERTCTL_NOT_AFTER": "2026-04-01T10:00:30Z",
        "CERTCTL_SERIAL": "01f3a0",
        "RENEWED_LINEAGE": "/etc/certctl/live/example.com",
        "RENEWED_DOMAINS": "example.com *.example.com 192.0.2.1",
        "FAILED_DOMAINS": "",
        **{
            f"CERTCTL_ECDSA_{each.upper()}_FILE": f"/etc/certctl/archive/example.com/4/{each}.pem"
            for each in PARTS
        },
        **{f"CERTCTL_RSA_{each.upper()}_FILE": "" for each in PARTS},
    }


def test_what_there_is_not_is_empty_for_scripts_that_refuse_unset_variables() -> None:
    files = CertificateFiles(FILES.live, FILES.cert, FILES.chain, FILES.fullchain, None, None)

    told = variables("deploy", VERSION, files, None)

    assert told["CERTCTL_PRIVKEY_FILE"] == ""
    assert told["CERTCTL_COMBINED_FILE"] == ""
    assert told["CERTCTL_PREVIOUS_VERSION"] == ""


def test_a_hook_around_a_run_is_told_what_became_of_the_names() -> None:
    assert run_variables("post", ["a.example", "b.example", "a.example"], ["c.example"]) == {
        "CERTCTL_EVENT": "post",
        "RENEWED_DOMAINS": "a.example b.example",
        "FAILED_DOMAINS": "c.example",
    }


def test_ten_thousand_names_still_fit_into_a_process() -> None:
    names = [f"host-{number}.department.example.com" for number in range(10_000)]

    told = run_variables("post", names, names)

    listed_names = told["RENEWED_DOMAINS"].split(" ")
    assert listed_names == names[: len(listed_names)]
    assert len(listed_names) > 2_000
    Stage().run("true", event="post", environment=told)


def test_a_list_that_fits_is_whole() -> None:
    names = ["x" * 49_999, "y" * 50_000]

    assert space_separated(names) == " ".join(names)
    assert space_separated([*names, "z"]) == " ".join(names)
    assert space_separated([]) == ""


def test_no_variable_of_a_hook_is_also_an_options() -> None:
    told = {*variables("deploy", VERSION, FILES, 3), *run_variables("post", (), ())}

    assert told & {option.environment for option in OPTIONS} == set()


def test_certbots_scripts_find_what_they_expect(tmp_path: Path) -> None:
    """As in certbot's manual: a deploy hook that goes through the renewed names."""
    out = tmp_path / "out"
    script = tmp_path / "certbot-hook"
    script.write_text(
        "#!/bin/sh\nset -eu\nset -f\n"
        f'for domain in $RENEWED_DOMAINS; do echo "$domain" >> {out}; done\n'
        f'echo "$RENEWED_LINEAGE/privkey.pem" >> {out}\n'
    )
    script.chmod(0o755)

    Stage().run((str(script),), environment=variables("deploy", VERSION, FILES, None))

    assert out.read_text().splitlines() == [
        "example.com",
        "*.example.com",
        "192.0.2.1",
        "/etc/certctl/live/example.com/privkey.pem",
    ]


def test_what_a_certificate_says_is_never_read_by_a_shell(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    out = tmp_path / "out"
    hostile = f"$(touch {trap}); touch {trap}; `touch {trap}`"

    Stage().run(f'printf %s "$CERTCTL_DOMAINS" > {out}', environment={"CERTCTL_DOMAINS": hostile})

    assert out.read_text() == hostile
    assert not trap.exists()


# Which hooks there are


def test_the_directories_hooks_come_before_the_certificates_own() -> None:
    tree = Directories(
        {"deploy": ("/hooks/deploy.d/10-a", "/hooks/deploy.d/20-b"), "pre": ("/no",)}
    )

    hooks = deploy_hooks(spec(DeploySpec(deploy_hook="cp a b", reload="reload it")), tree)

    assert hooks == (
        Hook("deploy", ("/hooks/deploy.d/10-a",)),
        Hook("deploy", ("/hooks/deploy.d/20-b",)),
        Hook("deploy", "cp a b"),
    )


def test_there_may_be_no_hook_at_all() -> None:
    assert deploy_hooks(spec(DeploySpec()), Directories()) == ()


def test_a_hook_is_written_as_one_would_type_it() -> None:
    assert Hook("deploy", "cp a b").line == "cp a b"
    assert shlex.split(Hook("deploy", ("/a directory/hook", "x y")).line) == [
        "/a directory/hook",
        "x y",
    ]


# How a hook goes


def test_begin_and_end_are_told() -> None:
    stage = Stage()

    stage.run("exit 0")

    started, finished = stage.events
    assert started == HookStarted("example.com", START, "deploy", "exit 0")
    assert isinstance(finished, HookFinished)
    assert (finished.name, finished.event, finished.exit_status) == ("example.com", "deploy", 0)


def test_the_end_of_a_failed_hook_is_told_too() -> None:
    stage = Stage()

    with pytest.raises(HookFailed):
        stage.run("exit 9")

    finished = stage.events[-1]
    assert isinstance(finished, HookFinished)
    assert finished.exit_status == 9


def test_a_failure_names_command_status_and_output() -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run("echo cannot bind; echo 'bad config' >&2; exit 3")

    error = caught.value
    assert error.message == (
        "the deploy hook failed with exit status 3:"
        " echo cannot bind; echo 'bad config' >&2; exit 3\n"
        "  cannot bind\n"
        "  bad config"
    )
    assert error.hint == "Run it again: certctl deploy example.com"
    assert error.name == "example.com"
    assert error.code == "hook.failed"


def test_a_silent_failure_is_said_to_be_silent() -> None:
    with pytest.raises(HookFailed, match=r"exit status 1: false\n  \(no output\)$"):
        Stage().run("false")


def test_only_the_last_lines_of_long_output_are_shown() -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run("i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; exit 1")

    shown = caught.value.message.splitlines()[1:]
    assert shown == ["  ...", *(f"  line {number}" for number in range(80, 100))]


def test_output_cannot_steer_the_terminal_that_shows_it() -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run("printf '\\033[31mred\\033[0m\\007 \\033]0;title\\007\\n'; exit 1")

    assert caught.value.message.splitlines()[1] == "  red\ufffd \ufffd]0;title\ufffd"


def test_time_out_is_told_with_its_limit_and_the_way_to_raise_it() -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run("echo waiting; exec sleep 60", timeout=1.5)

    assert caught.value.message == (
        "the deploy hook took longer than 1.5 s and was terminated:"
        " echo waiting; exec sleep 60\n  waiting"
    )
    assert "--hook-timeout" in (caught.value.hint or "")


def test_a_hook_that_a_signal_ended_names_the_signal() -> None:
    with pytest.raises(HookFailed, match="was terminated by SIGSEGV"):
        Stage().run("kill -SEGV $$")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("./deploy.sh", "Use its full path."),
        (("/etc/passwd",), "Make it executable (chmod +x /etc/passwd)."),
    ],
    ids=["a relative path", "not executable"],
)
def test_a_command_that_cannot_run_gets_the_hint_that_helps(
    command: str | tuple[str, ...], hint: str
) -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run(command)

    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("event", "name", "what", "again"),
    [
        ("deploy", "example.com", "deploy hook", "certctl deploy example.com"),
        ("reload", "", "reload", "certctl deploy --pending"),
        ("pre", "", "pre hook", "certctl renew"),
        ("post", "", "post hook", "certctl renew"),
    ],
)
def test_each_kind_of_hook_has_its_own_next_command(
    event: str, name: str, what: str, again: str
) -> None:
    with pytest.raises(HookFailed) as caught:
        Stage().run("exit 1", event=event, name=name)

    assert caught.value.message.startswith(f"the {what} failed with exit status 1: exit 1")
    assert (caught.value.hint or "").endswith(again)


def test_a_hook_that_is_cut_off_by_a_stop_is_an_interruption() -> None:
    stage = Stage()
    timer = threading.Timer(0.3, stage.stop.set)
    timer.start()

    with pytest.raises(Interrupted, match="the reload was interrupted: sleep 60"):
        stage.run("sleep 60", event="reload", name="")

    timer.join()
    assert [type(each) for each in stage.events] == [HookStarted, HookFinished]


def test_after_a_stop_no_hook_is_begun(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    stage = Stage()
    stage.stop.set()

    with pytest.raises(Interrupted, match="the deploy hook was not started"):
        stage.run(f": > {begun}")

    assert stage.events == []
    assert not begun.exists()


def test_without_a_stop_event_a_hook_comes_to_its_end(tmp_path: Path) -> None:
    done = tmp_path / "done"
    stage = Stage()
    stage.stop.set()
    system = HookSystem(stage.clock, stage.events.append)

    run_hook(Hook("post", f": > {done}"), {}, timeout=LONG, run=system)

    assert done.exists()


def test_the_times_of_events_are_the_clocks() -> None:
    stage = Stage()

    stage.run("true")

    assert {each.at for each in stage.events} == {datetime(2026, 1, 1, 12, tzinfo=UTC)}
