"""CAA records as a CA reads them (RFC 8659, RFC 8657): issuer, account and challenge type."""

import pytest

from certctl.dns.caa import IssuanceRequest, Property, caa_violations, parse_property
from certctl.model.names import parse_identifier
from certctl.model.run import Finding

ACCOUNT = "https://ca.example/acct/1"
CA = IssuanceRequest("example-ca", ("ca.example", "ca2.example"), ACCOUNT, "http-01")
NEWCOMER = IssuanceRequest("example-ca", ("ca.example",), None, "http-01")
NAMELESS = IssuanceRequest("private-ca", (), ACCOUNT, "http-01")


def findings(name: str, *records: str, request: IssuanceRequest = CA) -> list[Finding]:
    """What is found for a name with records as in a zone file: flags, tag, value."""
    properties = []
    for record in records:
        flags, tag, value = record.split(" ", 2)
        properties.append(parse_property(int(flags), tag, value.strip('"')))
    return list(caa_violations(parse_identifier(name), "a.example", properties, request))


def codes(name: str, *records: str, request: IssuanceRequest = CA) -> list[str]:
    return [f"{each.code} {each.severity}" for each in findings(name, *records, request=request)]


@pytest.mark.parametrize(
    ("value", "issuer", "parameters"),
    [
        ("ca.example", "ca.example", {}),
        ("CA.Example", "ca.example", {}),
        ("  ca.example\t", "ca.example", {}),
        (";", "", {}),
        ("", "", {}),
        ("ca.example;", "ca.example", {}),
        ("ca.example; a=b", "ca.example", {"a": ("b",)}),
        ("ca.example ; A = b ; c=", "ca.example", {"a": ("b",), "c": ("",)}),
        ("ca.example; a=b=c", "ca.example", {"a": ("b=c",)}),
        ("ca.example; a=1; a=2", "ca.example", {"a": ("1", "2")}),
        # a malformed record permits no issuer
        ("ca.example; a=b;", "", {}),
        ("ca.example; nonsense", "", {}),
        ("ca.example; a_b=c", "", {}),
        ("ca.example; a=b c", "", {}),
        ("ca example", "", {}),
        ("%%%%", "", {}),
    ],
)
def test_a_value_is_parsed_by_its_grammar(
    value: str, issuer: str, parameters: dict[str, tuple[str, ...]]
) -> None:
    assert parse_property(0, "ISSUE", value) == Property(0, "issue", value, issuer, parameters)


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("a.example", []),
        ("a.example", ['0 issue "ca.example"']),
        ("a.example", ['0 ISSUE "CA.example"']),
        ("a.example", ['0 issue "other.example"', '0 issue "ca2.example"']),
        ("a.example", ['0 iodef "mailto:x@a.example"', '0 contactemail "x@a.example"']),
        ("a.example", ['128 iodef "mailto:x@a.example"', '128 issuemail ";"']),
        ("a.example", ['128 issue "ca.example"']),
        ("a.example", ['0 tbs "whatever"']),
        # issuewild says nothing of names that are no wildcards, and beats issue for those that are
        ("a.example", ['0 issuewild "other.example"']),
        ("a.example", ['0 issue "ca.example"', '0 issuewild ";"']),
        ("*.a.example", ['0 issue "ca.example"']),
        ("*.a.example", ['0 issue ";"', '0 issuewild "ca.example"']),
        # RFC 8657
        ("a.example", [f'0 issue "ca.example; accounturi={ACCOUNT}"']),
        ("a.example", ['0 issue "ca.example; accounturi=x"', '0 issue "ca.example"']),
        ("a.example", ['0 issue "ca.example; validationmethods=dns-01,http-01"']),
        ("a.example", ['0 issue "ca.example; unknown=parameter"']),
    ],
)
def test_records_that_permit_the_ca_are_no_finding(name: str, records: list[str]) -> None:
    assert codes(name, *records) == []


@pytest.mark.parametrize(
    ("name", "records", "found"),
    [
        ("a.example", ['0 issue ";"'], "caa.forbidden error"),
        ("a.example", ['0 issue "other.example"'], "caa.forbidden error"),
        ("a.example", ['0 issue "sub.ca.example"'], "caa.forbidden error"),
        ("a.example", ['0 issue "ca.example; a=b;"'], "caa.forbidden error"),
        ("*.a.example", ['0 issue "ca.example"', '0 issuewild ";"'], "caa.forbidden error"),
        ("*.a.example", ['0 issue "other.example"'], "caa.forbidden error"),
        ("a.example", ['128 tbs "x"', '0 issue "ca.example"'], "caa.critical error"),
        ("a.example", ['1 tbs "x"'], "caa.critical warning"),
        (
            "a.example",
            ['0 issue "ca.example; validationmethods=dns-01"'],
            "caa.method error",
        ),
        (
            "a.example",
            ['0 issue "ca.example; validationmethods=http-01; validationmethods=http-01"'],
            "caa.method error",
        ),
        ("a.example", [f'0 issue "ca.example; accounturi={ACCOUNT}/"'], "caa.account error"),
        (
            "a.example",
            [f'0 issue "ca.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}"'],
            "caa.account error",
        ),
        # each record for itself: neither has both the account and the method
        (
            "a.example",
            [
                f'0 issue "ca.example; accounturi={ACCOUNT}; validationmethods=dns-01"',
                '0 issue "ca.example; accounturi=x; validationmethods=http-01"',
            ],
            "caa.account error",
        ),
    ],
)
def test_records_that_forbid_the_ca_are_findings(name: str, records: list[str], found: str) -> None:
    assert codes(name, *records) == [found]


def test_a_record_for_one_account_is_reported_before_certctl_has_one() -> None:
    (found,) = findings("a.example", '0 issue "ca.example; accounturi=x"', request=NEWCOMER)

    assert (found.code, found.severity) == ("caa.account", "warning")
    assert "certctl has no account yet" in found.message


def test_the_fix_is_the_record_that_is_missing() -> None:
    (forbidden,) = findings("*.a.example", '0 issue "other.example"')
    (account,) = findings("a.example", '0 issue "ca2.example; accounturi=x"')

    assert forbidden.message == (
        "the CAA records of a.example permit other.example to issue, not example-ca"
    )
    assert forbidden.fix == 'Add: a.example. CAA 0 issue "ca.example"'
    assert account.fix == f'Add: a.example. CAA 0 issue "ca2.example; accounturi={ACCOUNT}"'


def test_a_ca_without_issuer_names_may_be_permitted_unless_no_ca_is() -> None:
    assert codes("a.example", '0 issue "x.example"', request=NAMELESS) == [
        "caa.unknown_issuer warning"
    ]
    assert codes("a.example", '0 issue ";"', request=NAMELESS) == ["caa.forbidden error"]


def test_all_problems_are_reported() -> None:
    assert codes("a.example", '1 tbs "x"', '0 issue ";"') == [
        "caa.critical warning",
        "caa.forbidden error",
    ]
