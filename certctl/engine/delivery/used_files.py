"""After a reload: whether the server's configuration uses the certificate at all. A server that was
reloaded, but reads other files, goes on serving another certificate, or none.

Only targets that can tell are asked (`certctl.model.ports.SeesUse`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from certctl.engine.delivery.steps import Rollout
from certctl.engine.run import Run
from certctl.model.errors import DeployFailed
from certctl.model.ports import SeesUse


def check_use(rollouts: Sequence[Rollout], run: Run) -> list[Rollout]:
    """Return the rollouts; one whose files a server does not use gets an error, so that its
    deployment stays pending. No other version would be used either: it is no reason for a rollback.
    """
    unused: dict[Hashable, Mapping[str, str]] = {}
    for target in dict.fromkeys(target for each in rollouts for target in each.targets):
        if isinstance(target.plugin, SeesUse):
            run.check()
            deliveries = [
                each.delivery for each in rollouts if target in each.targets and each.error is None
            ]
            unused[target.key] = target.plugin.unused(deliveries) if deliveries else {}
    return [_checked(each, unused) for each in rollouts]


def _checked(rollout: Rollout, unused: Mapping[Hashable, Mapping[str, str]]) -> Rollout:
    if rollout.error is not None:
        return rollout
    for target in rollout.targets:
        lines = unused.get(target.key, {}).get(rollout.name)
        if lines is not None:
            return replace(rollout, error=not_used(rollout.name, target.name, lines))
    return rollout


def not_used(name: str, target: str, lines: str) -> DeployFailed:
    """Return the error for a certificate that the configuration of a server does not use; `lines`
    is what is missing in it.
    """
    return DeployFailed(
        f"no server block of {target} uses the certificate",
        hint=f"Add to the one that serves its names: {lines} (`certctl snippet {target} {name}`"
        f" prints them), then run: certctl deploy {name}. Or have it done: certctl secure {name}",
        name=name,
        code="deploy.not_used",
    )
