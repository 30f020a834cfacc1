"""certctl as a library: its examples run as printed, it neither prompts nor prints, it is typed."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certctl import (
    Certctl,
    CertificateSaved,
    ConfigurationError,
    ConsentRequired,
    DeployFailed,
    Event,
    Interrupted,
    UnknownCertificate,
    UsageError,
    Warned,
)
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import certctl as command
from tests.support.documents import ROOT, python_blocks
from tests.support.homes import add_certificate


def python(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody would who has certctl installed."""
    environment = {**os.environ, "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_examples_of_the_page_work_one_after_the_other(tmp_path: Path) -> None:
    first, renew, settings, errors, events = python_blocks("docs/library.md")

    runs = [python(each, tmp_path) for each in (first, renew, settings, errors, events)]

    assert [(each.returncode, each.stderr) for each in runs] == [(0, "")] * 5
    issued, renewed, configured, failed, told = (each.stdout for each in runs)
    assert issued == f"{tmp_path}/certificates/live/shop.example/fullchain.pem\n"
    assert (tmp_path / "certificates/live/shop.example/fullchain.pem").exists()
    assert renewed == ""
    assert (tmp_path / "api.pem").exists()
    assert configured == ""
    assert failed.startswith("blog.shop.example is issued, but not deployed yet: ")
    assert told.startswith("shop.example: version 2, valid until ")


def test_a_certificate_goes_through_its_life_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = Certctl(tmp_path, settings={"ca": "dev"})

    home.issue("a.example")
    home.edit("a.example", add=["b.example"], options={"key_type": "rsa-2048"})
    home.rollback("a.example", to=1)
    home.deploy("a.example")
    report = home.renew("a.example", force=True)
    versions = [each.number for each in home.show("a.example").versions]
    revocation = home.revoke("a.example", "stop")
    state = home.list()[0].state
    home.delete("a.example")

    assert [each.action for each in report.outcomes] == ["issued"]
    assert versions == [1, 2, 3]
    assert (revocation.already, state) == (False, "revoked")
    assert home.list() == []
    assert len(home.accounts()) == 1
    assert capfd.readouterr() == ("", "")


def test_the_command_line_sees_the_same(tmp_path: Path) -> None:
    Certctl(tmp_path).issue("a.example", ca="dev")

    listed = command("list", "--json", home=tmp_path).json()["data"]["certificates"]

    assert [(each["name"], each["state"]) for each in listed] == [("a.example", "valid")]


def test_options_are_saved_with_the_certificate_and_settings_are_not(tmp_path: Path) -> None:
    home = Certctl(tmp_path, settings={"ca": "dev", "key_type": "rsa-2048"})

    issued = home.issue("a.example", options={"challenge": {"http_port": 8080}})

    spec = (tmp_path / "certificates" / "a.example.toml").read_text()
    assert issued.version is not None
    assert issued.version.facts.key_type == "rsa-2048"
    assert "http_port = 8080" in spec
    assert "key_type" not in spec


@pytest.mark.parametrize(
    ("options", "code", "hint"),
    [
        ({"key_tpe": "rsa-2048"}, "configuration.unknown_key", "Did you mean key_type?"),
        ({"key_type": "rsa-204"}, "configuration.value", "Did you mean rsa-2048?"),
        ({"deploy.copy": ["pem:/a"]}, "configuration.value", "Give FORMAT:PATH, such as"),
    ],
)
def test_a_bad_option_is_the_error_of_the_command_line(
    tmp_path: Path, options: dict[str, object], code: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Certctl(tmp_path).issue("a.example", ca="dev", options=options)

    assert caught.value.code == code
    assert str(caught.value.hint).startswith(hint)


def test_a_deployment_that_failed_is_raised_and_retried(tmp_path: Path) -> None:
    home, flag = Certctl(tmp_path, settings={"ca": "dev"}), tmp_path / "up"

    with pytest.raises(DeployFailed) as caught:
        home.issue("a.example", options={"deploy.reload": f"test -e {flag}"})
    flag.touch()
    report = home.deploy(pending=True)

    assert caught.value.name == "a.example"
    assert [each.action for each in report.outcomes] == ["deployed"]
    assert report.all_errors == ()


def test_nobody_is_asked_unless_the_caller_answers(tmp_path: Path) -> None:
    questions: list[str] = []

    def yes(question: str) -> bool:
        questions.append(question)
        return True

    with ScriptedCA(terms_of_service="https://ca.test/terms") as ca:
        settings = {"ca": ca.directory_url, "ca_bundle": str(ca.ca_bundle)}
        with pytest.raises(ConsentRequired, match=r"https://ca\.test/terms"):
            Certctl(tmp_path, settings=settings).register()
        account = Certctl(tmp_path, settings=settings, ask=yes).register()

    assert account.status == "valid"
    assert len(questions) == 1


def test_events_come_one_at_a_time_and_a_callback_that_fails_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside = threading.Lock()
    seen: list[Event] = []
    alone: list[bool] = []

    def note(event: Event) -> None:
        alone.append(inside.acquire(blocking=False))
        seen.append(event)
        inside.release()
        if event.kind == "certificate.saved":
            raise RuntimeError("out of order")

    home = Certctl(tmp_path, on_event=note, settings={"ca": "dev"})
    home.issue("a.example")
    home.issue("b.example")
    report = home.renew(force=True)

    assert report.all_errors == ()
    assert set(alone) == {True}
    saved = [each.name for each in seen if isinstance(each, CertificateSaved)]
    assert sorted(saved) == ["a.example"] * 2 + ["b.example"] * 2
    assert len(caplog.records) == 4
    assert {each.name for each in caplog.records} == {"certctl"}


def test_warnings_are_events(tmp_path: Path) -> None:
    events: list[Event] = []
    tmp_path.chmod(0o777)

    Certctl(tmp_path, on_event=events.append).list()

    (warned,) = [each for each in events if isinstance(each, Warned)]
    assert str(tmp_path) in warned.message
    with pytest.raises(ConfigurationError):
        Certctl(tmp_path).renew()


def test_two_threads_work_on_one_home(tmp_path: Path) -> None:
    home = Certctl(tmp_path, settings={"ca": "dev"})
    names = [f"{each}.example" for each in "abcd"]

    with ThreadPoolExecutor(4) as pool:
        issued = list(pool.map(home.issue, names))

    assert [each.name for each in issued] == names
    assert [each.name for each in home.list()] == names
    assert len(home.accounts()) == 1


def test_a_run_that_is_stopped_raises(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(Interrupted):
        Certctl(tmp_path, stop=stop).issue("a.example", ca="dev")


def test_the_environment_counts_unless_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTCTL_HOME", str(tmp_path / "there"))
    monkeypatch.setenv("CERTCTL_KEY_TYPE", "rsa-2048")

    with_it = Certctl().issue("a.example", ca="dev")
    without = Certctl(tmp_path / "here", environment={}).issue("a.example", ca="dev")

    assert (tmp_path / "there" / "live" / "a.example").exists()
    assert with_it.version is not None
    assert without.version is not None
    assert with_it.version.facts.key_type == "rsa-2048"
    assert without.version.facts.key_type == "ecdsa-p256"


def test_a_certificate_is_found_by_any_name_that_it_is_for(tmp_path: Path) -> None:
    add_certificate(tmp_path, "a.example", names=["a.example", "www.example", "shared.example"])
    add_certificate(tmp_path, "b.example", names=["*.b.example", "shared.example"])
    home = Certctl(tmp_path)

    assert home.show("www.example").view.name == "a.example"
    listed = {each.name for each in home.list("*.b.example", "www.example")}
    assert listed == {"a.example", "b.example"}
    assert [each.name for each in home.deploy("www.example").outcomes] == ["a.example"]
    assert home.renew("www.example").considered == 1
    with pytest.raises(UsageError, match="is a name of 2 certificates"):
        home.show("shared.example")
    with pytest.raises(UnknownCertificate):
        home.delete("www.example")
