"""The rules of challenges: what is refused and what is answered, who has a port, plug-ins."""

import string
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.challenges.answers import Answers
from certctl.challenges.dns01 import account_label, txt_value
from certctl.challenges.http01 import check_task, checked_token
from certctl.challenges.http01_server import respond
from certctl.challenges.http01_standalone import StandaloneSolver
from certctl.challenges.http01_webroot import parse_webroots
from certctl.challenges.loading import create_solver, sharing_key
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, ConfigurationError, InvalidIdentifier, UsageError
from certctl.model.names import parse_identifier
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Task
from certctl.system.port_holders import Listener, parse_table
from tests.lab.clock import SteerableClock
from tests.lab.programs import require


def system() -> SolverSystem:
    return SolverSystem(SteerableClock(), threading.Event())


def http_task(name: str, token: str) -> Task:
    return Task(
        identifier=parse_identifier(name),
        type=ChallengeType.HTTP_01,
        token=token,
        key_authorization=f"{token}.thumbprint",
        account_url="https://ca.test/account/1",
        certificate="example.com",
    )


PLAIN = set(string.ascii_letters + string.digits + "-_")


@given(st.text(alphabet=st.sampled_from("aZ09-_./\\\0\n =é"), max_size=8))
def test_a_token_passes_where_it_is_a_plain_file_name(token: str) -> None:
    if token and set(token) <= PLAIN:
        assert checked_token(token) == token
    else:
        with pytest.raises(ChallengeError):
            checked_token(token)


@pytest.mark.parametrize("token", ["", "../../etc/cron.d/x", "a/b", ".", "a\n", "a=", "x" * 201])
def test_a_token_that_could_mean_another_file_is_refused(token: str) -> None:
    with pytest.raises(ChallengeError):
        check_task(http_task("example.com", token))


def test_http_cannot_validate_a_wildcard_and_suggests_dns() -> None:
    with pytest.raises(ChallengeError, match="wildcard") as caught:
        check_task(http_task("*.example.com", "abc"))

    assert caught.value.code == "challenge.http.wildcard"
    assert caught.value.hint is not None
    assert "--dns" in caught.value.hint


@pytest.mark.parametrize("name", ["example.com", "192.0.2.1", "2001:db8::1"])
def test_http_validates_names_and_addresses(name: str) -> None:
    placement = StandaloneSolver(None, 80, system()).plan(http_task(name, "abc"))

    assert (placement.identifier, placement.certificate) == (name, "example.com")
    assert placement.data == {"token": "abc", "key_authorization": "abc.thumbprint"}


def test_a_task_of_another_type_is_refused() -> None:
    with pytest.raises(ChallengeError, match="dns-01"):
        check_task(replace(http_task("example.com", "abc"), type=ChallengeType.DNS_01))


def test_the_txt_value_is_that_of_openssl() -> None:
    require("openssl")
    key_authorization = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.thumbprint"
    script = "openssl dgst -sha256 -binary | openssl base64 -A | tr '+/' '-_' | tr -d ="
    digest = subprocess.run(
        ["sh", "-c", script], input=key_authorization.encode(), capture_output=True, check=True
    ).stdout

    assert txt_value(key_authorization) == digest.decode()


def test_the_label_of_an_account_is_that_of_the_example_in_the_draft() -> None:
    assert account_label("https://example.com/acme/acct/ExampleAccount") == "_ujmmovf2vn55tgye"


@given(st.binary(max_size=300))
def test_any_request_gets_one_complete_response(request_head: bytes) -> None:
    answers = Answers[str]()
    answers.add("abc", "abc.thumbprint")

    head, _, body = respond(request_head, answers).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 ")
    assert f"Content-Length: {len(body)}\r\n".encode() in head


@given(st.text(alphabet="abc/.%?\\-", max_size=20))
def test_only_the_exact_path_of_a_token_is_answered(path: str) -> None:
    answers = Answers[str]()
    answers.add("abc", "secret")

    response = respond(f"GET /.well-known/acme-challenge/{path} HTTP/1.1\r\n".encode(), answers)

    assert (b"secret" in response) == (path.partition("?")[0] == "abc")


def test_the_last_holder_is_told_to_clean_up() -> None:
    holders = Holders()
    holders.hold("token", "a")
    holders.hold("token", "a")
    holders.hold("token", "b")

    assert [holders.release("token", each) for each in "ab"] == [False, True]


def test_an_answer_that_was_never_held_may_be_cleaned_up() -> None:
    assert Holders().release("token", "a")


def test_a_certificate_does_not_release_the_answer_of_another() -> None:
    holders = Holders()
    holders.hold("token", "a")

    assert not holders.release("token", "b")
    assert holders.release("token", "a")


def test_webroots_are_a_default_and_exceptions() -> None:
    default, by_name = parse_webroots(
        ["/srv/www", "shop.example=/srv/shop", "Bücher.example=/srv/a=b", "2001:DB8::1=/srv/six"]
    )

    assert default == "/srv/www"
    assert by_name == {
        "shop.example": "/srv/shop",
        "xn--bcher-kva.example": "/srv/a=b",
        "2001:db8::1": "/srv/six",
    }


def test_an_equals_sign_after_a_slash_belongs_to_the_directory() -> None:
    assert parse_webroots(["/srv/a=b"]) == ("/srv/a=b", {})


@pytest.mark.parametrize(
    "texts", [[], ["/srv/a", "/srv/b"], ["example.com=/srv/a", "example.com=/srv/b"]]
)
def test_webroots_that_contradict_each_other_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="webroot"):
        parse_webroots(texts)


def test_a_webroot_for_no_name_is_refused() -> None:
    with pytest.raises(InvalidIdentifier):
        parse_webroots(["no name=/srv/a"])


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 812345 1
   1: 0100007F:0050 0100007F:A3C2 01 00000000:00000000 00:00000000 00000000    33        0 812346 1
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 812347 1
"""


def test_only_listeners_at_the_port_count() -> None:
    assert parse_table(TCP, 80) == [Listener(inode="812345", uid=33)]
    assert parse_table(TCP, 443) == []


@pytest.mark.parametrize(
    ("challenge", "challenge_type"),
    [
        (ChallengeSpec(method="standalone"), "http-01"),
        (ChallengeSpec(method="webroot", webroots=("/srv/www",)), "http-01"),
        (
            ChallengeSpec(method="dns", dns_provider="exec", plugin={"dns.exec.hook": "true"}),
            "dns-01",
        ),
        (ChallengeSpec(method="tls-alpn"), "tls-alpn-01"),
    ],
)
def test_each_method_has_a_solver(challenge: ChallengeSpec, challenge_type: str) -> None:
    solver = create_solver(challenge, system())

    assert solver.challenge_types[0] == challenge_type
    solver.close()
    solver.close()


DNS = ChallengeSpec(method="dns", dns_provider="exec", plugin={"dns.exec.hook": "a"})
WEBROOT = ChallengeSpec(method="webroot", webroots=("/srv/a",))
STANDALONE = ChallengeSpec(method="standalone")
TLS_ALPN = ChallengeSpec(method="tls-alpn")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (STANDALONE, replace(STANDALONE, hook_timeout=1, dns_resolver="192.0.2.53"), True),
        (STANDALONE, replace(STANDALONE, http_port=8080), False),
        (STANDALONE, replace(STANDALONE, http_address="::1"), False),
        (TLS_ALPN, replace(TLS_ALPN, hook_timeout=1, http_port=8080), True),
        (TLS_ALPN, replace(TLS_ALPN, tls_alpn_port=8443), False),
        (TLS_ALPN, replace(TLS_ALPN, tls_alpn_address="::1"), False),
        (WEBROOT, replace(WEBROOT, hook_timeout=1), True),
        (WEBROOT, replace(WEBROOT, webroots=("/srv/b",)), False),
        (WEBROOT, replace(WEBROOT, method="standalone"), False),
        (DNS, replace(DNS, plugin={"dns.exec.hook": "a"}), True),
        (DNS, replace(DNS, plugin={"dns.exec.hook": "b"}), False),
        (DNS, replace(DNS, hook_timeout=1), False),
    ],
)
def test_certificates_share_a_solver_if_its_settings_are_equal(
    one: ChallengeSpec, other: ChallengeSpec, same: bool
) -> None:
    assert (sharing_key(one) == sharing_key(other)) is same
    assert hash(sharing_key(one)) == hash(sharing_key(one))


def test_an_unknown_method_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        create_solver(ChallengeSpec(method="standalon"), system())

    assert caught.value.message == "there is no challenge method 'standalon'"
    assert caught.value.hint == "Did you mean standalone?"


def install_plugin(directory: Path, group: str, source: str) -> None:
    """Put a package into `directory` whose module offers a plug-in called `theirs`."""
    (directory / "their_module.py").write_text(source)
    facts = directory / "their_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\ntheirs = their_module\n")


SOLVER = """
from certctl.challenges import http01_standalone
OPTIONS = ()
create = http01_standalone.create
"""


def run_with_plugin(directory: Path, code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(directory)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.strip()


CREATE_THEIRS = """
import threading
from certctl.challenges.loading import SolverSystem, create_solver
from certctl.model.errors import CertctlError
from certctl.model.spec import ChallengeSpec
from tests.lab.clock import SteerableClock
system = SolverSystem(SteerableClock(), threading.Event())
try:
    print(type(create_solver(ChallengeSpec(method="theirs"), system)).__name__)
except CertctlError as error:
    print(error.code, error.message, sep=": ")
"""


def test_a_method_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    install_plugin(tmp_path, "certctl.challenges", SOLVER)

    assert run_with_plugin(tmp_path, CREATE_THEIRS) == "StandaloneSolver"


def test_packages_that_cannot_be_searched_for_plugins_are_an_error(tmp_path: Path) -> None:
    install_plugin(tmp_path, "certctl.challenges", SOLVER)
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_bytes(b"[certctl.challenges]\n\xff = x\n")

    assert run_with_plugin(tmp_path, CREATE_THEIRS).startswith(
        "configuration.plugin: the installed Python packages cannot be searched for plug-ins: "
    )


def test_a_plugin_that_cannot_be_loaded_is_an_error_that_names_it(tmp_path: Path) -> None:
    install_plugin(tmp_path, "certctl.challenges", "raise RuntimeError('out of order')")

    assert run_with_plugin(tmp_path, CREATE_THEIRS) == (
        "configuration.plugin: the plug-in their_module for the challenge method 'theirs'"
        " cannot be loaded: out of order"
    )


PROVIDER = """
from certctl.rules.options import Kind, Option
OPTIONS = (Option("dns.theirs.zone", Kind.TEXT, None, "A zone.", in_spec=True),)
def create(settings, system):
    return dict(settings)
"""

LIST_PROVIDERS = """
import threading
from certctl.dns.loading import ProviderSystem, create_provider, provider_names, provider_options
from certctl.engine.plugins import option_table
from tests.lab.clock import SteerableClock
system = ProviderSystem(SteerableClock(), threading.Event())
print({"exec", "rfc2136", "theirs"} <= set(provider_names()))
print(*(each.key for each in provider_options() if "theirs" in each.key))
print("dns.theirs.zone" in option_table())
print(create_provider("theirs", {"dns.theirs.zone": "z"}, system))
"""


def test_a_provider_of_another_package_is_listed_with_its_options(tmp_path: Path) -> None:
    install_plugin(tmp_path, "certctl.dns", PROVIDER)

    assert run_with_plugin(tmp_path, LIST_PROVIDERS).splitlines() == [
        "True",
        "dns.theirs.zone",
        "True",
        "{'dns.theirs.zone': 'z'}",
    ]


def test_finding_solvers_and_options_imports_nothing_heavy() -> None:
    code = """
import sys
import certctl.challenges.loading
from certctl.engine.plugins import option_table
assert "dns.rfc2136.server" in option_table()
heavy = {"asyncio", "dns", "email", "importlib.metadata", "requests", "socket", "subprocess"}
print(*sorted(heavy & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == []
