"""The exception tree: its codes and exit statuses are promises to scripts."""

from collections.abc import Iterator
from itertools import permutations

import pytest

from certctl.model import errors
from certctl.model.errors import AcmeError, CertctlError, ExitStatus, Failure, LockHeld, worst

PROMISED = {
    "CertctlError": ("internal", 1),
    "UsageError": ("usage", 2),
    "InvalidIdentifier": ("usage.identifier", 2),
    "UnknownCertificate": ("usage.unknown_certificate", 2),
    "ConsentRequired": ("usage.consent", 2),
    "Declined": ("usage.declined", 2),
    "ConfigurationError": ("configuration", 2),
    "Interrupted": ("interrupted", 130),
    "StoreError": ("store", 1),
    "StoreCorrupt": ("store.corrupt", 1),
    "StoreNewer": ("store.newer", 1),
    "FilesDamaged": ("store.damaged", 1),
    "Conflict": ("store.conflict", 1),
    "Fenced": ("store.fenced", 5),
    "LockHeld": ("lock.held", 5),
    "InspectionFailed": ("certificate.refused", 1),
    "AcmeError": ("acme.refused", 1),
    "CaUnavailable": ("acme.unavailable", 6),
    "RateLimited": ("acme.rate_limited", 6),
    "AccountPaused": ("acme.paused", 6),
    "AccountError": ("acme.account", 1),
    "TermsChanged": ("acme.terms", 2),
    "EabRequired": ("acme.eab_required", 2),
    "BadResponse": ("acme.bad_response", 1),
    "CertificateNotFound": ("acme.certificate_not_found", 6),
    "RenewalInfoUnavailable": ("acme.renewal_info", 1),
    "PlanChanged": ("plan.changed", 3),
    "NamesMissing": ("certificate.incomplete", 3),
    "OrderFailed": ("acme.order_failed", 1),
    "OrderTimeout": ("acme.order_timeout", 1),
    "ChallengeError": ("challenge", 1),
    "ValidationFailed": ("challenge.failed", 1),
    "PropagationTimeout": ("challenge.dns.propagation", 1),
    "HookFailed": ("hook.failed", 1),
    "NotServed": ("verify.failed", 1),
    "WebServerRefused": ("webserver.refused", 2),
    "WebServerFailed": ("webserver.failed", 1),
    "AlertFailed": ("alert.failed", 1),
    "DeployFailed": ("deploy.failed", 4),
}


def tree(kind: type[CertctlError] = CertctlError) -> Iterator[type[CertctlError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from tree(each)


def test_codes_and_exit_statuses_are_those_that_were_promised() -> None:
    found = {each.__name__: (each.code, int(each.exit_status)) for each in tree()}

    assert found == PROMISED


def test_no_two_kinds_share_a_code() -> None:
    codes = [each.code for each in tree()]

    assert len(codes) == len(set(codes))


def test_every_kind_says_what_it_means_for_the_next_attempt() -> None:
    assert {each.failure for each in tree()} == set(Failure)


def test_an_order_can_be_gone_on_with_after_what_may_pass() -> None:
    resumable = {each.__name__ for each in tree() if each.resumable}

    assert resumable == {
        "AccountPaused",
        "BadResponse",
        "CaUnavailable",
        "CertificateNotFound",
        "Conflict",
        "Fenced",
        "FilesDamaged",
        "Interrupted",
        "LockHeld",
        "OrderTimeout",
        "RateLimited",
        "StoreCorrupt",
        "StoreError",
        "StoreNewer",
    }


@pytest.mark.parametrize("kind", list(tree()))
def test_every_kind_is_made_and_shown_alike(kind: type[CertctlError]) -> None:
    error = kind("it did not work", hint="Try again.")

    assert (error.message, error.hint, error.name) == ("it did not work", "Try again.", None)
    assert str(error) == "it did not work"


def test_a_code_can_be_narrowed_for_one_error() -> None:
    error = CertctlError("no", code="usage.narrower", name="example.com")

    assert (error.code, error.name) == ("usage.narrower", "example.com")
    assert CertctlError("no").code == "internal"


def test_the_cas_errors_carry_what_the_ca_said() -> None:
    error = AcmeError("no", type="rateLimited", status=429, retry_after=60)

    assert (error.type, error.status, error.retry_after) == ("rateLimited", 429, 60)


def test_a_held_lock_names_its_holder() -> None:
    assert LockHeld("busy", pid=4711).pid == 4711
    assert LockHeld("busy").pid is None


@pytest.mark.parametrize(
    ("statuses", "wins"),
    [
        ([], 0),
        ([0], 0),
        ([0, 5], 5),
        ([5, 4], 4),
        ([4, 6], 6),
        ([6, 1], 1),
        ([1, 3], 3),
        ([3, 2], 2),
        ([2, 130], 130),
    ],
)
def test_the_status_that_takes_precedence_wins_in_any_order(statuses: list[int], wins: int) -> None:
    for order in permutations(ExitStatus(each) for each in statuses):
        assert worst(order) == wins


def test_every_status_has_its_place() -> None:
    assert sorted(errors.PRECEDENCE) == sorted(ExitStatus)
