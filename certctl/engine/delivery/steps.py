"""The steps of a deployment: copies, hooks, configuration tests and reloads.

Each step takes rollouts and returns them. A failed rollout carries its error, and later steps skip
it. `deliver` runs the steps in order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path

from certctl.deploy.copies import before, check_copy, commit, destination, discard, put_back, stage
from certctl.deploy.hook_environment import run_variables, variables
from certctl.deploy.hooks import Hook, deploy_hooks, run_hook
from certctl.deploy.loading import create_target
from certctl.deploy.system import TargetSystem
from certctl.engine.held import Held
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.delivery import Delivery, Deployment, ProbeResult
from certctl.model.errors import CertctlError, ConfigurationError, Interrupted
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import DeployTarget, ServesOneKey
from certctl.model.spec import FAMILIES, CertificateSpec, CopySpec, ServiceAddress
from certctl.rules.spec import target_of
from certctl.system.files import remove_file


@dataclass(frozen=True)
class Target:
    """A deploy target with its settings. Targets of several certificates with the same `key` are
    the same target.
    """

    key: Hashable
    name: str
    plugin: DeployTarget = field(repr=False)


@dataclass(frozen=True)
class Rollout:
    """The deployment of one version while it is in progress; `deployment` is the state before it.

    `refused`: the error came from a configuration test, a reload or the live check, so that another
    version may succeed. `probes` are the results of the live check.
    """

    held: Held
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
        return self.held.name

    @property
    def spec(self) -> CertificateSpec:
        """The certificate's spec."""
        return self.held.spec


def new_rollout(
    held: Held,
    version: Version,
    deployment: Deployment,
    targets: tuple[Target, ...],
    run: Run,
) -> Rollout:
    """Return the rollout of a version, with its files read from the version's own directory."""
    files, material = run.services.tree.files(version), held.material(version.number)
    return Rollout(held, Delivery(version, files, material), deployment, targets)


def targets_of(
    spec: CertificateSpec, run: Run, known: dict[Hashable, Target]
) -> tuple[Target, ...]:
    """Return the targets of a spec. Targets in `known` are reused, new ones are added to it.

    Raises `UsageError` for an unknown target, `ConfigurationError` if something that a target needs
    is missing.
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


def served_part(version: Version, targets: Sequence[Target]) -> Version:
    """Return what of a version is served: of two certificates the first, if all targets are
    programs that serve only one.
    """
    only_one = targets and all(isinstance(each.plugin, ServesOneKey) for each in targets)
    return version.parts[0] if only_one else version


def likely_services(spec: CertificateSpec, run: Run) -> list[ServiceAddress]:
    """Return the local addresses that the targets of a spec usually listen on. Raises the errors of
    `targets_of`.
    """
    services = [each for target in targets_of(spec, run, {}) for each in target.plugin.services()]
    return list(dict.fromkeys(services))


def check_copies(spec: CertificateSpec, run: Run) -> None:
    """Check that the copies of a spec can be written. Raises `ConfigurationError`."""
    families = {each.family for each in spec.key_types}
    for copy in spec.deploy.copies:
        check_copy(copy, spec.name)
        if copy.key is not None and (copy.key not in families or spec.csr):
            raise ConfigurationError(
                f"{spec.name} has no certificate with an {copy.key.upper()} key for the copy"
                f" {copy.to}",
                hint=f"Leave out key={copy.key}, or have both: --key-type ecdsa-p256"
                " --key-type rsa-2048",
                name=spec.name,
                code="configuration.key",
            )
    _claimed(spec.deploy.copies, spec.name, run)


def write_copies(rollout: Rollout, run: Run) -> Rollout:
    """Write the copies: first all to temporary files, then record their paths, then rename each.
    What a killed run left half-written is put back first.
    """
    own = [each for target in rollout.targets for each in target.plugin.copies(rollout.delivery)]
    copies: list[CopySpec] = [*rollout.spec.deploy.copies, *own]
    machine, name = run.services.machine, rollout.name
    restore_copies(name, run)
    paths = _claimed(copies, name, run)
    staged = stage(copies, rollout.delivery)
    try:
        current = rollout.held.deployment
        if current.copies != paths:
            rollout.held.save_deployment(replace(current, copies=paths))
        old = before(staged)
        entry = machine.record_copies(name, old) if old else None
    except BaseException:
        discard(staged)
        raise
    try:
        commit(staged)
    except BaseException:
        discard(staged)
        restore_copies(name, run)
        raise
    discard(staged)
    if entry is not None:
        machine.settle(entry)
    _remove_former_seconds(current.copies, [str(destination(each, name)) for each in own])
    return replace(rollout, copies=paths)


def _remove_former_seconds(former: Sequence[str], paths: Sequence[str]) -> None:
    """Remove the copies that a target had made of a second certificate, once there is none any
    more: a server that reads the directory would go on serving it until it has expired.
    """
    for each in former:
        path = Path(each)
        first, _, family = path.stem.rpartition(".")
        if each in paths or family not in FAMILIES or not first:
            continue
        if str(path.with_name(f"{first}{path.suffix}")) in paths:
            remove_file(path)


def restore_copies(name: str, run: Run) -> None:
    """Put back the copies that a killed run, or one that could not put them back itself, left
    half-written. The caller holds the certificate's lock.

    What cannot be put back is a warning: the deployment is pending, and writes them all again.
    """
    machine = run.services.machine
    for each in machine.interrupted_copies(name):
        try:
            put_back(each.files)
        except CertctlError as error:
            run.warn(f"a half-written copy could not be put back: {error.message}", name)
        machine.settle(each.entry)


def run_deploy_hooks(rollout: Rollout, run: Run) -> Rollout:
    """Run the deploy hooks, once for this version."""
    tree, spec = run.services.tree, rollout.spec
    facts = variables(
        "deploy",
        rollout.version,
        rollout.delivery.files,
        rollout.deployment.deployed,
        spec.deploy.lineage,
    )
    for hook in deploy_hooks(spec, tree):
        run.check()
        run_hook(hook, facts, timeout=spec.deploy.hook_timeout, run=run.hook_system, name=spec.name)
    return rollout


def test(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Run the configuration test of each distinct target once."""
    failed: dict[Hashable, CertctlError] = {}
    for target in _targets(rollouts):
        run.check()
        _attempt(target.plugin.test, target.key, failed)
    return [_with_failure(each, failed) for each in rollouts]


def reload(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Reload each distinct target and run each distinct reload command once."""
    failed: dict[Hashable, CertctlError] = {}
    for target in _targets(rollouts):
        run.check()
        deliveries = [
            each.delivery for each in rollouts if each.error is None and target in each.targets
        ]
        _attempt(lambda: target.plugin.reload(deliveries), target.key, failed)  # noqa: B023 - called now
    commands = (each.spec.deploy.reload for each in rollouts if each.error is None)
    for command in dict.fromkeys(command for command in commands if command):
        run.check()
        using = [each for each in rollouts if each.spec.deploy.reload == command]
        _attempt(lambda: _run_reload(command, using, run), command, failed)  # noqa: B023 - as above
    return [_with_failure(each, failed) for each in rollouts]


def apply_step(rollout: Rollout, step: Callable[[Rollout, Run], Rollout], run: Run) -> Rollout:
    """Apply a step to one rollout; return the rollout, with the error if the step failed."""
    if rollout.error is not None:
        return rollout
    try:
        return step(rollout, run)
    except Interrupted:
        raise
    except CertctlError as error:
        return replace(rollout, error=error)


def _run_reload(command: str, rollouts: Sequence[Rollout], run: Run) -> None:
    domains = [each.value for rollout in rollouts for each in rollout.spec.identifiers]
    run_hook(
        Hook("reload", command),
        run_variables("reload", domains, ()),
        timeout=max(each.spec.deploy.hook_timeout for each in rollouts),
        run=run.hook_system,
    )


def _attempt(
    step: Callable[[], object], key: Hashable, failed: dict[Hashable, CertctlError]
) -> None:
    try:
        step()
    except Interrupted:
        raise
    except CertctlError as error:
        failed[key] = error


def _with_failure(rollout: Rollout, failed: dict[Hashable, CertctlError]) -> Rollout:
    """Return the rollout with the error of the first of its targets or commands that failed."""
    if rollout.error is not None:
        return rollout
    keys = [*(each.key for each in rollout.targets), rollout.spec.deploy.reload]
    error = next((failed[key] for key in keys if key in failed), None)
    return rollout if error is None else replace(rollout, error=error, refused=True)


def _targets(rollouts: Iterable[Rollout]) -> list[Target]:
    found = {
        target.key: target for each in rollouts if each.error is None for target in each.targets
    }
    return list(found.values())


def _claimed(copies: Iterable[CopySpec], name: str, run: Run) -> tuple[str, ...]:
    """Register the certificate as the owner of the destinations of its copies, and return them.

    Raises `ConfigurationError` if one belongs to another certificate, is given twice, or is inside
    the home directory.
    """
    home = Path(run.services.tree.home).resolve()
    paths: list[str] = []
    for copy in copies:
        path = destination(copy, name)
        real = path.parent.resolve() / path.name
        if real.is_relative_to(home):
            raise _invalid_destination(copy, name, "is inside certctl's home directory")
        if str(real) in paths:
            raise _invalid_destination(copy, name, "is given twice")
        other = run.services.machine.claim_copy(str(real), name)
        if other is not None:
            raise _invalid_destination(copy, name, f"belongs to the certificate {other}")
        paths.append(str(real))
    return tuple(paths)


def _invalid_destination(copy: CopySpec, name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be copied to {copy.to}, which {reason}",
        hint=f"Choose another file: certctl edit {name} --copy {copy.format}:PATH",
        name=name,
        code="deploy.copy",
    )
