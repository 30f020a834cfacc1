"""certbot's command lines for new certificates, as public scripts have them, run off a terminal
exactly as they stand.
"""

import importlib.util
import re
from collections.abc import Iterator

import pytest

from tests.lab import machine as lab
from tests.support.certbot_lines import (
    ANSWERS,
    D2,
    D3,
    PROXY,
    SITES,
    D,
    Scene,
    command_of,
    lines,
    scene,
)

RECEIVED = "Successfully received certificate."
ISSUING = [each for each in lines("run") if each.startswith("certbot certonly")]
ELSEWHERE = ("--nginx", "--apache", "--dns-route53")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not lab.possible():
        pytest.skip("only root can make a machine, by namespaces")
    with scene(tmp_path_factory.mktemp("scene")) as found:
        yield found


def names_in(line: str) -> set[str]:
    """Return the names that the certificate of a line must have."""
    words = set(re.findall(r"(?<![\w.])(\*\.D|D[23]?)(?![\w])", line))
    return {{"D": D, "D2": D2, "D3": D3, "*.D": f"*.{D}"}[each] for each in words}


@pytest.mark.parametrize(
    "line", [each for each in ISSUING if not any(one in each for one in ELSEWHERE)]
)
def test_a_line_obtains_the_certificate(line: str, made: Scene) -> None:
    served = any(each in line for each in ("--webroot", "--config", "challenges http"))
    standalone = "standalone" in line
    proxy = PROXY if "8888" in line else None
    made.reset(proxy if standalone else SITES if served else None)
    if "-m" not in line and "agree" not in line and "--config" not in line:
        made.run("certbot", "register", "-n", "--agree-tos", "-m", "admin@d.test")
    directory = "/srv/dir" if "--config-dir DIR" in line else "/etc/letsencrypt"

    done = made.run(*command_of(line, made))

    assert done.exit_status == 0, done
    name = "mine" if "NAME" in line else D
    if "--dry-run" in line:
        assert "The dry run was successful." in done.stdout
        return
    if " -q" not in line:
        assert RECEIVED in done.stdout
    if "--csr" in line:
        assert made.sh("ls /srv/out").split() == ["cert.pem", "chain.pem", "fullchain.pem"]
        return
    issued = made.sh(
        f"openssl x509 -in {directory}/live/{name}/cert.pem -noout -ext subjectAltName"
    )
    assert set(re.findall(r"DNS:([^,\s]+)", issued)) == names_in(line)
    assert made.sh(f"ls {directory}/live/{name}").split() == [
        *("cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"),
    ]


@pytest.mark.parametrize("line", [each for each in lines("ask") if "certonly" in each])
def test_a_line_leads_a_person_to_the_certificate(line: str, made: Scene) -> None:
    made.reset(None)

    status, printed = made.converse(command_of(line, made), ANSWERS)

    assert status == 0, printed
    assert RECEIVED in printed
    assert set(made.names()) == names_in(line)


@pytest.mark.parametrize("line", [each for each in ISSUING if "route53" in each])
def test_a_line_whose_library_is_missing_says_how_to_install_it(line: str, made: Scene) -> None:
    pytest.importorskip("lexicon")
    if importlib.util.find_spec("boto3") is not None:
        pytest.skip("the library is there, and would ask Amazon")
    made.reset(None)

    done = made.run(*command_of(line, made))

    assert done.exit_status == 1
    assert "the DNS provider route53 needs a package that is not installed" in done.stderr
    assert "dns-lexicon[route53]" in done.stderr
