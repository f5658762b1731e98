"""A place from where no photo was taken: the canvas's right side, painted by a pose."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from realfill.canvas.layout import GREY, lay_out
from realfill.canvas.poses import POSE_FILE, Pose, pose_between, read_pose_encoder
from realfill.canvas.tokens import add_tokens, read_tokens
from realfill.completing.job import ModelFlags
from realfill.completing.model_filler import load_model, settle
from realfill.devices import start_process
from realfill.errors import UserError
from realfill.geometry.findings import views_with_depth
from realfill.geometry.views import View
from realfill.images.blend import resize
from realfill.lock import one_writer
from realfill.model.integrity import fingerprint
from realfill.record import Record, all_versions, claim, holds_another, refuse_model, refuse_scene
from realfill.sampling.folder import file_name, overwriting
from realfill.sampling.sampler import sample_all
from realfill.scene import Scene
from realfill.settings import SamplingSettings
from realfill.storage import file_hash, write_image

SCRIPT = "new_view.py"


@dataclass(frozen=True)
class NewView:
    """What is looked at, and from where."""

    photo: Image.Image
    pose: Pose
    size: tuple[int, int]
    """Of the pictures that are written."""
    tokens: Path
    """What `train_task_tokens.py --task view` left, with its pose encoder beside it."""
    output_dir: Path
    model: ModelFlags
    seed: int = 0
    num_images: int = 4
    overwrite: bool = False


def target_of(scene: Scene) -> tuple[Image.Image, Pose]:
    """Return the reference that is nearest to the target, and the target's pose as seen from it.

    The cameras are ours. Raises `UserError` if no reference's is found.
    """
    views = views_with_depth(scene, torch.device("cpu"))
    if not views:
        raise UserError(
            f"{scene.name}: the photos do not tell where their cameras stood (no parallax, or "
            "nothing in common); give --image and --turn"
        )
    name = nearest(views)
    return scene.references[name], pose_between(views[name])


def nearest(views: dict[str, View]) -> str:
    """Return the name of the reference whose camera is nearest to the target."""
    return min(views, key=lambda name: float((views[name].center ** 2).sum()))


def paint_view(view: NewView) -> None:
    """Write `num_images` pictures of the new view and their record into the output folder.

    Raises `UserError` if the folder holds another view, or is not this script's to write to.
    """
    folder, state = view.output_dir, start_process()
    refuse_scene(folder, None)
    refuse_model(folder)
    with one_writer(folder):
        state.wait_for_everyone()
        files = claim(folder, SCRIPT, map(file_name, range(view.num_images)))
        pipeline, sampling, settings = prepare(view, state)
        record = Record(script=SCRIPT, files=files, settings=settings, versions=all_versions())
        differs = holds_another(record, folder, "view", view.overwrite)
        with overwriting(folder, differs, state, SCRIPT) as stage:
            if state.is_main_process:
                record.write(stage)
            paint_missing(view, stage, pipeline, sampling, state)
        state.wait_for_everyone()
        state.print(f"wrote {view.num_images} pictures; look at {folder / file_name(0)}")


def prepare(
    view: NewView, state: PartialState
) -> tuple[StableDiffusionInpaintPipeline, SamplingSettings, dict[str, Any]]:
    """Load the model, with the tokens as its prompt; return what tells the view from others, too.

    Raises `UserError` if model, tokens and pose encoder do not belong together.
    """
    pipeline, trained, precision = load_model(view.model, state)
    identity = fingerprint(pipeline)
    tokens = read_tokens(view.tokens)
    with torch.no_grad():
        told = read_pose_encoder(view.tokens)(torch.tensor([view.pose]))
    if told.shape[1] != tokens.shape[1]:
        raise UserError(f"{view.tokens}: the pose encoder beside it is of other tokens")
    prompt = add_tokens(pipeline, torch.cat([tokens, told]), str(view.tokens))
    sampling = replace(settle(view.model, trained, pipeline), prompt=prompt)
    settings = asdict(sampling) | {
        "photo": Scene("", {}, view.photo, Image.new("L", view.photo.size)).digest(),
        "pose": list(view.pose),
        "size": list(view.size),
        "tokens": file_hash(view.tokens),
        "pose_encoder": file_hash(view.tokens.parent / POSE_FILE),
        "seed": view.seed,
        "mixed_precision": precision,
        "model": identity,
    }
    return pipeline, sampling, settings


def paint_missing(
    view: NewView,
    folder: Path,
    pipeline: StableDiffusionInpaintPipeline,
    sampling: SamplingSettings,
    state: PartialState,
) -> None:
    """Write those pictures that `folder` lacks: the right side of a canvas that is all hole."""
    blank, whole = Image.new("RGB", view.size, GREY), Image.new("L", view.size, 255)
    photos = (blank, whole, [view.photo])
    canvas = lay_out(*photos, sampling.resolution, pipeline.vae_scale_factor)
    missing = [k for k in range(view.num_images) if not (folder / file_name(k)).exists()]
    with state.split_between_processes(missing) as share:
        given = (pipeline, canvas.views, canvas.mask, share, view.seed, sampling)
        for index, image in sample_all(*given, quiet=not state.is_main_process):
            write_image(folder / file_name(index), resize(canvas.photo_of(image), view.size))
