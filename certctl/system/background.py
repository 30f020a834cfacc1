"""Work that goes on in a thread while the program waits for something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Background(Generic[_Result]):
    """A function that runs in a thread from now on. It must read only: if nobody asks for its
    result, it may be cut off at any point, when the process ends.
    """

    def __init__(self, function: Callable[[], _Result], name: str) -> None:
        self._function = function
        self._results: list[_Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def result(self) -> _Result:
        """Return the result once it is there. Raises what the function raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised to whoever asks for the result
            self._error = error
