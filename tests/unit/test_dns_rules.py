"""The rules of the DNS part: addresses, TSIG keys, providers' options."""

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.dns.addresses import split_port
from certctl.dns.loading import provider_options
from certctl.dns.providers import exec as exec_provider
from certctl.dns.queries import Server
from certctl.dns.resolver import parse_server
from certctl.dns.tsig_keys import TsigKey, make_key, read_key_file
from certctl.model.errors import ConfigurationError
from certctl.model.validation import TxtRecord
from certctl.rules.hook_protocols import HookAction, HookProtocol, hook_calls
from certctl.rules.options import OPTIONS

SECRET = bytes(range(32))
# Has `//` inside, which is no comment there.
SLASHED = b"\xff" * 32


def b64(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Server("192.0.2.53", 53)),
        ("192.0.2.53:5353", Server("192.0.2.53", 5353)),
        ("2001:DB8::53", Server("2001:db8::53", 53)),
        ("[2001:db8::53]", Server("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", Server("2001:db8::53", 5353)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "192.0.2.53:x",
     "192.0.2.53:+53", "192.0.2.53:\u0665", "[2001:db8::53", "[2001:db8::53]x",
     "[2001:db8::53]53", "[]:53"],
)  # fmt: skip
def test_an_invalid_resolver_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(repr(text))):
        parse_server(text)


@given(st.text())
def test_splitting_a_port_returns_a_valid_port_or_raises(text: str) -> None:
    try:
        host, port = split_port(text)
    except ValueError:
        return
    assert host
    assert 0 < port < 65536


def key_file(directory: Path, text: str, mode: int = 0o600) -> str:
    path = directory / "tsig.key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_key_file_of_bind_says_everything(tmp_path: Path) -> None:
    text = f'key "Update.Example." {{\n\talgorithm HMAC-SHA512;\n\tsecret "{b64(SECRET)}";\n}};\n'

    key = read_key_file(key_file(tmp_path, text), None, None)

    assert key == TsigKey("update.example", "hmac-sha512", SECRET)


def test_comments_and_unquoted_words_are_read_as_bind_reads_them(tmp_path: Path) -> None:
    text = (
        "# key old { secret nothing; };\n// one line\n/* key older {\n secret x; }; */\n"
        f'key update {{ algorithm hmac-sha256; # ours\n secret "{b64(SLASHED)}"; }};\n'
    )

    key = read_key_file(key_file(tmp_path, text), None, None)

    assert key == TsigKey("update", "hmac-sha256", SLASHED)


def test_one_of_several_keys_is_chosen_by_name(tmp_path: Path) -> None:
    text = "".join(f'key {name} {{ secret "{b64(name.encode())}"; }};' for name in ("one", "two"))
    path = key_file(tmp_path, text)

    assert read_key_file(path, "Two.", None) == TsigKey("two", "hmac-sha256", b"two")
    with pytest.raises(ConfigurationError, match=r"has the keys one, two, and none was selected"):
        read_key_file(path, None, None)
    with pytest.raises(ConfigurationError, match=r"but not three"):
        read_key_file(path, "three", None)


def test_an_algorithm_that_is_given_beats_the_files(tmp_path: Path) -> None:
    text = f'key k {{ algorithm hmac-sha256; secret "{b64(SECRET)}"; }};'

    assert read_key_file(key_file(tmp_path, text), None, "hmac-sha384").algorithm == "hmac-sha384"


def test_a_file_with_the_secret_alone_needs_a_name(tmp_path: Path) -> None:
    path = key_file(tmp_path, b64(SECRET) + "\n")

    assert read_key_file(path, "update", None) == TsigKey("update", "hmac-sha256", SECRET)
    with pytest.raises(ConfigurationError, match="needs a name"):
        read_key_file(path, None, None)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, b64(SECRET), mode)

    with pytest.raises(ConfigurationError) as caught:
        read_key_file(path, "update", None)

    assert caught.value.hint == f"chmod 600 {path}"


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "missing"))):
        read_key_file(str(tmp_path / "missing"), "update", None)


@pytest.mark.parametrize("text", ["not base64!", "key update { algorithm hmac-sha256; };", "{}"])
def test_an_invalid_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path, text)

    with pytest.raises(ConfigurationError, match="neither a BIND key statement nor") as caught:
        read_key_file(path, "update", None)

    assert text not in caught.value.message


def test_an_unknown_algorithm_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_key(b64(SECRET), "update", "gss-tsig", where="the environment")

    assert caught.value.hint is not None
    assert "hmac-sha256" in caught.value.hint


def test_the_old_name_of_hmac_md5_is_understood() -> None:
    key = make_key(b64(SECRET), "update", "HMAC-MD5.SIG-ALG.REG.INT", where="the environment")

    assert key.algorithm == "hmac-md5"


def test_a_keys_secret_is_not_in_its_repr() -> None:
    assert repr(SECRET) not in repr(make_key(b64(SECRET), "update", None, where="here"))


# No piece holds a valid secret, nor do several in quotes: "-" is no base64.
PIECES = ("key", "k-", "{", "}", ";", '"-', "/*", "*/", "#", "\n", "secret", "algorithm")


@given(words=st.lists(st.sampled_from(PIECES)))
def test_no_broken_key_file_makes_a_key(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    path = key_file(tmp_path_factory.mktemp("key"), " ".join(words))

    with pytest.raises(ConfigurationError, match=re.escape(path)):
        read_key_file(path, None, None)


def test_no_option_of_a_provider_is_also_one_of_certctls_or_anothers() -> None:
    options = (*OPTIONS, *provider_options())

    variables = [each.environment for each in options if each.environment]
    for facts in ([each.key for each in options], variables):
        assert len(facts) == len(set(facts))
    flags = [each.flag for each in options if each.flag]
    assert len(flags) == len(set(flags))


def test_secrets_have_no_flag_and_no_place_in_the_file() -> None:
    secrets = [each for each in provider_options() if each.secret]

    assert [each.key for each in secrets] == ["dns.httpreq.password", "dns.rfc2136.secret"]
    assert {(each.flag, each.in_file) for each in secrets} == {(None, False)}


def test_no_variable_of_the_hook_is_an_options_variable() -> None:
    record = TxtRecord("_acme-challenge.example.com", "value", "example.com", "example.com")
    answer = exec_provider.hook_answer(HookAction.PRESENT, record)
    (call,) = hook_calls(HookProtocol.CERTCTL, HookAction.PRESENT, [answer])

    assert call.environment.keys().isdisjoint(
        each.environment for each in (*OPTIONS, *provider_options())
    )
