"""Training and sampling hyperparameters."""

from dataclasses import dataclass
from pathlib import Path

UNET_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
"""The UNet's modules that are adapted, by name: its attention layers."""
DEFAULT_BASE = "sd2-community/stable-diffusion-2-inpainting"
SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
)
"""Schedules of the learning rate, by diffusers' names, which take seconds to import."""
FILLS = ("auto", "model", "canvas", "exemplar", "none")
BIASES = ("off", "weak", "strong")
GEOMETRY_MODES = ("auto", "off", "only")
PRECISIONS = ("no", "fp16", "bf16")
MATCHERS = ("auto", "loftr", "sift")
DEFAULT_STEPS = {"dpm": 20, "ddim": 50, "ddpm": 200}
"""Steps by scheduler; "ddpm" is the paper's."""
TASKS = ("reference", "removal", "completion", "view", "harmonization")
PROMPT = "a photo of sks"
"""The fixed prompt of RealFill (section 3.2), built on a rare token."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """What decides the trained weights and needs no settling; the defaults are the paper's."""

    train_batch_size: int = 16
    gradient_accumulation_steps: int = 1
    unet_learning_rate: float = 2e-4
    text_encoder_learning_rate: float = 4e-5
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 100
    lr_num_cycles: int = 1
    lr_power: float = 1.0
    use_8bit_adam: bool = False
    use_4bit_base: bool = False
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_weight_decay: float = 1e-2
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    lora_target_modules: tuple[str, ...] = UNET_TARGETS
    latent_reuse: int = 8
    use_geometry: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Hyperparameters):
    """All that decides the trained weights, besides the scene and the base."""

    seed: int
    resolution: int
    mixed_precision: str
    max_train_steps: int = 2000


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(Hyperparameters):
    """What is asked of a training run, by the flags of train_realfill.py, which explain each.

    None leaves it to the base, the scene or the machine.
    """

    train_data_dir: Path
    output_dir: Path = Path("realfill-model")
    pretrained_model_name_or_path: str = DEFAULT_BASE
    revision: str | None = None
    tokenizer_name: str | None = None
    resolution: int | None = None
    seed: int | None = None
    mixed_precision: str | None = None
    max_train_steps: int | None = None
    num_train_epochs: int | None = None
    scale_lr: bool = False
    num_validation_images: int = 4
    validation_steps: int = 100
    checkpointing_steps: int = 500
    checkpoints_total_limit: int | None = None
    resume_from_checkpoint: str | None = None
    logging_dir: str = "logs"
    report_to: str = "tensorboard"
    wandb_project_name: str = "realfill"
    wandb_key: str | None = None
    max_memory_gb: float | None = None
    offload_idle_models: bool = False
    gradient_checkpointing: bool = False
    enable_xformers_memory_efficient_attention: bool = False
    allow_tf32: bool = False
    save_merged: bool = False
    push_to_hub: bool = False
    hub_token: str | None = None
    hub_model_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TrainingSettings):
    """All that decides what a task trains, besides the photos and the base."""

    task: str
    vectors: int


@dataclass(frozen=True, kw_only=True)
class TaskFlags(TrainingFlags):
    """What is asked of train_task_tokens.py, which explains each flag."""

    output_dir: Path = Path("task-model")
    task: str = "reference"
    vectors: int | None = None
    object_masks: Path | None = None
    num_validation_images: int = 0


@dataclass(frozen=True)
class SamplingSettings:
    """What decides a completion, besides the model, the photo and the noise."""

    resolution: int
    scheduler: str = "dpm"
    num_inference_steps: int = DEFAULT_STEPS["dpm"]
    """The default goes with the default scheduler; with another, give its own too."""
    guidance_scale: float = 1.0
    prompt: str = PROMPT
    strength: float = 1.0
    """Share of the noise schedule to go through: under 1 starts from what the hole holds."""
