"""Learning a task on a frozen base: vectors at the text encoder's input, or LoRA layers.

The run itself is `realfill.training.trainer`'s; here is what trains and what it is trained on.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionInpaintPipeline
from torch import Tensor, nn

from realfill.canvas.task_photos import TaskPhotos
from realfill.canvas.tokens import (
    AROUND,
    TOKEN,
    TOKENS_FILE,
    add_tokens,
    mean_embedding,
    write_tokens,
)
from realfill.errors import UserError
from realfill.model.attention import attend_on_cpu
from realfill.model.save import require_finite_weights, write_results
from realfill.record import TrainingRecord
from realfill.settings import TaskFlags, TaskSettings
from realfill.storage import replaced_together
from realfill.training.build import (
    make_lr_scheduler,
    make_noise_scheduler,
    make_optimizer,
    make_trainable,
    tokenize,
)
from realfill.training.latent_pool import DrawPool, EncodedDraws
from realfill.training.loss import denoising_loss, draw_latents
from realfill.training.trainer import Trainer

BEGIN_WITH = {
    "reference": "the whole image is split into two parts of the same size, which show the same "
    "scene from different viewpoints",
    "removal": "the background of the photo, and nothing that stands in front of it",
    "completion": "the rest of the object that can be seen in part",
}
"""Words whose mean embedding all vectors start from."""
DEFAULT_VECTORS = 50
PARAMETER = "task_tokens"


class HarmonizingTrainer(Trainer):
    """A training run whose samples say what they become, and whose condition is the whole photo."""

    def loss(self, draws: EncodedDraws, generator: torch.Generator) -> Tensor:
        """Return the loss of `draws`."""
        latents, goals = draw_latents(self.pool.vae, draws, generator)
        given = (self.unet, self.noise_scheduler, self.pool.vae.dtype, self.embed())
        return denoising_loss(*given, latents, latents, goals, draws, generator)


def build_trainer(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    photos: TaskPhotos,
    settings: TaskSettings,
    flags: TaskFlags,
) -> Trainer:
    """Bring `pipeline` to the device with what trains in it, ready for the first step."""
    device = accelerator.device
    if settings.task == "harmonization":
        make_trainable(pipeline, settings, flags, device)
        kind, trains, prompt, write = HarmonizingTrainer, "unet", "", write_results
    else:
        prompt = add_trainable_tokens(pipeline, settings, device)
        kind, trains, write = Trainer, "text_encoder", write_token_results
    optimizer = make_optimizer(pipeline, settings)
    lr_scheduler = make_lr_scheduler(optimizer, settings)
    models = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    models[trains], optimizer = accelerator.prepare(models[trains], optimizer)
    process = accelerator.process_index
    pool = DrawPool(
        photos,
        pipeline.vae,
        settings.train_batch_size,
        settings.resolution,
        settings.latent_reuse,
        (settings.seed, process),
    )
    return kind(
        accelerator=accelerator,
        pipeline=pipeline,
        scene=None,
        settings=settings,
        flags=flags,
        unet=models["unet"].train(),
        text_encoder=models["text_encoder"].train(),
        tokens=tokenize(pipeline, [prompt, ""]).to(device),
        pool=pool,
        noise_scheduler=make_noise_scheduler(pipeline),
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        write=write,
    )


def count_vectors(pipeline: StableDiffusionInpaintPipeline, asked: int | None) -> int:
    """Return how many vectors are learned: LeftRefill's 50, or as many as the base takes.

    Raises `UserError` if more are asked for than it takes.
    """
    room = pipeline.tokenizer.model_max_length - AROUND
    if asked is not None and asked > room:
        raise UserError(f"--vectors {asked}: the base takes {room} at most")
    return asked or min(DEFAULT_VECTORS, room)


def add_trainable_tokens(
    pipeline: StableDiffusionInpaintPipeline, settings: TaskSettings, device: torch.device
) -> str:
    """Freeze `pipeline` and give it vectors that train; return the prompt that holds them all."""
    first = mean_embedding(pipeline, BEGIN_WITH[settings.task])
    add_tokens(pipeline, first.expand(settings.vectors, -1).clone(), TOKENS_FILE)
    for model in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        model.requires_grad_(False)
    prompt = pipeline.maybe_convert_prompt(TOKEN, pipeline.tokenizer)
    vectors = nn.Parameter(first.expand(settings.vectors, -1).clone())
    pipeline.text_encoder.register_parameter(PARAMETER, vectors)
    begin = pipeline.tokenizer.convert_tokens_to_ids(TOKEN)
    pipeline.text_encoder.get_input_embeddings().register_forward_hook(
        partial(put_in, vectors, begin)
    )
    pipeline.to(device)
    if device.type == "cpu":
        pipeline.unet.set_attn_processor(attend_on_cpu)
    return prompt


def put_in(vectors: Tensor, begin: int, _module: nn.Module, ids: Any, embedded: Tensor) -> Tensor:
    """Return `embedded` with `vectors` in the places of the tokens from number `begin` on."""
    number = ids[0] - begin
    own = (number >= 0) & (number < len(vectors))
    chosen = vectors[number.clamp(0, len(vectors) - 1)].to(embedded.dtype)
    return torch.where(own[..., None], chosen, embedded)


def write_token_results(
    folder: Path, pipeline: StableDiffusionInpaintPipeline, record: TrainingRecord
) -> None:
    """Write the vectors and their record into `folder`, both or none. Raises `UserError`."""
    require_finite_weights(pipeline, record.steps)
    with replaced_together(folder) as temporary:
        write_tokens(temporary / TOKENS_FILE, getattr(pipeline.text_encoder, PARAMETER))
        record.write(temporary)
