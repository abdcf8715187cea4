"""A residual network small enough to train in seconds on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from neuroalign.config import Described

__all__ = ["SmallResNet"]


class _Block(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        same = stride == 1 and num_in == num_out
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + self.shortcut(x))


class SmallResNet(Described, nn.Module):
    """Residual network (He et al. 2016) of three stages with one basic block each.

    The stages are ``layer1``, ``layer2`` and ``layer3``; the second and the third halve height and width.

    Args:
        widths: Number of channels of each stage; the default has 78,000 parameters.
        in_channels: Number of channels of the images.

    Example:
        >>> SmallResNet()(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 64])
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64), in_channels: int = 3) -> None:
        super().__init__()
        if len(widths) != 3:
            raise ValueError(f"widths must be those of three stages; got {tuple(widths)}")
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.layer1 = _Block(widths[0], widths[0], 1)
        self.layer2 = _Block(widths[0], widths[1], 2)
        self.layer3 = _Block(widths[1], widths[2], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Features (stimulus, last width) of images (stimulus, channel, height, width)."""
        return self.avgpool(self.layer3(self.layer2(self.layer1(self.stem(images))))).flatten(1)
