"""The arithmetic of training: samples, loss, step seeds."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler

from realfill import training
from realfill.lora import LoraSettings, add_lora, trainable
from realfill.models import PROMPT, load_base
from realfill.samples import draw_batch, upload_photos
from realfill.scene import load_scene
from realfill.training import Training, TrainingSettings
from tests.bases import make_base

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_batches_are_full_whatever_the_number_of_photos(scene_folder: Path) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    batch = draw_batch(photos, 16, 64, generator())
    assert batch.images.shape == (16, 3, 64, 64)
    assert batch.images.min() >= -1
    assert batch.images.max() <= 1
    assert len({image.sum().item() for image in batch.images}) == 16, "each has its own crop"
    again = draw_batch(photos, 16, 64, generator())
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.masks, again.masks)


def test_only_the_target_has_unknown_pixels_and_it_keeps_its_own_mask(scene_folder: Path) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    batch = draw_batch(photos, 200, 64, generator())
    from_target = batch.unknown.flatten(1).any(1)
    assert 40 < from_target.sum() < 95, "a third of the draws are the target"
    for image, mask in zip(batch.images[from_target], batch.masks[from_target], strict=True):
        inside = F.max_pool2d(1 - mask[None], 5, 1, 2)[0] == 0
        assert (image[:, inside[0]] < -0.95).all(), "the scene's hole is black in the photo"
        filled = mask.sum().item() / mask.numel()
        assert filled == pytest.approx(1600 / 90**2, rel=0.3)


def test_prompts_are_dropped_for_a_tenth(scene_folder: Path) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    prompts = draw_batch(photos, 1000, 64, generator()).prompts
    assert set(prompts) == {"", PROMPT}
    assert 70 < prompts.count("") < 130


def make_training(base: Path) -> tuple[Accelerator, Training]:
    pipeline = load_base(str(base), torch.float32)
    add_lora(pipeline, LoraSettings(dropout=0.0))
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    return accelerator, training.prepare(accelerator, pipeline, TrainingSettings(0, 64, "no"))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_is_the_plain_loop_s(
    scene_folder: Path, tmp_path: Path, prediction_type: str
) -> None:
    _, run = make_training(make_base(tmp_path, prediction_type=prediction_type))
    batch = draw_batch(upload_photos(load_scene(scene_folder), 64, CPU), 6, 64, generator())
    loss = training.diffusion_loss(run, batch, generator(5))

    # The same in the plainest way: one sample after another.
    draws = generator(5)
    spread = torch.randn(12, 4, 16, 16, generator=draws)
    noise = torch.randn(6, 4, 16, 16, generator=draws)
    timesteps = torch.randint(1000, (6,), generator=draws)
    alphas = DDPMScheduler.from_config(run.noise_scheduler.config).alphas_cumprod
    losses = []
    for i in range(6):
        image, mask = batch.images[i : i + 1], batch.masks[i : i + 1]
        latents, conditions = (
            (posterior.mean + posterior.std * spread[row]) * 0.7
            for posterior, row in (
                (run.vae.encode(image).latent_dist, i),
                (run.vae.encode(image * (mask < 0.5)).latent_dist, 6 + i),
            )
        )
        alpha, sigma = alphas[timesteps[i]].sqrt(), (1 - alphas[timesteps[i]]).sqrt()
        noisy = alpha * latents + sigma * noise[i]
        tokens = run.tokenizer(batch.prompts[i], padding="max_length", return_tensors="pt")
        embedding = run.text_encoder(tokens.input_ids)[0]
        inputs = torch.cat([noisy, F.interpolate(mask, (16, 16)), conditions], 1)
        predicted = run.unet(inputs, timesteps[i], embedding).sample
        truth = noise[i] if prediction_type == "epsilon" else alpha * noise[i] - sigma * latents
        known = batch.unknown[i].view(16, 4, 16, 4).amax((1, 3)) == 0
        losses.append((known * (predicted - truth) ** 2).mean())
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_only_lora_layers_move_and_text_encoder_and_unet_both_do(
    scene_folder: Path, base_folder: Path
) -> None:
    accelerator, run = make_training(base_folder)
    before = {
        name: value.clone()
        for model in (run.unet, run.text_encoder, run.vae)
        for name, value in model.state_dict().items()
    }
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    settings = TrainingSettings(0, 64, "no", max_train_steps=3, train_batch_size=2)
    training.train(accelerator, run, photos, settings, lambda loss: None)
    for model in (run.unet, run.text_encoder):
        moved = {
            name
            for name, value in model.state_dict().items()
            if not torch.equal(value, before[name])
        }
        assert moved
        assert moved <= set(trainable(model))
        assert all("lora_" in name for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in run.vae.state_dict().items())


def test_accumulation_is_the_mean_gradient_of_its_parts(
    scene_folder: Path, base_folder: Path
) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    accelerator, run = make_training(base_folder)
    settings = TrainingSettings(
        0, 64, "no", train_batch_size=2, gradient_accumulation_steps=3, max_grad_norm=1e9
    )
    expected = []
    for part in range(3):
        draws = generator(training.step_seed(0, 0, 0, part))
        batch = draw_batch(photos, 2, 64, draws)
        loss = training.diffusion_loss(run, batch, draws)
        expected.append(torch.autograd.grad(loss, run.parameters()))
    seen = []
    run.optimizer.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(parameter.grad.clone() for parameter in run.parameters())
    )
    training.take_step(accelerator, run, photos, settings)
    for gradient, *parts in zip(seen, *expected, strict=True):
        torch.testing.assert_close(gradient, sum(parts) / 3, rtol=1e-4, atol=1e-7)


def test_gradient_checkpointing_changes_memory_and_not_gradients(
    scene_folder: Path, base_folder: Path
) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        _, run = make_training(base_folder)
        if checkpointing:
            run.unet.enable_gradient_checkpointing()
            run.text_encoder.gradient_checkpointing_enable()
        run.unet.train()
        run.text_encoder.train()
        batch = draw_batch(photos, 2, 64, generator())
        loss = training.diffusion_loss(run, batch, generator(1))
        gradients.append(torch.autograd.grad(loss, run.parameters()))
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_step_seeds_differ() -> None:
    seeds = {
        training.step_seed(seed, step, process, part)
        for seed in range(5)
        for step in range(50)
        for process in range(2)
        for part in range(2)
    }
    assert len(seeds) == 1000


def test_defaults_are_the_paper_s_recipe() -> None:
    settings = asdict(TrainingSettings(0, 512, "no"))
    recipe = {
        "max_train_steps": 2000,
        "train_batch_size": 16,
        "unet_learning_rate": 2e-4,
        "text_encoder_learning_rate": 4e-5,
        "lr_scheduler": "constant",
        "lr_warmup_steps": 100,
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
    }
    assert recipe.items() <= settings.items()
