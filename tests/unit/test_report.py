"""What a run comes to: its errors, and the one exit status that says most."""

import pytest

from certctl.engine.report import Report
from certctl.model.delivery import DeployResult
from certctl.model.errors import (
    CaUnavailable,
    CertctlError,
    ConfigurationError,
    DeployFailed,
    ExitStatus,
    HookFailed,
    LockHeld,
    RateLimited,
    ValidationFailed,
)
from certctl.model.run import Outcome


def issued(name: str = "ok.example") -> Outcome:
    return Outcome(name, "issued", deploy=DeployResult(name, 1, deployed=True))


def failed(error: CertctlError, name: str = "failed.example") -> Outcome:
    return Outcome(name, "failed", error=error)


def undeployed(name: str = "undeployed.example") -> Outcome:
    error = DeployFailed("the reload failed")
    return Outcome(name, "issued", deploy=DeployResult(name, 1, deployed=False, error=error))


BUSY = Outcome("busy.example", "busy", reason="process 4711 works on it")
UNCHANGED = Outcome("same.example", "unchanged")
REFUSED = ValidationFailed("no answer at port 80")


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (Report(), ExitStatus.DONE),
        (Report(considered=10), ExitStatus.DONE),
        (Report((issued(), UNCHANGED), considered=2), ExitStatus.DONE),
        (Report((issued(), BUSY), considered=2), ExitStatus.DONE),
        (Report((failed(REFUSED),), considered=1), ExitStatus.FAILED),
        (Report((failed(REFUSED), failed(REFUSED)), considered=2), ExitStatus.FAILED),
        (Report((failed(REFUSED), issued()), considered=2), ExitStatus.PARTIAL),
        (Report((failed(REFUSED), UNCHANGED), considered=2), ExitStatus.PARTIAL),
        (Report((failed(REFUSED), BUSY), considered=2), ExitStatus.PARTIAL),
        (Report((failed(REFUSED),), considered=10_000), ExitStatus.PARTIAL),
        (Report((failed(REFUSED), undeployed()), considered=2), ExitStatus.PARTIAL),
        (Report((undeployed(),), considered=1), ExitStatus.NOT_DEPLOYED),
        (Report((undeployed(), issued()), considered=2), ExitStatus.NOT_DEPLOYED),
        (Report((failed(RateLimited("later")),), considered=1), ExitStatus.LATER),
        (Report((failed(CaUnavailable("down")), issued()), considered=2), ExitStatus.PARTIAL),
        (Report((failed(RateLimited("later")), undeployed()), considered=2), ExitStatus.PARTIAL),
        (
            Report((failed(RateLimited("later")), failed(REFUSED)), considered=2),
            ExitStatus.FAILED,
        ),
        (Report((failed(ConfigurationError("bad")), issued()), considered=2), ExitStatus.USAGE),
        (Report((failed(LockHeld("busy")),), considered=1), ExitStatus.LOCKED),
        (Report((issued(),), (HookFailed("post"),), considered=1), ExitStatus.FAILED),
        (Report((undeployed(),), (HookFailed("post"),), considered=1), ExitStatus.FAILED),
        (Report((issued(),), considered=2, interrupted=True), ExitStatus.INTERRUPTED),
        (
            Report((failed(ConfigurationError("bad")),), considered=1, interrupted=True),
            ExitStatus.INTERRUPTED,
        ),
    ],
)
def test_the_exit_status_is_that_which_says_most(report: Report, status: ExitStatus) -> None:
    assert report.exit_status is status


def test_errors_come_certificate_by_certificate_and_then_the_runs_own() -> None:
    post = HookFailed("the post hook failed")
    report = Report((failed(REFUSED), issued(), undeployed()), (post,), considered=3)

    assert [error.message for error in report.all_errors] == [
        "no answer at port 80",
        "the reload failed",
        "the post hook failed",
    ]


def test_an_error_of_a_certificate_carries_its_name() -> None:
    report = Report((failed(CertctlError("no")), undeployed()), (HookFailed("post"),), considered=2)

    assert [error.name for error in report.all_errors] == [
        "failed.example",
        "undeployed.example",
        None,
    ]


def test_a_name_that_an_error_has_already_stays() -> None:
    report = Report((failed(CertctlError("no", name="www.failed.example")),), considered=1)

    assert [error.name for error in report.all_errors] == ["www.failed.example"]
