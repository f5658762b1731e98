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

from realfill.canvas.poses import POSE_FILE, PoseEncoder, write_pose_encoder
from realfill.canvas.task_photos import TaskPhotos
from realfill.canvas.tokens import (
    AROUND,
    TOKEN,
    TOKENS_FILE,
    add_tokens,
    mean_embedding,
    write_tokens,
)
from realfill.canvas.view_photos import ViewPhotos
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
from realfill.training.loss import denoising_loss, diffusion_loss, draw_latents
from realfill.training.trainer import Trainer

BEGIN_WITH = {
    "reference": "the whole image is split into two parts of the same size, which show the same "
    "scene from different viewpoints",
    "removal": "the background of the photo, and nothing that stands in front of it",
    "completion": "the rest of the object that can be seen in part",
    "view": "the whole image is split into two parts of the same size, the right one shows the "
    "scene of the left one from another viewpoint",
}
"""Words whose mean embedding all vectors start from."""
DEFAULT_VECTORS = {"view": 73}
"""LeftRefill's; 50 for all else."""
PARAMETER, POSES = "task_tokens", "pose_encoder"
"""Names in the text encoder of what trains."""


class HarmonizingTrainer(Trainer):
    """A training run whose samples say what they become, and whose condition is the whole photo."""

    def loss(self, draws: EncodedDraws, generator: torch.Generator) -> Tensor:
        """Return the loss of `draws`."""
        latents, goals = draw_latents(self.pool.vae, draws, generator)
        given = (self.unet, self.noise_scheduler, self.pool.vae.dtype, self.embed())
        return denoising_loss(*given, latents, latents, goals, draws, generator)


class ViewTrainer(Trainer):
    """A training run whose samples have a prompt each, which ends in the token of its pose."""

    def loss(self, draws: EncodedDraws, generator: torch.Generator) -> Tensor:
        """Return the loss of `draws`."""
        getattr(self.pipeline.text_encoder, POSES).poses = draws.poses
        own, empty = self.tokens[:1], self.tokens[1:]
        embeddings = self.text_encoder(torch.cat([own.expand(len(draws.poses), -1), empty]))[0]
        models = (self.unet, self.noise_scheduler, self.pool.vae)
        return diffusion_loss(*models, embeddings, draws, generator)


def build_trainer(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    photos: TaskPhotos | ViewPhotos,
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
        kind = ViewTrainer if settings.task == "view" else Trainer
        trains, write = "text_encoder", write_token_results
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


def count_vectors(pipeline: StableDiffusionInpaintPipeline, task: str, asked: int | None) -> int:
    """Return how many vectors are learned: as many as LeftRefill's, or as the base takes.

    Raises `UserError` if more are asked for than it takes.
    """
    room = pipeline.tokenizer.model_max_length - AROUND - (task == "view")
    if asked is not None and asked > room:
        raise UserError(f"--vectors {asked}: the base takes {room} at most")
    return asked or min(DEFAULT_VECTORS.get(task, 50), room)


def add_trainable_tokens(
    pipeline: StableDiffusionInpaintPipeline, settings: TaskSettings, device: torch.device
) -> str:
    """Freeze `pipeline` and give it vectors that train; return the prompt that holds them all."""
    first = mean_embedding(pipeline, BEGIN_WITH[settings.task])
    with_poses = settings.task == "view"
    add_tokens(pipeline, first.expand(settings.vectors + with_poses, -1).clone(), TOKENS_FILE)
    for model in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        model.requires_grad_(False)
    prompt = pipeline.maybe_convert_prompt(TOKEN, pipeline.tokenizer)
    vectors = nn.Parameter(first.expand(settings.vectors, -1).clone())
    pipeline.text_encoder.register_parameter(PARAMETER, vectors)
    begin = pipeline.tokenizer.convert_tokens_to_ids(TOKEN)
    embedding = pipeline.text_encoder.get_input_embeddings()
    embedding.register_forward_hook(partial(put_in, vectors, begin))
    if with_poses:
        torch.manual_seed(settings.seed)
        encoder = PoseEncoder(first)
        pipeline.text_encoder.register_module(POSES, encoder)
        embedding.register_forward_hook(partial(put_poses, encoder, begin + settings.vectors))
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


def put_poses(
    encoder: PoseEncoder, place: int, _module: nn.Module, ids: Any, embedded: Tensor
) -> Tensor:
    """Return `embedded` with each prompt's pose in place of the token with the number `place`.

    Prompts beyond the poses have no such token.
    """
    told = encoder(encoder.poses).to(embedded.dtype)
    rows = torch.cat([told, told.new_zeros(len(embedded) - len(told), told.shape[1])])
    return torch.where((ids[0] == place)[..., None], rows[:, None], embedded)


def write_token_results(
    folder: Path, pipeline: StableDiffusionInpaintPipeline, record: TrainingRecord
) -> None:
    """Write the vectors and their record into `folder`, both or none. Raises `UserError`."""
    require_finite_weights(pipeline, record.steps)
    with replaced_together(folder) as temporary:
        write_tokens(temporary / TOKENS_FILE, getattr(pipeline.text_encoder, PARAMETER))
        if hasattr(pipeline.text_encoder, POSES):
            write_pose_encoder(temporary / POSE_FILE, getattr(pipeline.text_encoder, POSES))
        record.write(temporary)
