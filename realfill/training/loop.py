"""Adapting a base model to one scene: the method of RealFill (arXiv 2309.16668, section 3.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler, StableDiffusionInpaintPipeline
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from realfill.errors import UserError
from realfill.model.attention import attend_on_cpu
from realfill.model.lora import trainable
from realfill.placement import upload
from realfill.seeds import derive_seed
from realfill.settings import PROMPT, TrainingSettings
from realfill.training.crops import TrainingPhotos
from realfill.training.latent_pool import DrawPool, EncodedDraws

LOSS_READ_EVERY = 10
"""Steps between readings of the loss: reading makes the host wait for the device."""
PROMPT_DROPPED = 0.1
"""Share of the samples that train with an empty prompt."""


@dataclass
class Training:
    """What one run moves along: the models, the optimizer, its schedule, and the step reached."""

    unet: nn.Module
    text_encoder: nn.Module
    tokens: Tensor
    """`(2, tokens)`: the prompt's, and those of the empty prompt."""
    pool: DrawPool
    noise_scheduler: DDPMScheduler
    optimizer: torch.optim.Optimizer
    lr_scheduler: LRScheduler
    step: int = 0

    @cached_property
    def parameters(self) -> list[Tensor]:
        """The LoRA parameters of both models."""
        return [*trainable(self.unet).values(), *trainable(self.text_encoder).values()]

    @cached_property
    def frozen_embeddings(self) -> Tensor | None:
        """What `embed` returns, computed once, where the text encoder does not train."""
        if trainable(self.text_encoder):
            return None
        with torch.no_grad():
            return self.text_encoder(self.tokens)[0]


def prepare(
    accelerator: Accelerator,
    pipeline: StableDiffusionInpaintPipeline,
    photos: TrainingPhotos,
    settings: TrainingSettings,
) -> Training:
    """Bring `pipeline` with its LoRA layers to the device, with optimizer and schedule."""
    pipeline.to(accelerator.device)
    if accelerator.device.type == "cpu":
        pipeline.unet.set_attn_processor(attend_on_cpu)
    optimizer = make_optimizer(pipeline, settings)
    lr_scheduler = get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.max_train_steps,
        num_cycles=settings.lr_num_cycles,
        power=settings.lr_power,
    )
    unet, text_encoder, optimizer = accelerator.prepare(
        pipeline.unet, pipeline.text_encoder, optimizer
    )
    tokens = tokenize(pipeline, [PROMPT, ""]).to(accelerator.device)
    pool = DrawPool(
        photos,
        pipeline.vae,
        settings.train_batch_size,
        settings.resolution,
        settings.latent_reuse,
        (settings.seed, accelerator.process_index),
    )
    scheduler = make_noise_scheduler(pipeline)
    return Training(unet, text_encoder, tokens, pool, scheduler, optimizer, lr_scheduler)


def make_optimizer(
    pipeline: StableDiffusionInpaintPipeline, settings: TrainingSettings
) -> torch.optim.Optimizer:
    """Return AdamW, in 8 bits where asked, with a learning rate for each of the two models."""
    if settings.use_8bit_adam:
        from bitsandbytes.optim import AdamW8bit as AdamW
    else:
        AdamW = partial(torch.optim.AdamW, fused=True)
    rates = {
        pipeline.unet: settings.unet_learning_rate,
        pipeline.text_encoder: settings.text_encoder_learning_rate,
    }
    return AdamW(
        [{"params": list(trainable(model).values()), "lr": rate} for model, rate in rates.items()],
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
    )


def tokenize(pipeline: StableDiffusionInpaintPipeline, prompts: list[str]) -> Tensor:
    """Return the tokens of `prompts`, `(N, tokens)`."""
    return pipeline.tokenizer(
        prompts,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def make_noise_scheduler(pipeline: StableDiffusionInpaintPipeline) -> DDPMScheduler:
    """Return the base's noise schedule. Raises `UserError` for an objective not known here."""
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        kind = scheduler.config.prediction_type
        raise UserError(f"the base predicts {kind!r}; only epsilon and v_prediction can be trained")
    return scheduler


def train(
    accelerator: Accelerator,
    training: Training,
    settings: TrainingSettings,
    after_step: Callable[[float | None], None],
) -> None:
    """Train from `training.step` to the end, calling `after_step` with the loss after each step.

    The loss is the mean since it was last read, and None where it was not read. Raises
    `UserError` where it is no longer finite.
    """
    progress = tqdm(
        total=settings.max_train_steps,
        initial=training.step,
        desc="training",
        unit="step",
        disable=not accelerator.is_main_process,
    )
    losses: list[Tensor] = []
    training.unet.train()
    training.text_encoder.train()
    with progress:
        while training.step < settings.max_train_steps:
            losses.append(take_step(accelerator, training, settings))
            training.step += 1
            progress.update()
            loss = None
            if training.step % LOSS_READ_EVERY == 0 or training.step == settings.max_train_steps:
                loss = accelerator.reduce(torch.stack(losses).mean(), "mean").item()
                losses.clear()
                progress.set_postfix(loss=f"{loss:.4f}")
                require_finite(loss, training.step)
            after_step(loss)


def require_finite(loss: float, step: int) -> None:
    """Raise `UserError` where the loss is NaN or infinite."""
    if not abs(loss) < float("inf"):
        raise UserError(
            f"the loss is {loss} at step {step}: training stopped, the last checkpoint is kept; "
            "lower the learning rates, or use --mixed_precision bf16 or no"
        )


def take_step(accelerator: Accelerator, training: Training, settings: TrainingSettings) -> Tensor:
    """Move the LoRA layers by one optimizer step; return the loss, still on the device."""
    total = torch.zeros((), device=accelerator.device)
    parts = settings.gradient_accumulation_steps
    for part in range(parts):
        seed = derive_seed(settings.seed, training.step, accelerator.process_index, part)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # the LoRA layers' dropout
        draws = training.pool.choose(training.step * parts + part, generator)
        with accelerator.autocast():
            loss = diffusion_loss(training, draws, generator)
        accelerator.backward(loss / parts)
        total += loss.detach() / parts
    accelerator.clip_grad_norm_(training.parameters, settings.max_grad_norm)
    training.optimizer.step()
    training.lr_scheduler.step()
    training.optimizer.zero_grad()
    return total


def diffusion_loss(training: Training, draws: EncodedDraws, generator: torch.Generator) -> Tensor:
    """Return the denoising loss of `draws`, counted where the photo is known (equation 2)."""
    vae, device = training.pool.vae, draws.means.device
    count = len(draws.means)
    spread = upload(torch.randn(draws.means.shape, generator=generator), device)
    encoded = (draws.means + draws.deviations * spread) * vae.config.scaling_factor
    latents, conditions = encoded.float().unbind(1)

    noise = upload(torch.randn(latents.shape, generator=generator), device)
    last = training.noise_scheduler.config.num_train_timesteps
    timesteps = upload(torch.randint(last, (count,), generator=generator), device)
    dropped = upload(torch.rand(count, generator=generator) < PROMPT_DROPPED, device)
    noisy = training.noise_scheduler.add_noise(latents, noise, timesteps)

    predicted = training.unet(
        torch.cat([noisy, draws.masks, conditions], dim=1).to(vae.dtype),
        timesteps,
        embed(training)[dropped.long()],
        return_dict=False,
    )[0]
    truth = noise
    if training.noise_scheduler.config.prediction_type == "v_prediction":
        truth = training.noise_scheduler.get_velocity(latents, noise, timesteps)
    return (draws.known * F.mse_loss(predicted.float(), truth, reduction="none")).mean()


def embed(training: Training) -> Tensor:
    """Return the embeddings of the prompt and of the empty prompt, `(2, tokens, channels)`.

    A batch holds no other prompts, so these two are encoded and not one for each sample.
    """
    if training.frozen_embeddings is not None:
        return training.frozen_embeddings
    return training.text_encoder(training.tokens)[0]
