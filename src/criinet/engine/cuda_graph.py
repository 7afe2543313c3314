"""A training step that a GPU has recorded: thousands of launches become one."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Generator, Tensor

Result = TypeVar("Result")
WARM_UP = 3
"""Steps taken before one is recorded: libraries choose their algorithms, and the optimizer makes its state."""


class CudaGraph(Generic[Result]):
    """A function of tensors that is called ``WARM_UP`` times, then recorded as a CUDA graph, and replayed from then on.

    A step of a small network is thousands of short kernels, which a CPU launches more slowly than a GPU does them. A
    replay launches all of them at once.

    The function must do the same operations whenever it is called: no shape, branch or number on the host may depend on
    data or time, and it must not wait for the GPU. What it changes, as weights, it changes in place. Its result is the
    same tensors at every replay, so it must be read before the next call.

    Args:
        function: takes tensors of the same shapes each time.
        generator: the random numbers that it draws, beside those of PyTorch's own generator; both may be seeded anew
            before each call, as without recording.

    Reference: Gray, "Getting started with CUDA graphs", NVIDIA developer blog, 2019.
    """

    def __init__(self, function: Callable[[Sequence[Tensor]], Result], generator: Generator) -> None:
        self.function, self.generator = function, generator
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.result: Result | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Result:
        """Call, record, or replay."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self.aside(inputs)
        if self.graph is None:
            self.record(inputs)
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        assert self.graph is not None
        self.graph.replay()
        assert self.result is not None
        return self.result

    def aside(self, inputs: Sequence[Tensor]) -> Result:
        """Call on the stream that will record, as recording asks of whatever is done before."""
        here = torch.cuda.current_stream()
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            result = self.function(inputs)
        here.wait_stream(self.stream)
        return result

    def record(self, inputs: Sequence[Tensor]) -> None:
        """Note every operation of one call, none of which is done."""
        self.inputs = [each.clone() for each in inputs]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph, stream=self.stream):
            self.result = self.function(self.inputs)
        self.graph = graph
