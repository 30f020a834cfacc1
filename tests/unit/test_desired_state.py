"""The desired state: what a text means, and what each mistake in it is told with."""

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from certctl.engine.plugins import option_table
from certctl.model.errors import ConfigurationError
from certctl.rules.desired_schema import schema
from certctl.rules.desired_state import DesiredState, Text, parse
from certctl.rules.toml_lines import line_of

TABLE = option_table()
VALIDATOR = Draft202012Validator(schema(TABLE.values()))

WHOLE = """\
version = 1
owner = "shop"

[defaults]
ca = "https://ca.example/directory"
key_type = "rsa-3072"

[group.base]
challenge.webroots = ["www"]

[group.web]
extends = "base"
deploy.targets = ["nginx"]
deploy.verify_timeout = "1m"

[certificate."shop.example"]
extends = "web"
names = ["shop.example", "www.shop.example"]
key_type = "ecdsa-p384"

[[certificate."shop.example".deploy.copy]]
to = "shop.pem"
format = "combined"

[certificate."api.example"]
extends = "base"
challenge.method = "standalone"

[certificate."bücher.example"]
"""


def toml(content: str, name: str = "all.toml") -> Text:
    return Text(name, "/etc/shop", content)


def read(*contents: str) -> DesiredState:
    return parse([toml(each, f"{number}.toml") for number, each in enumerate(contents, 1)], TABLE)


def mistake(*contents: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read(*contents)
    return caught.value


# What a text means.


def test_a_certificate_has_the_defaults_the_settings_of_its_groups_and_its_own() -> None:
    api, shop, books = read(WHOLE).certificates

    assert read(WHOLE).owner == "shop"
    assert (shop.name, shop.groups) == ("shop.example", ("web", "base"))
    assert [each.value for each in shop.identifiers] == ["shop.example", "www.shop.example"]
    assert shop.chosen == {
        "ca": "https://ca.example/directory",
        "key_type": "ecdsa-p384",
        "challenge.method": "webroot",
        "challenge.webroots": ("/etc/shop/www",),
        "deploy.targets": ("nginx",),
        "deploy.verify_timeout": 60.0,
        "deploy.copy": ("combined:/etc/shop/shop.pem",),
    }
    # another way of validation leaves out the options of the group's
    assert api.chosen == {
        "ca": "https://ca.example/directory",
        "key_type": "rsa-3072",
        "challenge.method": "standalone",
    }
    assert books.groups == ()


def test_a_certificate_without_names_is_for_the_name_of_its_table() -> None:
    (books,) = read('[certificate."Bücher.example"]').certificates

    assert books.name == "xn--bcher-kva.example"
    assert [each.value for each in books.identifiers] == ["xn--bcher-kva.example"]


def test_the_same_state_can_be_json() -> None:
    text = Text("standard input", "/etc/shop", json.dumps(tomllib.loads(WHOLE)), json=True)

    found, expected = parse([text], TABLE), read(WHOLE)

    assert found.owner == expected.owner
    assert [
        (each.name, each.identifiers, each.chosen, each.groups) for each in found.certificates
    ] == [(each.name, each.identifiers, each.chosen, each.groups) for each in expected.certificates]


def test_several_files_are_one_state() -> None:
    first = 'owner = "shop"\n[defaults]\nkey_type = "rsa-2048"\n[group.web]\nreuse_key = true'
    second = 'owner = "shop"\n[certificate."a.example"]\nextends = "web"'

    (only,) = read(first, second).certificates

    assert only.chosen == {"key_type": "rsa-2048", "reuse_key": True}


def test_the_path_of_a_signing_request_starts_at_the_file() -> None:
    (only,) = read('[certificate.device]\ncsr = "device.pem"').certificates

    assert (only.csr, only.identifiers) == ("/etc/shop/device.pem", ())


# Mistakes.

MISTAKES = {
    "unknown word": (
        '[certificate."a.example"]\n\nkeytype = "rsa-2048"',
        "1.toml, line 3: unknown setting 'keytype' in certificate.a.example",
        "Did you mean key_type?",
        "configuration.unknown_key",
    ),
    "word of a flag": (
        '[group.web]\nwebroot = "/srv"\n[certificate."a.example"]',
        "1.toml, line 2: unknown setting 'webroot' in group.web",
        "Did you mean challenge.webroots?",
        "configuration.unknown_key",
    ),
    "unknown table": (
        '[certificates."a.example"]',
        "1.toml, line 1: unknown setting 'certificates' in the file",
        "Did you mean certificate?",
        "configuration.unknown_key",
    ),
    "names of a group": (
        '[certificate."a.example"]\n[group.web]\nnames = ["b.example"]',
        "1.toml, line 3: unknown setting 'names' in group.web",
        None,
        "configuration.unknown_key",
    ),
    "value": (
        '[defaults]\nca = "dev"\n# the key\nkey_type = "rsa-1024"\n[certificate."a.example"]',
        "1.toml, line 4: defaults.key_type: 'rsa-1024' is not one of ",
        "Did you mean rsa-3072?",
        "configuration.value",
    ),
    "value of several lines": (
        '[certificate."a.example"]\nnames = [\n  "a.example",\n  3,\n]\n',
        "1.toml, line 2: certificate.a.example.names: it must be a list of at least one name",
        'Write, for example: names = ["example.com"]',
        "configuration.value",
    ),
    "no host": (
        "[certificate.web]\n[certificate.web-]\n",
        "1.toml, line 2: certificate.web-: names is missing",
        'Write, for example: names = ["example.com"]',
        "usage.identifier",
    ),
    "wildcard as a name": (
        '[certificate."*.a.example"]',
        "1.toml, line 1: certificate.*.a.example: a wildcard is not the name of a certificate",
        'Write, for example: [certificate."a.example"] and names = ["*.a.example"]',
        "usage.name",
    ),
    "name that is a path": (
        '[certificate."../../etc/passwd"]\nnames = ["a.example"]',
        "1.toml, line 1: certificate.../../etc/passwd: '../../etc/passwd' is not a valid",
        None,
        "usage.name",
    ),
    "unknown group": (
        '[group.webs]\n[certificate."a.example"]\nextends = "web"',
        "1.toml, line 3: certificate.a.example.extends: there is no group 'web'",
        "Did you mean webs?",
        "plan.unknown_group",
    ),
    "circle": (
        '[group.a]\nextends = "b"\n[group.b]\nextends = "a"\n[certificate."a.example"]',
        "1.toml, line 4: group.b.extends: groups extend each other in a circle: b → a",
        "Remove one of these lines.",
        "plan.circle",
    ),
    "circle of one": (
        '[group.a]\nextends = "a"\n[certificate."a.example"]\nextends = "a"',
        "1.toml, line 2: group.a.extends: groups extend each other in a circle: a",
        None,
        "plan.circle",
    ),
    "nothing": (
        'owner = "shop"',
        "1.toml: there is no certificate in it",
        None,
        "plan.no_certificate",
    ),
    "no text": ("", "1.toml: there is no certificate in it", None, "plan.no_certificate"),
    "owner": ("owner = 3", "1.toml, line 1: owner: 3 is not a word", None, "configuration.value"),
    "format": ("version = 2", "this certctl reads only version 1", None, "configuration.value"),
    "no table": (
        "defaults = 3",
        "1.toml, line 1: defaults: it must be a table",
        None,
        "configuration.value",
    ),
    "no tables": (
        "certificate = 3",
        "1.toml, line 1: certificate: it must be a table of tables",
        None,
        "configuration.value",
    ),
    "no TOML": (
        '[certificate."a.example"',
        "1.toml is not valid TOML: ",
        "Correct it; nothing was changed.",
        "configuration.file",
    ),
    "nested": (f"a = {'[' * 5000}", "1.toml is not valid TOML: ", None, "configuration.file"),
    "what certctl writes itself": (
        '[certificate."a.example"]\nmanaged_by = "other"',
        "1.toml, line 2: unknown setting 'managed_by'",
        None,
        "configuration.unknown_key",
    ),
}


@pytest.mark.parametrize(("text", "message", "hint", "code"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_told_with_its_line(
    text: str, message: str, hint: str | None, code: str
) -> None:
    error = mistake(text)

    assert error.message.partition(message)[1] == message, error.message
    assert error.code == code
    assert hint is None or error.hint == hint


def test_what_two_files_have_is_told_with_both() -> None:
    first, second = (
        '\n[certificate."a.example"]',
        '[certificate."A.example"]\nnames = ["a.example"]',
    )

    error = mistake(first.replace("a.", "bücher."), '[certificate."xn--bcher-kva.example"]')
    groups = mistake('[group.a]\n[certificate."a.example"]', "[group.a]")
    owners = mistake('owner = "a"\n' + first, 'owner = "b"')

    assert (
        "2.toml, line 1: certificate.xn--bcher-kva.example: it is also at 1.toml, line 2"
        in error.message
    )
    assert "group.a: it is also at 1.toml, line 1" in groups.message
    assert "owner: it is 'b' here, and 'a' in 1.toml" in owners.message
    assert len(read(first, second).certificates) == 2  # names are not the same for files


def test_a_key_twice_in_json_is_a_mistake() -> None:
    text = '{"certificate": {"a.example": {}, "a.example": {"key_type": "rsa-2048"}}}'

    with pytest.raises(ConfigurationError, match=r"the key 'a\.example' is there twice"):
        parse([Text("standard input", "/", text, json=True)], TABLE)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '"a.example"',
        "{",
        '{"certificate": []}',
        '{"certificate": {"a.example": null}}',
        '{"certificate": {"a.example": {"names": {}}}}',
        '{"certificate": {"a.example": {"names": [null]}}}',
        '{"certificate": {"a.example": {"key_type": ["rsa-2048", {}]}}}',
        '{"certificate": {"a.example": {"challenge": "webroot"}}}',
        '{"certificate": {"a.example": {"extends": ["web"]}}}',
        '{"certificate": {"a.example": {"deploy": {"verify_timeout": NaN}}}}',
        '{"certificate": {"a.example": {"challenge": {"http_port": 1e400}}}}',
        '{"certificate": {"": {}}}',
        '{"certificate": {"a.example": {"csr": 3}}}',
        "[" * 100_000,
    ],
)
def test_json_with_other_types_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse([Text("standard input", "/", text, json=True)], TABLE)


def test_a_secret_is_not_told() -> None:
    text = '[certificate."a.example"]\ndns.rfc2136.tsig_secret = ["hunter2"]'

    error = mistake(text)

    assert "hunter2" not in f"{error.message}{error.hint}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["a.example", "names", "extends", "csr", "key_type", "deploy", "copy", "ca"]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {"certificate": VALUES}, optional={"defaults": VALUES, "group": VALUES, "owner": VALUES}
    )
)
def test_any_json_is_a_state_or_a_clear_error(document: Any) -> None:
    with suppress(ConfigurationError):
        found = parse([Text("standard input", "/", json.dumps(document), json=True)], TABLE)
        assert found.certificates


# Lines.


@given(
    st.lists(st.sampled_from(["", "# a", 'x = """', '"""', "y = [", "1,", "]", "[t]", "[u]"])),
    st.data(),
)
def test_a_line_is_that_of_the_key(noise: list[str], data: st.DataObject) -> None:
    """A valid text with a key put somewhere into it."""
    place = data.draw(st.integers(0, len(noise)))
    lines = [*noise[:place], "[wanted]", "key = 1", *noise[place:]]
    try:
        document = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return
    if "key" not in document.get("wanted", {}):
        return

    assert line_of("\n".join(lines), ("wanted", "key")) == place + 2


def test_a_key_that_is_not_there_has_no_line() -> None:
    assert line_of("a = 1", ("b",)) is None


# The schema.


def test_the_schema_is_one_and_accepts_what_is_read() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)

    assert list(VALIDATOR.iter_errors(tomllib.loads(WHOLE))) == []


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, []),
        ({"certificate": {}}, ["certificate"]),
        ({"certificates": {"a.example": {}}}, []),
        ({"certificate": {"a.example": {"keytype": "rsa-2048"}}}, ["certificate", "a.example"]),
        ({"certificate": {"a.example": {"names": []}}}, ["certificate", "a.example", "names"]),
        (
            {"certificate": {"a.example": {"key_type": "rsa-1024"}}},
            ["certificate", "a.example", "key_type"],
        ),
        (
            {"certificate": {"a.example": {}}, "defaults": {"challenge": {"http_port": "x"}}},
            ["defaults", "challenge", "http_port"],
        ),
        ({"certificate": {"a.example": {}}, "owner": 3}, ["owner"]),
    ],
)
def test_the_schema_refuses_what_is_refused(document: dict[str, Any], path: list[str]) -> None:
    text = Text("standard input", "/", json.dumps(document), json=True)

    (found, *_) = VALIDATOR.iter_errors(document)

    assert list(found.absolute_path) == path
    with pytest.raises(ConfigurationError):
        parse([text], TABLE)


def test_the_schema_has_every_setting_of_a_certificate() -> None:
    def keys(node: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, each in node["properties"].items():
            inner = "properties" in each
            found |= keys(each, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
        return found

    expected = {each.key for each in TABLE.values() if each.in_spec} - {"csr"}

    assert keys(VALIDATOR.schema["$defs"]["settings"]) == expected


EXAMPLES = Path("docs/apply.md")


def test_the_examples_of_the_documentation_are_valid() -> None:
    text = EXAMPLES.read_text()
    tomls = [each.partition("```")[0] for each in text.split("```toml\n")[1:]]
    jsons = [each.partition("```")[0] for each in text.split("```json\n")[1:]]

    documents = [*map(tomllib.loads, tomls), *map(json.loads, jsons)]
    assert len(documents) == 2
    for each in documents:
        assert list(VALIDATOR.iter_errors(each)) == []
        assert parse([Text("standard input", "/", json.dumps(each), json=True)], TABLE).certificates
