"""Challenge methods of other packages: found by name, with settings and flags, and used."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.lab.devca import DevCaServer
from tests.lab.http import serving
from tests.support.command import Finished, certctl, certctl_process
from tests.support.documents import python_blocks

PREFIX = "/.well-known/acme-challenge/"

STANDALONE_AGAIN = """
from certctl.challenges import http01_standalone
from certctl.rules.options import Kind, Option
OPTIONS = (
    Option("challenge.theirs.password", Kind.TEXT, None, "A secret.", secret=True, in_spec=True),
)
create = http01_standalone.create
"""


def install(directory: Path, method: str, source: str) -> Path:
    """Install a distribution whose module offers a challenge method; return its directory."""
    packages = directory / "packages"
    facts = packages / f"certctl_{method}-1.0.dist-info"
    facts.mkdir(parents=True)
    (packages / f"certctl_{method}.py").write_text(source)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: certctl-{method}\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[certctl.challenges]\n{method} = certctl_{method}\n")
    return packages


def certctl_with(packages: Path, *arguments: str, home: Path, **variables: str) -> Finished:
    path = {"PYTHONPATH": f"{packages}{os.pathsep}{Path(__file__).parents[2]}"}
    return certctl_process(*arguments, home=home, variables={**path, **variables})


class WebServer:
    """A web server that takes files and lets them be removed; `seen` has all requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.seen: list[str] = []

    def handler(self, *arguments: object) -> BaseHTTPRequestHandler:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                web.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(201)

            def do_DELETE(self) -> None:
                self._answer(204 if web.files.pop(self.path, None) else 404)

            def do_GET(self) -> None:
                found = web.files.get(self.path)
                self._answer(404 if found is None else 200, found or b"")

            def _answer(self, status: int, body: bytes = b"") -> None:
                web.seen.append(self.command)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler(*arguments)  # type: ignore[arg-type] # those that the server passes


@pytest.fixture
def web(devca: DevCaServer) -> Iterator[WebServer]:
    """The web server of the names, where the CA looks for answers."""
    server = WebServer()
    with serving(server.handler, devca.http_port):
        yield server


def test_the_example_issues_and_renews_with_its_saved_options(
    tmp_path: Path, devca: DevCaServer, web: WebServer
) -> None:
    packages = install(tmp_path, "upload", python_blocks("CONTRIBUTING.md")[1])
    home, url = tmp_path / "home", f"http://127.0.0.1:{devca.http_port}{PREFIX}"
    ca = ("--ca", devca.directory_url, "--ca-bundle", str(devca.ca_bundle), "--agree-tos")
    way = ("--challenge", "upload", "--upload-url", url)

    issued = certctl_with(packages, "issue", "a.example", *ca, *way, home=home)
    renewed = certctl_with(packages, "renew", "--force", home=home)

    assert (issued.exit_status, issued.stderr) == (0, "")
    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert len(list((home / "archive" / "a.example").iterdir())) == 2
    assert web.seen.count("PUT") == web.seen.count("DELETE") >= 1
    assert web.files == {}
    spec = (home / "certificates" / "a.example.toml").read_text()
    assert f'[challenge.upload]\nurl = "{url}"\n' in spec


@pytest.mark.usefixtures("web")
def test_its_options_are_settings_of_the_file_and_of_the_environment(
    tmp_path: Path, devca: DevCaServer
) -> None:
    packages = install(tmp_path, "upload", python_blocks("CONTRIBUTING.md")[1])
    home, url = tmp_path / "home", f"http://127.0.0.1:{devca.http_port}{PREFIX}"
    home.mkdir(mode=0o700)
    (home / "certctl.toml").write_text(
        f'ca = "{devca.directory_url}"\nca_bundle = "{devca.ca_bundle}"\n'
        f'[challenge]\nmethod = "upload"\n[challenge.upload]\nurl = "{url}"\n'
        "[account]\nagree_tos = true\n"
    )

    by_file = certctl_with(packages, "issue", "b.example", home=home)
    elsewhere = {"CERTCTL_UPLOAD_URL": "http://127.0.0.1:1/"}
    by_variable = certctl_with(packages, "issue", "c.example", home=home, **elsewhere)

    assert (by_file.exit_status, by_file.stderr) == (0, "")
    assert by_variable.exit_status == 1
    assert "PUT http://127.0.0.1:1/" in by_variable.stderr
    assert "Check --upload-url" in by_variable.stderr


def test_it_answers_the_ca_inside_the_process_too(tmp_path: Path) -> None:
    packages = install(tmp_path, "theirs", STANDALONE_AGAIN)
    way = ("issue", "a.example", "--ca", "dev", "--challenge", "theirs")

    issued = certctl_with(packages, *way, home=tmp_path / "home")

    assert (issued.exit_status, issued.stderr) == (0, "")
    shown = certctl_with(packages, "show", "a.example", "--json", home=tmp_path / "home").json()
    assert shown["data"]["challenge"] == "theirs"


def test_a_secret_option_is_in_no_file_and_is_missed_by_cron(tmp_path: Path) -> None:
    packages = install(tmp_path, "theirs", STANDALONE_AGAIN)
    home, secret = tmp_path / "home", {"CERTCTL_CHALLENGE_THEIRS_PASSWORD": "hunter2"}
    way = ("issue", "a.example", "--ca", "dev", "--challenge", "theirs")

    issued = certctl_with(packages, *way, home=home, **secret)

    assert issued.exit_status == 0
    assert "CERTCTL_CHALLENGE_THEIRS_PASSWORD came from the environment" in issued.stderr
    written = [each for each in home.rglob("*") if each.is_file()]
    assert [each for each in written if b"hunter2" in each.read_bytes()] == []


def test_another_method_drops_its_options(tmp_path: Path) -> None:
    packages = install(tmp_path, "upload", python_blocks("CONTRIBUTING.md")[1])
    home = tmp_path / "home"
    (home / "certificates").mkdir(mode=0o700, parents=True)
    spec = home / "certificates" / "a.example.toml"
    spec.write_text(
        'names = ["a.example"]\nca = "dev"\n'
        '[challenge]\nmethod = "upload"\n[challenge.upload]\nurl = "http://127.0.0.1:1/"\n'
    )

    issued = certctl_with(packages, "issue", "a.example", "--standalone", home=home)

    assert (issued.exit_status, issued.stderr) == (0, "")
    assert "upload" not in spec.read_text()


def test_help_and_completion_know_the_method_and_its_options(tmp_path: Path) -> None:
    packages = install(tmp_path, "upload", python_blocks("CONTRIBUTING.md")[1])
    words = {"COMP_WORDS": "certctl issue --challenge up", "COMP_CWORD": "3"}

    shown = certctl_with(packages, "issue", "--help-all", home=tmp_path)
    completed = certctl_with(packages, home=tmp_path, _CERTCTL_COMPLETE="bash_complete", **words)

    assert "Challenge method upload:\n  --upload-url URL" in shown.stdout
    assert "plain,upload" in completed.stdout


def test_an_unknown_method_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    found = certctl("issue", "a.example", "--challenge", "standalon", "--json", home=tmp_path)

    (error,) = found.json()["errors"]
    assert (found.exit_status, error["code"]) == (2, "usage.challenge_method")
    assert error["message"] == "there is no challenge method 'standalon'"
    assert error["hint"] == "Did you mean standalone?"
    assert not (tmp_path / "certificates").exists()
    assert not (tmp_path / "accounts").exists()


def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    packages = install(tmp_path, "theirs", "raise RuntimeError('out of order')")
    way = ("issue", "a.example", "--ca", "dev", "--challenge", "theirs", "--json")

    found = certctl_with(packages, *way, home=tmp_path / "home")

    (error,) = found.json()["errors"]
    assert (found.exit_status, error["code"]) == (2, "configuration.plugin")
    assert "certctl_theirs for the challenge method 'theirs'" in error["message"]


@pytest.mark.parametrize(
    ("ways", "named"),
    [
        (("--challenge", "tls-alpn", "--standalone"), "--tls-alpn and --standalone"),
        (("--standalone", "--challenge", "theirs"), "--standalone and --challenge theirs"),
        (("--challenge", "theirs", "--webroot", "/srv"), "--challenge theirs and --webroot"),
        (("--challenge", "webroot", "--dns", "exec"), "--challenge webroot and --dns"),
    ],
)
def test_two_methods_cannot_be_combined(tmp_path: Path, ways: tuple[str, ...], named: str) -> None:
    found = certctl("issue", "a.example", *ways, home=tmp_path)

    assert found.exit_status == 2
    assert f"error: {named} cannot be combined" in found.stderr


def test_a_method_may_be_named_along_with_what_it_needs(tmp_path: Path) -> None:
    way = ("--challenge", "webroot", "--webroot", str(tmp_path / "no-such"))

    found = certctl("issue", "a.example", "--ca", "dev", *way, home=tmp_path)

    assert "no-such" in found.stderr
    assert "combined" not in found.stderr
