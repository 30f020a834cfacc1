"""Deploy targets, with small programs in their place: found, tested, reloaded once a run."""

from pathlib import Path

import pytest

from certctl.engine.report import Report
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.values import Value
from certctl.operations.issue import edit
from certctl.operations.versions import delete
from tests.support.operations import Machine, executable, lines, noting


class Program:
    """A stand-in for a server's program, which notes how it is called and fails when told to."""

    def __init__(self, directory: Path, name: str = "nginx") -> None:
        self.path = directory / f"{name}-here"
        self.seen = directory / f"{name}.seen"
        self.broken = directory / f"{name}.broken"
        executable(
            self.path,
            f'case "$*" in *-T*) echo "listen 127.0.0.1:1 ssl;"; exit;; esac\n'
            f'echo "$*" >> {self.seen}\n'
            f"test ! -e {self.broken} || {{ echo no such directive; exit 1; }}",
        )

    @property
    def calls(self) -> list[str]:
        found = lines(self.seen)
        self.seen.unlink(missing_ok=True)
        return found


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def nginx(program: Program) -> dict[str, Value]:
    return {"deploy.targets": ("nginx",), "deploy.nginx.binary": str(program.path)}


def issue(machine: Machine, name: str, options: dict[str, Value]) -> Report:
    return machine.issue(name, options=options)


def test_a_target_is_tested_and_then_reloaded(machine: Machine, program: Program) -> None:
    report = issue(machine, "a.example", nginx(program))

    assert report.exit_status == 0
    assert program.calls == ["-t -q", "-s reload"]


def test_fifty_certificates_with_the_same_target_reload_it_once(
    machine: Machine, program: Program
) -> None:
    unseen: dict[str, Value] = {**nginx(program), "deploy.probe": False}  # nothing listens
    for number in range(50):
        issue(machine, f"n{number}.example", unseen)
    assert len(program.calls) == 100

    report = machine.renew(force=True)

    assert (report.exit_status, len(report.outcomes)) == (0, 50)
    assert program.calls == ["-t -q", "-s reload"]


def test_a_target_with_other_settings_is_another_one(
    machine: Machine, program: Program, tmp_path: Path
) -> None:
    (tmp_path / "other.conf").touch()
    issue(machine, "a.example", nginx(program))
    issue(
        machine,
        "b.example",
        {**nginx(program), "deploy.nginx.config": str(tmp_path / "other.conf")},
    )
    assert len(program.calls) == 4

    machine.renew(force=True)

    assert sorted(program.calls) == [
        f"-c {tmp_path}/other.conf -s reload",
        f"-c {tmp_path}/other.conf -t -q",
        "-s reload",
        "-t -q",
    ]


def test_a_target_that_refuses_its_configuration_is_not_reloaded_and_owed(
    machine: Machine, program: Program, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    options = {**nginx(program), "deploy.reload": noting(seen, "reload")}
    issue(machine, "a.example", options)
    program.broken.touch()
    seen.unlink()
    assert program.calls

    failed = machine.renew(force=True)

    (error,) = failed.all_errors
    assert failed.exit_status == 4
    assert error.code == "deploy.test_failed"
    assert "the configuration test failed with exit status 1" in error.message
    assert "no such directive" in error.message
    assert program.calls == ["-t -q"]
    assert lines(seen) == []
    assert machine.status("a.example").undeployed

    program.broken.unlink()
    machine.clock.advance(120)
    assert machine.renew().exit_status == 0
    assert program.calls == ["-t -q", "-s reload"]
    assert not machine.status("a.example").undeployed


def test_a_failing_target_does_not_stop_another(machine: Machine, tmp_path: Path) -> None:
    bad, good = Program(tmp_path, "bad"), Program(tmp_path, "good")
    issue(machine, "a.example", nginx(bad))
    issue(machine, "b.example", nginx(good))
    bad.broken.touch()

    report = machine.renew(force=True)

    assert report.exit_status == 4
    assert [machine.status(each).undeployed for each in ("a.example", "b.example")] == [True, False]


def test_a_missing_program_or_file_is_reported_before_anything_is_ordered(
    machine: Machine,
) -> None:
    for options, code, hint in (
        ({"deploy.targets": ("nginxx",)}, "usage.deploy_target", "Did you mean nginx?"),
        ({"deploy.targets": ("tomcat",)}, "usage.deploy_target", "--reload COMMAND"),
        (
            {"deploy.targets": ("nginx",), "deploy.nginx.binary": "/nowhere/nginx"},
            "deploy.target_missing",
            "--nginx-binary FILE",
        ),
        (
            {"deploy.targets": ("stunnel",), "deploy.stunnel.config": "/nowhere/conf"},
            "deploy.target_missing",
            "--stunnel-config PATH",
        ),
        ({"deploy.targets": ("traefik",)}, "deploy.target_missing", "--traefik-directory DIR"),
    ):
        with pytest.raises((ConfigurationError, UsageError)) as refused:
            issue(machine, "a.example", dict(options))  # type: ignore[arg-type]

        assert refused.value.code == code
        assert refused.value.exit_status == 2
        assert hint in (refused.value.hint or "")
    assert machine.ca.requests == []


def test_a_deployment_to_a_removed_program_stays_pending(
    machine: Machine, program: Program
) -> None:
    issue(machine, "a.example", nginx(program))
    program.path.rename(program.path.with_suffix(".gone"))

    report = machine.renew(force=True)

    (error,) = report.all_errors
    assert (report.exit_status, error.code) == (4, "deploy.target_missing")
    assert machine.live("a.example").number == 2


def test_the_options_of_a_removed_target_are_removed(machine: Machine, program: Program) -> None:
    issue(machine, "a.example", nginx(program))
    issue(machine, "a.example", {"deploy.targets": ()})

    text = machine.spec_file("a.example").read_text()
    assert "nginx" not in text


def test_an_option_without_its_target_is_warned_of(machine: Machine, program: Program) -> None:
    issue(machine, "a.example", {"deploy.nginx.binary": str(program.path)})

    (warning,) = machine.happened("run.warning")
    assert "--deploy nginx" in warning.message


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "yaml",
            (
                'tls:\n  certificates:\n    - certFile: "{live}/fullchain.pem"\n'
                '      keyFile: "{live}/privkey.pem"\n'
            ),
        ),
        (
            "toml",
            (
                '[[tls.certificates]]\ncertFile = "{live}/fullchain.pem"\n'
                'keyFile = "{live}/privkey.pem"\n'
            ),
        ),
    ],
)
def test_traefik_gets_a_file_of_dynamic_configuration_that_changes_with_each_version(
    machine: Machine, tmp_path: Path, language: str, text: str
) -> None:
    directory = tmp_path / "dynamic"
    directory.mkdir()
    file = directory / f"certctl-a.example.{language}"
    issue(
        machine,
        "a.example",
        {
            "deploy.targets": ("traefik",),
            "deploy.traefik.directory": str(directory),
            "deploy.traefik.format": language,
        },
    )
    before = file.read_text()
    machine.renew(force=True)

    live = machine.home / "live" / "a.example"
    heading, _, rest = before.partition("\n")
    assert heading == "# a.example, version 1; rewritten by certctl at each deployment"
    assert rest == text.format(live=live)
    assert file.read_text() == before.replace("version 1", "version 2")


def test_traefik_keeps_no_file_of_a_certificate_that_it_does_not_get_any_more(
    machine: Machine, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.mkdir()
    chosen: dict[str, Value] = {"deploy.targets": ("traefik",)}
    for name in ("a.example", "b.example", "c.example"):
        issue(machine, name, {**chosen, "deploy.traefik.directory": str(first)})
    (first / "certctl-d.example.yaml").write_text("# somebody else's\n")
    edits: list[tuple[str, dict[str, Value]]] = [
        ("a.example", {"deploy.traefik.directory": str(second)}),
        ("b.example", {"deploy.targets": ()}),
    ]
    with machine.run() as run:
        for name, options in edits:
            edit(run, (name,), (), (), options)
        delete(run, "c.example")

    assert [each.name for each in first.iterdir()] == ["certctl-d.example.yaml"]
    assert [each.name for each in second.iterdir()] == ["certctl-a.example.yaml"]


def test_traefik_has_one_file_of_a_certificate_after_a_change_of_format(
    machine: Machine, tmp_path: Path
) -> None:
    directory = tmp_path / "dynamic"
    directory.mkdir()
    (directory / "certctl-other.example.yaml").write_text("# somebody else's\n")
    chosen: dict[str, Value] = {
        "deploy.targets": ("traefik",),
        "deploy.traefik.directory": str(directory),
    }
    issue(machine, "a.example", {**chosen, "deploy.traefik.format": "yaml"})
    (directory / "certctl-b.example.yaml").write_text("# of somebody\n")
    issue(machine, "a.example", {**chosen, "deploy.traefik.format": "toml"})
    issue(machine, "b.example", {**chosen, "deploy.traefik.format": "toml"})

    assert sorted(each.name for each in directory.iterdir()) == [
        "certctl-a.example.toml",
        "certctl-b.example.toml",
        "certctl-b.example.yaml",
        "certctl-other.example.yaml",
    ]
