"""What a camera does to a picture: focus, exposure, noise, compression.

Linear RGB and depth in, the picture as a phone would store it out; batched tensors, no solids. The
only randomness is a hash of the pixel's number, so every device makes the same picture.
"""

import math

import torch
import torch.nn.functional as F

BLURS_PX = (0.0, 1.2, 2.8, 6.5)  # standard deviations between which defocus is mixed, at 252 pixels
# Luminance quantisation of the JPEG standard (ITU-T T.81, Annex K.1)
QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def photograph(
    linear: torch.Tensor, depth_m: torch.Tensor, look: dict[str, torch.Tensor], seed: torch.Tensor
) -> torch.Tensor:
    """Turn light into a stored picture.

    Args:
        linear: float32 (B, 3, H, W), linear light, at least 0.
        depth_m: float32 (B, H, W), +inf where sky.
        look: the numbers of ``world``, each (B, ...).
        seed: int64 (B,), for the noise.
    Returns:
        float32 (B, 3, H, W) in [0, 1], sRGB-like.
    """
    height, width = linear.shape[2:]
    scale = max(height, width) / 252

    def each(name: str) -> torch.Tensor:
        return look[name].view(-1, 1, 1, 1)

    picture = defocus(linear, depth_m, look["focus_m"], look["blur"], scale)
    soft = gaussian_blur(picture, 0.9 * scale)
    picture = torch.lerp(picture, soft, each("softness"))
    luminance = picture.mean(1).flatten(1)
    level = luminance.mean(1).view(-1, 1, 1, 1).clamp(min=1e-3)
    picture = picture * each("exposure") / level
    y = torch.linspace(-1, 1, height, device=linear.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=linear.device).view(1, 1, 1, -1)
    picture = picture * (1 - each("vignette") * (x * x + y * y))
    picture = picture * look["cast"].view(-1, 3, 1, 1)
    picture = picture / (1 + 0.35 * picture)  # a shoulder, as film and phones have
    grey = picture.mean(1, keepdim=True)
    picture = (grey + (picture - grey) * each("saturation")).clamp(min=1e-4)
    picture = (picture ** (1 / 2.2)).clamp(max=1.2)
    picture = (0.5 + (picture - 0.5) * each("contrast")).clamp(0, 1)
    picture = picture + each("noise") * hashed_noise(picture.shape, seed)
    return jpeg_damage(picture.clamp(0, 1), look["jpeg"]).clamp(0, 1)


def defocus(
    image: torch.Tensor,
    depth_m: torch.Tensor,
    focus_m: torch.Tensor,
    aperture: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Blur by a thin lens: the circle of confusion grows with the difference of inverse depths."""
    inverse = 1 / depth_m.unsqueeze(1)
    radius = (inverse - 1 / focus_m.view(-1, 1, 1, 1)).abs()
    radius = (radius * aperture.view(-1, 1, 1, 1) * 252 * 4).clamp(max=BLURS_PX[-1])
    radius = gaussian_blur(radius, 1.5 * scale)  # a hard edge in blur would show as a cut-out
    out = image
    for low, high in zip(BLURS_PX, BLURS_PX[1:]):
        share = radius.sub(low).div(high - low).clamp(0, 1)
        if bool((share > 0).any()):
            out = torch.lerp(out, gaussian_blur(image, high * scale), share)
    return out


def gaussian_blur(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Separable blur of float32 (B, C, H, W) with mirrored borders; wide ones at half the size."""
    if sigma_px > 2 and min(image.shape[2:]) >= 8:
        halved = gaussian_blur(F.avg_pool2d(image, 2, ceil_mode=True), sigma_px / 2)
        return F.interpolate(halved, size=image.shape[2:], mode="bilinear", align_corners=False)
    reach = min(max(1, math.ceil(2.5 * sigma_px)), min(image.shape[2:]) - 1)
    x = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(x.div(max(sigma_px, 1e-3)).pow(2).mul(-0.5))
    kernel = kernel / kernel.sum()
    batch, channels, height, width = image.shape
    flat = image.reshape(batch * channels, 1, height, width)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="reflect"), kernel.view(1, 1, -1, 1))
    return flat.view(batch, channels, height, width)


def hashed_noise(shape: torch.Size, seed: torch.Tensor) -> torch.Tensor:
    """Nearly normal noise of this shape (B, ...), one stream for each seed of the batch."""
    count = math.prod(shape[1:])
    bits = hash32(torch.arange(count, device=seed.device).unsqueeze(0) + hash32(seed).unsqueeze(1))
    total = sum((bits >> shift) & 255 for shift in (0, 8, 16, 24))  # four uniforms, nearly a bell
    assert isinstance(total, torch.Tensor)
    return ((total.float() - 510) / 147.8).view(shape)


def hash32(value: torch.Tensor) -> torch.Tensor:
    """Scramble int64 into 32 bits (the finaliser of MurmurHash3)."""
    value = value.bitwise_and(0xFFFFFFFF)
    value = value.bitwise_xor(value >> 16).mul(0x85EBCA6B).bitwise_and(0xFFFFFFFF)
    value = value.bitwise_xor(value >> 13).mul(0xC2B2AE35).bitwise_and(0xFFFFFFFF)
    return value.bitwise_xor(value >> 16)


def jpeg_damage(image: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Quantise 8x8 blocks of the discrete cosine transform, as JPEG does; strength (B,) from 0."""
    if not bool(strength.gt(0).any()):
        return image
    height, width = image.shape[2:]
    padded = F.pad(image, (0, -width % 8, 0, -height % 8), mode="replicate")
    batch, _, tall, wide = padded.shape
    n = torch.arange(8, device=image.device, dtype=torch.float32)
    basis = torch.cos(math.pi * (2 * n + 1) * n.unsqueeze(1) / 16).div(2)
    basis[0] /= math.sqrt(2)
    blocks = padded.view(batch, 3, tall // 8, 8, wide // 8, 8).transpose(3, 4)
    step = torch.tensor(QUANTISATION, device=image.device) / 255.0
    step = step * strength.mul(4).view(-1, 1, 1, 1, 1, 1).clamp(min=1e-4)
    coefficients = basis @ blocks @ basis.T
    coefficients = (coefficients / step).round() * step
    blocks = basis.T @ coefficients @ basis
    restored = blocks.transpose(3, 4).reshape(batch, 3, tall, wide)[..., :height, :width]
    return torch.where(strength.gt(0).view(-1, 1, 1, 1), restored, image)
