"""Specs: what a file means, what is written back, and what a new choice does to the old ones."""

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.engine.plugins import option_table
from certctl.model.errors import ConfigurationError, UsageError
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec, KeyType
from certctl.model.values import Value
from certctl.rules.settings import Settings, Source
from certctl.rules.spec import (
    RENAMED,
    from_table,
    merge_choices,
    resolve,
    split_webroot,
    to_table,
    with_absolute_paths,
    with_method,
)

TABLE = option_table()
SETTINGS = Settings(table=TABLE)
WHERE = "certificates/example.com.toml"


def read_table(document: dict[str, object]) -> CertificateSpec:
    return from_table("example.com", document, SETTINGS, WHERE)


def read(text: str, settings: Settings = SETTINGS) -> CertificateSpec:
    return from_table("example.com", tomllib.loads(text), settings, WHERE)


# What a file means.


def test_a_file_with_names_alone_has_the_defaults_for_the_rest() -> None:
    spec = read('names = ["example.com", "*.example.com"]')

    assert [each.value for each in spec.identifiers] == ["example.com", "*.example.com"]
    assert (spec.ca, spec.key_type, spec.autorenew) == ("letsencrypt", KeyType.ECDSA_P256, True)
    assert (spec.challenge.method, spec.challenge.http_port) == ("standalone", 80)
    assert spec.chosen == {}


def test_a_file_with_choices_has_those() -> None:
    spec = read(
        """
        version = 1
        names = ["example.com"]
        ca = "https://ca.example/directory"
        key_type = "rsa-3072"
        [challenge]
        dns_provider = "rfc2136"
        [dns.rfc2136]
        server = "192.0.2.53"
        [deploy]
        reload = "systemctl reload nginx"
        hook_timeout = "2m"
        """
    )

    assert (spec.ca, spec.key_type) == ("https://ca.example/directory", KeyType.RSA_3072)
    assert (spec.challenge.method, spec.challenge.dns_provider) == ("dns", "rfc2136")
    assert spec.challenge.plugin["dns.rfc2136.server"] == "192.0.2.53"
    assert (spec.deploy.reload, spec.deploy.hook_timeout) == ("systemctl reload nginx", 120.0)


EXAMPLE = 'Write, for example: names = ["example.com"]'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "names must be a list", EXAMPLE),
        ("names = []", "names must be a list", EXAMPLE),
        ('names = "example.com"', "names must be a list", EXAMPLE),
        ("names = [1]", "names must be a list", EXAMPLE),
        ('names = ["example.com"]\nversion = 3', "reads up to version 2", None),
        (
            'names = ["example.com"]\nkeytype = "rsa-2048"',
            "unknown setting 'keytype'",
            "Did you mean key_type?",
        ),
        (
            'names = ["example.com"]\nlock_timeouts = 3',
            "unknown setting 'lock_timeouts'",
            None,
        ),
        ('names = ["example.com"]\nkey_type = "dsa"', "key_type: 'dsa' is not one of", None),
        (
            'names = ["example.com"]\n[challenge]\nhttp_port = "80"',
            "challenge.http_port: '80' is not a whole number",
            None,
        ),
    ],
)
def test_an_invalid_file_is_rejected_naming_the_file_and_the_key(
    text: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)

    assert caught.value.message.startswith(WHERE)
    assert message in caught.value.message
    if hint is not None:
        assert caught.value.hint == hint


@pytest.mark.parametrize("path", ["~no.such.user/roots.pem", "~no.such.user"])
def test_a_path_in_the_home_of_an_unknown_user_is_rejected(path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_absolute_paths({"ca_bundle": path}, TABLE, "/where")

    assert caught.value.message.startswith(f"cannot expand {path}: the user does not exist")
    assert caught.value.code == "configuration.value"


def test_a_setting_that_is_no_certificates_own_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read('names = ["example.com"]\nlock_timeout = 3')

    assert caught.value.code == "configuration.unknown_key"


def test_an_invalid_name_in_a_file_names_the_file_and_the_certificate() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read('names = ["https://www.example.com/"]')

    assert caught.value.message.startswith(
        f"{WHERE}: 'https://www.example.com/' is not a valid domain"
    )
    assert (caught.value.name, caught.value.code) == ("example.com", "usage.identifier")
    assert caught.value.hint == "Give only the host name: www.example.com"


def test_a_certificate_inherits_what_it_does_not_choose() -> None:
    settings = SETTINGS.over({"key_type": "rsa-2048", "ca": "google"}, Source.FILE)

    inheriting = read('names = ["example.com"]', settings)
    choosing = read('names = ["example.com"]\nca = "sslcom"', settings)

    assert (inheriting.ca, inheriting.key_type) == ("google", KeyType.RSA_2048)
    assert (choosing.ca, choosing.key_type) == ("sslcom", KeyType.RSA_2048)
    assert inheriting.chosen == {}


def test_the_environment_of_a_renewal_changes_no_certificate() -> None:
    settings = SETTINGS.over({"key_type": "rsa-2048", "ca": "zerossl"}, Source.ENVIRONMENT)

    spec = read('names = ["example.com"]', settings)

    assert (spec.ca, spec.key_type) == ("letsencrypt", KeyType.ECDSA_P256)


def test_a_flag_of_the_command_is_no_default_of_other_certificates() -> None:
    settings = SETTINGS.over({"key_type": "rsa-2048"}, Source.FLAG)

    assert read('names = ["example.com"]', settings).key_type is KeyType.ECDSA_P256


def test_a_method_that_is_chosen_beats_one_that_is_inherited() -> None:
    settings = SETTINGS.over(
        with_method({"challenge.dns_provider": "exec", "dns.exec.hook": "/bin/true"}), Source.FILE
    )

    spec = read('names = ["example.com"]\n[challenge]\nwebroots = ["/srv"]', settings)

    assert (spec.challenge.method, spec.challenge.webroots) == ("webroot", ("/srv",))
    assert spec.challenge.dns_provider is None


def test_the_secrets_of_a_provider_come_by_environment_and_are_not_shown() -> None:
    settings = SETTINGS.over({"dns.rfc2136.secret": "aHVudGVyMg=="}, Source.ENVIRONMENT)

    spec = read('names = ["example.com"]\nchallenge.dns_provider = "rfc2136"', settings)

    assert spec.challenge.plugin["dns.rfc2136.secret"] == "aHVudGVyMg=="
    assert "aHVudGVyMg==" not in repr(spec)


# There and back.

VALUES: dict[str, st.SearchStrategy[Value]] = {
    "ca": st.sampled_from(["letsencrypt", "https://ca.example/directory"]),
    "ca_bundle": st.just("/etc/ca.pem"),
    "key_type": st.sampled_from([each.value for each in KeyType]),
    "reuse_key": st.booleans(),
    "profile": st.sampled_from(["classic", "shortlived"]),
    "autorenew": st.booleans(),
    "challenge.http_port": st.integers(min_value=1, max_value=65535),
    "challenge.webroots": st.lists(st.just("/srv"), min_size=1, max_size=2).map(tuple),
    "challenge.dns_provider": st.sampled_from(["exec", "rfc2136"]),
    "dns.exec.hook": st.just("/usr/local/bin/hook"),
    "deploy.reload": st.text(st.characters(exclude_characters="\n\0", codec="utf-8")),
    "deploy.hook_timeout": st.floats(min_value=1, max_value=1e6),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_what_is_written_is_read_as_the_same(chosen: dict[str, Value]) -> None:
    identifiers = parse_identifiers(["example.com", "192.0.2.1"])
    spec = resolve("example.com", identifiers, with_method(chosen), SETTINGS)

    assert from_table("example.com", _as_toml(to_table(spec)), SETTINGS, WHERE) == spec


@given(st.fixed_dictionaries({}, optional=VALUES), st.fixed_dictionaries({}, optional=VALUES))
def test_a_spec_read_after_a_similar_one_is_the_same(
    chosen: dict[str, Value], before: dict[str, Value]
) -> None:
    identifiers = parse_identifiers(["example.com", "192.0.2.1"])
    document = _as_toml(to_table(resolve("example.com", identifiers, chosen, SETTINGS)))
    other = parse_identifiers(["other.example"])

    for choices in (chosen, before):
        like = resolve("other", other, choices, SETTINGS)
        like = replace(like, managed_by="ops", origin="certbot")
        assert from_table("example.com", document, SETTINGS, WHERE, like=like) == read_table(
            document
        )


def test_the_common_name_is_checked_also_after_a_similar_spec() -> None:
    text = 'names = ["{}"]\ncommon_name = "a.example"'
    like = read(text.format("a.example"))
    document = tomllib.loads(text.format("b.example"))

    with pytest.raises(UsageError, match=r"a\.example is not one of the names"):
        from_table("b.example", document, SETTINGS, WHERE, like=like)


def test_where_a_certificate_comes_from_is_written_and_read() -> None:
    spec = read('names = ["example.com"]\nmanaged_by = "ops"\norigin = "certbot"')

    assert (spec.managed_by, spec.origin) == ("ops", "certbot")
    assert to_table(spec) == {
        "version": 1,
        "names": ("example.com",),
        "managed_by": "ops",
        "origin": "certbot",
    }


@pytest.mark.parametrize("text", ["managed_by = 3", 'origin = ""', "[origin]\nname = 1"])
def test_where_a_certificate_comes_from_must_be_a_text(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a text"):
        read(f'names = ["example.com"]\n{text}')


def test_what_is_written_is_the_choice_alone() -> None:
    spec = read('names = ["Example.com"]\nkey_type = "rsa-2048"')

    assert to_table(spec) == {"version": 1, "names": ("example.com",), "key_type": "rsa-2048"}


# Settings with another name in an earlier release.


EARLIER = {"deploy.restart": "deploy.reload", "key": "key_type"}


def read_with_earlier_names(text: str) -> CertificateSpec:
    return from_table("example.com", tomllib.loads(text), SETTINGS, WHERE, renamed=EARLIER)


@pytest.mark.parametrize("names", [("key", "restart"), ("key_type", "reload"), ("key", "reload")])
def test_a_setting_that_was_renamed_is_read_by_both_names_and_written_by_the_current_one(
    names: tuple[str, str],
) -> None:
    key_type, reload = names

    spec = read_with_earlier_names(
        f"""
        names = ["example.com"]
        {key_type} = "rsa-2048"
        [deploy]
        {reload} = "systemctl reload nginx"
        """
    )

    assert (spec.key_type, spec.deploy.reload) == (KeyType.RSA_2048, "systemctl reload nginx")
    assert to_table(spec).keys() == {"version", "names", "key_type", "deploy.reload"}


def test_a_setting_given_by_both_names_is_an_error_that_says_which_one_to_remove() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_with_earlier_names('names = ["example.com"]\nkey = "rsa-2048"\nkey_type = "rsa-2048"')

    assert caught.value.message == f"{WHERE}: key is the old name of key_type, and both are given"
    assert caught.value.hint == "Remove key."
    assert caught.value.code == "configuration.renamed_key"


def test_an_earlier_name_is_checked_as_the_setting_that_it_is_now() -> None:
    with pytest.raises(ConfigurationError, match="key_type: 'dsa' is not"):
        read_with_earlier_names('names = ["example.com"]\nkey = "dsa"')


def test_every_setting_that_was_renamed_exists_by_its_current_name_only() -> None:
    assert RENAMED.keys() & set(TABLE) == set()
    assert set(RENAMED.values()) - set(TABLE) == set()


def _as_toml(table: dict[str, Value]) -> dict[str, object]:
    """What TOML makes of it: lists rather than tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


# Choices over choices.


@pytest.mark.parametrize(
    ("given_values", "method"),
    [
        ({"challenge.webroots": ("/srv",)}, "webroot"),
        ({"challenge.dns_provider": "exec"}, "dns"),
        ({"challenge.method": "standalone", "challenge.webroots": ("/srv",)}, "standalone"),
        ({"challenge.webroots": ()}, None),
        ({"key_type": "rsa-2048"}, None),
        ({}, None),
    ],
)
def test_a_provider_or_a_webroot_implies_the_method(
    given_values: dict[str, Value], method: str | None
) -> None:
    assert with_method(given_values).get("challenge.method") == method


STANDALONE: dict[str, Value] = {
    "challenge.method": "standalone",
    "challenge.http_address": "192.0.2.1",
    "challenge.http_port": 8080,
}
WEBROOT: dict[str, Value] = {"challenge.method": "webroot", "challenge.webroots": ("/srv",)}
DNS: dict[str, Value] = {
    "challenge.method": "dns",
    "challenge.dns_provider": "exec",
    "challenge.dns_resolver": "192.0.2.53",
    "dns.exec.hook": "/bin/true",
}


@pytest.mark.parametrize("before", [STANDALONE, WEBROOT, DNS])
@pytest.mark.parametrize("after", [STANDALONE, WEBROOT, DNS])
def test_another_method_drops_what_belonged_to_the_old_one(
    before: dict[str, Value], after: dict[str, Value]
) -> None:
    kept: dict[str, Value] = {"key_type": "rsa-2048"}

    assert merge_choices({**before, **kept}, after) == {**after, **kept}


@pytest.mark.parametrize(
    "given_values", [{"challenge.dns_provider": "exec"}, {"challenge.method": "dns"}]
)
def test_the_same_method_again_keeps_its_options(given_values: dict[str, Value]) -> None:
    assert merge_choices(DNS, given_values) == DNS


def test_an_option_that_is_no_method_changes_nothing_else() -> None:
    assert merge_choices(DNS, {"deploy.reload": "true"}) == {**DNS, "deploy.reload": "true"}


def test_options_left_out_stay_and_options_given_again_win() -> None:
    current: dict[str, Value] = {"key_type": "rsa-2048", "deploy.reload": "true"}

    assert merge_choices(current, {"key_type": "ecdsa-p384"}) == {
        "key_type": "ecdsa-p384",
        "deploy.reload": "true",
    }


@pytest.mark.parametrize(
    ("current", "given_values"),
    [
        ({"required_profile": "a"}, {"profile": "b"}),
        ({"profile": "a"}, {"required_profile": "b"}),
    ],
)
def test_a_profile_that_is_preferred_and_one_that_is_required_exclude_each_other(
    current: dict[str, Value], given_values: dict[str, Value]
) -> None:
    assert merge_choices(current, given_values) == given_values


@given(
    st.fixed_dictionaries({}, optional=VALUES),
    st.fixed_dictionaries({}, optional=VALUES),
)
def test_choosing_the_same_twice_is_choosing_it_once(
    current: dict[str, Value], given_values: dict[str, Value]
) -> None:
    once = merge_choices(with_method(current), given_values)

    assert merge_choices(once, given_values) == once
    assert given_values.items() <= once.items()


# Paths.


def test_paths_are_made_absolute_as_seen_from_a_directory(tmp_path: Path) -> None:
    chosen: dict[str, Value] = {
        "ca_bundle": "roots/../ca.pem",
        "dns.rfc2136.key_file": "/etc/tsig.key",
        "challenge.webroots": ("htdocs", "www.example.com=./www", "/srv/a=b", "a.example=/srv"),
        "deploy.reload": "./reload",
        "challenge.http_port": 80,
    }

    assert with_absolute_paths(chosen, TABLE, str(tmp_path)) == {
        "ca_bundle": f"{tmp_path}/ca.pem",
        "dns.rfc2136.key_file": "/etc/tsig.key",
        "challenge.webroots": (
            f"{tmp_path}/htdocs",
            f"www.example.com={tmp_path}/www",
            "/srv/a=b",
            "a.example=/srv",
        ),
        "deploy.reload": "./reload",
        "challenge.http_port": 80,
    }


@pytest.mark.parametrize(
    ("text", "name", "directory"),
    [
        ("/srv/www", None, "/srv/www"),
        ("www.example.com=/srv/www", "www.example.com", "/srv/www"),
        ("www.example.com=/srv/a=b", "www.example.com", "/srv/a=b"),
        ("/srv/a=b", None, "/srv/a=b"),
        ("./a=b", None, "./a=b"),
    ],
)
def test_an_equals_sign_parts_a_name_from_its_webroot_unless_the_directory_has_it(
    text: str, name: str | None, directory: str
) -> None:
    assert split_webroot(text) == (name, directory)


def test_a_tilde_is_the_home_of_the_user() -> None:
    home = os.environ["HOME"]

    assert with_absolute_paths({"ca_bundle": "~/ca.pem"}, TABLE, "/elsewhere") == {
        "ca_bundle": f"{home}/ca.pem"
    }


def test_an_absolute_path_stays_as_it_is() -> None:
    chosen: dict[str, Value] = {"ca_bundle": "/etc/ca.pem", "challenge.webroots": ("/srv",)}

    assert with_absolute_paths(with_absolute_paths(chosen, TABLE, "/one"), TABLE, "/two") == chosen
