"""Stable Video Diffusion in miniature: a VAE and a UNet of drawn faces, for the svd engine's tests.

    python -m tests.stock

draws five people, trains the UNet for some minutes on one core and writes ``reference/stock.npz``.
The person held out in the miniature of MEAD is not among them, and nothing is labelled.

- The VAE's encoder is set, not trained: four projections of every patch of 8 x 8 pixels, those in
  which the pictures of a person differ most beside what tells people apart. Its decoder is random.
- The UNet, with a random image encoder, learns to move a picture, as the published one did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.datasets.mead import EMOTIONS, LEVELS
from mien.datasets.miniature import Actor, demo_speech, speaking_expression
from mien.engines.published_checkpoints import convert_file
from mien.engines.svd.networks import load_network
from mien.engines.svd.preprocess import prepare_portrait
from mien.engines.svd.sampler import ADDED_TIME_IDS, SCALING_FACTOR
from mien.engines.svd.settings import FRAMES_PER_SECOND
from mien.engines.svd.unet import ADAPTER, build_unet
from mien.media.audio import SAMPLE_RATE_HZ
from mien.speech.articulation import code_at
from mien.weights.manifest import EMOTION2VEC, IMAGE_ENCODER, UNET, VAE, entry
from mien.weights.store import Store

from .published import write_emotion2vec
from .svd import UNET_SIZES, tiny_svd_store

FILE: Final = Path(__file__).parent / "reference" / "stock.npz"
SIDE: Final = 64
VAE_SIZES: Final[dict[str, Any]] = {
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 1,
}
PICTURES: Final = ("man", "man2", "woman", "woman2", "woman3")
PATCH, CHANNELS = 8, 4

_BETWEEN: Final = 3.0
"""How much unlikeness of people is taken for granted, in units of a patch's mean variance."""


def stock_store(folder: Path) -> Store:
    """Return a tiny store whose UNet and VAE know drawn faces; the small nets are random."""
    store = tiny_svd_store(folder)
    with np.load(FILE) as file:
        known = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
    torch.manual_seed(0)
    vae = AutoencoderKLTemporalDecoder(**VAE_SIZES)
    set_encoder(vae, known.pop("projections"), known.pop("mean"))
    for name, weights, sizes in (
        (UNET, known, UNET_SIZES),
        (VAE, vae.state_dict(), VAE_SIZES),
    ):
        store.locate(name).unlink()
        path = folder / f"stock_{name.rpartition('/')[2]}.safetensors"
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
        convert_file(entry(name), path, store, sizes)
    convert_file(entry(EMOTION2VEC), write_emotion2vec(folder / "emotion2vec.pt"), store)
    return store


def drawn_people(clips: int, seed: int = 1) -> np.ndarray:
    """Draw clips of eight frames of every person, ``uint8 (P, clips, 8, side, side, 3)``.

    Each has an expression between two emotions, speaks, and moves its head.
    """
    rng = np.random.default_rng(seed)
    speech, codes = demo_speech()
    longest = len(speech) / SAMPLE_RATE_HZ - 1

    def clip(actor: Actor) -> np.ndarray:
        one, other = (speaking_expression(name, LEVELS) for name in rng.choice(EMOTIONS, 2, False))
        share = 1.0 if rng.random() < 0.5 else rng.uniform()
        change = rng.uniform(0.2, 1.1) * (share * one + (1 - share) * other)
        times = rng.uniform(0, longest) + np.arange(8) / FRAMES_PER_SECOND
        frames = actor.perform(change, code_at(codes, times), int(rng.integers(1000)))
        return np.stack([frame.reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3)) for frame in frames])

    people = [Actor(picture, 2 * SIDE, close=True) for picture in PICTURES]
    return np.stack([[clip(one) for _ in range(clips)] for one in people]).round().astype(np.uint8)


def projections_of(people: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return projections of patches ``(4, 3, 8, 8)`` and the mean patch ``(3, 8, 8)``.

    Their latents, times the scaling factor, have a variance of one.
    """
    both = np.concatenate([people, people[..., ::-1, :]])  # and mirrored
    own = _pictures(both.reshape(len(both), -1, SIDE, SIDE, 3))  # (P, n, 3, side, side)
    size = SIDE // PATCH
    patches = own.unflatten(3, (size, PATCH)).unflatten(5, (size, PATCH))
    patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # (P, n, places, 192)
    mean = patches.mean((0, 1, 2))
    within = (patches - patches.mean(1, keepdim=True)).flatten(0, 2)
    total = (patches - mean).flatten(0, 2)
    inner = within.T @ within / len(within)
    between = total.T @ total / len(total) - inner
    usual = _BETWEEN * between.trace() / len(between) * torch.eye(len(between))
    root = torch.linalg.inv(torch.linalg.cholesky(between + usual))
    ways = (root.T @ torch.linalg.eigh(root @ inner @ root.T).eigenvectors).flip(1)[:, :CHANNELS]
    ways = ways / (within @ ways).std(0)
    shape = (3, PATCH, PATCH)
    matrix, middle = ways.T.reshape(CHANNELS, *shape).contiguous(), mean.reshape(shape)
    return matrix / latents_of(own.flatten(0, 1), matrix, middle).std(), middle


def _pictures(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(frames, -1, -3).astype(np.float32) / 127.5 - 1)


def latents_of(pictures: Tensor, projections: Tensor, mean: Tensor) -> Tensor:
    """Project pictures ``(N, 3, H, W)`` as the encoder does, times the scaling factor.

    The encoder's last normalisation takes away the mean of the picture.
    """
    latents = F.conv2d(pictures, projections, -(projections * mean).sum((1, 2, 3)), stride=PATCH)
    return latents - latents.mean((2, 3), keepdim=True)


@torch.no_grad()
def set_encoder(vae: Any, projections: Tensor, mean: Tensor) -> None:
    """Let a VAE's encoder project patches: see :func:`latents_of`.

    Residual blocks pass on what they get. The convolutions between the levels sort the pixels of
    2 x 2 into channels, and the last of them projects. Beside each of the four results stands a
    large constant, so that the normalisation hardly scales them; an offset keeps them where the
    activation is linear.
    """
    encoder, constant, offset = vae.encoder, 512.0, 12.0
    for parameter in [*encoder.parameters(), *vae.quant_conv.parameters()]:
        parameter.zero_()
    _pass_on(encoder.conv_in.weight[:, :, 1, 1])
    sorting = []
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _pass_on(resnet.conv_shortcut.weight[:, :, 0, 0])
        sorting += [sampler.conv for sampler in block.downsamplers or ()]
    first, second, last = sorting
    for conv, channels in ((first, 3), (second, 12)):
        for i in range(4 * channels):
            conv.weight[i, i // 4, i // 2 % 2, i % 2] = 1
    for i in range(48):  # channel, then row and column in the first pixels, then in the second
        colour, row, column = i // 16, (i // 8 % 2, i // 2 % 2), (i // 4 % 2, i % 2)
        y, x = row[0] + 2 * row[1], column[0] + 2 * column[1]
        last.weight[: 2 * CHANNELS : 2, i, :2, :2] = projections[:, colour, y::4, x::4]
    last.bias[: 2 * CHANNELS : 2] = -(projections * mean).sum((1, 2, 3))
    last.bias[1::2] = constant
    gain = constant / 2  # the deviation of a channel and its constant
    encoder.conv_norm_out.weight[: 2 * CHANNELS] = gain / 4
    encoder.conv_norm_out.bias[: 2 * CHANNELS] = offset + gain / 4
    for i in range(CHANNELS):
        encoder.conv_out.weight[i, 2 * i, 1, 1] = 4 / SCALING_FACTOR
    encoder.conv_out.bias[:CHANNELS] = -4 * offset / SCALING_FACTOR
    encoder.conv_out.bias[CHANNELS:] = -20  # the logarithm of the variance: none
    _pass_on(vae.quant_conv.weight[:, :, 0, 0])


def _pass_on(weight: Tensor) -> None:
    weight.fill_diagonal_(1)


def trained_unet(
    people: np.ndarray, projections: Tensor, mean: Tensor, image_encoder: Any, steps: int
) -> dict[str, Tensor]:
    """Train the UNet to draw two frames from another picture of the person; return its average."""
    torch.manual_seed(0)
    unet, conditioning = build_unet(UNET_SIZES)
    conditioning.caching = False
    conditioning.start((), None, None)
    weights = {name: p for name, p in unet.named_parameters() if ADAPTER not in name}
    average = {name: p.detach().clone() for name, p in weights.items()}
    optimiser = torch.optim.AdamW(weights.values(), lr=2e-3, weight_decay=1e-4)
    for step, (latents, picture, token) in enumerate(
        _batches(people, projections, mean, image_encoder, steps)
    ):
        share = min(1, (step + 1) / 50) * (0.52 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = 2e-3 * share
        count = len(latents)
        sigma = torch.exp(0.7 + 1.7 * torch.randn(count))
        wide = sigma[:, None, None, None, None]
        scale = (wide**2 + 1).sqrt()
        noisy = latents + wide * torch.randn_like(latents)
        given = torch.cat([noisy / scale, picture.expand(-1, latents.shape[1], -1, -1, -1)], 2)
        ids = latents.new_tensor([ADDED_TIME_IDS] * count)
        found = unet(given, 0.25 * sigma.log(), token, ids).sample
        loss = F.mse_loss(found, (noisy / scale**2 - latents) * scale / wide)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        kept = min(0.995, (step + 1) / (step + 10))
        for name, weight in weights.items():
            average[name].lerp_(weight.detach(), 1 - kept)
    return average


def _batches(
    people: np.ndarray, projections: Tensor, mean: Tensor, image_encoder: Any, steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield latents of two frames, a reference picture's, and its token; colours and sides vary.

    One in ten has neither picture nor token.
    """
    rng, box = np.random.default_rng(0), (0.0, 0.0, float(SIDE), float(SIDE))
    shown = [prepare_portrait(clip[0], box, shorter_side=SIDE).clip
             for own in people for clip in own]  # fmt: skip
    with torch.no_grad():
        tokens = image_encoder(torch.from_numpy(np.stack(shown))).image_embeds
    tokens = tokens.reshape(*people.shape[:2], 1, -1)
    for _ in range(steps):
        person = rng.integers(len(people), size=8)
        clip, other = rng.integers(people.shape[1], size=(2, 8))
        start = int(rng.integers(7))
        frames = np.concatenate(
            [people[person, clip, start : start + 2], people[person, other, :1]], 1
        )
        pictures = _pictures(frames)
        tone = (8, 1, 3, 1, 1)
        gain, light = rng.uniform(0.75, 1.25, tone), 0.25 * rng.normal(size=tone)
        pictures = (pictures * torch.from_numpy(gain) + torch.from_numpy(light)).clamp(-1, 1)
        mirrored = torch.from_numpy(rng.random(8) < 0.5)
        pictures[mirrored] = pictures[mirrored].flip(4)
        latents = latents_of(pictures.float().flatten(0, 1), projections, mean).unflatten(0, (8, 3))
        given = torch.from_numpy(rng.random(8) > 0.1).float()
        yield (
            latents[:, :2],
            given[:, None, None, None, None] * latents[:, 2:] / SCALING_FACTOR,
            given[:, None, None] * tokens[person, other],
        )


def main() -> None:
    """Draw, train and write the file."""
    people = drawn_people(60)
    projections, mean = projections_of(people)
    with TemporaryDirectory() as folder:
        image_encoder = load_network(tiny_svd_store(Path(folder)), IMAGE_ENCODER)
    image_encoder.eval().requires_grad_(False)
    unet = trained_unet(people, projections, mean, image_encoder, 1500)
    arrays = {name: value.half().numpy() for name, value in unet.items()}
    np.savez(FILE, projections=projections.numpy(), mean=mean.numpy(), **arrays)


if __name__ == "__main__":
    main()
