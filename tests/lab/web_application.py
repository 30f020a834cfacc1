"""A web application in plain HTTP, as one stands behind a proxy: FastAPI under uvicorn, a process.

Run as a module it is that process, at the port of its only argument.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.sites import HOST, listens


@contextmanager
def web_application(directory: Path) -> Iterator[int]:
    """Serve it at a free port of this machine, and give the port; its log is in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.lab.web_application", str(port)]
    with ServerProcess(
        command,
        directory=directory,
        ready=lambda: listens(port),
        environment={"PYTHONPATH": str(Path(__file__).parents[2])},
    ):
        yield port


def serve(port: int) -> None:
    """Answer with what reached the application, until it is told to end."""
    import uvicorn  # noqa: PLC0415 - the process that starts it needs none of this
    from fastapi import FastAPI, Header, Request  # noqa: PLC0415 - as above

    application = FastAPI()

    @application.get("/")
    def seen(
        request: Request,
        host: Annotated[str, Header()],
        x_forwarded_proto: Annotated[str | None, Header()] = None,
        x_forwarded_for: Annotated[str | None, Header()] = None,
    ) -> dict[str, str | None]:
        return {
            "scheme": request.scope["scheme"],
            "host": host.partition(":")[0],
            "forwarded_proto": x_forwarded_proto,
            "forwarded_for": x_forwarded_for,
        }

    uvicorn.run(application, host=HOST, port=port, log_level="warning", proxy_headers=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
