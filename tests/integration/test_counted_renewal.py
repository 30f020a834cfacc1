"""What one forced renewal of one certificate touches on the disk, counted by strace.

The counts do not depend on the machine: more of them is a state that is read again by name instead
of being carried, or a write that waits for the disk without need. `bench/counts.py` prints them.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.lab.ports import free_port
from tests.lab.programs import require_strace
from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.command import certctl

NAME = "a.example"


def test_a_forced_renewal_opens_each_file_once_and_waits_twenty_times_for_the_disk(
    tmp_path: Path,
) -> None:
    require_strace()
    home, trace = tmp_path / "home", tmp_path / "trace"
    with ScriptedCA() as ca:
        issued = certctl(
            *("issue", NAME, "--ca", ca.directory_url, "--ca-bundle", str(ca.ca_bundle)),
            *("--agree-tos", "--http-address", "127.0.0.1", "--http-port", str(free_port())),
            home=home,
        )
        assert (issued.exit_status, issued.stderr) == (0, "")
        subprocess.run(
            [
                *("strace", "-f", "-qq", "-y", "-e", "trace=openat,fsync,fdatasync"),
                *("-o", str(trace), sys.executable, "-m", "certctl", "--home", str(home)),
                *("renew", "--force", NAME),
            ],
            check=True,
            capture_output=True,
        )

    calls = [each for each in trace.read_text(errors="replace").splitlines() if str(home) in each]
    opened = Counter(
        path
        for call in calls
        if "openat(" in call and " = -1 " not in call
        for path in re.findall(rf'"{home}/([^"]+\.(?:json|toml))"', call)
    )
    assert {path: count for path, count in opened.items() if count > 1} == {}
    assert f"renewal/{NAME}.json" in opened
    read_back = [
        each for each in calls if "O_RDONLY" in each and re.search(r"/archive/.*pem", each)
    ]
    assert read_back == []
    assert sum("sync(" in each for each in calls) <= 20
