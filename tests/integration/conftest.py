"""The fixture that tests of the operations share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.scripted_ca.server import ScriptedCA
from tests.support.operations import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without certificates, and a CA of its own that validates what it serves."""
    with ScriptedCA() as ca:
        yield Machine(tmp_path / "home", ca)
