"""Specs: edits of users are preserved, choices are saved, errors name their place."""

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certctl.model.errors import ConfigurationError, UnknownCertificate
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.values import Value
from certctl.rules.options import OPTIONS, Option
from certctl.rules.settings import OptionTable, Settings, Source, flatten
from certctl.store.home.new_spec import new_text
from tests.unit.store_samples import NAME, everything_below, mode, open_store, wanted

EDITED = """\
# our shop; ask Ada before changing
version = 1
names = [
    "example.com",  # the shop
    "www.example.com",  # its other name
]
reuse_key = true  # pinned in the app

[challenge]  # behind the old balancer
webroots = ["/srv/www"]
method = "webroot"

[deploy]
# ten minutes, the disk is slow
hook_timeout = "10m"
reload = "systemctl reload nginx"
"""

LAID_OUT = """\
version = 2
names = [
    "a.example",
    "b.example",
    "c.example",
    "d.example",
]
ca = "dev"

[account]
email = ["ops@example.com"]

[deploy]
reload = "true"

[[deploy.copy]]
to = "/srv/a.pem"
format = "fullchain"
"""

OTHER = Identifier(IdentifierType.DNS, "shop.example.com")


def spec_file(home: Path, text: str, name: str = NAME) -> Path:
    path = home / "certificates" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_spec_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    spec = wanted(
        key_type="rsa-2048",
        challenge__method="dns",
        challenge__dns_provider="exec",
        challenge__dns_propagation_timeout=12.5,
        deploy__hook_timeout=90.0,
        reuse_key=True,
    )
    open_store(tmp_path).save_spec(spec)
    assert open_store(tmp_path).spec(NAME) == spec
    assert mode(tmp_path / "certificates" / f"{NAME}.toml") == 0o600


def test_a_new_file_has_the_names_and_the_choices_and_nothing_else(tmp_path: Path) -> None:
    open_store(tmp_path).save_spec(wanted(key_type="rsa-2048", challenge__http_port=8080))
    text = (tmp_path / "certificates" / f"{NAME}.toml").read_text()
    assert tomllib.loads(text) == {
        "version": 1,
        "names": [NAME],
        "key_type": "rsa-2048",
        "challenge": {"http_port": 8080},
    }
    assert "version = 1\nnames = " in text


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
    st.lists(TEXTS, max_size=6).map(tuple),
)
KEYS = (
    *("account.email", "ca", "challenge.method", "challenge.plug-in.x", "challenge.webroots"),
    *("deploy.hook_timeout", "deploy.nginx.config", "deploy.reload", "dns.rfc2136.server"),
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.booleans())
def test_the_text_of_a_new_spec_means_its_values(
    chosen: dict[str, Value], with_copies: bool
) -> None:
    copies = ("fullchain:/srv/a b/c.pem", "der:/srv/c.der")
    values: dict[str, Value] = {"version": 2, "names": ("a", "b", "c", "d"), **chosen}
    tables = [
        {"to": "/srv/a b/c.pem", "format": "fullchain"},
        {"to": "/srv/c.der", "format": "der"},
    ]
    copied: dict[str, Value] = {"deploy.copy": copies} if with_copies else {}

    found = flatten(tomllib.loads(new_text({**values, **copied})))

    assert found.pop("deploy.copy", None) == (tables if with_copies else None)
    assert found == {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def test_a_new_spec_is_laid_out_as_a_person_would() -> None:
    values: dict[str, Value] = {
        "version": 2,
        "names": ("a.example", "b.example", "c.example", "d.example"),
        "account.email": ("ops@example.com",),
        "ca": "dev",
        "deploy.copy": ("fullchain:/srv/a.pem",),
        "deploy.reload": "true",
    }

    assert new_text(values).partition("\n\n")[2] == LAID_OUT


def test_saving_an_unchanged_spec_changes_nothing(tmp_path: Path) -> None:
    path = spec_file(tmp_path, EDITED)
    store = open_store(tmp_path)
    store.save_spec(store.spec(NAME))
    assert path.read_text() == EDITED


def test_saving_an_unchanged_spec_searches_no_plug_ins(tmp_path: Path) -> None:
    asked: list[str] = []

    def plug_ins() -> tuple[Option, ...]:
        asked.append("plug-ins")
        return ()

    store = open_store(tmp_path, settings=Settings(table=OptionTable(OPTIONS, plug_ins)))
    spec_file(tmp_path, 'version = 1\nnames = ["example.com"]\nkey_type = "rsa-2048"\n')

    store.save_spec(store.spec(NAME))

    assert asked == []


def test_a_change_keeps_comments_order_and_notation(tmp_path: Path) -> None:
    path = spec_file(tmp_path, EDITED)
    store = open_store(tmp_path)
    spec = store.spec(NAME)
    chosen: dict[str, Value] = {**spec.chosen, "key_type": "ecdsa-p384"}
    del chosen["deploy.reload"]
    chosen["deploy.pre_hook"] = "stop it"
    store.save_spec(
        replace(spec, identifiers=(*spec.identifiers[:1], OTHER), chosen=chosen),
    )
    assert (
        path.read_text()
        == """\
# our shop; ask Ada before changing
version = 1
names = [
    "example.com",  # the shop
    "shop.example.com",
]
reuse_key = true  # pinned in the app
key_type = "ecdsa-p384"

[challenge]  # behind the old balancer
webroots = ["/srv/www"]
method = "webroot"

[deploy]
# ten minutes, the disk is slow
hook_timeout = "10m"
pre_hook = "stop it"
"""
    )


def test_names_are_saved_in_their_order(tmp_path: Path) -> None:
    path = spec_file(tmp_path, EDITED)
    store = open_store(tmp_path)
    spec = store.spec(NAME)
    store.save_spec(replace(spec, identifiers=(OTHER, *spec.identifiers)))
    assert tomllib.loads(path.read_text())["names"] == [
        "shop.example.com",
        "example.com",
        "www.example.com",
    ]
    assert store.spec(NAME).identifiers == (OTHER, *spec.identifiers)


def test_a_table_that_becomes_empty_is_removed(tmp_path: Path) -> None:
    path = spec_file(tmp_path, 'names = ["example.com"]\n[deploy]\nreload = "x"\n')
    store = open_store(tmp_path)
    store.save_spec(replace(store.spec(NAME), chosen={}))
    assert tomllib.loads(path.read_text()) == {"names": ["example.com"], "version": 1}


def test_a_spec_keeps_the_mode_that_people_gave_it(tmp_path: Path) -> None:
    path = spec_file(tmp_path, EDITED)
    path.chmod(0o644)
    store = open_store(tmp_path)
    store.save_spec(replace(store.spec(NAME), chosen={}))
    assert mode(path) == 0o644


def test_a_spec_that_is_a_link_is_written_through(tmp_path: Path) -> None:
    real = tmp_path / "checkout.toml"
    real.write_text(EDITED)
    real.chmod(0o600)
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / f"{NAME}.toml").symlink_to(real)
    store = open_store(tmp_path)
    store.save_spec(replace(store.spec(NAME), chosen={}))
    assert (tmp_path / "certificates" / f"{NAME}.toml").is_symlink()
    assert "reuse_key" not in real.read_text()


def test_an_error_in_a_spec_names_file_and_line(tmp_path: Path) -> None:
    path = spec_file(tmp_path, 'names = ["example.com"]\nkey_type = \n')
    with pytest.raises(ConfigurationError, match=r"at line 2") as caught:
        open_store(tmp_path).spec(NAME)
    assert str(path) in caught.value.message
    assert caught.value.name == NAME
    with pytest.raises(ConfigurationError, match=str(path)):
        open_store(tmp_path).save_spec(wanted())
    assert path.read_text() == 'names = ["example.com"]\nkey_type = \n'


def test_a_spec_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = spec_file(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="can't decode"):
        open_store(tmp_path).spec(NAME)


def test_an_unknown_key_is_an_error_with_the_nearest_right_one(tmp_path: Path) -> None:
    spec_file(tmp_path, 'names = ["example.com"]\nkeytype = "rsa-2048"\n')
    with pytest.raises(ConfigurationError, match="unknown setting 'keytype'") as caught:
        open_store(tmp_path).spec(NAME)
    assert caught.value.hint == "Did you mean key_type?"


def test_a_spec_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = spec_file(tmp_path, EDITED)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be written by other users") as caught:
        open_store(tmp_path).spec(NAME)
    assert caught.value.hint == f"chmod go-w {path}"


def test_an_unknown_name_is_an_error_with_the_closest_match(tmp_path: Path) -> None:
    spec_file(tmp_path, EDITED)
    with pytest.raises(UnknownCertificate, match=r"named 'exampel\.com'") as caught:
        open_store(tmp_path).spec("exampel.com")
    assert caught.value.hint == "Did you mean example.com?"
    assert caught.value.name == "exampel.com"


def test_names_are_the_specs_that_can_be_certificates_sorted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.names() == []
    for name in ("b.example", "a.example", ".new-c.example", "d example"):
        spec_file(tmp_path, EDITED, name)
    (tmp_path / "certificates" / "a.example.csr").touch()
    (tmp_path / "certificates" / "a.example.toml~").touch()
    assert store.names() == ["a.example", "b.example"]


def test_a_signing_request_is_kept_next_to_its_spec(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.csr(NAME) is None
    store.save_csr(NAME, b"a request")
    assert store.csr(NAME) == b"a request"
    assert everything_below(tmp_path) == ["certificates", f"certificates/{NAME}.csr"]


def test_defaults_of_the_settings_reach_a_spec_without_a_choice(tmp_path: Path) -> None:
    spec_file(tmp_path, 'names = ["example.com"]\n')
    defaults = Settings().over({"key_type": "rsa-4096"}, Source.FILE)
    assert open_store(tmp_path, settings=defaults).spec(NAME).key_type == "rsa-4096"


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "key_type": st.sampled_from(["rsa-2048", "ecdsa-p384"]),
        "reuse_key": st.booleans(),
        "profile": st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\0")),
        "challenge.http_port": st.integers(1, 65535),
        "challenge.webroots": st.lists(st.sampled_from(["/a", "/b c", "x=/#d"])).map(tuple),
        "challenge.dns_propagation_timeout": st.floats(0, 1e6),
        "deploy.reload": st.sampled_from(['say "a"', "it's", "a\\b", "#", "ü"]),
    },
)


@given(first=CHOICES, second=CHOICES, third=CHOICES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_choices_can_follow_any_others(
    tmp_path: Path, first: dict[str, Value], second: dict[str, Value], third: dict[str, Value]
) -> None:
    warnings: list[str] = []
    store = open_store(tmp_path, warn=warnings.append)
    path = tmp_path / "certificates" / f"{NAME}.toml"
    path.unlink(missing_ok=True)
    for chosen in (first, second, third):
        spec = replace(wanted(), chosen=chosen)
        store.save_spec(spec)
        saved = {key: value for key, value in chosen.items() if value is not None}
        assert {**open_store(tmp_path).spec(NAME).chosen, "challenge.method": 0} == {
            **saved,
            "challenge.method": 0,
        }
        path.write_text(path.read_text() + "# a comment at the end\n")
    assert warnings == []
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.mark.parametrize(
    "text",
    [
        'names = ["example.com"]\nchallenge.method = "webroot"\nchallenge.http_port = 1\n',
        'names = ["example.com"]\nchallenge = {method = "webroot", http_port = 1}\n',
        'names = ["example.com"]\n[challenge]\nhttp_port = 1\n[deploy]\nreload="x"\n',
        '[deploy]\nreload="x"\n[challenge]\nhttp_port = 1\n[dns.exec]\n',
        '"names" = ["example.com"]\n[dns]\n[challenge]\n"http_port" = 1',
    ],
)
def test_every_way_of_writing_toml_can_be_edited(tmp_path: Path, text: str) -> None:
    spec_file(tmp_path, text)
    warnings: list[str] = []
    store = open_store(tmp_path, warn=warnings.append)
    spec = wanted(challenge__http_port=2, key_type="rsa-2048", deploy__pre_hook="y")
    store.save_spec(spec)
    assert store.spec(NAME) == spec
    assert warnings == []
