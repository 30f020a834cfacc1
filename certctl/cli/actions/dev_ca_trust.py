"""What `certctl dev-ca install` and `uninstall` do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from certctl.cli.actions.dev_ca import existing_root, root_of
from certctl.cli.invocation import Invocation
from certctl.devca.trust_stores import Machine, Root, Store, Trust, stores
from certctl.model.errors import CertctlError, ConfigurationError, ExitStatus
from certctl.model.lazy_dataclass import dataclass
from certctl.output.document import Json, Result
from certctl.rules.selection import listed

_WARNING = (
    "whoever has the CA's key, {key}, can impersonate any site to the programs that trust it; to"
    " remove the trust again, run: certctl dev-ca uninstall"
)

_OTHERS = (
    "the roots of other development CAs are trusted here too: {names}; to remove all of them and"
    " this one, run: certctl dev-ca uninstall --all"
)

_OTHERS_LEFT = (
    "the roots of other development CAs are still trusted: {names}; to remove them, run: certctl"
    " dev-ca uninstall --all"
)


@dataclass(frozen=True)
class _Change:
    """What is done to each store. `command` does it for a user who may become root."""

    heading: str
    apply: Callable[[Store], Trust]
    command: Callable[[Store], str]


def install(invocation: Invocation, state: str | None) -> Result:
    """Trust the root of the CA."""
    path, pem = root_of(invocation, state)
    root = Root(path, pem)
    found = _stores(invocation)
    if not found:
        raise ConfigurationError(
            "this machine has no store of trusted roots that certctl knows",
            hint=f"Trust {path} by hand; certctl dev-ca root says how.",
            code="dev_ca.no_store",
        )
    invocation.output.warning(_WARNING.format(key=path.with_name("root.key")))
    others = _names(found) - {root.name}
    if others:
        invocation.output.warning(_OTHERS.format(names=listed(sorted(others))))
    return _changed(
        found,
        _Change(
            f"{path} is trusted by:",
            lambda store: store.add(root),
            lambda store: store.adding(root),
        ),
        path,
    )


def uninstall(invocation: Invocation, state: str | None, everything: bool) -> Result:
    """Trust the root of the CA no more; with `everything` those of all development CAs."""
    stores = _stores(invocation)
    found = existing_root(invocation, state)
    own = Root(*found) if found else None
    trusted = _names(stores)
    others = trusted - ({own.name} if own else set())
    if everything:
        return _uninstall_all(stores, trusted)
    if own is None:
        if others:
            raise CertctlError(
                f"there is no development CA here, but the roots of others are trusted:"
                f" {listed(sorted(others))}",
                hint="To remove all of them, run: certctl dev-ca uninstall --all",
                code="dev_ca.other_roots",
            )
        return Result({"root": None, "stores": []}, ["There is no development CA here."])
    if others:
        invocation.output.warning(_OTHERS_LEFT.format(names=listed(sorted(others))))
    return _changed(stores, _removal(str(own.path), [own.name]), own.path)


def _uninstall_all(stores: list[Store], trusted: Collection[str]) -> Result:
    result = _changed(stores, _removal(listed(sorted(trusted)), trusted), None)
    if not trusted and not result.errors:
        return Result(result.data, ["No root of a development CA is trusted here."])
    return result


def _removal(what: str, names: Collection[str]) -> _Change:
    return _Change(
        f"{what or 'No root'} {'are' if len(names) > 1 else 'is'} no longer trusted by:",
        lambda store: store.remove(names),
        lambda store: store.removing(names),
    )


def _stores(invocation: Invocation) -> list[Store]:
    environment = invocation.environment
    home = environment.variables.get("HOME")
    return stores(Machine(environment.user_id, Path(home) if home else None, environment.variables))


def _names(found: Sequence[Store]) -> set[str]:
    """Return the names of the development CAs' roots in all stores that can be read: what is wrong
    with the others is said where they are changed.
    """
    names: set[str] = set()
    for store in found:
        with suppress(CertctlError):
            names.update(store.names())
    return names


def _changed(found: list[Store], change: _Change, path: Path | None) -> Result:
    """Return what came of each store. One that failed stops no other."""
    rows: list[Json] = []
    lines: list[str] = []
    errors: list[CertctlError] = []
    by_hand: list[str] = []
    for store in found:
        try:
            status = change.apply(store)
        except CertctlError as error:
            errors.append(error)
            rows.append({"store": store.title, "status": "failed", "command": None})
            continue
        command = change.command(store) if status is Trust.NEEDS_ROOT else None
        rows.append({"store": store.title, "status": status.value, "command": command})
        if command is None:
            lines.append(f"  {store.title}{'' if status is Trust.CHANGED else ' (as before)'}")
        else:
            by_hand += [f"Only root can change {store.title}. To do that, run:", f"  {command}"]
    failed = ExitStatus.PARTIAL if lines else ExitStatus.FAILED
    return Result(
        {"root": str(path) if path else None, "stores": rows},
        [*([change.heading, *lines] if lines else []), *by_hand],
        errors=tuple(errors),
        exit_status=failed if errors else ExitStatus.DONE,
    )
