"""Where settings come from, which of them wins, and how a mistake in one of them is named."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from certctl.config import home_directory, load
from certctl.engine.plugins import option_table
from certctl.model.errors import ConfigurationError
from certctl.model.values import Value
from certctl.rules.settings import Settings, Source


def read(
    home: Path,
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Value] | None = None,
    directory: Path = Path("/where/one/is"),
) -> Settings:
    """The settings in force with this text in `certctl.toml`, these variables and these flags."""
    if file is not None:
        (home / "certctl.toml").write_text(file)
    return load(home, environment or {}, flags or {}, directory=directory, options=option_table())


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "certctl.toml").write_bytes(b'\xef\xbb\xbfca = "zerossl"\n')

    assert read(tmp_path).text("ca") == "zerossl"


def test_a_setting_that_was_renamed_is_read_by_both_names_but_not_at_once(tmp_path: Path) -> None:
    def found(text: str) -> str | None:
        (tmp_path / "certctl.toml").write_text(text)
        return load(
            tmp_path,
            {},
            {},
            directory=tmp_path,
            options=option_table(),
            renamed={"server": "ca"},
        ).text("ca")

    assert (found('server = "zerossl"'), found('ca = "zerossl"')) == ("zerossl", "zerossl")
    with pytest.raises(ConfigurationError) as caught:
        found('server = "zerossl"\nca = "zerossl"')
    assert caught.value.code == "configuration.renamed_key"
    assert str(tmp_path / "certctl.toml") in caught.value.message


# Precedence.


def test_without_anything_there_are_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path / "nowhere")

    assert settings.text("ca") == "letsencrypt"
    assert settings.values == {}


@pytest.mark.parametrize(
    ("file", "variable", "flag", "value", "source"),
    [
        ("google", None, None, "google", Source.FILE),
        ("google", "zerossl", None, "zerossl", Source.ENVIRONMENT),
        ("google", "zerossl", "sslcom", "sslcom", Source.FLAG),
        ("google", None, "sslcom", "sslcom", Source.FLAG),
        (None, "zerossl", "sslcom", "sslcom", Source.FLAG),
        (None, "zerossl", None, "zerossl", Source.ENVIRONMENT),
        ("google", "", None, "google", Source.FILE),
    ],
)
def test_a_flag_beats_the_environment_which_beats_the_file(
    tmp_path: Path,
    file: str | None,
    variable: str | None,
    flag: str | None,
    value: str,
    source: Source,
) -> None:
    settings = read(
        tmp_path,
        f'ca = "{file}"' if file else None,
        {} if variable is None else {"CERTCTL_CA": variable},
        {"ca": flag} if flag else {},
    )

    assert (settings.text("ca"), settings.sources["ca"]) == (value, source)


def test_each_source_gives_what_the_others_do_not(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'key_type = "rsa-2048"\n[deploy]\nreload = "true"\n',
        {"CERTCTL_LOCK_TIMEOUT": "5m", "CERTCTL_EMAIL": "a@example.com, b@example.com"},
        {"ca": "google"},
    )

    assert settings.text("key_type") == "rsa-2048"
    assert settings.text("deploy.reload") == "true"
    assert settings.seconds("lock_timeout") == 300.0
    assert settings.texts("account.email") == ("a@example.com", "b@example.com")
    assert settings.text("ca") == "google"


def test_a_method_of_the_environment_beats_one_of_the_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[challenge]\nwebroots = ["/srv"]\n',
        {"CERTCTL_DNS": "exec", "CERTCTL_DNS_HOOK": "/bin/true"},
    )

    assert settings.text("challenge.method") == "dns"
    assert settings.text("dns.exec.hook") == "/bin/true"


def test_variables_of_others_and_of_hooks_are_left_alone(tmp_path: Path) -> None:
    environment = {"PATH": "/bin", "CERTCTL_EVENT": "deploy", "CERTCTL_HOME": "/elsewhere"}

    assert read(tmp_path, environment=environment).values == {}


def test_a_secret_comes_by_environment_and_never_from_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, environment={"CERTCTL_EAB_HMAC_KEY": "hunter2"})

    assert settings.text("account.eab_hmac_key") == "hunter2"
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, '[account]\neab_hmac_key = "hunter2"\n')
    assert caught.value.code == "configuration.unknown_key"
    assert "hunter2" not in caught.value.message


# Mistakes.


@pytest.mark.parametrize(
    ("file", "message", "hint"),
    [
        ('keytype = "rsa-2048"', "unknown setting 'keytype'", "Did you mean key_type?"),
        (
            '[challenge]\nwebroot = "/srv"',
            "unknown setting 'challenge.webroot'",
            "Did you mean challenge.webroots?",
        ),
        (
            '[dns.rfc2136]\nservers = "192.0.2.53"',
            "unknown setting 'dns.rfc2136.servers'",
            "Did you mean dns.rfc2136.server?",
        ),
        ('home = "/elsewhere"', "unknown setting 'home'", None),
        ('key_type = "dsa"', "key_type: 'dsa' is not one of ecdsa-p256", None),
        ("key_type = 1", "key_type: 1 is not one of ecdsa-p256", None),
        ('lock_timeout = "soon"', "lock_timeout: 'soon' is not a duration", None),
        (
            "keep_versions = 1",
            "keep_versions: 1 is not a whole number from 2 to 1000000000",
            None,
        ),
        (
            "[challenge]\nhttp_port = 65536",
            "challenge.http_port: 65536 is not a whole number from 1 to 65535",
            None,
        ),
        ("ca = [", "is not valid TOML", None),
        ("ca = 'a'\nca = 'b'", "is not valid TOML", None),
    ],
)
def test_a_mistake_in_the_file_names_the_file_and_the_key(
    tmp_path: Path, file: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, file)

    assert caught.value.message.startswith(str(tmp_path / "certctl.toml"))
    assert message in caught.value.message
    assert caught.value.exit_status == 2
    if hint is not None:
        assert caught.value.hint == hint


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "certctl.toml").write_bytes(b"ca = '\xff'\n")

    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        read(tmp_path)


def test_a_directory_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "certctl.toml").mkdir()

    with pytest.raises(ConfigurationError, match="not a regular file, but a directory") as caught:
        read(tmp_path)

    assert str(tmp_path / "certctl.toml") in caught.value.message


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("CERTCTL_KEY_TYPE", "dsa", "key_type: 'dsa' is not one of ecdsa-p256"),
        ("CERTCTL_HTTP_PORT", "http", "challenge.http_port: 'http' is not a whole number"),
        ("CERTCTL_HTTP_PORT", "0", "challenge.http_port: 0 is not a whole number from 1 to 65535"),
        ("CERTCTL_REUSE_KEY", "perhaps", "reuse_key: 'perhaps' is not true or false"),
        ("CERTCTL_HOOK_TIMEOUT", "0", "deploy.hook_timeout: "),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, environment={variable: text})

    assert caught.value.message.startswith(f"the environment variable {variable}: {message}")
    assert caught.value.code == "configuration.value"


def test_a_secret_in_the_environment_is_not_shown_in_the_error_about_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, environment={"CERTCTL_EAB_HMAC_KEY": "hunter2\nhunter3"})

    assert "CERTCTL_EAB_HMAC_KEY" in caught.value.message
    assert "hunter" not in caught.value.message


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "certctl.toml").write_text("")
    (tmp_path / "certctl.toml").chmod(0o666)

    with pytest.raises(ConfigurationError, match=r"certctl\.toml"):
        read(tmp_path)


# Paths.


def test_a_path_in_the_file_is_seen_from_the_home_directory(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'ca_bundle = "roots.pem"\n[challenge]\nwebroots = ["htdocs", "a.example=/srv"]\n',
    )

    assert settings.text("ca_bundle") == f"{tmp_path}/roots.pem"
    assert settings.texts("challenge.webroots") == (f"{tmp_path}/htdocs", "a.example=/srv")


def test_a_path_in_the_environment_is_seen_from_the_directory_one_is_in(tmp_path: Path) -> None:
    directory = tmp_path / "here"

    settings = read(tmp_path, environment={"CERTCTL_CA_BUNDLE": "roots.pem"}, directory=directory)

    assert settings.text("ca_bundle") == f"{directory}/roots.pem"


def test_a_path_of_a_flag_is_seen_from_the_directory_one_is_in(tmp_path: Path) -> None:
    directory = tmp_path / "here"

    settings = read(
        tmp_path, flags={"log_file": "../log", "ca_bundle": "/roots"}, directory=directory
    )

    assert settings.text("log_file") == f"{tmp_path}/log"
    assert settings.text("ca_bundle") == "/roots"


def test_a_path_in_the_home_of_an_unknown_user_is_rejected(tmp_path: Path) -> None:
    path = "~no.such.user/roots.pem"

    with pytest.raises(ConfigurationError, match="the user does not exist"):
        read(tmp_path, environment={"CERTCTL_CA_BUNDLE": path})
    with pytest.raises(ConfigurationError, match="the user does not exist"):
        read(tmp_path, f'ca_bundle = "{path}"')


# The home directory.


@pytest.mark.parametrize(
    ("flag", "environment", "user_id", "home"),
    [
        (None, {}, 0, "/etc/certctl"),
        (None, {"XDG_CONFIG_HOME": "/conf", "HOME": "/home/me"}, 0, "/etc/certctl"),
        (None, {"HOME": "/home/me"}, 1000, "/home/me/.config/certctl"),
        (None, {"HOME": "/home/me", "XDG_CONFIG_HOME": ""}, 1000, "/home/me/.config/certctl"),
        (None, {"HOME": "/home/me", "XDG_CONFIG_HOME": "/conf"}, 1000, "/conf/certctl"),
        (None, {"HOME": "/home/me", "XDG_CONFIG_HOME": "conf"}, 1000, "/home/me/.config/certctl"),
        (None, {"CERTCTL_HOME": "/srv/certs"}, 0, "/srv/certs"),
        (None, {"CERTCTL_HOME": "/srv/certs"}, 1000, "/srv/certs"),
        ("/opt/certs", {"CERTCTL_HOME": "/srv/certs"}, 1000, "/opt/certs"),
    ],
)
def test_the_home_is_that_of_the_flag_the_environment_or_the_kind_of_user(
    flag: str | None, environment: dict[str, str], user_id: int, home: str
) -> None:
    found = home_directory(flag, environment, directory=Path("/where/one/is"), user_id=user_id)

    assert found == Path(home)


def test_a_home_that_is_given_is_made_absolute() -> None:
    directory = Path("/where/one/is")
    homes = {"certs": directory / "certs", "~/certs": Path.home() / "certs", "/srv": Path("/srv")}

    for given, home in homes.items():
        assert home_directory(given, {}, directory=directory, user_id=1000) == home
        assert home_directory(None, {"CERTCTL_HOME": given}, directory=directory, user_id=0) == home


def test_the_home_of_an_unknown_user_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="the user does not exist"):
        home_directory("~no.such.user/certs", {}, directory=Path("/"), user_id=1000)
