"""`accelerate launch infer.py`, run as a user does."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionInpaintPipeline
from PIL import Image

from realfill.commands.complete import main
from realfill.images.blend import feather, grow, resize, shrink_mask
from realfill.images.seams import blend
from realfill.model.base import load_base
from realfill.model.integrity import fingerprint
from realfill.model.load import load_adapted
from realfill.sampling.sampler import complete
from realfill.scene import load_scene
from realfill.settings import SamplingSettings
from tests.conftest import draw_photo, launch, launch_two
from tests.helpers import infer_flags


def infer(model: Path, scene: Path, output: Path, *more: object) -> None:
    """Run infer.py in this process, which has its libraries loaded."""
    main(infer_flags(model, scene, output, *more))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="session")
def results(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of infer.py on the trained scene."""
    output = tmp_path_factory.mktemp("infer") / "results"
    printed = launch("infer.py", *infer_flags(trained[1], trained[0], output))
    assert "contact_sheet.png" in printed
    return output


def test_references_that_prove_nothing_change_nothing(
    trained: tuple[Path, Path], results: Path, tmp_path: Path
) -> None:
    said = json.loads((results / "cameras.json").read_text())["message"]
    assert said == "off: no reference could be tied to the photo"
    infer(trained[1], trained[0], tmp_path, "--geometry", "off")
    for index in range(4):
        name = f"{index}.png"
        assert (tmp_path / name).read_bytes() == (results / name).read_bytes()


def test_what_inference_leaves(trained: tuple[Path, Path], results: Path) -> None:
    names = {path.name for path in results.iterdir()}
    written_once = {"realfill.json", "contact_sheet.png", "cameras.json", "provenance.png"}
    assert names == {*(f"{i}.png" for i in range(4)), *written_once}
    scene = load_scene(trained[0])
    outside = np.asarray(feather(scene.mask)) == 0
    inside = np.asarray(scene.mask) == 255
    images = [pixels(results / f"{i}.png") for i in range(4)]
    for image in images:
        assert image.shape == (90, 120, 3)
        assert np.array_equal(image[outside], np.asarray(scene.target)[outside])
    assert np.std([image[inside] for image in images], axis=0).mean() > 1, "all differ"
    with Image.open(results / "contact_sheet.png") as sheet:
        assert 1000 <= sheet.width <= 1600
        assert 400 <= sheet.height <= 1000
    settings = json.loads((results / "realfill.json").read_text())["settings"]
    assert settings["seed"] == 5
    assert settings["resolution"] == 64


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_stock_diffusers_gives_the_same_image_to_the_last_bit(
    trained: tuple[Path, Path], base_folder: Path, results: Path, strength: float
) -> None:
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(base_folder, dtype=torch.float32)
    pipeline.load_lora_weights(trained[1])
    pipeline.fuse_lora(components=["unet", "text_encoder"])
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++"
    )
    scene = load_scene(trained[0])
    size = (84, 64)
    image = pipeline(
        prompt="a photo of sks",
        image=resize(scene.target, size),
        mask_image=shrink_mask(grow(scene.mask), size),
        width=size[0],
        height=size[1],
        num_inference_steps=int(3 / strength),
        strength=strength,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(5 + 2),
    ).images[0]
    blended = np.asarray(blend(image, scene.target, scene.mask))
    alone = list(
        complete(
            load_adapted(str(trained[1]), torch.float32)[0],
            scene.target,
            scene.mask,
            [2],
            5,
            SamplingSettings(64, num_inference_steps=3, strength=strength),
            quiet=True,
        )
    )
    assert np.array_equal(blended, np.asarray(alone[0][1]))
    if strength == 1:
        assert np.abs(blended - pixels(results / "2.png")).max() <= 2, "sampled in a batch of four"


@pytest.mark.parametrize(("strength", "encodes"), [(1.0, 1), (0.5, 2)])
def test_a_photo_is_encoded_once_for_all_completions(
    base_folder: Path, scene_folder: Path, strength: float, encodes: int
) -> None:
    """Once without its hole and, where sampling starts from what the hole holds, once with it."""
    pipeline, scene = load_base(str(base_folder), torch.float32), load_scene(scene_folder)
    calls = []
    pipeline.vae.encoder.register_forward_hook(lambda *_: calls.append(1))
    settings = SamplingSettings(64, num_inference_steps=2, strength=strength)
    images = list(complete(pipeline, scene.target, scene.mask, range(3), 0, settings, quiet=True))
    assert len(images) == 3
    assert len(calls) == encodes
    assert "encode" not in vars(pipeline.vae), "it is as it was"


def test_batch_size_and_processes_do_not_change_the_picture(
    trained: tuple[Path, Path], results: Path, tmp_path: Path
) -> None:
    scene, model = trained
    infer(model, scene, tmp_path / "again")
    infer(model, scene, tmp_path / "threes", "--batch_size", 3)
    flags = ("--model_path", model, "--scene", scene, "--output_dir", tmp_path / "two")
    flags += ("--mixed_precision", "no", "--seed", 5, "--num_images", 4)
    launch_two("infer.py", *flags, "--num_inference_steps", 3)
    for index in range(4):
        first = (results / f"{index}.png").read_bytes()
        assert (tmp_path / "again" / f"{index}.png").read_bytes() == first
        for other in ("threes", "two"):
            change = pixels(tmp_path / other / f"{index}.png") - pixels(results / f"{index}.png")
            assert np.abs(change).max() <= 2


def test_missing_images_are_made_and_other_settings_refused(
    trained: tuple[Path, Path], results: Path, tmp_path: Path, refuse
) -> None:
    scene, model = trained
    output = Path(shutil.copytree(results, tmp_path / "results"))
    (output / "1.png").unlink()
    (output / "0.png").write_bytes(kept := (results / "3.png").read_bytes())
    infer(model, scene, output)
    assert (output / "0.png").read_bytes() == kept, "what is there is left alone"
    change = pixels(output / "1.png") - pixels(results / "1.png")
    assert np.abs(change).max() <= 2
    flags = ("infer.py", "--model_path", model, "--scene", scene, "--output_dir", output)
    flags += ("--mixed_precision", "no", "--num_images", 4)
    complaint = refuse(*flags, "--seed", 6, "--num_inference_steps", 3)
    assert "another seed" in complaint
    complaint = refuse(*flags, "--seed", 5, "--num_inference_steps", 4)
    assert "num_inference_steps" in complaint
    complaint = refuse(*flags, "--seed", 5, "--num_inference_steps", 3, "--base_only")
    assert "another model" in complaint
    assert (output / "0.png").read_bytes() == kept
    infer(model, scene, output, "--overwrite")
    assert (output / "0.png").read_bytes() == (results / "0.png").read_bytes()


def test_the_seed_s_command_runs_unchanged_on_each_kind_of_model(
    trained: tuple[Path, Path], base_folder: Path, tmp_path: Path
) -> None:
    """Its README's flags, on upstream's own output: a folder with unet/ and text_encoder/."""
    scene, output = trained
    folder = tmp_path / "seed"
    for part in ("unet", "text_encoder"):
        shutil.copytree(output / part, folder / part)
    (tmp_path / "results").mkdir()
    flags = (
        f"--validation_image={scene}/target/target.png",
        f"--validation_mask={scene}/target/mask.png",
    )
    few = ("--num_images", 1, "--num_inference_steps", 2, "--seed", 1, "--mixed_precision", "no")
    made = {}
    for name, model, more in (
        ("LoRA", output, ()),
        ("checkpoint", output / "checkpoint-4", ()),
        ("merged", move_merged(output, tmp_path / "merged"), ()),
        ("seed", folder, ("--pretrained_model_name_or_path", base_folder)),
        ("base", output, ("--base_only",)),
    ):
        results = tmp_path / "results" / name
        command = (f"--model_path={model}", *flags, f"--output_dir={results}", *few, *more)
        if name == "seed":
            launch("infer.py", *command)
        else:
            main(list(map(str, command)))
        made[name] = pixels(results / "0.png")
    assert np.array_equal(made["checkpoint"], made["LoRA"])
    assert np.array_equal(made["merged"], made["seed"])
    assert np.abs(made["merged"] - made["LoRA"]).max() <= 2, "merging rounds"
    assert np.abs(made["base"] - made["LoRA"]).max() > 2, "the adaptation shows"


def move_merged(output: Path, folder: Path) -> Path:
    """Copy the merged pipeline alone, without the LoRA file beside it."""
    for part in ("unet", "text_encoder", "vae", "tokenizer", "scheduler"):
        shutil.copytree(output / part, folder / part)
    shutil.copy(output / "model_index.json", folder)
    return folder


def test_base_only_finds_the_base_of_a_merged_pipeline(
    trained: tuple[Path, Path], base_folder: Path, tmp_path: Path
) -> None:
    merged = move_merged(trained[1], tmp_path / "merged")
    shutil.copy(trained[1] / "realfill.json", merged)
    pipeline, _ = load_adapted(str(merged), torch.float32, base_only=True)
    assert fingerprint(pipeline) == fingerprint(load_base(str(base_folder), torch.float32))
    pipeline, _ = load_adapted(str(merged), torch.float32)
    assert fingerprint(pipeline) != fingerprint(load_base(str(base_folder), torch.float32))


@pytest.mark.parametrize("scheduler", ["dpm", "ddim", "ddpm"])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_completions_do_not_depend_on_the_batch(
    base_folder: Path, scene_folder: Path, scheduler: str, guidance_scale: float
) -> None:
    scene = load_scene(scene_folder)
    pipeline = load_base(str(base_folder), torch.float32)
    settings = SamplingSettings(64, scheduler, 4, guidance_scale)

    def sample(indices: list[int], batch_size: int) -> dict[int, np.ndarray]:
        made = complete(
            pipeline, scene.target, scene.mask, indices, 9, settings, batch_size, quiet=True
        )
        return {index: np.asarray(image).astype(int) for index, image in made}

    together, alone = sample([0, 1, 2], 3), sample([2], 1)
    assert np.abs(together[2] - alone[2]).max() <= 2
    assert np.abs(together[1] - together[2]).max() > 2


def test_sampling_leaves_the_pipeline_as_it_was(base_folder: Path, scene_folder: Path) -> None:
    """A training that validates goes on with the same autoencoder and scheduler."""
    scene = load_scene(scene_folder)
    pipeline = load_base(str(base_folder), torch.float32)
    scheduler, slicing = pipeline.scheduler, pipeline.vae.use_slicing
    settings = SamplingSettings(64, num_inference_steps=1)
    list(complete(pipeline, scene.target, scene.mask, range(2), 0, settings, quiet=True))
    assert pipeline.scheduler is scheduler
    assert pipeline.vae.use_slicing == slicing


def test_a_batch_that_does_not_fit_is_halved(base_folder: Path, scene_folder: Path) -> None:
    """A UNet that has memory for two images stands for the small device."""
    scene = load_scene(scene_folder)
    pipeline = load_base(str(base_folder), torch.float32)
    seen = []

    def no_room_for_three(_module: torch.nn.Module, inputs: tuple) -> None:
        seen.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    pipeline.unet.register_forward_pre_hook(no_room_for_three)
    settings = SamplingSettings(64, num_inference_steps=2)
    made = dict(complete(pipeline, scene.target, scene.mask, range(5), 9, settings, 5, quiet=True))
    assert sorted(made) == [0, 1, 2, 3, 4]
    assert seen == [5, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("size", [(200, 90), (90, 200), (640, 480)])
def test_photos_keep_their_size_and_shape(base_folder: Path, size: tuple[int, int]) -> None:
    photo = draw_photo(0, *size)
    mask = Image.new("L", size, 0)
    mask.paste(255, (20, 20, 50, 60))
    pipeline = load_base(str(base_folder), torch.float32)
    settings = SamplingSettings(64, num_inference_steps=1)
    [(_, image)] = complete(pipeline, photo, mask, [0], 0, settings, quiet=True)
    assert image.size == size
