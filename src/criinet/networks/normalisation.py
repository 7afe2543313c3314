"""Batch normalisation whose statistics are those of the whole batch, however many processes share it."""

from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the shares of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return over_all_processes(self, input) if shared(self) else super().forward(input)


class BatchNorm3d(nn.BatchNorm3d):
    """``nn.BatchNorm3d`` over the shares of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, D, H, W)."""
        return over_all_processes(self, input) if shared(self) else super().forward(input)


def shared(layer: nn.Module) -> bool:
    """Say whether other processes hold shares of the batch whose statistics a layer needs now."""
    return layer.training and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def over_all_processes(layer: Any, input: Tensor) -> Tensor:
    """Normalise by the mean and variance of all processes' shares, which are of one size, and follow them.

        y = g (x - m) / sqrt(v + eps) + b,   m, v over batch, space and processes; gradients pass through both

    The running variance is corrected for the number of values, as in the layers of PyTorch. It works on CPUs and GPUs
    alike, where ``nn.SyncBatchNorm`` needs GPUs.
    """
    axes = [0, *range(2, input.ndim)]
    shape = [1, -1, *[1] * (input.ndim - 2)]
    mean = mean_over_all(input.float().mean(axes))
    centred = input.float() - mean.view(shape)
    variance = mean_over_all(centred.square().mean(axes))
    count = input.numel() // input.shape[1] * torch.distributed.get_world_size()
    with torch.no_grad():
        layer.num_batches_tracked.add_(1)
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * count / max(1, count - 1), layer.momentum)
    scale = layer.weight * torch.rsqrt(variance + layer.eps)
    return (centred * scale.view(shape) + layer.bias.view(shape)).to(input.dtype)


def mean_over_all(value: Tensor) -> Tensor:
    """Return the mean of ``value`` over all processes, with its gradient."""
    return cast(Tensor, MeanOverAll.apply(value))


class MeanOverAll(torch.autograd.Function):
    """The mean over processes; the gradient is the mean of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        """Sum and divide."""
        return summed(value) / torch.distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """Sum and divide."""
        return summed(gradients[0]) / torch.distributed.get_world_size()


def summed(value: Tensor) -> Tensor:
    """Return the sum of ``value`` over all processes."""
    total = value.contiguous().clone()
    torch.distributed.all_reduce(total)
    return total
