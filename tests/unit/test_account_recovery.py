"""When an account may be registered again without anybody being asked: as few cases as possible."""

from itertools import product

import pytest

from certctl.model.errors import (
    AccountError,
    AcmeError,
    CaUnavailable,
    CertctlError,
    EabRequired,
    OrderFailed,
    RateLimited,
    TermsChanged,
)
from certctl.rules.account_recovery import (
    AccountState,
    Facts,
    may_be_unknown,
    obstacle,
    state_after,
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AccountError("x", type="accountDoesNotExist", status=400), True),
        (AccountError("x", type="unauthorized", status=403), True),
        (AcmeError("x", type="malformed", status=401), True),
        (AcmeError("x", status=401), True),
        (AcmeError("x", type="malformed", status=400), True),
        (AcmeError("x", type="malformed", status=404), True),
        (AcmeError("x", status=403), True),
        (AcmeError("x", type="caa", status=403), False),
        (AcmeError("x", status=200), False),
        (CaUnavailable("x", type="serverInternal", status=500), True),
        (CaUnavailable("x", status=503), False),
        (CaUnavailable("x"), False),
        (RateLimited("x", status=429), False),
        (TermsChanged("x", type="userActionRequired", status=403), False),
        (EabRequired("x", type="externalAccountRequired", status=401), False),
        (AcmeError("x", type="rejectedIdentifier", status=400), False),
        (OrderFailed("x"), False),
        (CertctlError("x"), False),
    ],
)
def test_only_some_errors_can_mean_a_lost_account(error: CertctlError, expected: bool) -> None:
    assert may_be_unknown(error) is expected


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("accountDoesNotExist", 400, AccountState.UNKNOWN),
        ("accountDoesNotExist", 404, AccountState.UNKNOWN),
        ("accountDoesNotExist", 500, AccountState.UNDECIDED),
        ("accountDoesNotExist", None, AccountState.UNDECIDED),
        ("unauthorized", 401, AccountState.DEACTIVATED),
        ("unauthorized", 503, AccountState.UNDECIDED),
        ("externalAccountRequired", 403, AccountState.UNDECIDED),
        ("malformed", 400, AccountState.UNDECIDED),
        (None, 404, AccountState.UNDECIDED),
    ],
)
def test_only_the_word_of_the_rfc_says_that_there_is_no_account(
    kind: str | None, status: int | None, expected: AccountState
) -> None:
    assert state_after(AcmeError("x", type=kind, status=status)) is expected


def test_an_account_is_replaced_only_where_nothing_stands_against_it() -> None:
    every = [
        Facts(state, terms_agreed=terms, needs_binding=binding, named_by=named)
        for state, terms, binding, named in product(
            AccountState, (True, False), (True, False), ((), ("a CAA record",))
        )
    ]

    replaced = [each for each in every if obstacle(each) is None]

    lost = [each for each in replaced if each.state is AccountState.UNKNOWN]
    assert lost == [Facts(AccountState.UNKNOWN, terms_agreed=True, needs_binding=False)]
    assert {each.state for each in replaced} == {AccountState.UNKNOWN, AccountState.MOVED}
    assert all(each.named_by == () for each in replaced)
