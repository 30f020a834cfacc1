"""The Ansible role: changed, unchanged and check mode, as ansible-core sees them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.documents import ROOT

ROLES = ROOT / "packaging" / "ansible" / "roles"
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
CERTCTL = Path(sys.executable).parent / "certctl"


def play(tmp_path: Path, *plays: dict[str, Any]) -> list[str]:
    """Run the role on this machine, once for each of these; return the output of each."""
    common = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "roles": ["certctl"],
    }
    variables = {
        "certctl_file": str(tmp_path / "desired" / "certificates.json"),
        "certctl_command": str(CERTCTL),
        "certctl_home": str(tmp_path / "home"),
    }
    file = tmp_path / "playbook.json"
    file.write_text(
        json.dumps(
            [
                {**common, **each, "vars": {**variables, **each["vars"]}, "name": f"play {number}"}
                for number, each in enumerate(plays)
            ]
        )
    )
    done = subprocess.run(
        [str(PLAYBOOK), "--inventory", "localhost,", "-v", str(file)],
        env={
            **os.environ,
            "ANSIBLE_ROLES_PATH": str(ROLES),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_PIPELINING": "true",
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    output = done.stdout.partition("\nPLAY RECAP")[0]
    _, *found = re.split(r"^PLAY (?=\[)", output, flags=re.MULTILINE)
    assert len(found) == len(plays), done
    return found


def changes(output: str) -> int:
    return len(re.findall(r"^changed: ", output, re.MULTILINE))


def wanted(*names: str, check: bool = False, **variables: object) -> dict[str, Any]:
    """A play that wants these certificates."""
    state = {
        "owner": "ansible",
        "defaults": {"ca": "dev"},
        "certificate": {each: {} for each in names},
    }
    return {"vars": {"certctl_desired": state, **variables}, "check_mode": check}


def test_the_role_tells_what_changed_and_in_check_mode_only_plans(tmp_path: Path) -> None:
    checked, first, again, fewer, pruned, mistake = play(
        tmp_path,
        wanted("a.example", "b.example", check=True),
        wanted("a.example", "b.example"),
        wanted("a.example", "b.example"),
        wanted("a.example", certctl_prune=False),
        wanted("a.example", certctl_prune=True),
        {"vars": {"certctl_desired": {"certificate": {"a.example": {"keytype": 1}}}}},
    )

    # one change is what is planned, the other what is done
    found = [changes(each) for each in (checked, first, again, fewer, pruned, mistake)]
    assert found == [1, 2, 0, 0, 2, 0]
    assert "a.example: create: there is no certificate yet" in checked
    assert "skipping: [localhost]" in checked
    assert "a.example: version 1 is live" in first
    assert "fatal: " in mistake
    assert "Did you mean key_type?" in mistake
    assert [each.name for each in (tmp_path / "home" / "live").iterdir()] == ["a.example"]
