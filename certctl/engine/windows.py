"""Says when something is done although its window is closed."""

from __future__ import annotations

from certctl.engine.run import Run
from certctl.model.run import WindowKind
from certctl.model.spec import CertificateSpec


def warn_of_closed_window(kind: WindowKind, spec: CertificateSpec, why: str, run: Run) -> None:
    """Warn that a certificate is ordered or deployed outside its windows, and why."""
    done = "ordered" if kind is WindowKind.ORDER else "deployed"
    texts = spec.order_window if kind is WindowKind.ORDER else spec.deploy_window
    run.warn(f"it is {done} outside its {kind} window ({', '.join(texts)}): {why}", spec.name)
