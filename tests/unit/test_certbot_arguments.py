"""Command lines of certbot, parsed as certbot parses them."""

import pytest

from certctl.model.errors import UsageError
from certctl.rules.certbot_arguments import config_files, parse

INI = """
# defaults
rsa-key-size = 4096
email = admin@example.com  # who is told
agree-tos = true
dry-run = false
webroot-path = [/srv/a, /srv/b]
pre-hook = "systemctl stop 'nginx' # all of it"
"""


@pytest.mark.parametrize(
    ("line", "subcommand"),
    [
        ("", "run"),
        ("--nginx -d a.example", "run"),
        ("-q renew", "renew"),
        ("certonly -n", "certonly"),
        ("-n auth", "certonly"),
        ("renew --help", "help"),
        ("help renew", "help"),
    ],
)
def test_the_subcommand_can_be_anywhere(line: str, subcommand: str) -> None:
    assert parse(line.split()).subcommand == subcommand


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("--force-renew", "force"),
        ("--non-int", "non_interactive"),
        ("--agree", "agree_tos"),
        ("--register-unsafely", "register_unsafely_without_email"),
        ("--staging", "staging"),
        ("--standalone", "standalone"),
        ("--keep", "keep"),
        ("--keep-until", "keep"),
    ],
)
def test_a_flag_can_be_abbreviated(given: str, place: str) -> None:
    assert parse(["certonly", given]).has(place)


def test_an_abbreviation_of_several_flags_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["certonly", "--prefer", "http"])

    assert "--preferred-chain" in caught.value.message


def test_short_flags_take_their_value_at_once_and_stand_together() -> None:
    found = parse(["certonly", "-nvvd", "a.example", "-mme@example.com", "-da.example,B.example"])

    assert found.names == ("a.example", "b.example")
    assert (found.values["verbose"], found.text("email")) == (2, "me@example.com")
    assert found.has("non_interactive")


@pytest.mark.parametrize(
    ("line", "webroots", "webroot"),
    [
        ("-w /a -d a -d b", {}, "/a"),
        ("-d a -d b -w /a", {}, "/a"),
        ("-w /a -d a -d b -w /b -d c", {"a": "/a", "b": "/a", "c": "/b"}, "/b"),
        ("-w /a -d a -w /b -d a,b", {"a": "/a", "b": "/b"}, "/b"),
        ('--webroot-map {"a,b":"/a"} -w /b -d c', {"a": "/a", "b": "/a"}, "/b"),
        ('-w /b -d a --webroot-map {"a":"/a"}', {"a": "/a"}, "/b"),
    ],
)
def test_a_webroot_counts_for_the_names_after_it(
    line: str, webroots: dict[str, str], webroot: str
) -> None:
    found = parse(["certonly", *line.split()])

    assert (found.webroots, found.webroot) == (webroots, webroot)


def test_a_second_webroot_needs_one_before_all_names() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["certonly", "-d", "a", "-w", "/a", "-d", "b", "-w", "/b"])

    assert caught.value.message.startswith("with several -w")


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1}', "null"])
def test_a_webroot_map_must_map_names_to_directories(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["certonly", "--webroot-map", text])

    assert "--webroot-map takes a JSON object" in caught.value.message


def test_a_file_has_defaults() -> None:
    found = parse(["renew"], [("cli.ini", INI)])

    assert found.values == {
        "rsa_key_size": 4096,
        "email": "admin@example.com",
        "agree_tos": True,
        "webroot_path": ["/srv/a", "/srv/b"],
        "pre_hook": "systemctl stop 'nginx' # all of it",
    }


def test_the_command_line_comes_before_files_and_later_files_before_earlier_ones() -> None:
    files = [
        ("1", "email = one@example.com\nkey-type = rsa\nserver = https://one.example"),
        ("2", "email = two@example.com\nkey-type: ecdsa"),
    ]

    found = parse(["certonly", "-m", "me@example.com"], files)

    assert found.values == {
        "email": "me@example.com",
        "key_type": "ecdsa",
        "server": "https://one.example",
    }


@pytest.mark.parametrize("line", ["no-such-flag = 1", "agree-tos = perhaps"])
def test_a_line_of_a_file_that_means_nothing_is_an_error_that_names_it(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["renew"], [("/etc/letsencrypt/cli.ini", f"# first\n{line}\n")])

    assert caught.value.message.startswith("/etc/letsencrypt/cli.ini, line 2: ")


def test_the_file_of_the_command_line_is_found() -> None:
    assert config_files(["certonly", "--config=/srv/c.ini", "-d", "a"]) == ("/srv/c.ini",)


@pytest.mark.parametrize("flag", ["--must-staple", "--debug-challenges", "--no-verify-ssl"])
def test_a_flag_that_cannot_be_honoured_is_named(flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["certonly", "-d", "a.example", flag])

    assert caught.value.message == f"certctl cannot honour {flag}"


@pytest.mark.parametrize("words", ["--dns-hetzner", "renew nonsense", "--rsa-key-size many", "-d"])
def test_what_certbot_does_not_know_is_an_error(words: str) -> None:
    with pytest.raises(UsageError):
        parse(words.split())


def test_a_map_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(UsageError, match="takes a JSON object"):
        parse(["certonly", "--webroot-map", "[" * 100_000])
