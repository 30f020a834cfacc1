"""The table of settings: what a text or a TOML value means for each kind, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.rules.options import OPTIONS, Kind, Option
from certctl.rules.settings import OptionTable, Settings, Source, check, flatten, parse, unknown

TABLE = OptionTable()

BOOLEAN = Option("switch", Kind.BOOLEAN, False, "A switch.")
INTEGER = Option("count", Kind.INTEGER, 5, "A number.", minimum=2, maximum=9)
SECONDS = Option("pause", Kind.SECONDS, 60.0, "A duration.", minimum=1, maximum=30 * 86400)
TEXT = Option("word", Kind.TEXT, None, "A text.")
TEXTS = Option("words", Kind.TEXTS, (), "Some texts.")
PATH = Option("file", Kind.PATH, None, "A path.")
CHOICE = Option("colour", Kind.CHOICE, "red", "A colour.", choices=("red", "green"))


# Texts, as the environment and the command line have them.


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (BOOLEAN, "1", True),
        (BOOLEAN, "true", True),
        (BOOLEAN, "Yes", True),
        (BOOLEAN, "ON", True),
        (BOOLEAN, "0", False),
        (BOOLEAN, "false", False),
        (BOOLEAN, "No", False),
        (BOOLEAN, "off", False),
        (BOOLEAN, "", False),
        (INTEGER, "2", 2),
        (INTEGER, "9", 9),
        (SECONDS, "90", 90.0),
        (SECONDS, "1.5", 1.5),
        (SECONDS, "90s", 90.0),
        (SECONDS, "5m", 300.0),
        (SECONDS, "2h", 7200.0),
        (SECONDS, "1d", 86400.0),
        (SECONDS, "30d", 30 * 86400.0),
        (SECONDS, " 2 h ", 7200.0),
        (TEXT, "anything, really", "anything, really"),
        (TEXT, "", ""),
        (TEXTS, "a, b ,,c", ("a", "b", "c")),
        (TEXTS, "", ()),
        (PATH, "some/where", "some/where"),
        (CHOICE, "green", "green"),
    ],
)
def test_a_text_means_a_value(option: Option, text: str, value: Value) -> None:
    assert parse(option, text) == value


@pytest.mark.parametrize(
    ("option", "text", "wanted"),
    [
        (BOOLEAN, "maybe", "true or false"),
        (INTEGER, "1", "a whole number from 2 to 9"),
        (INTEGER, "-3", "a whole number from 2 to 9"),
        (INTEGER, "2.5", "a whole number from 2 to 9"),
        (INTEGER, "many", "a whole number from 2 to 9"),
        (INTEGER, "10", "a whole number from 2 to 9"),
        (SECONDS, "0", "a duration of at least 1 s and at most 30 d, such as 90, 5m, 2h or 1d"),
        (SECONDS, "31d", "a duration of at least 1 s and at most 30 d"),
        (SECONDS, "-5m", "a duration of at least 1 s"),
        (SECONDS, "5 weeks", "a duration of at least 1 s"),
        (SECONDS, "1h30m", "a duration of at least 1 s"),
        (SECONDS, "inf", "a duration of at least 1 s"),
        (SECONDS, "", "a duration of at least 1 s"),
        (TEXT, "two\nlines", "a line of text"),
        (PATH, "cut\0short", "a line of text"),
        (CHOICE, "blue", "one of red, green"),
        (CHOICE, "redd", "one of red, green"),
    ],
)
def test_a_text_that_means_nothing_is_refused_with_what_is_wanted(
    option: Option, text: str, wanted: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(option, text)

    assert caught.value.code == "configuration.value"
    assert caught.value.message.startswith(f"{option.key}: ")
    assert f" is not {wanted}" in caught.value.message


# Values, as TOML has them.


@pytest.mark.parametrize(
    ("option", "given_value", "value"),
    [
        (BOOLEAN, True, True),
        (INTEGER, 2, 2),
        (SECONDS, 90, 90.0),
        (SECONDS, 0.5 + 0.5, 1.0),
        (SECONDS, "1h", 3600.0),
        (TEXTS, ["a", "b"], ("a", "b")),
        (TEXTS, ("a",), ("a",)),
        (TEXTS, "a, b", ("a, b",)),
        (TEXTS, [], ()),
        (CHOICE, "red", "red"),
    ],
)
def test_a_value_of_the_right_kind_is_taken(
    option: Option, given_value: object, value: Value
) -> None:
    checked = check(option, given_value)

    assert (checked, type(checked)) == (value, type(value))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (BOOLEAN, 1),
        (BOOLEAN, "true"),
        (Option("any", Kind.INTEGER, 0, "A number."), True),
        (INTEGER, 1),
        (INTEGER, 10),
        (INTEGER, 2.0),
        (INTEGER, "2"),
        (Option("any", Kind.SECONDS, 0.0, "A duration."), True),
        (SECONDS, 0),
        (SECONDS, 1e9),
        (SECONDS, math.inf),
        (SECONDS, math.nan),
        (SECONDS, [1]),
        (TEXT, 1),
        (TEXT, None),
        (TEXTS, 1),
        (TEXTS, ["a", 1]),
        (TEXTS, {"a": "b"}),
        (PATH, ["a"]),
        (CHOICE, 1),
    ],
)
def test_a_value_of_another_kind_is_refused(option: Option, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(option, value)

    assert caught.value.message.startswith(f"{option.key}: {value!r} is not ")


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_a_port_that_there_is_is_taken(port: int) -> None:
    assert check(TABLE["challenge.http_port"], port) == port


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_there_is_not_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="is not a whole number from 1 to 65535"):
        check(TABLE["challenge.http_port"], port)


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.INTEGER, Kind.SECONDS, Kind.BOOLEAN])
def test_a_secret_is_not_shown_in_the_error_about_it(kind: Kind) -> None:
    option = Option("token", kind, None, "A token.", secret=True)

    with pytest.raises(ConfigurationError) as caught:
        parse(option, "hunter2\nhunter3")

    assert "hunter" not in caught.value.message
    assert caught.value.message.startswith("token: the given value is not ")
    assert caught.value.__cause__ is None


@given(st.sampled_from(OPTIONS), st.text())
def test_a_text_is_a_value_that_can_be_checked_again_or_is_refused(
    option: Option, text: str
) -> None:
    try:
        value = parse(option, text)
    except ConfigurationError:
        return
    assert check(option, value) == value


@given(st.floats(min_value=0, max_value=10**4), st.sampled_from(["s", "m", "h", "d"]))
def test_a_duration_is_its_number_times_its_unit(number: float, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    free = Option("pause", Kind.SECONDS, 0.0, "A duration.")

    assert parse(free, f"{number:.3f}{unit}") == pytest.approx(float(f"{number:.3f}") * seconds)


# Keys.


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("keytype", "key_type"),
        ("key-type", "key_type"),
        ("challenge.webroot", "challenge.webroots"),
        ("deploy.reloads", "deploy.reload"),
        ("account.emails", "account.email"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_right_one(key: str, near: str) -> None:
    error = unknown(key, TABLE, "certctl.toml")

    assert error.code == "configuration.unknown_key"
    assert error.message == f"certctl.toml: unknown setting {key!r}"
    assert error.hint == f"Did you mean {near}?"


def test_a_key_like_no_other_is_answered_with_where_they_are_listed() -> None:
    error = unknown("qwertz", TABLE, "certctl.toml")

    assert error.hint == "All settings are listed by: man certctl.toml"


def test_tables_become_dotted_keys() -> None:
    document = {"ca": "google", "challenge": {"http_port": 8080, "deeper": {"still": 1}}}

    assert flatten(document) == {
        "ca": "google",
        "challenge.http_port": 8080,
        "challenge.deeper.still": 1,
    }


def test_a_table_in_the_place_of_a_value_stays_whole() -> None:
    assert flatten({"key_type": {"name": "rsa-2048"}}) == {"key_type": {"name": "rsa-2048"}}


def test_a_variable_is_named_after_its_key_unless_it_says_otherwise() -> None:
    assert TABLE["key_type"].environment == "CERTCTL_KEY_TYPE"
    assert TABLE["account.email"].environment == "CERTCTL_EMAIL"
    assert TABLE["csr"].environment == ""


def test_the_options_of_plug_ins_join_the_table() -> None:
    extra = Option("dns.x.token", Kind.TEXT, None, "A token.", secret=True)

    complete = OptionTable(OPTIONS, lambda: [extra])

    assert complete["dns.x.token"] is extra
    assert set(complete) == {*TABLE, "dns.x.token"}
    assert len(complete) == len(TABLE) + 1
    assert complete.of_variable("CERTCTL_DNS_X_TOKEN") is extra


def test_plug_ins_are_looked_for_once_and_only_for_a_key_that_is_not_certctls_own() -> None:
    asked: list[str] = []

    def nearby() -> list[Option]:
        asked.append("nearby")
        return [Option("dns.x.token", Kind.TEXT, None, "A token.")]

    def far_away() -> list[Option]:
        asked.append("far away")
        return []

    complete = OptionTable(OPTIONS, nearby, far_away)
    assert complete["key_type"].key == "key_type"
    assert complete.of_variable("CERTCTL_EMAIL") is not None
    assert asked == []

    assert complete["dns.x.token"].key == "dns.x.token"
    assert complete.of_variable("CERTCTL_DNS_X_TOKEN") is not None
    assert asked == ["nearby"]

    assert complete.get("dns.y.token") is None
    assert complete.of_variable("CERTCTL_DNS_Y_TOKEN") is None
    assert asked == ["nearby", "far away"]


# Settings.


def test_what_is_not_given_has_its_default() -> None:
    settings = Settings()

    assert settings.required_text("ca") == "letsencrypt"
    assert settings.text("ca_bundle") is None
    assert settings.integer("challenge.http_port") == 80
    assert settings.seconds("lock_timeout") == 60.0
    assert settings.flag("autorenew") is True
    assert settings.texts("challenge.webroots") == ()


def test_what_is_laid_over_wins_and_remembers_where_it_came_from() -> None:
    settings = (
        Settings()
        .over({"ca": "google", "key_type": "rsa-2048"}, Source.FILE)
        .over({"ca": "zerossl"}, Source.ENVIRONMENT)
    )

    assert settings.text("ca") == "zerossl"
    assert settings.given(Source.FILE) == {"key_type": "rsa-2048"}
    assert settings.given(Source.ENVIRONMENT) == {"ca": "zerossl"}
    assert settings.given(Source.FLAG) == {}


def test_an_unknown_key_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        Settings().value("nosuch")


def test_the_values_are_no_part_of_what_is_shown_of_settings() -> None:
    settings = Settings().over({"account.eab_hmac_key": "hunter2"}, Source.ENVIRONMENT)

    assert "hunter2" not in repr(settings)


def test_the_digest_changes_with_what_a_certificate_would_inherit_and_with_nothing_else() -> None:
    plain = Settings()

    def digest(key: str, value: Value) -> str:
        return plain.over({key: value}, Source.FILE).spec_digest()

    assert digest("lock_timeout", 5.0) == plain.spec_digest()
    assert plain.over({"key_type": "rsa-2048"}, Source.FLAG).spec_digest() == plain.spec_digest()
    assert digest("key_type", "rsa-2048") != plain.spec_digest()
    assert digest("key_type", "rsa-2048") != digest("key_type", "rsa-3072")


def test_a_choice_may_be_written_in_capitals() -> None:
    option = TABLE["account.key_type"]

    assert (parse(option, "ES256"), check(option, "RS256")) == ("es256", "rs256")
