"""The documents say what the code says: settings, commands, flags, exit status, hooks, formats."""

import importlib.util
import json
import re
import subprocess
import sys
import threading
import tomllib
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

from certctl.alerts.hook import variables as failure_variables
from certctl.ca.directories import KNOWN_CAS
from certctl.challenges import http01_hook
from certctl.challenges.system import SolverSystem
from certctl.cli.main import COMMANDS
from certctl.deploy.hook_environment import run_variables, variables
from certctl.deploy.hooks import HookSystem
from certctl.deploy.system import TargetSystem
from certctl.dns import lexicon
from certctl.dns.loading import kind_of, provider_names
from certctl.dns.providers.exec import ExecProvider
from certctl.dns.system import ProviderSystem
from certctl.engine.plugins import plugin_options
from certctl.engine.rows import CertificateView
from certctl.model.ca import Account, LedgerEntry
from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.delivery import CertificateFiles, Delivery, Deployment, InterruptedCopies
from certctl.model.errors import PRECEDENCE, ExitStatus, HookFailed, PluginStatus
from certctl.model.events import Deployed, Event
from certctl.model.run import OutstandingPostHooks, RunHistory, RunSummary
from certctl.model.spec import ChallengeSpec, CopySpec, ServiceAddress
from certctl.model.validation import Leftover, Placement, TxtRecord
from certctl.output.document import Result, render
from certctl.rules.credentials import read_tables
from certctl.rules.options import OPTIONS
from certctl.store.home.audit import line
from certctl.system.process import INHERITED
from tests.lab.clock import SteerableClock
from tests.support.command import every_command
from tests.support.documents import python_blocks
from tests.unit.store_samples import NOW, issued

ROOT = Path(__file__).parents[2]
README = "README.md"
HOOKS = "docs/hooks.md"
DEPLOY = "docs/deploy.md"
FORMATS = "docs/formats.md"
SETTINGS = "docs/configuration.md"
MONITORING = "docs/monitoring.md"
SCHEDULE = "docs/schedule.md"
DNS = "docs/dns.md"
DOCUMENTS = tuple(
    sorted(
        each.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "docs/*.md")
        for each in ROOT.glob(pattern)
    )
)

FLAGS_OF_OTHERS = {
    *("--manual-auth-hook", "--manual-cleanup-hook", "--write"),
    *("--directory-path", "--example-directory"),
}
"""certbot's, those of scripts/settings-table, and those of the example plug-ins."""


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def code(document: str) -> set[str]:
    """What stands between backticks within a line."""
    return set(re.findall(r"`([^`\n]+)`", text(document)))


# Settings


def test_the_settings_are_documented_as_they_are() -> None:
    script = subprocess.run(
        [sys.executable, ROOT / "scripts" / "settings-table"],
        capture_output=True,
        check=True,
        text=True,
    )
    _, begin, rest = text(SETTINGS).partition(
        "<!-- settings: written by scripts/settings-table -->\n"
    )
    documented, end, _ = rest.partition("<!-- settings: end -->\n")

    assert begin
    assert end
    assert documented == script.stdout, (
        "run .venv/bin/python scripts/settings-table --write, and look at the difference"
    )


def test_the_toml_examples_hold_settings_only() -> None:
    tables = {option.key.partition(".")[0] for option in (*OPTIONS, *plugin_options())}
    for document in (SETTINGS, FORMATS):
        for block in re.findall(r"^```toml\n(.*?)^```", text(document), re.DOTALL | re.MULTILINE):
            keys = set(re.findall(r"^(?:\[)?([a-z_]+)", block, re.MULTILINE))
            known = tables | {option.key.rpartition(".")[2] for option in OPTIONS}
            known |= {each.name for each in fields(CopySpec)}

            assert keys - known - {"version", "names"} == set()


# Files for packages


def test_the_files_for_packages_are_those_that_schedule_install_writes() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "schedule-files")]

    stale = subprocess.run(script, capture_output=True, check=False, text=True)

    assert (stale.stdout, stale.returncode) == ("", 0), (
        "run .venv/bin/python scripts/schedule-files --write, and look at the difference"
    )


# Commands


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_command(name: str) -> None:
    assert re.search(rf"`certctl {name}\b", text(README))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_exists(document: str) -> None:
    named = {
        each
        for span in code(document)
        for each in re.findall(r"^certctl ([a-z][a-z-]*)", span)
        if each != "dev-ca"
    }

    assert named <= set(COMMANDS)


@pytest.mark.parametrize(
    "document", [README, SETTINGS, DEPLOY, HOOKS, FORMATS, DNS, MONITORING, SCHEDULE, "SECURITY.md"]
)
def test_every_flag_that_a_document_names_exists(document: str) -> None:
    known = {
        flag
        for _, command in every_command()
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text(document)))

    assert named - known - FLAGS_OF_OTHERS - {"--help"} == set()


def test_the_readme_has_a_row_for_each_exit_status() -> None:
    rows = re.findall(r"^\| (\d+) \|", text(README), re.MULTILINE)

    assert [int(each) for each in rows] == [int(each) for each in ExitStatus]


def test_the_page_on_monitoring_has_a_row_for_each_status_of_a_plugin() -> None:
    rows = re.findall(r"^\| (\d) \| `([A-Z]+)` \|", text(MONITORING), re.MULTILINE)

    assert rows == [(str(int(each)), each.name) for each in PluginStatus]


def test_the_readme_has_the_precedence_of_exit_statuses() -> None:
    order = ", ".join(str(int(each)) for each in PRECEDENCE if each is not ExitStatus.DONE)

    assert f"the first of {order} counts" in " ".join(text(README).split())


@pytest.mark.parametrize("ca", [each.name for each in KNOWN_CAS])
def test_the_readme_names_every_known_ca(ca: str) -> None:
    assert ca in text(README)


def test_the_json_of_the_readme_has_the_shape_of_a_document() -> None:
    block = re.search(r"^```json\n(.*?)^```", text(README), re.DOTALL | re.MULTILINE)
    assert block is not None

    shown = json.loads(block[1])

    assert shown.keys() == json.loads(render("issue", Result())).keys()
    assert shown["exit_code"] in set(ExitStatus)


# Hooks


def deploy_variables() -> dict[str, str]:
    files = CertificateFiles("live", "cert", "chain", "fullchain", "privkey", "combined")
    return variables("deploy", issued(), files, None)


def dns_variables(directory: Path) -> set[str]:
    """What a DNS hook sees beyond its user's environment, from a real one."""
    seen = directory / "seen"
    system = ProviderSystem(SteerableClock(), threading.Event())
    provider = ExecProvider(f"env >{seen}; true", None, system)
    provider.cleanup([TxtRecord("_acme-challenge.example.com", "v", "example.com", "example.com")])
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    return {each for each in names if each.startswith(("CERTCTL_", "CERTBOT_"))}


def http_variables(directory: Path) -> set[str]:
    """What an HTTP hook sees beyond its user's environment, from a real one."""
    seen = directory / "seen-by-http"
    challenge = ChallengeSpec(method="http-hook", http_hook=f"env >{seen}; true")
    solver = http01_hook.create(challenge, SolverSystem(SteerableClock(), threading.Event()))
    placed = {"token": "t", "key_authorization": "t.thumbprint"}
    solver.cleanup([Placement("http-hook", "a", "a.example", placed)])
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    return {each for each in names if each.startswith(("CERTCTL_", "CERTBOT_"))}


def test_every_variable_of_a_hook_is_documented() -> None:
    told = {*deploy_variables(), *run_variables("post", (), ())}

    assert told - code(HOOKS) == set()


def test_every_variable_of_a_dns_hook_is_documented(tmp_path: Path) -> None:
    assert dns_variables(tmp_path) - code(HOOKS) == set()


def test_every_variable_of_an_http_hook_is_documented(tmp_path: Path) -> None:
    assert http_variables(tmp_path) - code(HOOKS) == set()


def test_every_variable_that_the_hooks_page_names_exists(tmp_path: Path) -> None:
    named = {each for each in code(HOOKS) if re.fullmatch(r"(CERTCTL|CERTBOT|RENEWED)_\w+", each)}

    assert named == {
        each
        for each in {*deploy_variables(), *dns_variables(tmp_path), *http_variables(tmp_path)}
        if not each.startswith("FAILED")
    }


@pytest.mark.parametrize("variable", sorted(INHERITED))
def test_what_hooks_inherit_is_documented(variable: str) -> None:
    assert variable in code(HOOKS)


def test_every_variable_of_the_failure_hook_is_documented_and_no_other() -> None:
    told = failure_variables(RunSummary(NOW, 1, 1))
    named = re.findall(r"^\| `(CERTCTL_\w+)` \|", text(MONITORING), re.MULTILINE)

    assert named == list(told)


# Formats


def stored_fields(kind: type) -> set[str]:
    """The keys of what is stored for a dataclass, and for those in it."""
    hints = get_type_hints(kind)
    inner = {found for hint in hints.values() for found in dataclasses_in(hint)}
    return set(hints).union(*(stored_fields(each) for each in inner))


def dataclasses_in(hint: Any) -> set[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        return set() if hint is ChallengeSpec else {hint}  # its fields are settings
    return {found for each in get_args(hint) for found in dataclasses_in(each)}


@pytest.mark.parametrize(
    "kind",
    [
        *(Version, RenewalState, Deployment, PendingOrder, Account, LedgerEntry, RunHistory),
        *(Leftover, OutstandingPostHooks, InterruptedCopies),
    ],
)
def test_every_key_of_a_file_is_documented(kind: type) -> None:
    not_stored = {"id", "entry", "latest_in_future"}

    assert stored_fields(kind) - not_stored - code(FORMATS) == set()


@pytest.mark.parametrize("kind", Event.__subclasses__())
def test_every_kind_of_event_is_documented_with_its_facts(kind: type[Event]) -> None:
    facts = [each.name for each in fields(kind) if each.name not in {"name", "at"}]

    row = re.search(rf"^\| `{re.escape(kind.kind)}` \| ?(.*?) ?\|", text(FORMATS), re.MULTILINE)

    assert row is not None
    assert row[1] == ", ".join(f"`{each}`" for each in facts)


def test_the_line_that_the_formats_page_shows_is_one_of_the_audit_trail() -> None:
    shown = re.search(r'^{"version": 1, "at".*$', text(FORMATS), re.MULTILINE)
    at = datetime(2027, 2, 20, 21, 13, 45, tzinfo=UTC)

    assert shown is not None
    assert shown[0] + "\n" == line(Deployed("example.com", at, 3))


def test_every_state_of_a_certificate_is_documented() -> None:
    states = set(re.findall(r"`([a-z]+)`", (CertificateView.__doc__ or "").partition("state")[2]))

    assert states
    assert states - code(FORMATS) == set()


# DNS providers


def providers_in_the_page(part: str) -> str:
    found = re.search(
        rf"<!-- providers: {part} -->\n(.*?)<!-- providers: end -->", text(DNS), re.DOTALL
    )
    assert found is not None
    return found[1]


def test_the_page_on_dns_has_a_row_for_each_native_provider() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", providers_in_the_page("native"), re.MULTILINE)

    assert rows == [each for each in provider_names() if kind_of(each) == "certctl"]


def test_the_page_on_dns_says_of_each_provider_of_lexicon_whether_it_was_tried() -> None:
    tried, _, not_tried = providers_in_the_page("lexicon").partition("Not tested:")

    assert re.findall(r"`([a-z0-9]+)`", tried) == ["powerdns"]
    written_for = re.search(r"as of Lexicon (\d+\.\d+)", text(DNS))
    assert written_for is not None
    # Another version may have others; nothing is claimed of those.
    if metadata.version(lexicon.DISTRIBUTION).startswith(f"{written_for[1]}."):
        assert sorted([*re.findall(r"`([a-z0-9]+)`", not_tried), "powerdns"]) == [*lexicon.names()]


def test_the_tables_in_the_page_on_dns_are_taken(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", text(DNS), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4

    for block in (block for block in blocks if "[dns." in block):
        found = read_tables(tomllib.loads(block), DNS, str(tmp_path))
        assert found.profiles or found.zones


# The example plug-ins


def example(document: str, directory: Path) -> ModuleType:
    block, *_ = python_blocks(document)
    file = directory / "example_plugin.py"
    file.write_text(block, encoding="utf-8")
    specification = importlib.util.spec_from_file_location("example_plugin", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_example_provider_keeps_two_values_at_one_name(tmp_path: Path) -> None:
    module = example("CONTRIBUTING.md", tmp_path)
    system = ProviderSystem(SteerableClock(), threading.Event())
    provider = module.create({"dns.directory.path": str(tmp_path)}, system)
    name = "_acme-challenge.example.com"
    first, second = (TxtRecord(name, each, "example.com", "example.com") for each in ("a", "b"))

    provider.present([first, second])
    both = (tmp_path / name).read_text()
    provider.cleanup([first])
    provider.cleanup([first])

    assert both.split() == ["a", "b"]
    assert (tmp_path / name).read_text().split() == ["b"]


def test_the_example_target_works_as_documented(tmp_path: Path) -> None:
    module = example(DEPLOY, tmp_path)
    clock = SteerableClock()
    system = TargetSystem(HookSystem(clock, lambda _event: None))
    target = module.create({"deploy.example.directory": str(tmp_path)}, system)
    files = CertificateFiles("live", "cert", "chain", "fullchain", "privkey", "combined")
    delivery = Delivery(issued(), files, Material(b"", b"", b""))
    name = issued().name

    with pytest.raises(HookFailed):
        target.test()
    (tmp_path / "server.conf").touch()
    target.test()
    target.reload([delivery])

    assert [each.to for each in target.copies(delivery)] == [f"{tmp_path}/{name}.pem"]
    assert (tmp_path / f"{name}.changed").exists()
    assert target.services() == [ServiceAddress(None, 8443)]


# The documents themselves


def test_the_page_on_architecture_places_every_package() -> None:
    top = {path.stem for path in (ROOT / "certctl").glob("*.py")} - {"__init__", "__main__"}
    packages = {f"{path.parent.name}/" for path in (ROOT / "certctl").glob("*/__init__.py")}

    assert (top | packages) - code("docs/architecture.md") == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_to_one(document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text(document))
    local = [each for each in links if "://" not in each]

    assert [each for each in local if not (ROOT / document).parent.joinpath(each).exists()] == []
