"""Training and sampling hyperparameters."""

from dataclasses import dataclass

UNET_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
"""The UNet's modules that are adapted, by name: its attention layers."""


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides the trained weights, besides the scene and the base; flags' names.

    The defaults are the paper's recipe.
    """

    seed: int
    resolution: int
    mixed_precision: str
    max_train_steps: int = 2000
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
FILLS = ("auto", "model", "exemplar", "none")
GEOMETRY_MODES = ("auto", "off", "only")
MATCHERS = ("auto", "loftr", "sift")
DEFAULT_STEPS = {"dpm": 20, "ddim": 50, "ddpm": 200}
"""Steps by scheduler; "ddpm" is the paper's."""
PROMPT = "a photo of sks"
"""The fixed prompt of RealFill (section 3.2), built on a rare token."""


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
