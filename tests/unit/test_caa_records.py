"""Which CAA records pin a CA, an account and a method, and which are missing."""

from certctl.rules.caa_records import CaaRecord, Pin, looser, missing, pinning, topmost

PIN = Pin("ca.example", "https://ca.example/acct/1", "http-01")
OURS = CaaRecord(
    0, "issue", "ca.example; accounturi=https://ca.example/acct/1; validationmethods=http-01"
)
OTHER = CaaRecord(0, "issue", "other.example")
PLAIN = CaaRecord(0, "issue", "ca.example")


def test_a_pin_is_one_record_and_for_wildcards_two() -> None:
    assert pinning([PIN, PIN], wildcard=False) == [OURS]
    assert pinning([PIN], wildcard=True) == [OURS, CaaRecord(0, "issuewild", OURS.value)]


def test_what_is_there_is_not_added_again() -> None:
    assert missing([OURS], [OTHER, OURS], []) == []


def test_a_first_set_of_a_name_repeats_what_governed_it() -> None:
    assert missing([OURS], [], [OTHER]) == [OTHER, OURS]
    assert missing([OURS], [PLAIN], [OTHER]) == [OURS]


def test_what_permits_every_account_of_the_ca_is_told() -> None:
    assert looser([OTHER, PLAIN, OURS], [PIN]) == [PLAIN]


def test_names_below_another_one_need_no_records_of_their_own() -> None:
    assert topmost(["www.a.example", "a.example", "b.example", "xa.example"]) == [
        "a.example",
        "b.example",
        "xa.example",
    ]


def test_a_record_is_written_as_in_a_zone_file() -> None:
    assert str(CaaRecord(128, "issue", 'a"b')) == '128 issue "a\\"b"'
