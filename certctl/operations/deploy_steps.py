"""One certificate on its way to its consumers, and the steps of that way: copies, hooks, tests of
configurations, reloads.

Each step takes rollouts and returns them; one that failed goes with its error through the steps
that follow, and nothing more is done for it. The order of the steps belongs to `deliver`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from certctl.deploy.copies import check_copy, commit, destination, discard, stage
from certctl.deploy.hook_environment import run_variables, variables
from certctl.deploy.hooks import Hook, deploy_hooks, run_hook
from certctl.deploy.loading import create_target
from certctl.deploy.system import TargetSystem
from certctl.errors import CertctlError, ConfigurationError, Interrupted
from certctl.models import (
    CertificateSpec,
    CopySpec,
    Delivery,
    Deployment,
    ProbeResult,
    ServiceAddress,
    Version,
)
from certctl.operations.run import Run
from certctl.ports import DeployTarget
from certctl.spec import target_of


@dataclass(frozen=True)
class Target:
    """A deploy target with its settings; those of several certificates are the same one where
    `key` is.
    """

    key: Hashable
    name: str
    plugin: DeployTarget = field(repr=False)


@dataclass(frozen=True)
class Rollout:
    """A version of a certificate on its way; `deployment` is what was remembered before.

    `refused`: the error came from a test or a reload, or from what is served, so that another
    version might do better. `probes` is what was seen on the wire.
    """

    spec: CertificateSpec
    delivery: Delivery
    deployment: Deployment
    targets: tuple[Target, ...] = ()
    copies: tuple[str, ...] = ()
    error: CertctlError | None = None
    refused: bool = False
    probes: tuple[ProbeResult, ...] = ()

    @property
    def version(self) -> Version:
        """The version that is deployed."""
        return self.delivery.version

    @property
    def name(self) -> str:
        """The certificate's name."""
        return self.spec.name


Step = Callable[[Rollout], Rollout]


def pack(
    spec: CertificateSpec,
    version: Version,
    deployment: Deployment,
    targets: tuple[Target, ...],
    run: Run,
) -> Rollout:
    """Return a shipment of a version, its files read from the version's own directory."""
    store, tree = run.services.store, run.services.tree
    material = store.material(spec.name, version.number)
    return Rollout(spec, Delivery(version, tree.files(version), material), deployment, targets)


def targets_of(
    spec: CertificateSpec, run: Run, known: dict[Hashable, Target]
) -> tuple[Target, ...]:
    """Return the targets of a spec, those of `known` where they are the same; new ones are added
    to it.

    Raises `UsageError` for a name that no target has, `ConfigurationError` where what one needs is
    not there.
    """
    found: list[Target] = []
    for name in spec.deploy.targets:
        settings = {
            key: value for key, value in spec.deploy.plugin.items() if target_of(key) == name
        }
        key = (name, tuple(sorted(settings.items())))
        if key not in known:
            system = TargetSystem(run.hook_system, spec.deploy.hook_timeout)
            known[key] = Target(key, name, create_target(name, settings, system))
        found.append(known[key])
    return tuple(found)


def likely_services(spec: CertificateSpec, run: Run) -> list[ServiceAddress]:
    """Return where the targets of a spec are likely to listen, on this machine. Raises as
    `targets_of`.
    """
    services = [each for target in targets_of(spec, run, {}) for each in target.plugin.services()]
    return list(dict.fromkeys(services))


def check_copies(spec: CertificateSpec, run: Run) -> None:
    """Return where the copies that a spec asks for can go. Raises `ConfigurationError`."""
    for copy in spec.deploy.copies:
        check_copy(copy, spec.name)
    _claimed(spec.deploy.copies, spec.name, run)


def write_copies(rollout: Rollout, run: Run) -> Rollout:
    """Write the copies: all aside, then the debt, then each gets its name."""
    wanted: list[CopySpec] = [*rollout.spec.deploy.copies]
    for target in rollout.targets:
        wanted += target.plugin.copies(rollout.delivery)
    store, name = run.services.store, rollout.name
    paths = _claimed(wanted, name, run)
    staged = stage(wanted, rollout.delivery)
    try:
        current = store.status(name).deployment
        if current.copies != paths:
            store.save_deployment(name, replace(current, copies=paths))
    except BaseException:
        discard(staged)
        raise
    try:
        commit(staged)
    finally:
        discard(staged)
    return replace(rollout, copies=paths)


def run_deploy_hooks(rollout: Rollout, run: Run) -> Rollout:
    """Run what is to be run once for this version."""
    tree, spec = run.services.tree, rollout.spec
    facts = variables(
        "deploy", rollout.version, rollout.delivery.files, rollout.deployment.deployed
    )
    for hook in deploy_hooks(spec, tree):
        run.check()
        run_hook(hook, facts, timeout=spec.deploy.hook_timeout, run=run.hook_system, name=spec.name)
    return rollout


def test(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Let each distinct target test its configuration, once for all that go there."""
    broken: dict[Hashable, CertctlError] = {}
    for target in _targets(rollouts):
        run.check()
        _attempt(target.plugin.test, target.key, broken)
    return [_struck(each, broken) for each in rollouts]


def reload(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Reload each distinct target, and run each distinct reload command, once for all that ask for
    it.
    """
    broken: dict[Hashable, CertctlError] = {}
    for target in _targets(rollouts):
        run.check()
        those = [
            each.delivery for each in rollouts if each.error is None and target in each.targets
        ]
        _attempt(lambda: target.plugin.reload(those), target.key, broken)  # noqa: B023 - called now
    commands = (each.spec.deploy.reload for each in rollouts if each.error is None)
    for command in dict.fromkeys(command for command in commands if command):
        run.check()
        asking = [each for each in rollouts if each.spec.deploy.reload == command]
        _attempt(lambda: _run_reload(command, asking, run), command, broken)  # noqa: B023 - as above
    return [_struck(each, broken) for each in rollouts]


def apply_step(rollout: Rollout, step: Callable[[Rollout, Run], Rollout], run: Run) -> Rollout:
    """Return a shipment after a step of its own; a failure goes with it."""
    if rollout.error is not None:
        return rollout
    try:
        return step(rollout, run)
    except Interrupted:
        raise
    except CertctlError as error:
        return replace(rollout, error=error)


def _run_reload(command: str, asking: Iterable[Rollout], run: Run) -> None:
    those = list(asking)
    domains = [each.value for rollout in those for each in rollout.spec.identifiers]
    run_hook(
        Hook("reload", command),
        run_variables("reload", domains, ()),
        timeout=max(each.spec.deploy.hook_timeout for each in those),
        run=run.hook_system,
    )


def _attempt(
    step: Callable[[], object], key: Hashable, broken: dict[Hashable, CertctlError]
) -> None:
    try:
        step()
    except Interrupted:
        raise
    except CertctlError as error:
        broken[key] = error


def _struck(rollout: Rollout, broken: dict[Hashable, CertctlError]) -> Rollout:
    """Return a shipment with the failure of what it depends on, if there is one."""
    if rollout.error is not None:
        return rollout
    keys = [*(each.key for each in rollout.targets), rollout.spec.deploy.reload]
    error = next((broken[key] for key in keys if key in broken), None)
    return rollout if error is None else replace(rollout, error=error, refused=True)


def _targets(rollouts: Iterable[Rollout]) -> list[Target]:
    found = {
        target.key: target for each in rollouts if each.error is None for target in each.targets
    }
    return list(found.values())


def _claimed(copies: Iterable[CopySpec], name: str, run: Run) -> tuple[str, ...]:
    """Return the destinations of copies, each claimed for the certificate.

    Raises `ConfigurationError` for one that is another certificate's, that is named twice, or that
    lies in the home directory.
    """
    home = Path(run.services.tree.home).resolve()
    paths: list[str] = []
    for copy in copies:
        path = destination(copy, name)
        real = path.parent.resolve() / path.name
        if real.is_relative_to(home):
            raise _unfit(copy, name, "lies in the home directory of certctl")
        if str(real) in paths:
            raise _unfit(copy, name, "is named twice")
        other = run.services.store.claim_copy(str(real), name)
        if other is not None:
            raise _unfit(copy, name, f"belongs to the certificate {other}")
        paths.append(str(real))
    return tuple(paths)


def _unfit(copy: CopySpec, name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be copied to {copy.to}, which {reason}",
        hint=f"Name another file: certctl edit {name} --copy {copy.format}:PATH",
        name=name,
        code="deploy.copy",
    )
