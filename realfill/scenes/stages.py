"""One scene from its photos to its completions: geometry, and training if it is needed."""

import gc
import time
from dataclasses import replace
from pathlib import Path

import torch
from PIL import ImageStat

from realfill.completing.complete import complete_scene, look_first
from realfill.completing.job import Job, ModelFlags
from realfill.record import all_versions, claim, refuse_model, refuse_scene
from realfill.scenes.plan import MODEL, SCRIPT, Plan, SceneRecord, stamp_completions
from realfill.training.job import train_scene


def complete_one(plan: Plan, scene: Path, job: Job) -> SceneRecord:
    """Do what is missing of `job`, the plan's for `scene`, and write down that it is done.

    Raises `UserError` for a folder that is not this script's to write to, and as the stages do.
    """
    started, folder = time.monotonic(), plan.folder(scene)
    refuse_scene(folder, scene)
    refuse_model(folder)
    files, settings = claim(folder, SCRIPT, []), plan.settings(scene)
    known = known_share(job)
    try:
        fill = plan.fill
        if known >= plan.enough:  # all completions would be alike
            fill, job = "exemplar", replace(job, num_images=1)
        if fill == "model":
            job = replace(job, model=train(plan, scene, job))
        if fill != "exemplar":
            job = replace(job, matcher=job.matcher or "auto")
        complete_scene(replace(job, fill=fill))
    finally:
        gc.collect()  # the next scene needs the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    record = SceneRecord(
        script=SCRIPT,
        files=files,
        scene=job.scene.name,
        settings=settings,
        versions=all_versions(),
        known=known,
        fill=fill,
        seconds=round(time.monotonic() - started, 1),
        made=stamp_completions(job.output_dir),
    )
    record.write(folder)
    return record


def known_share(job: Job) -> float:
    """Return the share of the hole that the references show for sure, from 0 to 1."""
    hole, rest = job.scene.mask, look_first(job).scene.mask
    return 1 - ImageStat.Stat(rest).mean[0] / ImageStat.Stat(hole).mean[0]


def train(plan: Plan, scene: Path, job: Job) -> ModelFlags:
    """Train on the scene, or go on with it, and return what to sample with."""
    model = plan.folder(scene) / MODEL
    folders = {"train_data_dir": scene, "output_dir": model}
    train_scene(job.scene, replace(plan.training, resume_from_checkpoint="latest", **folders))
    return replace(job.model, model_path=str(model))
