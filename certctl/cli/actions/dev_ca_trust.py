"""What `certctl dev-ca install` and `uninstall` do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from certctl.cli.actions.dev_ca import existing_root, root_of
from certctl.cli.invocation import Invocation
from certctl.devca.trust_stores import Machine, Root, Store, Trust, stores
from certctl.model.errors import CertctlError, ConfigurationError, ExitStatus
from certctl.output.document import Json, Result

_WARNING = (
    "whoever has the CA's key, {key}, can impersonate any site to the programs that trust it; to"
    " remove the trust again, run: certctl dev-ca uninstall"
)


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
    return _changed(found, root, lambda store: store.add(root), remove=False)


def uninstall(invocation: Invocation, state: str | None) -> Result:
    """Trust the root of the CA no more."""
    found = existing_root(invocation, state)
    if found is None:
        return Result({"root": None, "stores": []}, ["There is no development CA here."])
    root = Root(*found)
    return _changed(_stores(invocation), root, lambda store: store.remove(root), remove=True)


def _stores(invocation: Invocation) -> list[Store]:
    environment = invocation.environment
    home = environment.variables.get("HOME")
    return stores(Machine(environment.user_id, Path(home) if home else None, environment.variables))


def _changed(
    found: list[Store], root: Root, change: Callable[[Store], Trust], *, remove: bool
) -> Result:
    """Return what came of each store. One that failed stops no other."""
    rows: list[Json] = []
    lines: list[str] = []
    errors: list[CertctlError] = []
    by_hand: list[str] = []
    for store in found:
        try:
            status = change(store)
        except CertctlError as error:
            errors.append(error)
            rows.append({"store": store.title, "status": "failed", "command": None})
            continue
        command = store.by_hand(root, remove=remove) if status is Trust.NEEDS_ROOT else None
        rows.append({"store": store.title, "status": status.value, "command": command})
        if command is None:
            lines.append(f"  {store.title}{'' if status is Trust.CHANGED else ' (as before)'}")
        else:
            by_hand += [f"Only root can change {store.title}. To do that, run:", f"  {command}"]
    heading = f"{root.path} is {'no longer trusted' if remove else 'trusted'} by:"
    failed = ExitStatus.PARTIAL if lines else ExitStatus.FAILED
    return Result(
        {"root": str(root.path), "stores": rows},
        [*([heading, *lines] if lines else []), *by_hand],
        errors=tuple(errors),
        exit_status=failed if errors else ExitStatus.DONE,
    )
