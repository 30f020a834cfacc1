"""Removes what a deploy target wrote for a certificate that is no longer deployed to it, such as a
file from which a server would still read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from certctl.deploy.loading import withdraw
from certctl.engine.run import Run
from certctl.model.errors import CertctlError
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.spec import target_of


def withdraw_from_former(
    before: CertificateSpec | None, after: CertificateSpec | None, run: Run
) -> None:
    """Have the targets of a spec that the next one lacks, or has with other settings, remove what
    they wrote. `after` is None for a certificate that was deleted. Warns if one fails.
    """
    if before is None:
        return
    kept = [] if after is None else _targets(after)
    for name, settings in _targets(before):
        if (name, settings) in kept:
            continue
        try:
            withdraw(name, settings, before.name)
        except CertctlError as error:
            run.warn(f"what {name} was given before remains: {error.message}", before.name)


def _targets(spec: CertificateSpec) -> list[tuple[str, Mapping[str, Value]]]:
    return [
        (
            name,
            {key: value for key, value in spec.deploy.plugin.items() if target_of(key) == name},
        )
        for name in spec.deploy.targets
    ]
