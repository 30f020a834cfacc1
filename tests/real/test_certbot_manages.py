"""certbot's command lines for certificates and accounts that exist, run off a terminal as they
stand.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.lab import machine as lab
from tests.support.certbot_lines import D2, SITES, D, Scene, command_of, lines, scene
from tests.support.command import Finished

OTHERS = [
    each
    for each in lines("run")
    if not any(word in each for word in ("certonly", "--nginx", "--apache", "enhance"))
]
FORCED = "Congratulations, all renewals succeeded:"
QUIET = ("--quiet", " -q")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not lab.possible():
        pytest.skip("only root can make a machine, by namespaces")
    with scene(tmp_path_factory.mktemp("scene")) as found:
        yield found


@pytest.fixture
def prepared(made: Scene) -> Scene:
    """A machine on which a certificate was obtained, by an earlier line or now."""
    there = made.run("test", "-e", f"/etc/letsencrypt/live/{D}/cert.pem").exit_status == 0
    if not there:
        made.reset(SITES)
        made.given(D, D2)
    made.sh("rm -f /srv/deployed /srv/services.log")
    return made


@pytest.mark.parametrize("line", [each for each in OTHERS if " renew" in each])
def test_a_line_renews_what_is_due(line: str, prepared: Scene) -> None:
    before = prepared.leaf().serial_number

    done = prepared.run(*command_of(line, prepared))

    assert done.exit_status == 0, done
    forced = "--force-renewal" in line
    assert (prepared.leaf().serial_number != before) == forced
    if any(each in line for each in QUIET):
        assert (done.stdout, done.stderr) == ("", "")
    elif "--dry-run" in line:
        assert "Congratulations, all simulated renewals succeeded:" in done.stdout
    elif forced:
        assert f"{FORCED}\n  /etc/letsencrypt/live/{D}/fullchain.pem (success)" in done.stdout
    else:
        assert "No renewals were attempted." in done.stdout
    hooked = forced and "--deploy-hook F" in line
    deployed = prepared.sh("cat /srv/deployed 2>/dev/null || true")
    assert deployed == (f"/etc/letsencrypt/live/{D}: {D} {D2}\n" if hooked else "")
    assert prepared.sh("cat /srv/services.log 2>/dev/null || true") == ""


def deleted(made: Scene, done: Finished) -> None:
    assert done.exit_status == 0, done
    assert made.sh("ls /etc/letsencrypt/live") == ""
    assert "No certificates found." in made.run("certbot", "certificates").stdout


def unregistered(made: Scene, done: Finished) -> None:
    assert "Account deactivated." in done.stdout
    made.reset(SITES)


def listed(made: Scene, done: Finished) -> None:
    assert f"  Certificate Name: {D}\n" in done.stdout
    assert f"    Domains: {D} {D2}\n" in done.stdout
    assert f"    Certificate Path: /etc/letsencrypt/live/{D}/fullchain.pem\n" in done.stdout
    assert "(VALID: 89 days)" in done.stdout
    assert made.names() == [D, D2]


def printed(text: str) -> Callable[[Scene, Finished], None]:
    def check(made: Scene, done: Finished) -> None:
        assert text in done.stdout, (made.variables["CERTCTL_HOME"], done)

    return check


CHECKS: dict[str, Callable[[Scene, Finished], None]] = {
    "certificates": listed,
    "delete": deleted,
    "revoke": deleted,
    "register": printed("The account exists already."),
    "update_account": printed("admin@d.test"),
    "show_account": printed("admin@d.test"),
    "unregister": unregistered,
    "reconfigure": printed("Successfully updated configuration."),
    "plugins": printed("* dns-cloudflare\n"),
    "--version": printed("certbot 5."),
    "help": printed("certonly"),
}


@pytest.mark.parametrize("line", [each for each in OTHERS if " renew" not in each])
def test_a_line_does_what_it_says(line: str, prepared: Scene) -> None:
    words = command_of(line, prepared)
    if "revoke --cert-path" in line:
        words = [
            f"/etc/letsencrypt/live/{D}/cert.pem" if before == "--cert-path" else word
            for before, word in zip(("", *words), words, strict=False)
        ]

    done = prepared.run(*words)

    assert done.exit_status == 0, done
    CHECKS[words[1]](prepared, done)


def test_each_line_of_the_collection_is_tried_here_or_in_a_neighbouring_file() -> None:
    assert {line.split()[1] for line in OTHERS} - {"renew", "-q"} == CHECKS.keys()
    assert len(lines("run")) + len(lines("ask")) == 89
