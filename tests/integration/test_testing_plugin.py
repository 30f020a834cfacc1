"""The pytest plugin, as somebody else's tests use it: the page's own example, and its settings."""

import re
import subprocess
import sys
from pathlib import Path

from certctl.testing import CertctlCa

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def pytest_of_somebody_else(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for number, example in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(example)

    said = pytest_of_somebody_else(tmp_path, "-W", "error")

    assert "3 passed" in said, said


def test_the_lifetime_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ncertctl_ca_lifetime = 30s\n")
    (tmp_path / "test_it.py").write_text(
        "def test_it(certctl_ca):\n    assert certctl_ca.settings.lifetime.total_seconds() == 30\n"
    )

    assert "1 passed" in pytest_of_somebody_else(tmp_path)


def test_whoever_does_not_ask_for_it_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    heavy = {'acme', 'cryptography', 'certctl.devca.server'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )

    assert "1 passed" in pytest_of_somebody_else(tmp_path)


def test_what_one_test_changes(certctl_ca: CertctlCa) -> None:
    certctl_ca.fault(bad_nonce=100)
    certctl_ca.zone.add("_acme-challenge.a.example", "left behind")
    certctl_ca.settings.reuse_authorizations = True


def test_does_not_reach_the_next(certctl_ca: CertctlCa) -> None:
    assert certctl_ca.settings.faults.bad_nonce == 0
    assert certctl_ca.zone.all_values() == {}
    assert certctl_ca.settings.reuse_authorizations is False
    assert certctl_ca.count() == 0
