"""Changes of colour and coding: brightness, contrast, saturation, elastic distortion, large pixels and JPEG.

Source: Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261. Images are (stimulus, channel, height, width) in [0, 1];
results may leave [0, 1]: :class:`Corruption` clips them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.filters import box_means, enlarge, gaussian_filter, sample

__all__: list[str] = []


def luma(images: Tensor) -> Tensor:
    """Perceived brightness, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): (stimulus, 1, height, width).

    An image of one channel is returned unchanged.

    Example:
        >>> luma(torch.ones(1, 3, 1, 1)).item()
        1.0
    """
    if images.shape[1] == 1:
        return images
    weights = torch.tensor([0.299, 0.587, 0.114]).to(images)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def brightness(images: Tensor, amount: float) -> Tensor:
    """Raise the value (the largest channel) of each pixel in HSV, with the same hue and saturation.

    Args:
        images: (stimulus, channel, height, width) in [0, 1].
        amount: Added to the value, which stays within [0, 1].

    Example:
        >>> brightness(torch.tensor([0.2, 0.4, 0.0]).view(1, 3, 1, 1), 0.4).flatten()
        tensor([0.4000, 0.8000, 0.0000])
    """
    # At fixed hue and saturation a pixel is proportional to its value, so no conversion is needed.
    value = images.amax(1, keepdim=True)
    raised = (value + amount).clamp(0, 1)
    return torch.where(value > 0, images / value * raised, raised)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Move every pixel toward its channel's mean.

    Args:
        images: (stimulus, channel, height, width).
        factor: Factor of the distance from the mean; 1 changes nothing.

    Example:
        >>> contrast(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2), 0.5).flatten()
        tensor([0.2500, 0.7500])
    """
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def saturate(images: Tensor, factor: float, offset: float) -> Tensor:
    """Change the saturation of each pixel in HSV, with the same hue and value.

    Args:
        images: (stimulus, 3, height, width) in [0, 1].
        factor: Factor of the saturation.
        offset: Added to the saturation. A grey pixel has no hue; as published it counts as red, and a positive offset
            tints it.

    Example:
        >>> pixel = torch.tensor([0.8, 0.4, 0.6]).view(1, 3, 1, 1)
        >>> saturate(pixel, 0.0, 0.0).flatten(), saturate(pixel, 2.0, 0.0).flatten()
        (tensor([0.8000, 0.8000, 0.8000]), tensor([0.8000, 0.0000, 0.4000]))
    """
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - least
    saturation = spread / value.clamp_min(1e-12)
    # The pixel is value (1 - saturation depth), where depth (0 in the largest channel, 1 in the least) is the hue.
    red = torch.tensor([0.0, 1.0, 1.0]).to(images)[:, None, None]
    depth = torch.where(spread > 0, (value - images) / spread, red)
    return value * (1 - (factor * saturation + offset).clamp(0, 1) * depth)


def elastic_transform(images: Tensor, alpha: float, sigma: float, jitter: float, *, draws: Draws) -> Tensor:
    """Tilt the image by an affine map, then shift its pixels by a smooth random field.

    The affine map takes three points around the centre to places up to ``jitter`` away. Both steps interpolate
    bilinearly, one after the other, as published; the border is mirrored.

    Args:
        images: (stimulus, channel, height, width).
        alpha: Factor of the field, in pixels.
        sigma: Standard deviation in pixels of the Gaussian that smooths the field, cut at three of them.
        jitter: Largest shift of the three points in each direction, in pixels.
        draws: Random numbers of the images.

    Source of the field: Simard, Steinkraus & Platt, ICDAR 2003.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> same = elastic_transform(images, 0.0, 1.0, 0.0, draws=Draws([0, 1]))
        >>> bool((same - images).abs().max() < 1e-4)
        True
    """
    height, width = images.shape[-2:]
    centre, third = torch.tensor([width // 2, height // 2]), min(height, width) // 3
    points = (centre + third * torch.tensor([[1, 1], [1, -1], [-1, -1]])).to(images).expand(len(images), -1, -1)
    moved = points + draws.uniform(3, 2, low=-jitter, high=jitter)
    # back maps (x, y, 1) of the new image to (x, y) of the old one
    back = torch.linalg.solve(torch.cat([moved, torch.ones_like(moved[..., :1])], dim=-1), points)
    y, x = torch.meshgrid(*(torch.arange(n, device=images.device) for n in (height, width)), indexing="ij")
    old = torch.stack([x, y, torch.ones_like(x)], dim=-1).to(images).view(1, -1, 3) @ back
    old = old.view(-1, height, width, 2)
    tilted = sample(images, old[..., 1], old[..., 0], "reflect")
    field = draws.uniform(2, height, width, low=-1.0, high=1.0)
    field = alpha * gaussian_filter(field, sigma, "symmetric", truncate=3.0)
    return sample(tilted, y + field[:, 0], x + field[:, 1], "symmetric")


def pixelate(images: Tensor, scale: float) -> Tensor:
    """Shrink the image and enlarge it again, both with Pillow's BOX filter, without its rounding to 8 bits.

    Args:
        images: (stimulus, channel, height, width).
        scale: Factor of each side; the small side is ``int(side * scale)`` pixels.

    Example:
        >>> pixelate(torch.eye(4)[None, None], 0.5)[0, 0, 0]
        tensor([0.5000, 0.5000, 0.0000, 0.0000])
    """
    height, width = images.shape[-2:]
    return enlarge(box_means(images, *(max(int(n * scale), 1) for n in (height, width))), height, width)


def jpeg_compression(images: Tensor, quality: float) -> Tensor:
    """Encode as JPEG and decode, on the CPU, by the codec that comes with torchvision.

    Pixels are rounded to 8 bits, and colour is stored at half the resolution (4:2:0), as Pillow does by default with the
    same library.

    Args:
        images: (stimulus, 1 or 3, height, width) in [0, 1].
        quality: JPEG quality, 1 to 100.

    Example:
        >>> compressed = jpeg_compression(torch.full((1, 3, 16, 16), 0.5), 25)
        >>> bool((compressed - 0.5).abs().max() < 1 / 255)
        True
    """
    from torchvision.io import decode_jpeg, encode_jpeg

    # The codec keeps the colours of a pixel side by side; given anything else, it rearranges it slowly.
    pixels = (images * 255).round_().to("cpu", torch.uint8, memory_format=torch.channels_last)
    decoded = decode_jpeg(encode_jpeg(list(pixels), quality=int(quality)))
    whole = torch.stack([image.permute(1, 2, 0) for image in decoded]).permute(0, 3, 1, 2)
    return whole.to(images.device, images.dtype, memory_format=torch.contiguous_format).div_(255)
