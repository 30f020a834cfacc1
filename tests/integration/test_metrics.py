"""`metrics`: what Prometheus' own parser reads in it."""

import math
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certctl.rules.settings import Settings
from tests.lab.clock import SteerableClock
from tests.support.command import certctl
from tests.support.homes import add_certificate
from tests.support.local_store import LocalStore
from tests.support.nouns import tried

DOCUMENT = Path(__file__).parents[2] / "docs" / "monitoring.md"
DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


def read(text: str) -> dict[str, dict[str, float]]:
    """The samples of each metric, by the name or version in their labels; "" without labels."""
    return {
        family.name: {
            each.labels.get("name", each.labels.get("version", "")): each.value
            for each in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One certificate that is well, one that fails and is not deployed, one that is unreadable."""
    home = tmp_path / "home"
    add_certificate(home, "good.example", age=10 * DAY)
    add_certificate(home, "bad.example", age=70 * DAY, deployed=False, renewal_state=tried(3))
    add_certificate(home, "broken.example")
    (home / "certificates" / "broken.example.toml").write_text("names = 7\n")
    store = LocalStore(home, Settings(), SteerableClock())
    store.record_run(NOW - DAY, 0)
    store.record_run(NOW, 3)
    return home


def test_each_certificate_has_its_times_its_failures_and_its_debt(home: Path) -> None:
    found = read(certctl("metrics", home=home).stdout)
    good = LocalStore(home, Settings(), SteerableClock()).status("good.example").live

    assert good is not None
    end, begin = good.facts.not_after, good.facts.not_before
    ends = found["certctl_certificate_not_after_timestamp_seconds"]
    assert set(ends) == {"good.example", "bad.example"}
    assert ends["good.example"] == end.timestamp()
    begins = found["certctl_certificate_not_before_timestamp_seconds"]
    assert begins["good.example"] == begin.timestamp()
    renewals = found["certctl_certificate_renewal_timestamp_seconds"]
    assert math.isclose(renewals["good.example"], (end - 30 * DAY).timestamp(), abs_tol=1)
    failures = found["certctl_certificate_renewal_failures"]
    assert failures == {"good.example": 0, "bad.example": 3}
    assert found["certctl_certificate_deployment_pending"] == {"good.example": 0, "bad.example": 1}
    assert found["certctl_certificate_readable"]["broken.example"] == 0
    assert found["certctl_certificates"] == {"": 3}


def test_a_metric_of_a_certificate_has_its_ca_its_key_type_and_its_issuer(home: Path) -> None:
    text = certctl("metrics", home=home).stdout
    found = {
        (family.name, each.labels["name"]): each.labels
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if "name" in each.labels
    }

    known = {"ca": "ca.example", "key_type": "ecdsa-p256", "issuer": "A Test Root"}
    name = "certctl_certificate_not_after_timestamp_seconds"
    assert found[name, "good.example"] == {"name": "good.example", **known}
    unread = found["certctl_certificate_readable", "broken.example"]
    assert unread == {"name": "broken.example", "ca": "", "key_type": "", "issuer": ""}


def test_the_last_run_has_its_time_and_its_result(home: Path) -> None:
    found = read(certctl("metrics", home=home).stdout)

    assert found["certctl_run_timestamp_seconds"] == {"": NOW.timestamp()}
    assert found["certctl_run_success_timestamp_seconds"] == {"": (NOW - DAY).timestamp()}
    assert found["certctl_run_exit_status"] == {"": 3}


def test_what_is_not_known_has_no_sample(tmp_path: Path) -> None:
    found = read(certctl("metrics", home=tmp_path / "home").stdout)

    assert "certctl_run_timestamp_seconds" not in found
    assert found["certctl_certificates"] == {"": 0}
    assert not (tmp_path / "home").exists()


def test_a_file_is_replaced_as_a_whole_and_everybody_may_read_it(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "certctl.prom"
    file.write_text("of before")
    file.chmod(0o600)
    before = file.stat().st_ino

    finished = certctl("metrics", "--out", "certctl.prom", home=home, directory=tmp_path)

    assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_ino != before
    assert read(file.read_text()) == read(certctl("metrics", home=home).stdout)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["certctl.prom", "home"]


def test_a_name_that_the_node_exporter_would_pass_over_is_warned_of(
    home: Path, tmp_path: Path
) -> None:
    finished = certctl("metrics", "--out", str(tmp_path / "certctl.txt"), home=home)

    assert finished.exit_status == 0
    assert ".prom" in finished.stderr


def test_a_directory_that_is_not_there_is_an_error(home: Path, tmp_path: Path) -> None:
    finished = certctl("metrics", "--out", str(tmp_path / "absent" / "a.prom"), home=home)

    assert finished.exit_status == 1
    assert str(tmp_path / "absent") in finished.stderr


def test_without_the_library_the_error_has_the_command_that_installs_it(home: Path) -> None:
    hidden = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from certctl.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", hidden, "--home", home, "metrics"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install prometheus-client" in done.stderr


def test_every_metric_is_documented_and_every_documented_one_exists(home: Path) -> None:
    documented = re.findall(r"^\| `(certctl_\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)

    assert sorted(documented) == sorted(read(certctl("metrics", home=home).stdout))


def test_names_are_of_the_conventions(home: Path) -> None:
    text = certctl("metrics", home=home).stdout

    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"certctl_[a-z_]+", family.name)
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        assert ("_timestamp" in family.name) == family.name.endswith("_timestamp_seconds")
        assert not family.name.endswith("_total")
