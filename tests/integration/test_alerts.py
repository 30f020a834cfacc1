"""Alerts: who hears how a run ended that nobody watched, and how often."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from certctl.alerts.hook import variables
from certctl.engine.report import Report
from certctl.model.errors import ExitStatus
from certctl.model.events import Warned
from certctl.model.run import RunFailure, RunSummary
from tests.lab.certificates import make_server_certificate
from tests.lab.clock import START
from tests.lab.scripted_ca.faults import problem
from tests.lab.tls import TlsServer
from tests.support.operations import Machine, executable, lines

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
URL_SECRET = "2f6c1d4e-uuid-of-a-check"


class Listener:
    """A server over plain HTTP that keeps what it is asked, and answers as it is told."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                outer.requests.append((self.command, self.path, self.rfile.read(length)))
                outer.headers.append(dict(self.headers))
                self.send_response(outer.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port

    @contextmanager
    def listening(self) -> Iterator["Listener"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener().listening() as listener:
        yield listener


def configure(machine: Machine, **settings: str) -> None:
    machine.home.mkdir(exist_ok=True)
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (machine.home / "certctl.toml").write_text(text)


def warnings(machine: Machine) -> list[str]:
    return [each.message for each in machine.events if isinstance(each, Warned)]


def due(machine: Machine, *names: str) -> None:
    """Certificates that are due, at a CA that refuses the next orders."""
    for name in names:
        machine.issue(name)
    machine.pass_time(61 * DAY)
    refuse(machine, 1000)


def refuse(machine: Machine, times: int) -> None:
    machine.ca.script("new-order", problem("rejectedIdentifier", detail="not yours"), times=times)


def unwatched(machine: Machine) -> Report:
    return machine.renew(unattended=True)


# The hook.


def heard(directory: Path) -> list[Any]:
    """What the hook of `listening_hook` was told, an object for each time."""
    return [json.loads(line) for line in lines(directory / "heard")]


def hook(directory: Path, status: int = 0) -> str:
    """A hook that writes what it is told into a file, as JSON; not in the home directory."""
    path = directory / "on-failure"
    executable(
        path,
        "python3 -c 'import json, os\n"
        'facts = {k: v for k, v in os.environ.items() if k.startswith("CERTCTL_")}\n'
        f'print(json.dumps(facts), file=open("{directory}/heard", "a"))\'\n'
        f"echo heard it; exit {status}",
    )
    return str(path)


def test_a_run_that_failed_is_told_with_each_certificate_its_cause_and_what_to_do(
    machine: Machine, tmp_path: Path
) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    due(machine, "a.example", "b.example")

    report = unwatched(machine)

    (facts,) = heard(tmp_path)
    assert report.exit_status == ExitStatus.FAILED
    assert facts["CERTCTL_EVENT"] == "failure"
    assert facts["CERTCTL_EXIT_STATUS"] == "1"
    assert sorted(facts["CERTCTL_FAILED_CERTS"].split()) == ["a.example", "b.example"]
    assert "not yours" in facts["CERTCTL_MESSAGE"]
    failures = json.loads(facts["CERTCTL_FAILURES"])
    assert {each["name"] for each in failures} == {"a.example", "b.example"}
    assert {each["code"] for each in failures} == set(facts["CERTCTL_ERROR_CODES"].split())
    assert warnings(machine) == []


def test_the_same_failure_is_told_again_only_after_a_day(machine: Machine, tmp_path: Path) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    due(machine, "a.example")

    for _ in range(23):
        unwatched(machine)
        machine.pass_time(HOUR)
    assert len(heard(tmp_path)) == 1
    machine.pass_time(HOUR)
    unwatched(machine)

    assert len(heard(tmp_path)) == 2


def test_another_failure_is_told_at_once(machine: Machine, tmp_path: Path) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    due(machine, "a.example")
    unwatched(machine)
    machine.pass_time(HOUR)
    machine.spec_file("b.example").write_text("names = 7\n")

    unwatched(machine)

    first, second = heard(tmp_path)
    assert first["CERTCTL_FAILED_CERTS"] == "a.example"
    assert second["CERTCTL_FAILED_CERTS"].split() == ["a.example", "b.example"]


def test_a_failure_that_comes_back_after_a_good_run_is_told_anew(
    machine: Machine, tmp_path: Path
) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    machine.issue("a.example")
    machine.pass_time(61 * DAY)
    refuse(machine, 1)
    unwatched(machine)
    machine.pass_time(HOUR)
    assert unwatched(machine).exit_status == ExitStatus.DONE
    machine.pass_time(61 * DAY)
    refuse(machine, 1)

    unwatched(machine)

    assert len(heard(tmp_path)) == 2


def test_a_deploy_that_is_owed_is_told_too(machine: Machine, tmp_path: Path) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    machine.issue("a.example", options={"deploy.reload": "false"})

    report = unwatched(machine)

    (facts,) = heard(tmp_path)
    assert report.exit_status == ExitStatus.NOT_DEPLOYED
    assert facts["CERTCTL_EXIT_STATUS"] == "4"


def test_a_hook_that_fails_is_warned_of_and_tried_again_next_time(
    machine: Machine, tmp_path: Path
) -> None:
    configure(machine, on_failure_hook=hook(tmp_path, status=3))
    due(machine, "a.example")

    report = unwatched(machine)
    machine.pass_time(HOUR)
    unwatched(machine)

    assert report.exit_status == ExitStatus.FAILED
    assert len(heard(tmp_path)) == 2
    assert "the on_failure_hook failed with exit status 3" in warnings(machine)[0]
    assert "heard it" in warnings(machine)[0]


def test_whoever_watches_a_run_is_not_told_of_it(machine: Machine, tmp_path: Path) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    due(machine, "a.example")

    machine.renew()
    machine.renew("a.example", unattended=True, force=True)

    assert heard(tmp_path) == []


def test_hundreds_of_failures_still_fit_into_an_environment() -> None:
    failures = tuple(
        RunFailure(f"{number}.example", "acme.refused", "é" * 1000, "Look.")
        for number in range(2000)
    )

    told = variables(RunSummary(START, 1, 2000, failures))

    assert all(len(each.encode()) <= 100_000 for each in told.values())
    assert told["CERTCTL_MESSAGE"].endswith("...")
    assert 0 < len(json.loads(told["CERTCTL_FAILURES"])) < 2000


# The heartbeat.


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_good_run_asks_for_the_heartbeat_with_nothing_of_ours(
    machine: Machine, listener: Listener, method: str
) -> None:
    url = f"http://127.0.0.1:{listener.port}/{URL_SECRET}"
    configure(machine, heartbeat=url, heartbeat_method=method)
    machine.issue("a.example")

    report = unwatched(machine)

    assert report.exit_status == ExitStatus.DONE
    assert listener.requests == [(method.upper(), f"/{URL_SECRET}", b"")]
    assert listener.headers[0]["User-Agent"].startswith("certctl/")
    assert "Authorization" not in listener.headers[0]
    assert warnings(machine) == []


def test_a_run_that_failed_sends_no_heartbeat(machine: Machine, listener: Listener) -> None:
    configure(machine, heartbeat=f"http://127.0.0.1:{listener.port}/x")
    due(machine, "a.example")

    unwatched(machine)

    assert listener.requests == []


@pytest.mark.parametrize("status", [301, 404, 500])
def test_an_answer_that_is_no_success_is_warned_of_and_changes_nothing(
    machine: Machine, listener: Listener, status: int
) -> None:
    listener.status = status
    configure(machine, heartbeat=f"http://127.0.0.1:{listener.port}/{URL_SECRET}")
    machine.issue("a.example")

    report = unwatched(machine)

    (warning,) = warnings(machine)
    assert report.exit_status == ExitStatus.DONE
    assert f"127.0.0.1 answered the heartbeat with HTTP status {status}" in warning
    assert URL_SECRET not in warning
    assert len(listener.requests) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://127.0.0.1:1/{URL_SECRET}", "Connection refused"),
        (f"http://name.invalid/{URL_SECRET}", "name.invalid"),
        (f"ftp://127.0.0.1/{URL_SECRET}", "not a valid http or https URL"),
        (f"http://[::1/{URL_SECRET}", "not a valid http or https URL"),
    ],
)
def test_a_heartbeat_that_cannot_be_sent_is_warned_of_without_its_url(
    machine: Machine, url: str, words: str
) -> None:
    configure(machine, heartbeat=url)
    machine.issue("a.example")

    report = unwatched(machine)

    (warning,) = warnings(machine)
    assert report.exit_status == ExitStatus.DONE
    assert words in warning
    assert URL_SECRET not in warning


def test_a_heartbeat_goes_only_to_a_server_that_is_trusted(
    machine: Machine, tmp_path: Path
) -> None:
    files = make_server_certificate(tmp_path)
    machine.issue("a.example")
    with TlsServer({"": [(files.certificate, files.private_key)]}) as server:
        url = f"https://localhost:{server.port}/{URL_SECRET}"
        configure(machine, heartbeat=url)
        unwatched(machine)
        configure(machine, heartbeat=url, heartbeat_ca_bundle=str(files.ca_bundle))
        unwatched(machine)

    untrusted, trusted = warnings(machine)
    assert "its certificate is not trusted" in untrusted
    # This server says nothing behind the handshake.
    assert "its certificate is not trusted" not in trusted


# Chat and mail.


def apprise_urls(directory: Path, *urls: str, mode: int = 0o600) -> str:
    path = directory / "alerts"
    path.write_text("# who is to hear\n" + "".join(f"{each}\n" for each in urls))
    path.chmod(mode)
    return str(path)


APPRISE = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""What the library does while it is imported."""


@APPRISE
def test_a_failure_is_told_by_apprise(machine: Machine, listener: Listener, tmp_path: Path) -> None:
    url = f"json://127.0.0.1:{listener.port}/{URL_SECRET}"
    configure(machine, alert_urls_file=apprise_urls(tmp_path, url))
    due(machine, "a.example")

    unwatched(machine)
    machine.pass_time(HOUR)
    unwatched(machine)

    ((method, path, sent),) = listener.requests
    message = json.loads(sent)
    assert (method, path.strip("/")) == ("POST", URL_SECRET)
    assert message["title"] == "certctl renew: 1 of 1 certificates failed"
    assert "not yours" in message["message"]
    assert warnings(machine) == []


def test_urls_that_others_can_read_are_refused_and_not_shown(
    machine: Machine, tmp_path: Path
) -> None:
    url = f"json://127.0.0.1:1/{URL_SECRET}"
    configure(machine, alert_urls_file=apprise_urls(tmp_path, url, mode=0o644))
    due(machine, "a.example")

    unwatched(machine)

    (warning,) = warnings(machine)
    assert "accessible to other users" in warning
    assert URL_SECRET not in warning


@APPRISE
def test_a_message_that_could_not_be_sent_is_warned_of_without_its_url(
    machine: Machine, listener: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener.status = 500
    urls = (f"json://127.0.0.1:{listener.port}/{URL_SECRET}", f"nosuch://{URL_SECRET}")
    configure(machine, alert_urls_file=apprise_urls(tmp_path, *urls))
    due(machine, "a.example")

    unwatched(machine)

    (warning,) = warnings(machine)
    assert "URL number 1" in warning
    assert "URL number 2" in warning
    shown = capsys.readouterr()
    assert URL_SECRET not in warning + shown.out + shown.err


@APPRISE
def test_one_message_that_was_sent_is_enough_and_what_failed_is_warned_of(
    machine: Machine, listener: Listener, tmp_path: Path
) -> None:
    urls = (f"nosuch://{URL_SECRET}", f"json://127.0.0.1:{listener.port}/{URL_SECRET}")
    configure(machine, alert_urls_file=apprise_urls(tmp_path, *urls))
    due(machine, "a.example")

    unwatched(machine)
    machine.pass_time(HOUR)
    unwatched(machine)

    (warning,) = warnings(machine)
    assert len(listener.requests) == 1
    assert "URL number 1" in warning
    assert URL_SECRET not in warning


# What is remembered.


def test_what_was_told_is_remembered_with_the_run(machine: Machine, tmp_path: Path) -> None:
    configure(machine, on_failure_hook=hook(tmp_path))
    due(machine, "a.example")
    unwatched(machine)
    failed = machine.store.history()

    assert failed.exit_status == 1
    assert failed.last_alert is not None
    error = machine.status("a.example").renewal_state.last_error
    assert error is not None
    assert failed.last_alert.failures == (f"a.example {error.code}",)
    assert failed.last_alert.at == machine.clock.now()
