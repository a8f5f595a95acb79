"""A compiled network that is run again and again: what it reads is bound to it, and only what is new is bound anew."""

from collections.abc import Mapping

import numpy as np
import openvino as ov


class Request:
    """One request of OpenVINO's. Whoever holds an array that was given sees to it that it says what it should."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._bound: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # what was given, and what the runtime reads
        self.results = [port.get_any_name() for port in compiled.outputs]
        self.sizes = {port.get_any_name(): _sizes(port.partial_shape) for port in compiled.outputs}

    def run(self, feed: Mapping[str, np.ndarray]) -> None:
        """Inputs that are not in `feed` are those of the run before.

        In OpenVINO's own threads: `infer` would work in the caller's, and then two threads got no further than one.
        """
        for name, array in feed.items():
            if name not in self._bound or self._bound[name][0] is not array:
                read = np.asarray(array, order="C")
                self._request.set_tensor(name, ov.Tensor(read, shared_memory=True))
                self._bound[name] = (array, read)  # the runtime keeps nothing alive
        self._request.start_async()
        self._request.wait()

    def result(self, name: str) -> np.ndarray:
        """What the last run found; the next one writes over it."""
        found: np.ndarray = self._request.get_tensor(name).data
        return found

    def forget(self) -> None:
        """Empty the cache."""
        self._request.reset_state()


def _sizes(shape: ov.PartialShape) -> tuple[int | None, ...]:
    """None for those that a graph leaves open; () where it leaves all open."""
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)
