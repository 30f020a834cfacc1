"""Secrets of DNS providers: where each comes from, and who is chosen for which zone."""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from certctl.dns.loading import create_provider, options_of
from certctl.dns.profiles import find_profile, settings_of, settings_of_environment
from certctl.dns.provider_choice import ChosenProviders
from certctl.dns.system import ProviderSystem
from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules.credentials import DnsCredentials, Profile, read_profile
from certctl.rules.options import Kind, Option
from certctl.system.clock import SystemClock

OPTIONS = (
    Option("dns.made.token", Kind.TEXT, None, "A token.", secret=True),
    Option("dns.made.account", Kind.TEXT, None, "An account."),
    Option("dns.made.ttl", Kind.INTEGER, 60, "Seconds.", minimum=1),
)
SECRET = "hunter2"


def system() -> ProviderSystem:
    return ProviderSystem(SystemClock(), threading.Event(), 10)


def secret_file(directory: Path, mode: int = 0o600, text: str = f"{SECRET}\n") -> Path:
    file = directory / "token"
    file.touch(mode=mode)
    file.write_text(text)
    return file


def settings(
    values: Mapping[str, Value], variables: Mapping[str, str] | None = None
) -> dict[str, Value]:
    profile = read_profile("work", {"provider": "made", **values}, "[work]", home="/")
    return settings_of(profile, OPTIONS, DnsCredentials(variables=variables or {}), system())


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    assert settings({"token_file": str(secret_file(tmp_path))}) == {"dns.made.token": SECRET}


def test_a_secret_comes_from_a_command_that_may_complain() -> None:
    assert settings({"token_command": f"echo never mind >&2; echo {SECRET}"}) == {
        "dns.made.token": SECRET
    }


def test_a_secret_comes_from_the_credentials_of_a_service(tmp_path: Path) -> None:
    secret_file(tmp_path, 0o440)
    variables = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert settings({"token_credential": "token"}, variables) == {"dns.made.token": SECRET}


def test_a_secret_comes_from_a_variable_that_is_named() -> None:
    assert settings({"token_variable": "MADE"}, {"MADE": SECRET}) == {"dns.made.token": SECRET}


def test_options_that_are_not_secret_are_written_directly_with_their_own_type() -> None:
    assert settings({"account": 12345, "ttl": "90"}) == {
        "dns.made.account": "12345",
        "dns.made.ttl": 90,
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token_file": "/nowhere/token"}, "cannot read /nowhere/token"),
        ({"token_command": f"echo {SECRET}; exit 3"}, "failed with exit status 3"),
        ({"token_command": "true"}, "is empty"),
        ({"token_credential": "token"}, "CREDENTIALS_DIRECTORY is not set"),
        ({"token_variable": "MADE"}, "the environment variable MADE is not set"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"acount": "x"}, "has no option 'acount'"),
    ],
)
def test_a_secret_that_cannot_be_read_is_a_clear_error(
    values: Mapping[str, Value], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(values)

    assert said in caught.value.message
    assert SECRET not in caught.value.message.replace(f"echo {SECRET}", "")


def test_an_option_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings({"tokn_file": "/x"})

    assert caught.value.hint == "Did you mean token_file?"


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="accessible to other users"):
        settings({"token_file": str(secret_file(tmp_path, 0o644))})


def test_a_credential_outside_its_directory_is_refused(tmp_path: Path) -> None:
    secret_file(tmp_path)
    variables = {"CREDENTIALS_DIRECTORY": str(tmp_path / "inner")}

    with pytest.raises(ConfigurationError, match="not a valid credential name"):
        settings({"token_credential": "../token"}, variables)


# Files of profiles.


def profile_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=mode)
    path.write_text(text)
    return path


PLAIN = f'provider = "made"\ntoken = "{SECRET}"\n'


def test_a_profile_in_a_file_of_its_own_may_hold_the_secret_itself(tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    file = profile_file(directory / "work.toml", PLAIN)
    named = DnsCredentials(files={"other": str(file)}, directory=str(directory))

    found = [find_profile(name, named) for name in ("work", "other", str(file))]

    for each in found:
        assert each.provider == "made"
        assert settings_of(each, OPTIONS, named, system()) == {"dns.made.token": SECRET}
        assert SECRET not in repr(each)


def test_a_profile_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = profile_file(tmp_path / "work.toml", PLAIN, mode=0o640)

    with pytest.raises(ConfigurationError, match="accessible to other users") as caught:
        find_profile(str(file), DnsCredentials())

    assert caught.value.hint == f"chmod 600 {file}"


def test_a_profile_with_invalid_toml_does_not_show_its_contents(tmp_path: Path) -> None:
    file = profile_file(tmp_path / "work.toml", f"provider = made\ntoken = {SECRET}")

    with pytest.raises(ConfigurationError, match="is not valid TOML") as caught:
        find_profile(str(file), DnsCredentials())

    assert SECRET not in caught.value.message


def test_unknown_credentials_are_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    known = DnsCredentials({"work": Profile("work", "made")}, directory=str(tmp_path))

    with pytest.raises(ConfigurationError) as caught:
        find_profile("wrok", known)

    assert caught.value.hint == "Did you mean work?"


def test_the_environment_sets_options_by_our_names_and_by_those_of_lexicon() -> None:
    options = options_of("cloudflare")
    variables = {
        "LEXICON_CLOUDFLARE_AUTH_TOKEN": "theirs",
        "LEXICON_CLOUDFLARE_ZONE_ID": "zone",
        "CERTCTL_CLOUDFLARE_AUTH_TOKEN": "ours",
    }

    assert settings_of_environment("cloudflare", options, variables) == {
        "dns.cloudflare.auth_token": "ours",
        "dns.cloudflare.zone_id": "zone",
    }


# Choosing.


def writing(directory: Path, name: str) -> Profile:
    """A profile whose provider notes in a file of its name what it was told to write."""
    hook = f'echo "$1 $CERTCTL_DNS_NAME" >>{directory}/{name}; true'
    return Profile(name, "exec", {"hook": hook}, f"[{name}]", private=True)


def chosen(directory: Path, challenge: ChallengeSpec) -> ChosenProviders:
    names = ("main", "acme", "own")
    credentials = DnsCredentials(
        {name: writing(directory, name) for name in names},
        zones={"example.com": "main", "acme.example.net": "acme", "gone.test": "gone"},
    )
    return ChosenProviders(challenge, credentials, system())


def record(providers: ChosenProviders, asked: str, name: str | None = None) -> TxtRecord:
    at = name or asked
    return TxtRecord(at, "v", "zone", "domain", credentials=providers.choose(at, asked))


def test_each_zone_is_written_with_its_own_credentials_in_one_order(tmp_path: Path) -> None:
    providers = chosen(tmp_path, ChallengeSpec(method="dns", dns_provider="auto"))
    records = [
        record(providers, "_acme-challenge.example.com"),
        record(providers, "_acme-challenge.b.example.com", "b.acme.example.net"),
    ]

    providers.present(records)
    providers.cleanup(records)

    assert (tmp_path / "main").read_text() == (
        "present _acme-challenge.example.com\ncleanup _acme-challenge.example.com\n"
    )
    assert (tmp_path / "acme").read_text() == (
        "present b.acme.example.net\ncleanup b.acme.example.net\n"
    )


def test_credentials_of_the_certificate_count_for_its_own_zone_but_not_where_an_alias_leads(
    tmp_path: Path,
) -> None:
    providers = chosen(tmp_path, ChallengeSpec(method="dns", dns_credentials="own"))

    assert record(providers, "_acme-challenge.example.com").credentials == ""
    aliased = record(providers, "_acme-challenge.example.com", "x.acme.example.net")
    assert aliased.credentials == "acme"
    nowhere = record(providers, "_acme-challenge.example.com", "x.elsewhere.test")
    assert nowhere.credentials == ""


def test_a_zone_without_a_provider_is_an_error_before_anything_is_written(
    tmp_path: Path,
) -> None:
    providers = chosen(tmp_path, ChallengeSpec(method="dns", dns_provider="auto"))

    with pytest.raises(ConfigurationError, match="no DNS provider is set"):
        providers.choose("a.other.test", "a.other.test")
    with pytest.raises(ConfigurationError, match="no DNS credentials named 'gone'"):
        providers.choose("a.gone.test", "a.gone.test")
    with pytest.raises(UsageError) as caught:
        chosen(tmp_path, ChallengeSpec(method="dns", dns_provider="rfc2163")).choose("a", "a")
    assert caught.value.hint == "Did you mean rfc2136?"


def test_credentials_of_another_provider_are_refused(tmp_path: Path) -> None:
    challenge = ChallengeSpec(method="dns", dns_provider="rfc2136", dns_credentials="own")

    with pytest.raises(ConfigurationError, match="credentials for exec, not for rfc2136"):
        chosen(tmp_path, challenge).choose("a.test", "a.test")


def test_what_can_be_removed_is_removed_where_other_credentials_are_gone(tmp_path: Path) -> None:
    providers = chosen(tmp_path, ChallengeSpec(method="dns", dns_provider="auto"))
    gone = TxtRecord("a.gone.test", "v", "gone.test", "a.gone.test", credentials="gone")
    there = TxtRecord("a.example.com", "v", "example.com", "a.example.com", credentials="main")

    with pytest.raises(CertctlError, match="no DNS credentials named 'gone'"):
        providers.cleanup([gone, there])

    assert (tmp_path / "main").read_text() == "cleanup a.example.com\n"


def test_options_of_the_command_line_reach_a_provider_of_ours(tmp_path: Path) -> None:
    challenge = ChallengeSpec(
        method="dns", dns_provider="exec", dns_options=(f"hook=echo $1 >>{tmp_path}/seen; true",)
    )
    providers = chosen(tmp_path, challenge)

    providers.present([record(providers, "_acme-challenge.other.test")])

    assert (tmp_path / "seen").read_text() == "present\n"


# Lexicon.


def test_a_provider_of_lexicon_lists_its_options_with_what_is_secret() -> None:
    options = {option.key: option for option in options_of("cloudflare")}

    assert {key: option.secret for key, option in options.items()} == {
        "dns.cloudflare.auth_username": False,
        "dns.cloudflare.auth_token": True,
        "dns.cloudflare.zone_id": False,
        "dns.cloudflare.ttl": False,
    }
    assert options["dns.cloudflare.auth_token"].environment == "CERTCTL_CLOUDFLARE_AUTH_TOKEN"


def test_a_provider_that_needs_more_than_lexicon_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_provider("route53", {}, system())

    assert (
        caught.value.hint == f"Install it: {sys.executable} -m pip install 'dns-lexicon[route53]'"
    )
