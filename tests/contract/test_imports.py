"""Imports go downward only, and each heavy package has one importer.

Every import is read from the source: those inside functions, those under `TYPE_CHECKING`, and
those by `importlib` with a name that is written out.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import certctl

LEVELS = {
    "model": 0,
    "version": 0,
    "rules": 1,
    "system": 2,
    "alerts": 3,
    "ca": 3,
    "certbot": 7,
    "challenges": 3,
    "config": 3,
    "deploy": 3,
    "dns": 3,
    "importers": 3,
    "schedule": 3,
    "store": 3,
    "webservers": 3,
    "engine": 4,
    "inspection": 5,
    "operations": 5,
    "library": 6,
    "output": 6,
    "cli": 7,
    "demo": 7,
    "testing": 7,
    "__main__": 8,
}
"""Each package and module of `certctl`, with its level; one that is missing here is an error."""

ACROSS = {
    ("certbot", "cli"),
    ("challenges", "dns"),
    ("cli", "demo"),
    ("inspection", "operations"),
}
"""Who may import whom on its own level."""

ASIDE = "devca"
"""The CA for development: knows words and machine only, so that it shares no mistake with us."""

ASIDE_MAY_IMPORT = {0, 2}
ASIDE_IS_IMPORTED_BY = {"cli", "demo", "library", "testing"}

ONLY_IN = {
    "acme": {"ca"},
    "josepy": {"ca", ASIDE},
    "click": {"cli"},
    "crossplane": {"webservers"},
    "rich": {"output"},
    "tomlkit": {"store"},
    "configobj": {"importers"},
    "requests": {"ca", "system"},
    "publicsuffixlist": {"ca"},
    "idna": {"model.names"},
    "urllib3": {"ca", "system"},
    "dns": {"dns", ASIDE},
    "prometheus_client": {"output"},
    "apprise": {"alerts"},
    "lexicon": {"dns"},
    "pytest": {"testing"},
    "cryptography": {
        "rules.chain",
        "rules.keys",
        "rules.x509",
        "rules.pkcs12",
        "rules.revocation",
        "rules.placeholder_certificate",
        "rules.validation_certificate",
        "ca",
        ASIDE,
    },
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


def test_the_init_files_of_packages_are_empty_except_that_of_the_whole() -> None:
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.read_bytes()]

    assert filled == [PACKAGE / "__init__.py"]


def test_every_directory_with_modules_is_a_package() -> None:
    directories = {path.parent for path in PACKAGE.rglob("*.py")}

    assert [
        directory for directory in directories if not (directory / "__init__.py").exists()
    ] == []


def test_frozen_classes_get_their_methods_late() -> None:
    """The standard decorator would take a quarter of the time of a whole issuance."""
    assert compiled_early(PACKAGE) == []


def test_a_frozen_class_that_is_compiled_early_is_found(tmp_path: Path) -> None:
    source = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Point:\n    x: int"
    ours = source.replace("from dataclasses", "from certctl.model.lazy_dataclass")
    mutable = source.replace("(frozen=True)", "")
    tree = plant(tmp_path, {"model.a": source, "model.b": ours, "model.c": mutable})

    assert compiled_early(tree) == ["certctl.model.a, line 1: the standard dataclass"]


def test_the_checks_read_the_whole_tree() -> None:
    modules = {each.module for each in imports(PACKAGE)}

    assert {"certctl.cli.main", "certctl.rules.renewal", "certctl.dns.providers.exec"} <= modules


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        (
            "model.names",
            "from certctl.rules.options import Option",
            "model (0) imports certctl.rules.options",
        ),
        (
            "model.names",
            "def f():\n    from certctl.rules import spec",
            "model (0) imports certctl.rules",
        ),
        (
            "model.ports",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import certctl.system.files",
            "model (0) imports certctl.system.files",
        ),
        ("rules.x509", "from ..system import files", "rules (1) imports certctl.system"),
        (
            "store.home.home_records",
            "from certctl.deploy.hooks import Hook",
            "store (3) imports certctl.deploy.hooks",
        ),
        ("dns.zones", "import certctl.challenges.dns01", "dns (3) imports certctl.challenges"),
        ("operations.issue", "from certctl.cli import main", "operations (5) imports certctl.cli"),
        (
            "engine.run",
            "import importlib\nimportlib.import_module('certctl.output.console')",
            "engine (4) imports certctl.output.console",
        ),
        (
            "engine.run",
            "from certctl.operations.issue import issue",
            "engine (4) imports certctl.operations.issue",
        ),
        (
            "operations.issue",
            "from certctl.inspection.overview import overview",
            "operations (5) imports certctl.inspection.overview",
        ),
        (
            "devca.orders",
            "from certctl.rules.x509 import facts",
            "devca (aside) imports certctl.rules.x509",
        ),
        (
            "engine.order.obtain",
            "from certctl.devca.server import DevelopmentCa",
            "engine (4) imports certctl.devca.server",
        ),
        ("misc", "import certctl.model.errors", "misc has no level"),
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
        ("devca.orders", "from certctl.model.ca import Order\nfrom certctl.system import http"),
        ("operations.issue", "from certctl.engine.order.obtain import obtain"),
        ("rules.renewal", "from certctl.model.certificate import Version"),
        ("rules.spec", "from certctl.rules.settings import Settings"),
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
        ("rules.renewal", "from cryptography import x509", "rules.renewal imports cryptography"),
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
            "rules.options": "from certctl.rules import spec",
            "rules.spec": "def f():\n    from certctl.rules.renewal import decide",
            "rules.renewal": "from certctl.rules.options import Option",
        },
    )

    assert set(circle(tree)) == {
        "certctl.rules.options",
        "certctl.rules.spec",
        "certctl.rules.renewal",
    }


def climbing(package: Path) -> list[str]:
    """Every import of `package` that goes upward or sideways, in words."""
    ours = [each for each in imports(package) if each.target.partition(".")[0] == package.name]
    return [_told(each, _climbs) for each in ours if _climbs(each) is not None]


def trespassing(package: Path) -> list[str]:
    """Every import of a package that belongs to others, in words."""
    return [_told(each, _trespasses) for each in imports(package) if _trespasses(each) is not None]


def compiled_early(package: Path) -> list[str]:
    """Every import of the standard `dataclass` by a module that has a frozen class, in words."""
    found = []
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        tree = ast.parse(path.read_bytes(), str(path))
        decorators = (
            each for node in ast.walk(tree) for each in getattr(node, "decorator_list", ())
        )
        if any(ast.unparse(each) == "dataclass(frozen=True)" for each in decorators):
            found += [
                f"{module}, line {node.lineno}: the standard dataclass"
                for node in tree.body
                if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
                if any(each.name == "dataclass" for each in node.names)
            ]
    return found


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


@cache
def imports(package: Path) -> Sequence[Import]:
    """Every import in the modules of `package`; read once, since nobody changes them meanwhile."""
    return tuple(_imports(package))


def _imports(package: Path) -> Iterator[Import]:
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
    if found.module == PACKAGE.name:
        return None  # the face of the library, of which only type checkers see the imports
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
    return None if difference > 0 or (importer, imported) in ACROSS else said


def _trespasses(found: Import) -> str | None:
    package, foreign = _part(found.module), found.target.partition(".")[0]
    module = ".".join(found.module.split(".")[1:3])
    if foreign not in ONLY_IN or {package, module} & ONLY_IN[foreign]:
        return None
    own = any(each.startswith(f"{package}.") for each in ONLY_IN[foreign])
    return f"{module if own else package} imports {foreign}"


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
