"""Checks of a spec's deployment before anything is ordered: missing targets, copies that cannot be
written, a missing group, commands that cannot start; and of its domain validation.
"""

from __future__ import annotations

from certctl.engine.current import current_state_of
from certctl.engine.delivery.steps import check_copies, targets_of
from certctl.engine.run import Run
from certctl.model.errors import CertctlError, ConfigurationError
from certctl.model.spec import CertificateSpec
from certctl.rules.renewal_windows import too_rare_text, window_too_rare
from certctl.rules.spec import target_of
from certctl.system.commands import names_a_path, obstacle


def check_deployment(spec: CertificateSpec, run: Run) -> None:
    """Raise `UsageError` or `ConfigurationError` if the certificate could not be deployed.

    Warns of options for targets that the spec does not use.
    """
    check_targets(spec, run)
    try:
        run.services.machine.check_access(spec)
        check_copies(spec, run)
    except CertctlError as error:
        error.name = error.name or spec.name
        raise
    unused = {target_of(key) for key in spec.chosen} - {None, *spec.deploy.targets}
    for target in sorted(str(each) for each in unused):
        run.warn(f"the options for {target} have no effect without --deploy {target}", spec.name)


def check_targets(spec: CertificateSpec, run: Run) -> None:
    """Check as `check_deployment` does what can be seen without writing anything: whether commands
    can start, and targets are there. Without warnings.
    """
    try:
        _check_commands(spec)
        targets_of(spec, run, {})
    except CertctlError as error:
        error.name = error.name or spec.name
        raise


def check_windows(spec: CertificateSpec, run: Run) -> None:
    """Raise `ConfigurationError` if a window of a spec is closed for too long for the lifetime of
    its live version. For a new certificate, that is known only once it is issued.
    """
    if not spec.has_windows:
        return
    live = current_state_of(spec.name, run.services).live
    found = None if live is None else window_too_rare(spec, live, run.services.clock.now())
    if found is not None:
        flag = f"--{found.setting.replace('_', '-')}"
        raise ConfigurationError(
            too_rare_text(found),
            hint=f"Give a window on more days, or a second one: repeat {flag}.",
            name=spec.name,
            code="configuration.window_too_rare",
        )


def check_validation(spec: CertificateSpec, run: Run) -> None:
    """Raise `ConfigurationError`, `UsageError` or `ChallengeError` if the challenges could not be
    completed: a hook that cannot start, a key file that cannot be read, a webroot that is missing.
    """
    from certctl.challenges.loading import check_solver  # noqa: PLC0415 - an idle run needs no solver

    check_solver(run.solver(run.challenge(spec)), spec.identifiers)


def _check_commands(spec: CertificateSpec) -> None:
    """Raise `ConfigurationError` for a hook or reload command whose path cannot be run. A program
    without a path may be installed later.
    """
    deploy = spec.deploy
    commands = {
        "--pre-hook": deploy.pre_hook,
        "--deploy-hook": deploy.deploy_hook,
        "--reload": deploy.reload,
        "--post-hook": deploy.post_hook,
    }
    for flag, command in commands.items():
        problem = obstacle(command) if command and names_a_path(command) else None
        if problem is not None:
            raise ConfigurationError(
                f"the command of {flag} cannot be run: {problem.text}",
                hint=problem.fix,
                name=spec.name,
                code="hook.cannot_run",
            )
