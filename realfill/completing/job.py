"""What passes between the stages of completing a photo."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from realfill.scene import Scene

if TYPE_CHECKING:  # they bring torch and numpy, and a job can be described without
    from realfill.geometry.prefill import Prefill
    from realfill.provenance import Provenance


@dataclass(frozen=True)
class Rest:
    """What geometry leaves to fill."""

    scene: Scene
    """The target holds what geometry is sure of; the mask is what is left, and may be empty."""
    strength: float
    """To sample the rest with; see `guide`."""
    prefill: "Prefill | None"


@dataclass(frozen=True)
class Completion:
    """A completed photo."""

    image: Image.Image
    provenance: "Provenance | None" = None
    """None if it is the same for all completions, from the filler's `origin`."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the judge needs to know of it."""


@dataclass(frozen=True)
class Filler:
    """What fills the rest."""

    settings: dict[str, Any]
    """All that decides the completions, besides the photos and the geometry; JSON can hold it."""
    fill: Callable[[Scene, Rest, Sequence[int]], Iterator[tuple[int, Completion]]]
    """Yields the completions wanted of a scene, by index. May raise `UserError`."""
    origin: str | None
    """What its pixels are, one of `provenance`'s; None if each completion says it."""


@dataclass(frozen=True)
class ModelFlags:
    """What is asked of the model and the sampling; None takes the default."""

    model_path: str | None = None
    pretrained_model_name_or_path: str | None = None
    base_only: bool = False
    mixed_precision: str | None = None
    resolution: int | None = None
    scheduler: str = "dpm"
    num_inference_steps: int | None = None
    guidance_scale: float = 1.0
    prompt: str | None = None
    strength: float | None = None
    """If given, sampling starts from a completion from exemplars under this much noise."""
    batch_size: int | None = None
    decoder: str | None = None
    """Folder of a decoder that sees the known pixels; None takes the base's own, if it has one,
    and "none" the autoencoder's."""
    prior: Path | None = None
    """Folder of a reconstruction prior that stands in for the prompt."""
    task_tokens: Path | None = None
    """Learned vectors in place of the prompt."""
    canvas_references: int = 1
    canvas_bias: str = "off"
    """How strongly attention is drawn to where the references show it: "off", "weak", "strong"."""


@dataclass(frozen=True)
class Job:
    """One scene, and where its completions go."""

    scene: Scene
    output_dir: Path
    truth: Image.Image | None = None
    """The whole photo, for the contact sheet."""
    scene_folder: Path | None = None
    """Where the scene was read; nothing is written there."""
    num_images: int = 16
    seed: int | None = None
    """Image i starts from `seed + i`; None takes the recorded one, or a random one."""
    overwrite: bool = False
    """Replace completions made with other settings."""
    geometry: str = "auto"
    """One of `settings.GEOMETRY_MODES`."""
    geometry_report: bool = False
    """Draw what geometry found, which is found anew for it."""
    depth_model: str | None = None
    """Folder or hub id of a model that sees depth in one photo; used if one reference is tied."""
    fill: str = "exemplar"
    """What fills the rest: "model", "canvas", "exemplar" or "none"."""
    matcher: str | None = None
    """What ranks the completions; None leaves it to the judge of exemplars."""
    model: ModelFlags = ModelFlags()
    """Used if a model fills, alone or on the canvas."""
