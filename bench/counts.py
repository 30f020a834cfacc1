"""What one `certctl renew --force` of one certificate touches: state reads, files, fsyncs, code.

Against Pebble. Calls are counted by `sys.setprofile` in every thread of the process, system calls
by strace. Counts do not depend on the machine's speed, so they can be compared between versions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CERTCTL = f"{ROOT / 'certctl'}{os.sep}"
NAME = "counted.example"


def profiled(arguments: list[str]) -> None:
    """Run a command in this process, and print what it called as JSON; for `main`, in a child."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        ours = event == "call" and code.co_filename.startswith(CERTCTL)
        if ours and code.co_flags & CO_OPTIMIZED:  # not the body of a class, at its import
            calls[f"{code.co_filename.removeprefix(CERTCTL)}:{code.co_qualname}"] += 1

    from certctl.cli.main import main as certctl  # noqa: PLC0415 - its import is not counted

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        status = certctl(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    functions = {each for each in calls if "<" not in each.partition(":")[2]}
    print(
        json.dumps(
            {
                "exit_status": status,
                "modules": len({each.partition(":")[0] for each in functions}),
                "functions": len(functions),
                "state reads": calls["engine/current.py:state_of"],
                "document reads": calls["store/home/documents.py:read_document"],
            }
        )
    )


def traced(arguments: list[str], home: Path, trace: Path) -> dict[str, int]:
    """Return the system calls of a command on the home directory, counted."""
    subprocess.run(
        [
            *("strace", "-f", "-qq", "-y", "-e", "trace=openat,open,fsync,fdatasync,rename"),
            *("-o", str(trace), sys.executable, "-m", "certctl", *arguments),
        ],
        check=True,
        capture_output=True,
    )
    opened: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        call = re.search(r"\b(openat|open|fsync|fdatasync|rename)\(", line)
        if call is None or str(home) not in line:
            continue
        if call[1] in {"fsync", "fdatasync"}:
            found["fsyncs"] += 1
        elif call[1].startswith("open") and " = -1 " not in line:
            path = re.search(rf"{re.escape(str(home))}/([^\">]+)", line)
            if path is not None and path[1].endswith((".json", ".toml", ".pem")):
                opened[re.sub(r"/\.?new-[^/]*|(?<=/)\.[^/]+", "/(temporary)", path[1])] += 1
    found["state files opened"] = sum(opened.values())
    for path_opened, count in opened.most_common(5):
        found[f"  {path_opened}"] = count
    return dict(found)


def main() -> None:
    """Measure, and print."""
    from bench.run import quick_pebble  # noqa: PLC0415 - not in the child

    with tempfile.TemporaryDirectory(prefix="certctl-bench-") as name:
        directory = Path(name)
        home = directory / "home"
        with quick_pebble(directory) as pebble:
            common = ["--home", str(home), "--quiet"]
            subprocess.run(
                [
                    *(sys.executable, "-m", "certctl", "issue", NAME, "--agree-tos", *common),
                    *("--ca", pebble.directory_url, "--ca-bundle", str(pebble.ca_bundle)),
                    *("--http-port", str(pebble.http_port), "--http-address", "127.0.0.1"),
                ],
                check=True,
            )
            renew = ["renew", "--force", NAME, *common]
            done = subprocess.run(
                [sys.executable, __file__, "--profiled", *renew],
                check=True,
                capture_output=True,
                text=True,
            )
            counts = json.loads(done.stdout.splitlines()[-1])
            counts |= traced(renew, home, directory / "trace")
    print(f"One `certctl renew --force` of one certificate ({NAME}):")
    for what, count in counts.items():
        print(f"{what:44}{count:6}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--profiled"]:
        profiled(sys.argv[2:])
    else:
        main()
