"""Adapting a base to one scene: the method of RealFill (arXiv 2309.16668, section 3.2)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, StableDiffusionInpaintPipeline
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from realfill.errors import UserError
from realfill.model.lora import trainable
from realfill.model.save import write_results
from realfill.record import TrainingRecord
from realfill.scene import Scene
from realfill.seeds import derive_seed
from realfill.settings import PROMPT, TrainingFlags, TrainingSettings
from realfill.training.build import (
    make_lr_scheduler,
    make_noise_scheduler,
    make_optimizer,
    make_trainable,
    tokenize,
)
from realfill.training.checkpoints import load_checkpoint, save_checkpoint
from realfill.training.crops import upload_photos
from realfill.training.hints import find_hints
from realfill.training.latent_pool import DrawPool, EncodedDraws
from realfill.training.loss import diffusion_loss
from realfill.training.state import restore_tensors, training_tensors
from realfill.training.validation import keep_picture, validate

LOSS_READ_EVERY = 10
"""Steps between readings of the loss: reading makes the host wait for the device."""


@dataclass
class Trainer:
    """A training run: a base with LoRA layers, what moves them, and the step reached."""

    accelerator: Accelerator
    pipeline: StableDiffusionInpaintPipeline
    scene: Scene | None
    """What validations complete; None if there are none."""
    settings: TrainingSettings
    flags: TrainingFlags
    unet: nn.Module
    """The pipeline's, as the accelerator runs it; the same for `text_encoder`."""
    text_encoder: nn.Module
    tokens: Tensor
    """`(2, tokens)`: the prompt's, and those of the empty prompt."""
    pool: DrawPool
    noise_scheduler: DDPMScheduler
    optimizer: torch.optim.Optimizer
    lr_scheduler: LRScheduler
    step: int = 0
    write: Callable[[Path, StableDiffusionInpaintPipeline, TrainingRecord], None] = write_results
    """Writes what training leaves into a folder."""

    @classmethod
    def build(
        cls,
        accelerator: Accelerator,
        pipeline: StableDiffusionInpaintPipeline,
        scene: Scene,
        settings: TrainingSettings,
        flags: TrainingFlags,
    ) -> Self:
        """Add LoRA layers to `pipeline` and bring it to the device, ready for the first step.

        Raises `UserError` if the base cannot be trained so.
        """
        make_trainable(pipeline, settings, flags, accelerator.device)
        optimizer = make_optimizer(pipeline, settings)
        lr_scheduler = make_lr_scheduler(optimizer, settings)
        unet, text_encoder, optimizer = accelerator.prepare(
            pipeline.unet, pipeline.text_encoder, optimizer
        )
        hints = find_hints(scene, accelerator.device) if settings.use_geometry else None
        pool = DrawPool(
            upload_photos(scene, settings.resolution, accelerator.device, hints),
            pipeline.vae,
            settings.train_batch_size,
            settings.resolution,
            settings.latent_reuse,
            (settings.seed, accelerator.process_index),
        )
        trainer = cls(
            accelerator=accelerator,
            pipeline=pipeline,
            scene=scene,
            settings=settings,
            flags=flags,
            unet=unet.train(),
            text_encoder=text_encoder.train(),
            tokens=tokenize(pipeline, [PROMPT, ""]).to(accelerator.device),
            pool=pool,
            noise_scheduler=make_noise_scheduler(pipeline),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )
        if flags.offload_idle_models:
            trainer.offload_idle_models()
        return trainer

    def offload_idle_models(self) -> None:
        """Keep in main memory what is not used in every step; encode photos one at a time."""
        self.pipeline.vae.enable_slicing()
        self.pipeline.vae.to("cpu")
        if self.frozen_embeddings is not None:
            self.pipeline.text_encoder.to("cpu")

    @cached_property
    def parameters(self) -> list[Tensor]:
        """The LoRA parameters of both models."""
        models = (self.pipeline.unet, self.pipeline.text_encoder)
        return [parameter for model in models for parameter in trainable(model).values()]

    @cached_property
    def frozen_embeddings(self) -> Tensor | None:
        """What `embed` returns, computed once, if the text encoder does not train."""
        if trainable(self.pipeline.text_encoder):
            return None
        with torch.no_grad():
            return self.text_encoder(self.tokens)[0]

    def embed(self) -> Tensor:
        """Return the embeddings of the prompt and of the empty prompt, `(2, tokens, channels)`.

        A batch holds no other prompts, so these two are encoded and not one for each sample.
        """
        if self.frozen_embeddings is not None:
            return self.frozen_embeddings
        return self.text_encoder(self.tokens)[0]

    def loss(self, draws: EncodedDraws, generator: torch.Generator) -> Tensor:
        """Return the loss of `draws` with the models as they are; see `diffusion_loss`."""
        models = (self.unet, self.noise_scheduler, self.pool.vae)
        return diffusion_loss(*models, self.embed(), draws, generator)

    def take_step(self) -> Tensor:
        """Move the LoRA layers by one optimizer step; return the loss, still on the device."""
        accelerator, settings = self.accelerator, self.settings
        total = torch.zeros((), device=accelerator.device)
        parts = settings.gradient_accumulation_steps
        for part in range(parts):
            seed = derive_seed(settings.seed, self.step, accelerator.process_index, part)
            generator = torch.Generator().manual_seed(seed)
            torch.manual_seed(seed)  # the LoRA layers' dropout
            draws = self.pool.choose(self.step * parts + part, generator)
            with accelerator.autocast():
                loss = self.loss(draws, generator)
            accelerator.backward(loss / parts)
            total += loss.detach() / parts
        accelerator.clip_grad_norm_(self.parameters, settings.max_grad_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        self.step += 1
        return total

    def fit(self, record: TrainingRecord) -> None:
        """Train to the end, with logs, checkpoints and validations; `record` says of what.

        Raises `UserError` if the loss is no longer finite.
        """
        accelerator, flags, last = self.accelerator, self.flags, self.settings.max_train_steps
        if accelerator.is_main_process:
            said = {name: str(value) for name, value in asdict(self.settings).items()}
            accelerator.init_trackers(flags.wandb_project_name, said)
        losses: list[Tensor] = []
        with tqdm(
            total=last,
            initial=self.step,
            desc="training",
            unit="step",
            disable=not accelerator.is_main_process,
        ) as progress:
            while self.step < last:
                losses.append(self.take_step())
                progress.update()
                if self.step % LOSS_READ_EVERY == 0 or self.step == last:
                    progress.set_postfix(loss=f"{self.log(losses):.4f}")
                    losses.clear()
                if accelerator.is_main_process and self.step % flags.checkpointing_steps == 0:
                    self.save(record)
                if flags.num_validation_images and self.step % flags.validation_steps == 0:
                    if accelerator.is_main_process:
                        keep_picture(flags.output_dir, self.step, self.validate())
                    accelerator.wait_for_everyone()

    def log(self, losses: list[Tensor]) -> float:
        """Log the mean of `losses` and the learning rates; return the mean.

        Raises `UserError` if it is not finite.
        """
        loss = self.accelerator.reduce(torch.stack(losses).mean(), "mean").item()
        if not abs(loss) < float("inf"):
            raise UserError(
                f"the loss is {loss} at step {self.step}: training stopped, the last checkpoint is "
                "kept; lower the learning rates, or use --mixed_precision bf16 or no"
            )
        rates = self.lr_scheduler.get_last_lr()
        names = ("unet_learning_rate", "text_encoder_learning_rate")
        self.accelerator.log({"loss": loss} | dict(zip(names, rates, strict=True)), step=self.step)
        return loss

    def validate(self) -> Image.Image:
        """Sample completions of the target with the model in training, log and return them."""
        assert self.scene is not None, "there is nothing to complete"
        count = self.flags.num_validation_images
        given = (self.accelerator, self.pipeline, self.scene, self.settings)
        return validate(*given, count, self.step)

    def save(self, record: TrainingRecord) -> None:
        """Write a checkpoint of this step. Raises `UserError` if a weight is not finite."""
        scaler = self.accelerator.scaler
        state = {
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
        }
        save_checkpoint(
            self.flags.output_dir,
            self.step,
            training_tensors(self.pipeline, self.optimizer),
            state,
            lambda folder: self.write(folder, self.pipeline, replace(record, steps=self.step)),
            self.flags.checkpoints_total_limit,
        )

    def restore(self, checkpoint: Path) -> None:
        """Go on from where `checkpoint` was written."""
        state, tensors = load_checkpoint(checkpoint)
        restore_tensors(self.pipeline, self.optimizer, tensors)
        self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        rates = self.lr_scheduler.get_last_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
