"""Where a function may import: at the seams, and where a module is needed rarely and slow to load.

A command's action is loaded when it is called (`cli.implementation`), a plug-in when it is named
(`system.plugins`, `alerts.loading`), what orders and deploys when something is due (`engine`).
Behind a seam a module imports what it uses at its top.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import certctl

SEAMS = {
    "__init__": "a program gets what it names",
    "__main__": "after what makes imports faster",
    "library": "a method of the library loads what it does",
    "operations.renew": "nothing is due in most runs",
    "engine.fulfil": "nothing is due in most runs",
    "engine.planning": "most runs ask no CA",
    "engine.preflight": "nothing is due in most runs",
    "engine.run": "nothing is due in most runs",
    "engine.parallel": "nothing is due in most runs",
    "engine.order.accounts": "nothing is due in most runs",
    "engine.order.stateless": "nothing is due in most runs",
    "operations.run_report": "most users have no alerts",
    "dns.providers.rfc2136": "the table of settings needs the options alone",
}
"""The modules that load others for what is to be done now."""

RARE = {
    "alerts.apprise": "optional",
    "ca.documented_limits": "the list of public suffixes, for few CAs",
    "cli.early": "what an order needs, while a connection is opened",
    "certbot.main": "tracebacks of bugs",
    "cli.main": "completion, tracebacks of bugs, and words of certbot",
    "cli.parameters": "words of certbot",
    "devca.dns_server": "dnspython, for DNS-01",
    "devca.validation": "dnspython, for DNS-01",
    "dns.api_requests": "requests, while the table of settings needs the options alone",
    "dns.providers.exec": "subprocesses, while the table of settings needs the options alone",
    "dns.lexicon": "optional",
    "engine.order.account_recovery": "dnspython, for a CA that lost an account",
    "engine.order.answer_path": "dnspython, after a server was reloaded",
    "importers.certbot_settings": "a parser of configurations, where there are some",
    "importers.loading": "the same two, before it acts as another user",
    "importers.system": "cryptography, where there is something to import",
    "inspection.check": "cryptography, for services",
    "model.names": "idna, for names in Unicode",
    "operations.import_spec": "what certbot keeps, where there is some",
    "output.console": "the size of a terminal",
    "output.metrics": "optional",
    "rules.formats": "cryptography, for PKCS#12",
    "rules.integrity": "cryptography, for files that have changed",
    "rules.renewal": "time zones, for certificates with windows",
    "rules.renewal_windows": "time zones, for certificates with windows",
    "rules.settings_tables.certificate": "time zones, for settings with windows",
    "store.home.specs": "tomlkit, for changes",
    "system.early_connection": "ssl, once a connection is under way",
    "system.core_dumps": "ctypes, before there is a key in memory",
    "system.plugins": "the packages that are installed",
    "system.proxy": "requests, for a URL that is requested",
    "system.secrets": "processes, for a secret from a command",
    "testing": "loaded by every run of pytest",
    "webservers.nginx": "a parser of configurations, where there are some",
}
"""The modules with an import that is slow and rarely needed."""

PACKAGE = Path(certctl.__file__).parent


def test_functions_import_at_the_seams_and_what_is_rarely_needed() -> None:
    assert late_importers(PACKAGE) == {*SEAMS, *RARE}


def test_a_late_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "late.py").write_text("def f():\n    if True:\n        import json\n")
    (tmp_path / "early.py").write_text("import json\nif json:\n    import re\n")

    assert late_importers(tmp_path) == {"rules.late"}


def late_importers(package: Path) -> set[str]:
    """Return the modules that have an import inside a function."""
    return {
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if any(imports_of_functions(ast.parse(path.read_bytes(), str(path))))
    }


def imports_of_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (
                each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)
            )
