"""Sampling completions with a diffusers inpainting pipeline."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from realfill.devices import is_shortage
from realfill.errors import UserError
from realfill.images.blend import resize, sampled_mask, size_in_multiples
from realfill.images.seams import blend
from realfill.model.decoder import HarmonizingDecoder
from realfill.model.prior import Prior
from realfill.sampling.latents import decode, embed, sample_latents, scheduled
from realfill.settings import SamplingSettings

CPU_LATENTS_AT_ONCE = 16384
"""Latent pixels in a batch on a CPU: more gains no speed there and only takes memory."""


def complete(
    pipeline: StableDiffusionInpaintPipeline,
    target: Image.Image,
    mask: Image.Image,
    indices: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    batch_size: int | None = None,
    quiet: bool = False,
    decoder: HarmonizingDecoder | None = None,
    prior: Prior | None = None,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield `(index, completion)`: RGB in the target's size, blended into it.

    Completion i starts from noise drawn with `seed + i` alone, whatever the batch. A batch that
    does not fit into memory is halved. `pipeline` is left as it was; without a `decoder`, its own
    decodes; a `prior` stands in for the prompt. Where the mask is empty there is nothing to sample,
    and each completion is the target.
    """
    if not mask.getbbox():
        yield from ((index, target) for index in indices)
        return
    size = size_in_multiples(target.size, settings.resolution, pipeline.vae_scale_factor)
    photo, hole = resize(target, size), sampled_mask(mask, size)
    embeddings = None if prior is None else embed(pipeline, prior, photo, hole)
    images = sample_all(
        pipeline,
        [photo],
        hole,
        indices,
        seed,
        settings,
        batch_size,
        quiet,
        decoder,
        embeddings,
    )
    yield from ((index, blend(image, target, mask)) for index, image in images)


def sample_all(
    pipeline: StableDiffusionInpaintPipeline,
    views: Sequence[Image.Image],
    hole: Image.Image,
    indices: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    batch_size: int | None = None,
    quiet: bool = False,
    decoder: HarmonizingDecoder | None = None,
    embeddings: Tensor | None = None,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield `(index, image)`: RGB as the model gives it, at the size of `hole` (L).

    `views` are one photo of that size, or several that are sampled side by side from the same
    noise, of which the first one's image comes back.
    """
    sliced_before = pipeline.vae.use_slicing
    pipeline.vae.enable_slicing()
    size = (hole.width * len(views), hole.height)
    batch_size = batch_size or default_batch_size(pipeline, size, len(indices))
    waiting = list(indices)
    progress = tqdm(
        total=len(waiting) * settings.num_inference_steps,
        desc="sampling",
        unit="step",
        disable=quiet or not waiting,
    )
    try:
        while waiting:
            batch = waiting[:batch_size]
            done_before = progress.n
            try:
                seeds = [seed + index for index in batch]
                latents = draw(pipeline, views, hole, seeds, settings, progress, embeddings)
                images = develop(pipeline, latents, views[0], hole, seeds, decoder)
            except (RuntimeError, MemoryError) as error:
                if batch_size == 1 or not is_shortage(error):
                    raise
                batch_size //= 2
                progress.n = done_before
                progress.write(f"out of memory: going on with {batch_size} at once")
                torch.cuda.empty_cache()
                continue
            yield from zip(batch, images, strict=True)
            waiting = waiting[len(batch) :]
    finally:
        progress.close()
        # Left on by a validation, it would encode the rest of the training one crop at a time.
        pipeline.vae.use_slicing = sliced_before


def draw(
    pipeline: StableDiffusionInpaintPipeline,
    views: Sequence[Image.Image],
    hole: Image.Image,
    seeds: list[int],
    settings: SamplingSettings,
    progress: tqdm,
    embeddings: Tensor | None,
) -> Tensor:
    """Sample one batch at the sampling size: the latents for each of `seeds`, of the first view.

    The views of a seed follow one another in the batch.
    """
    photos = list(views) * len(seeds)
    # The photo is given once for each image, so that a generator serves its own image only.
    with scheduled(pipeline, settings.scheduler):
        latents = sample_latents(
            pipeline,
            photos,
            [hole] * len(photos),
            settings,
            [torch.Generator().manual_seed(seed) for seed in seeds for _ in views],
            lambda: progress.update(len(seeds)),
            embeddings,
        )
    return latents[:: len(views)]


def develop(
    pipeline: StableDiffusionInpaintPipeline,
    latents: Tensor,
    photo: Image.Image,
    hole: Image.Image,
    seeds: list[int],
    decoder: HarmonizingDecoder | None,
) -> list[Image.Image]:
    """Decode one batch into RGB images. Raises `UserError` if one is not finite."""
    pixels = pipeline.image_processor.pt_to_numpy(decode(pipeline, latents, photo, hole, decoder))
    if not np.isfinite(pixels).all():
        raise UserError(
            f"the completion of seed {seeds[0]}, or one sampled with it, is not finite: the model "
            "is damaged, or needs --mixed_precision bf16 or no; it was not written"
        )
    return pipeline.numpy_to_pil(pixels)


def default_batch_size(
    pipeline: StableDiffusionInpaintPipeline, size: tuple[int, int], count: int
) -> int:
    """Return how many to sample at once: all on a GPU, what the caches like on a CPU."""
    if pipeline.device.type != "cpu":
        return count
    latents = size[0] * size[1] // pipeline.vae_scale_factor**2
    return max(1, min(count, CPU_LATENTS_AT_ONCE // latents))
