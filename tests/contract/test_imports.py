"""Imports go downward only, and each heavy package has one importer.

Every import is read from the source: those inside functions, those under `TYPE_CHECKING`, and
those by `importlib` with a name that is written out.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import certctl

LEVELS = {
    "errors": 0,
    "events": 0,
    "models": 0,
    "names": 0,
    "ports": 0,
    "text": 0,
    "urls": 0,
    "version": 0,
    "credentials": 1,
    "paths": 1,
    "options": 1,
    "settings": 1,
    "spec": 1,
    "account_recovery": 1,
    "ari": 1,
    "cleanup": 1,
    "renewal": 1,
    "remembered_times": 1,
    "remembered_state": 1,
    "service_address": 1,
    "thresholds": 1,
    "rate_limits": 1,
    "copies": 1,
    "keys": 1,
    "validation_certificate": 1,
    "persistent_validation": 1,
    "hook_protocols": 1,
    "x509": 1,
    "response_batches": 1,
    "chain": 1,
    "formats": 1,
    "integrity": 1,
    "system": 2,
    "ca": 3,
    "challenges": 3,
    "dns": 3,
    "store": 3,
    "deploy": 3,
    "schedule": 3,
    "alerts": 3,
    "importers": 3,
    "operations": 4,
    "config": 5,
    "output": 5,
    "cli": 5,
    "demo": 5,
    "testing": 5,
    "__main__": 6,
}
"""Each package and module of `certctl`, with its level; one that is missing here is an error."""

ACROSS = {("challenges", "dns"), ("cli", "config"), ("cli", "demo"), ("cli", "output")}
"""Who may import whom on its own level, beside levels 0 and 1."""

ASIDE = "devca"
"""The CA for development: knows words and machine only, so that it shares no mistake with us."""

ASIDE_MAY_IMPORT = {0, 2}
ASIDE_IS_IMPORTED_BY = {"cli", "demo", "testing"}

ONLY_IN = {
    "acme": {"ca"},
    "josepy": {"ca", ASIDE},
    "click": {"cli"},
    "rich": {"output"},
    "tomlkit": {"store"},
    "requests": {"ca", "system"},
    "publicsuffixlist": {"ca"},
    "idna": {"names"},
    "urllib3": {"ca", "system"},
    "dns": {"dns", ASIDE},
    "prometheus_client": {"output"},
    "apprise": {"alerts"},
    "lexicon": {"dns"},
    "pytest": {"testing"},
    "cryptography": {"chain", "keys", "x509", "formats", "validation_certificate", "ca", ASIDE},
}
"""The heavy packages, with those of ours that may import them."""


@dataclass(frozen=True)
class Import:
    """`module` imports `target`, both dotted, in `line` of its file."""

    module: str
    target: str
    line: int


PACKAGE = Path(certctl.__file__).parent


def test_no_import_climbs() -> None:
    assert climbing(PACKAGE) == []


def test_each_heavy_package_has_its_own_importers() -> None:
    assert trespassing(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(PACKAGE) == []


def test_the_init_files_of_packages_are_empty() -> None:
    assert [path for path in PACKAGE.rglob("__init__.py") if path.read_bytes()] == []


def test_every_directory_with_modules_is_a_package() -> None:
    directories = {path.parent for path in PACKAGE.rglob("*.py")}

    assert [
        directory for directory in directories if not (directory / "__init__.py").exists()
    ] == []


def test_the_checks_read_the_whole_tree() -> None:
    modules = {each.module for each in imports(PACKAGE)}

    assert {"certctl.cli.main", "certctl.renewal", "certctl.dns.providers.exec"} <= modules


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("names", "from certctl.options import Option", "names (0) imports certctl.options"),
        ("names", "def f():\n    from certctl import spec", "names (0) imports certctl.spec"),
        (
            "ports",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import certctl.system.files",
            "ports (0) imports certctl.system.files",
        ),
        ("x509", "from .system import files", "x509 (1) imports certctl.system"),
        (
            "store.local",
            "from certctl.deploy.hooks import Hook",
            "store (3) imports certctl.deploy.hooks",
        ),
        ("dns.zones", "import certctl.challenges.dns01", "dns (3) imports certctl.challenges"),
        ("operations.issue", "from certctl.cli import main", "operations (4) imports certctl.cli"),
        (
            "operations.renew",
            "import importlib\nimportlib.import_module('certctl.output.console')",
            "operations (4) imports certctl.output.console",
        ),
        ("output.console", "from certctl import config", "output (5) imports certctl.config"),
        ("devca.orders", "from certctl.x509 import facts", "devca (aside) imports certctl.x509"),
        (
            "operations.obtain",
            "from certctl.devca.server import DevelopmentCa",
            "operations (4) imports certctl.devca.server",
        ),
        ("misc", "import certctl.errors", "misc has no level"),
    ],
)
def test_an_import_that_climbs_is_found(
    tmp_path: Path, module: str, source: str, found: str
) -> None:
    tree = plant(tmp_path, {module: source})

    assert [found in each for each in climbing(tree)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("challenges.dns01", "from certctl.dns import zones"),
        ("cli.main", "from certctl import config\nfrom certctl.output import console"),
        ("cli.main", "from certctl.devca import server"),
        ("devca.orders", "from certctl.models import Order\nfrom certctl.system import http"),
        ("operations.issue", "from certctl.operations.obtain import obtain"),
        ("renewal", "from certctl.models import Version"),
        ("spec", "from certctl.settings import Settings"),
    ],
)
def test_an_import_that_goes_downward_is_none_of_them(
    tmp_path: Path, module: str, source: str
) -> None:
    tree = plant(tmp_path, {module: source})

    assert climbing(tree) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("operations.list", "import click", "operations imports click"),
        ("cli.main", "def f():\n    from rich.table import Table", "cli imports rich"),
        ("deploy.hooks", "import acme.client", "deploy imports acme"),
        ("store.accounts", "from josepy import JWK", "store imports josepy"),
        ("renewal", "from cryptography import x509", "renewal imports cryptography"),
    ],
)
def test_an_importer_of_what_is_not_its_own_is_found(
    tmp_path: Path, module: str, source: str, found: str
) -> None:
    tree = plant(tmp_path, {module: source})

    assert [found in each for each in trespassing(tree)] == [True]


def test_a_circle_is_found(tmp_path: Path) -> None:
    tree = plant(
        tmp_path,
        {
            "options": "from certctl import spec",
            "spec": "def f():\n    from certctl.renewal import decide",
            "renewal": "from certctl.options import Option",
        },
    )

    assert set(circle(tree)) == {"certctl.options", "certctl.spec", "certctl.renewal"}


def climbing(package: Path) -> list[str]:
    """Every import of `package` that goes upward or sideways, in words."""
    ours = [each for each in imports(package) if each.target.partition(".")[0] == package.name]
    return [_told(each, _climbs) for each in ours if _climbs(each) is not None]


def trespassing(package: Path) -> list[str]:
    """Every import of a package that belongs to others, in words."""
    return [_told(each, _trespasses) for each in imports(package) if _trespasses(each) is not None]


def circle(package: Path) -> list[str]:
    """A circle among the modules of `package`; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for each in imports(package):
        graph.setdefault(each.module, set()).add(each.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports(package: Path) -> Iterator[Import]:
    """Every import in the modules of `package`."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            for target in _targets(node, parts, package):
                yield Import(module, target, getattr(node, "lineno", 0))


def _targets(node: ast.AST, parts: tuple[str, ...], package: Path) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names)
        case ast.ImportFrom(module=name, names=names, level=level):
            base = [*parts[:-level]] if level else []
            source = ".".join([*base, *([name] if name else [])])
            for each in names:
                inner = f"{source}.{each.name}"
                yield inner if _is_module(inner, package) else source
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name


def _is_module(name: str, package: Path) -> bool:
    """Whether `from a import b` names the module `a.b` of ours, rather than something in `a`."""
    first, _, rest = name.partition(".")
    if first != package.name:
        return False
    path = package.joinpath(*rest.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or "." not in rest


def _part(module: str) -> str:
    """The package or module directly below `certctl` that `module` belongs to."""
    return module.split(".")[1] if "." in module else ""


def _climbs(found: Import) -> str | None:
    importer, imported = _part(found.module), _part(found.target)
    for each in (importer, imported):
        if each and each not in LEVELS and each != ASIDE:
            return f"{each} has no level"
    if importer == imported or not imported:
        return None
    said = f"{importer} ({LEVELS.get(importer, 'aside')}) imports {found.target}"
    if ASIDE in (importer, imported):
        allowed = (
            LEVELS[imported] in ASIDE_MAY_IMPORT
            if importer == ASIDE
            else importer in ASIDE_IS_IMPORTED_BY
        )
        return None if allowed else said
    difference = LEVELS[importer] - LEVELS[imported]
    rules = difference == 0 and LEVELS[importer] <= 1
    return None if difference > 0 or rules or (importer, imported) in ACROSS else said


def _trespasses(found: Import) -> str | None:
    importer, foreign = _part(found.module), found.target.partition(".")[0]
    if foreign not in ONLY_IN or importer in ONLY_IN[foreign]:
        return None
    return f"{importer} imports {foreign}"


def _told(found: Import, judge: Callable[[Import], str | None]) -> str:
    return f"{found.module}, line {found.line}: {judge(found)}"


def plant(directory: Path, modules: dict[str, str]) -> Path:
    """Write a made-up package `certctl` below `directory`, and return it."""
    package = directory / "certctl"
    for name, source in modules.items():
        path = package.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return package
