"""Certificates with windows: when they are ordered and deployed, what overrides that, and what is
said meanwhile.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl.inspection.check import Limits, check
from certctl.inspection.doctor import DoctorRequest, diagnose
from certctl.inspection.explain import explain
from certctl.inspection.overview import overview
from certctl.model.ca import RevocationReason
from certctl.model.certificate import Afterwards
from certctl.model.errors import ConfigurationError, ExitStatus
from certctl.model.run import WindowKind
from certctl.model.values import Value
from certctl.operations.issue import edit
from certctl.operations.revoke import revoke
from certctl.operations.versions import deploy, rollback
from certctl.output.metrics import metrics_text
from certctl.rules.thresholds import parse_threshold
from tests.lab.scripted_ca.faults import problem
from tests.lab.scripted_ca.settings import ALWAYS
from tests.support.operations import Machine, codes, lines, noting

NAME = "a.example"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMITS = Limits(parse_threshold("1/6"), parse_threshold("1/10"), None)
NIGHT = "02:00-05:00 UTC"
SUNDAY = "Sun 02:00-05:00 UTC"


@pytest.fixture
def noon(machine: Machine) -> Machine:
    """A machine on which it is noon of a Wednesday in the coming year."""
    start = machine.clock.now() + 30 * DAY
    wednesday = start + timedelta(days=(2 - start.weekday()) % 7)
    machine.pass_time(wednesday.replace(hour=12, minute=0, second=0) - machine.clock.now())
    return machine


def hourly(machine: Machine, until: datetime) -> list[str]:
    """Run `renew` every hour until then; return its warnings, and fail if a run does."""
    seen = len(machine.events)
    while machine.clock.now() < until:
        machine.pass_time(HOUR)
        report = machine.renew(unattended=True)
        assert report.exit_status == ExitStatus.DONE, report
    return [each.message for each in machine.events[seen:] if each.kind == "run.warning"]  # type: ignore[attr-defined]


def issued(machine: Machine, tmp_path: Path, **windows: str) -> Path:
    """A certificate with these windows; return the file in which its deployments are noted."""
    seen = tmp_path / "deployed"
    hook = noting(seen, "$CERTCTL_CERT_VERSION")
    options: dict[str, Value] = {f"{key}_window": (value,) for key, value in windows.items()}
    report = machine.issue(NAME, options={"deploy.deploy_hook": hook, **options})
    assert report.exit_status == ExitStatus.DONE
    return seen


def with_another_name(machine: Machine) -> None:
    """The specification is edited, as a user does with an editor."""
    file = machine.spec_file(NAME)
    file.write_text(file.read_text().replace('["a.example"]', '["a.example", "b.example"]'))


def view(machine: Machine) -> tuple[str, str | None, datetime | None]:
    """The state in `list`, and what waits until when."""
    with machine.run() as run:
        (row,) = overview(run)
    if row.waits is None:
        return row.state, None, None
    return row.state, row.waits.kind.value, row.waits.until


def at(machine: Machine, hours: float) -> datetime:
    """So many hours after the last midnight."""
    return machine.clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + hours * HOUR


# -- waiting for a deploy window


def test_a_new_version_waits_in_the_archive_until_its_deploy_window_opens(
    noon: Machine, tmp_path: Path
) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    with_another_name(noon)

    report = noon.renew(unattended=True)

    outcome = report.outcomes[0]
    assert (report.exit_status, outcome.action, outcome.deploy) == (ExitStatus.DONE, "issued", None)
    assert outcome.waits is not None
    assert (outcome.waits.kind, outcome.waits.version) == (WindowKind.DEPLOY, 2)
    assert outcome.waits.until == at(noon, 26)
    assert (noon.live(NAME).number, lines(seen)) == (1, ["1"])
    assert (noon.home / "archive" / NAME / "2" / "fullchain.pem").exists()
    assert view(noon) == ("waiting", "deploy", at(noon, 26))

    ordered = noon.ca.count("new-order")
    hourly(noon, at(noon, 26) - HOUR)
    assert (noon.live(NAME).number, lines(seen)) == (1, ["1"])
    warned = hourly(noon, at(noon, 3))

    assert (noon.live(NAME).number, lines(seen), warned) == (2, ["1", "2"], [])
    assert view(noon) == ("valid", None, None)
    assert noon.ca.count("new-order") == ordered


def test_everything_says_what_waits_until_when(noon: Machine, tmp_path: Path) -> None:
    issued(noon, tmp_path, deploy=NIGHT, order="00:00-24:00 UTC")
    with_another_name(noon)
    noon.renew(unattended=True)

    with noon.run() as run:
        found = {each.key: each for each in explain(run, NAME).facts}
        checked = check(run, (), LIMITS)
        rows = overview(run)
        text = metrics_text(rows, run.services.machine.history()).decode()
        findings = {
            each.code for each in diagnose(DoctorRequest((NAME,), write=False), run).findings
        }

    assert found["deploy_opens"].at == at(noon, 26)
    assert found["deploy_window"].text == f"deploy window: {NIGHT}"
    assert found["order_window"].text == "order window: 00:00-24:00 UTC"
    assert (checked.waiting, checked.undeployed, checked.failing) == (1, 0, 0)
    assert [each.code for each in checked.problems] == []
    until = at(noon, 26).timestamp()
    sample = next(each for each in text.splitlines() if "waiting_until" in each and "{" in each)
    assert float(sample.rpartition(" ")[2]) == until
    assert "certificate.waiting" in findings


def test_a_command_by_hand_deploys_what_waits_and_says_so(noon: Machine, tmp_path: Path) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    with_another_name(noon)
    noon.renew(unattended=True)

    with noon.run() as run:
        pending = deploy(run, (), pending=True)
        report = deploy(run, (NAME,), pending=False)

    assert (pending.outcomes, report.exit_status) == ((), ExitStatus.DONE)
    assert (noon.live(NAME).number, lines(seen)) == (2, ["1", "2"])
    warned = [each.message for each in noon.happened("run.warning")]
    assert warned == [f"it is deployed outside its deploy window ({NIGHT}): requested"]


@pytest.mark.parametrize("request_", [{"force": True}, {"ignore_windows": True}])
def test_a_renewal_by_force_or_without_windows_is_live_at_once(
    noon: Machine, tmp_path: Path, request_: dict[str, bool]
) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT, order=NIGHT)
    with_another_name(noon)
    waiting = noon.renew(unattended=True)

    report = noon.renew(unattended=True, **request_)

    assert waiting.outcomes[0].waits is not None
    assert waiting.outcomes[0].waits.kind is WindowKind.ORDER
    assert (report.exit_status, noon.live(NAME).number) == (ExitStatus.DONE, 2)
    assert lines(seen) == ["1", "2"]
    warned = [each.message.partition(" (")[0] for each in noon.happened("run.warning")]
    assert warned == [
        "it is ordered outside its order window",
        "it is deployed outside its deploy window",
    ]


def test_a_change_by_hand_is_done_now_but_the_same_command_again_keeps_to_the_windows(
    noon: Machine, tmp_path: Path
) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT, order=NIGHT)

    with noon.run() as run:
        changed = edit(run, (NAME,), (), (), {"key_type": "rsa-2048"})
    assert (changed.exit_status, noon.live(NAME).number, lines(seen)) == (0, 2, ["1", "2"])

    with_another_name(noon)
    again = noon.issue(NAME, "b.example", name=NAME, confirmed=True)

    assert again.outcomes[0].waits is not None
    assert (noon.live(NAME).number, lines(seen)) == (2, ["1", "2"])


def test_a_window_that_is_edited_while_a_version_waits_counts_from_then_on(
    noon: Machine, tmp_path: Path
) -> None:
    seen = issued(noon, tmp_path, deploy=SUNDAY)
    with_another_name(noon)
    noon.renew(unattended=True)
    assert view(noon)[2] == at(noon, 4 * 24 + 2)

    with noon.run() as run:
        edit(run, (NAME,), (), (), {"deploy_window": (NIGHT,)})
    assert view(noon) == ("waiting", "deploy", at(noon, 26))
    assert lines(seen) == ["1"]

    file = noon.spec_file(NAME)
    file.write_text(file.read_text().replace(NIGHT, "12:00-13:00 UTC"))
    report = noon.renew(unattended=True)

    assert (report.exit_status, noon.live(NAME).number, lines(seen)[-1]) == (0, 2, "2")


def test_of_two_versions_that_wait_the_newer_is_deployed(noon: Machine, tmp_path: Path) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    with_another_name(noon)
    noon.renew(unattended=True)
    file = noon.spec_file(NAME)
    file.write_text(file.read_text().replace('"b.example"', '"b.example", "c.example"'))
    noon.renew(unattended=True)
    with noon.run() as run:
        (row,) = overview(run)
    assert row.waits is not None
    assert row.waits.version == 3

    hourly(noon, at(noon, 27))

    assert (noon.live(NAME).number, lines(seen)) == (3, ["1", "3"])


def test_a_rollback_drops_the_version_that_waits(noon: Machine, tmp_path: Path) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    noon.renew(force=True)
    with_another_name(noon)
    noon.renew(unattended=True)
    assert view(noon)[0] == "waiting"

    with noon.run() as run:
        rollback(run, (NAME,), None)
    hourly(noon, at(noon, 5 * 24))

    assert (noon.live(NAME).number, lines(seen)) == (1, ["1", "2", "1"])
    assert "version 3, which waited for its deploy window, is not used" in [
        each.message for each in noon.happened("run.warning")
    ]


def test_a_revoked_certificate_does_not_wait(noon: Machine, tmp_path: Path) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT, order=NIGHT)
    with_another_name(noon)
    noon.renew(ignore_windows=True)

    with noon.run() as run:
        _, report = revoke(run, NAME, RevocationReason.KEY_COMPROMISE, Afterwards.REPLACE)

    assert report.exit_status == ExitStatus.DONE
    assert (noon.live(NAME).number, lines(seen)) == (3, ["1", "2", "3"])


def test_a_version_that_waits_is_not_deployed_once_its_key_is_compromised(
    noon: Machine, tmp_path: Path
) -> None:
    issued(noon, tmp_path, deploy=NIGHT)
    with noon.run() as run:
        edit(run, (NAME,), (), (), {"reuse_key": True})
    with_another_name(noon)
    noon.renew(unattended=True)
    assert view(noon)[0] == "waiting"

    with noon.run() as run:
        _, report = revoke(run, NAME, RevocationReason.KEY_COMPROMISE, Afterwards.REPLACE)
    noon.pass_time(14 * HOUR)
    noon.renew(unattended=True)

    assert report.exit_status == ExitStatus.DONE
    assert noon.live(NAME).number == 3
    assert noon.status(NAME).waiting is None


def test_turning_renewal_off_keeps_the_version_that_waits_in_the_archive(
    noon: Machine, tmp_path: Path
) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    with_another_name(noon)
    noon.renew(unattended=True)

    with noon.run() as run:
        edit(run, (NAME,), (), (), {"autorenew": False})
    hourly(noon, at(noon, 28))

    assert noon.live(NAME).number == 1
    assert view(noon)[0] == "stopped"
    assert "2" not in lines(seen)


# -- the floor


def test_what_is_served_does_not_get_near_its_expiry_for_a_window(
    noon: Machine, tmp_path: Path
) -> None:
    """No window opens before a sixth of the lifetime is left: the machine was off."""
    seen = issued(noon, tmp_path, deploy=SUNDAY, order=SUNDAY)
    lifetime = noon.live(NAME).facts.lifetime
    noon.pass_time(lifetime * 5 / 6)
    assert noon.clock.now().weekday() != 6

    report = noon.renew(unattended=True)

    assert report.exit_status == ExitStatus.DONE
    assert (noon.live(NAME).number, lines(seen)) == (2, ["1", "2"])
    assert [each.message for each in noon.happened("run.warning")] == [
        f"it is {done} outside its {kind} window ({SUNDAY}): a sixth of its lifetime is left"
        for done, kind in (("ordered", "order"),)
    ]


def test_a_version_that_waits_is_deployed_when_a_sixth_is_left(
    noon: Machine, tmp_path: Path
) -> None:
    seen = issued(noon, tmp_path, deploy=SUNDAY)
    lifetime = noon.live(NAME).facts.lifetime
    noon.pass_time(lifetime * 5 / 6 - 2 * HOUR)
    assert noon.clock.now().weekday() != 6
    first = noon.renew(unattended=True)
    assert first.outcomes[0].waits is not None
    assert first.outcomes[0].waits.until - noon.clock.now() <= 2 * HOUR

    warned = hourly(noon, noon.clock.now() + 3 * HOUR)

    assert (noon.live(NAME).number, lines(seen)) == (2, ["1", "2"])
    assert warned == [
        f"it is deployed outside its deploy window ({SUNDAY}): a sixth of its lifetime is left"
    ]


# -- ordering in a window


def test_the_last_window_before_the_due_time_is_used(noon: Machine, tmp_path: Path) -> None:
    issued(noon, tmp_path, order=SUNDAY)
    first = noon.live(NAME)
    due = first.facts.not_after - first.facts.lifetime / 3
    sunday = due.replace(hour=2, minute=0, second=0, microsecond=0)
    sunday -= timedelta(days=(sunday.weekday() + 1) % 7)
    if sunday > due:
        sunday -= 7 * DAY
    noon.pass_time(sunday - 5 * HOUR - noon.clock.now())

    hourly(noon, sunday + 6 * HOUR)

    second = noon.live(NAME)
    assert second.number == 2
    assert sunday <= second.issued < sunday + 3 * HOUR


def test_a_failure_in_a_window_is_tried_again_in_it_and_then_in_the_next(
    noon: Machine, tmp_path: Path
) -> None:
    issued(noon, tmp_path, order=NIGHT)
    with_another_name(noon)
    noon.ca.script("new-order", problem("rejectedIdentifier", detail="no"), times=2)
    noon.pass_time(14 * HOUR)  # 02:00

    statuses = []
    for _ in range(25):
        statuses.append(int(noon.renew(unattended=True).exit_status))
        noon.pass_time(HOUR)

    assert statuses[:2] == [1, 1]
    assert statuses[2] in (0, 1)
    assert statuses[-1] == 0
    orders = [each.at for each in noon.happened("order_placed")]
    assert all(2 <= each.hour < 5 for each in orders[1:])
    # between the windows, the failure still counts
    if statuses[2] == 1:
        assert statuses[3:24] == [1] * 21


def test_an_outage_of_the_ca_does_not_make_a_certificate_late(
    noon: Machine, tmp_path: Path
) -> None:
    issued(noon, tmp_path, order=SUNDAY, deploy=SUNDAY)
    lifetime = noon.live(NAME).facts.lifetime
    expires = noon.live(NAME).facts.not_after
    noon.pass_time(lifetime / 2)
    down = expires - lifetime / 6 + DAY

    noon.ca.script(
        "new-order",
        problem("serverInternal", status=500),
        times=ALWAYS,
        when=lambda _: noon.clock.now() < down,
    )

    while noon.live(NAME).number == 1 and noon.clock.now() < expires:
        noon.renew(unattended=True)
        noon.pass_time(HOUR)

    assert noon.live(NAME).number == 2
    assert noon.clock.now() - down <= 2 * DAY


# -- windows that cannot work


def test_a_window_that_is_too_rare_for_the_lifetime_is_refused_with_the_reason(
    noon: Machine, tmp_path: Path
) -> None:
    noon.ca.lifetime = timedelta(hours=160)
    issued(noon, tmp_path)
    before = noon.spec_file(NAME).read_bytes()

    with pytest.raises(ConfigurationError) as caught, noon.run() as run:
        edit(run, (NAME,), (), (), {"deploy_window": ("Mon-Fri 02:00-05:00 UTC",)})

    assert caught.value.code == "configuration.window_too_rare"
    assert caught.value.message == (
        "its deploy window is closed for up to 69 hours, but for this lifetime it has to open at"
        " least every 40 hours"
    )
    assert noon.spec_file(NAME).read_bytes() == before

    with noon.run() as run:
        assert (
            edit(run, (NAME,), (), (), {"deploy_window": (NIGHT,)}).exit_status == ExitStatus.DONE
        )


def test_for_a_first_certificate_it_is_said_once_the_lifetime_is_known(
    noon: Machine, tmp_path: Path
) -> None:
    noon.ca.lifetime = timedelta(hours=160)
    issued(noon, tmp_path, order=SUNDAY, deploy=SUNDAY)

    warned = [each.message for each in noon.happened("run.warning")]
    with noon.run() as run:
        findings = diagnose(DoctorRequest((NAME,), write=False), run).findings
        facts = {each.key for each in explain(run, NAME).facts}

    assert len(warned) == 1
    assert warned[0].startswith("its order window is closed for up to 6.9 days")
    assert "certificate.window_too_rare" in {each.code for each in findings}
    assert "window_too_rare" in facts


def test_six_day_certificates_with_a_nightly_window_are_never_late(
    noon: Machine, tmp_path: Path
) -> None:
    noon.ca.lifetime = timedelta(hours=160)
    seen = issued(noon, tmp_path, order=NIGHT, deploy="03:00-05:00 UTC")
    least, ends = timedelta.max, noon.clock.now() + 30 * DAY

    while noon.clock.now() < ends:
        noon.pass_time(HOUR)
        assert noon.renew(unattended=True).exit_status == ExitStatus.DONE
        least = min(least, noon.live(NAME).facts.not_after - noon.clock.now())

    assert least >= timedelta(hours=160) / 3
    assert 7 <= len(lines(seen)) <= 14
    assert [each.message for each in noon.happened("run.warning")] == []


def test_runs_that_come_too_rarely_for_a_window_are_warned_of(
    noon: Machine, tmp_path: Path
) -> None:
    issued(noon, tmp_path, order=NIGHT)
    for _ in range(4):
        noon.pass_time(12 * HOUR)
        noon.renew(unattended=True)
    with_another_name(noon)

    noon.renew(unattended=True)

    assert any(
        "but the order window is only 3.0 h long" in each.message
        for each in noon.happened("run.warning")
    )


# -- crashes and clocks


def test_a_version_whose_wait_was_not_recorded_waits(machine: Machine, tmp_path: Path) -> None:
    """Killed after the version was archived, before it was noted that it waits."""
    hour = machine.clock.now().hour
    window = f"{(hour + 8) % 24:02}:00-{(hour + 9) % 24:02}:00 UTC"
    seen = issued(machine, tmp_path, deploy=window)
    with_another_name(machine)

    machine.killed_before_rename(f"deployed/{NAME}.json", "renew")
    assert (machine.home / "archive" / NAME / "2" / "fullchain.pem").exists()
    assert (machine.home / "pending" / NAME).exists()
    ordered = machine.ca.count("new-order")
    finished = machine.command("renew")

    assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")
    assert (machine.live(NAME).number, view(machine)[:2]) == (1, ("waiting", "deploy"))
    assert not (machine.home / "pending" / NAME).exists()
    hourly(machine, machine.clock.now() + 10 * HOUR)
    assert (machine.live(NAME).number, lines(seen)) == (2, ["1", "2"])
    assert machine.ca.count("new-order") == ordered


def test_a_deployment_that_was_killed_in_its_window_is_finished_after_it(
    machine: Machine, tmp_path: Path
) -> None:
    hour = machine.clock.now().hour
    window = f"{(hour + 8) % 24:02}:00-{(hour + 9) % 24:02}:00 UTC"
    seen = issued(machine, tmp_path, deploy=window)
    with_another_name(machine)
    assert machine.command("renew").exit_status == 0
    file = machine.spec_file(NAME)
    closed = file.read_text()
    file.write_text(closed.replace(window, "00:00-24:00 UTC"))

    machine.killed_before_rename(f"live/{NAME}", "renew")
    file.write_text(closed)
    finished = machine.command("renew")

    assert finished.exit_status == 0
    assert (machine.live(NAME).number, lines(seen)) == (2, ["1", "2"])


def test_a_clock_that_is_set_back_changes_only_what_it_says(noon: Machine, tmp_path: Path) -> None:
    seen = issued(noon, tmp_path, deploy=NIGHT)
    with_another_name(noon)
    noon.renew(unattended=True)
    now = noon.clock.now()

    noon.pass_time(13 * HOUR)
    noon.renew(unattended=True)
    noon.clock.set(now + timedelta(minutes=1))
    noon.renew(unattended=True)
    assert (noon.live(NAME).number, view(noon)[2]) == (1, at(noon, 26))
    hourly(noon, at(noon, 27))

    assert (noon.live(NAME).number, lines(seen)) == (2, ["1", "2"])


def test_a_deployment_that_failed_in_its_window_is_tried_again_in_the_next(
    noon: Machine, tmp_path: Path
) -> None:
    seen, broken = tmp_path / "deployed", tmp_path / "broken"
    hook = f"{noting(seen, '$CERTCTL_CERT_VERSION')}; test ! -e {broken}"
    noon.issue(NAME, options={"deploy.deploy_hook": hook, "deploy_window": (NIGHT,)})
    with_another_name(noon)
    noon.renew(unattended=True)
    broken.touch()
    tried: list[tuple[int, int]] = []

    while noon.clock.now() < at(noon, 0) + 13 * HOUR or len(tried) < 40:
        noon.pass_time(HOUR)
        before = len(lines(seen))
        status = noon.renew(unattended=True).exit_status
        if len(lines(seen)) > before:
            tried.append((noon.clock.now().hour, int(status)))
        elif tried and tried[-1][1]:
            assert status == ExitStatus.NOT_DEPLOYED
        if len(tried) == 2:
            broken.unlink(missing_ok=True)
        if tried and tried[-1][1] == 0:
            break

    assert [status for _, status in tried] == [4, 4, 0]
    assert all(2 <= hour < 5 for hour, _ in tried)


def test_an_edited_file_with_an_unknown_zone_is_an_error_that_names_it(
    noon: Machine, tmp_path: Path
) -> None:
    issued(noon, tmp_path, deploy=NIGHT)
    file = noon.spec_file(NAME)
    file.write_text(file.read_text().replace("UTC", "Europe/Berln"))

    report = noon.renew(unattended=True)

    assert codes(report) == ["configuration.value"]
    (error,) = report.all_errors
    assert "deploy_window" in error.message
    assert error.hint == "Did you mean Europe/Berlin?"


def test_defaults_for_all_certificates_are_overridden_by_none(noon: Machine) -> None:
    noon.home.mkdir(mode=0o700, exist_ok=True)
    settings = noon.home / "certctl.toml"
    settings.write_text(f'order_window = "{NIGHT}"\ndeploy_window = ["{NIGHT}", "{SUNDAY}"]\n')
    settings.chmod(0o600)
    noon.issue(NAME)
    noon.issue("other.example", options={"order_window": (), "deploy_window": ()})

    with noon.run() as run:
        found = {
            each: run.services.records.spec(each).deploy_window for each in (NAME, "other.example")
        }

    assert found == {NAME: (NIGHT, SUNDAY), "other.example": ()}
    assert noon.clock.now().tzinfo is UTC
