"""The arithmetic of training: samples, loss, step seeds."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from transformers import CLIPTokenizer

from realfill.model.attention import attend_on_cpu
from realfill.model.base import load_base
from realfill.model.lora import trainable
from realfill.record import TrainingRecord
from realfill.scene import load_scene
from realfill.seeds import derive_seed
from realfill.settings import PROMPT, TrainingFlags, TrainingSettings
from realfill.training.crops import Batch, draw_batch, upload_photos
from realfill.training.trainer import Trainer
from tests.bases import make_base

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_batches_are_full_whatever_the_number_of_photos(scene_folder: Path) -> None:
    photos = upload_photos(load_scene(scene_folder), 64, CPU)
    batch = draw_batch(photos, 16, 64, generator())
    assert batch.images.shape == (16, 3, 64, 64)
    assert batch.images.abs().max() <= 1 + 1e-6
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


def build_trainer(
    base: Path, scene_folder: Path, *, checkpointing: bool = False, **settings: Any
) -> Trainer:
    """Build a trainer in fp32 on the CPU, without dropout and validations."""
    chosen = {"seed": 0, "resolution": 64, "mixed_precision": "no", "lora_dropout": 0.0} | settings
    flags = TrainingFlags(
        train_data_dir=scene_folder, num_validation_images=0, gradient_checkpointing=checkpointing
    )
    return Trainer.build(
        Accelerator(cpu=True, mixed_precision="no"),
        load_base(str(base), torch.float32),
        load_scene(scene_folder),
        TrainingSettings(**chosen),
        flags,
    )


def plain_loss(
    trainer: Trainer, tokenizer: CLIPTokenizer, batch: Batch, draws: torch.Generator
) -> torch.Tensor:
    """Compute the loss in the plainest way: one sample after another, nothing kept."""
    count = len(batch.images)
    spread = torch.randn(count, 2, 4, 16, 16, generator=draws)
    noise = torch.randn(count, 4, 16, 16, generator=draws)
    timesteps = torch.randint(1000, (count,), generator=draws)
    prompts = [PROMPT if number >= 0.1 else "" for number in torch.rand(count, generator=draws)]
    alphas = DDPMScheduler.from_config(trainer.noise_scheduler.config).alphas_cumprod
    losses = []
    for i in range(count):
        image, mask = batch.images[i : i + 1], batch.masks[i : i + 1]
        latents, conditions = (
            (posterior.mean + posterior.std * spread[i, which]) * 0.7
            for which, posterior in (
                (0, trainer.pool.vae.encode(image).latent_dist),
                (1, trainer.pool.vae.encode(image * (mask < 0.5)).latent_dist),
            )
        )
        alpha, sigma = alphas[timesteps[i]].sqrt(), (1 - alphas[timesteps[i]]).sqrt()
        noisy = alpha * latents + sigma * noise[i]
        tokens = tokenizer(prompts[i], padding="max_length", return_tensors="pt")
        embedding = trainer.text_encoder(tokens.input_ids)[0]
        inputs = torch.cat([noisy, F.interpolate(mask, (16, 16)), conditions], 1)
        predicted = trainer.unet(inputs, timesteps[i], embedding).sample
        truth = noise[i]
        if trainer.noise_scheduler.config.prediction_type == "v_prediction":
            truth = alpha * noise[i] - sigma * latents
        known = batch.unknown[i].view(16, 4, 16, 4).amax((1, 3)) == 0
        losses.append((known * (predicted - truth) ** 2).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_fifty_steps_are_those_of_a_plain_loop(
    scene_folder: Path, tmp_path: Path, prediction_type: str
) -> None:
    base = make_base(tmp_path, prediction_type=prediction_type)
    settings = {"seed": 3, "train_batch_size": 3, "latent_reuse": 1}
    settings |= {"unet_learning_rate": 1e-3, "max_grad_norm": 0.5}
    trainer = build_trainer(base, scene_folder, **settings)
    losses = []
    for _ in range(50):
        losses.append(trainer.take_step().item())

    plain = build_trainer(base, scene_folder, **settings)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    models = {plain.unet: 1e-3, plain.text_encoder: 4e-5}
    optimizer = torch.optim.AdamW(
        [{"params": list(trainable(model).values()), "lr": rate} for model, rate in models.items()],
        weight_decay=1e-2,
    )
    expected = []
    for step in range(50):
        batch = plain.pool.photos.draw(3, 64, generator(derive_seed("draws", 3, 0, step)))
        draws = generator(derive_seed(3, step, 0, 0))
        order = torch.randperm(3, generator=draws)
        batch = Batch(batch.images[order], batch.masks[order], batch.unknown[order])
        loss = plain_loss(plain, tokenizer, batch, draws)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters, 0.5)
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-4)
    for one, other in zip(trainer.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert any((up != 0).any() for name, up in trainable(trainer.unet).items() if "lora_B" in name)


def test_only_lora_layers_move_and_text_encoder_and_unet_both_do(
    scene_folder: Path, base_folder: Path
) -> None:
    trainer = build_trainer(base_folder, scene_folder, max_train_steps=3, train_batch_size=2)
    models = (trainer.unet, trainer.text_encoder, trainer.pool.vae)
    before = [{name: value.clone() for name, value in m.state_dict().items()} for m in models]
    trainer.fit(TrainingRecord())
    for model, old in zip(models, before, strict=True):
        moved = {
            name for name, value in model.state_dict().items() if not torch.equal(value, old[name])
        }
        assert bool(moved) == (model is not trainer.pool.vae)
        assert moved <= set(trainable(model))
        assert all("lora_" in name for name in moved)


def test_a_rate_of_zero_leaves_the_text_encoder_out(scene_folder: Path, base_folder: Path) -> None:
    trainer = build_trainer(
        base_folder,
        scene_folder,
        max_train_steps=2,
        train_batch_size=2,
        text_encoder_learning_rate=0.0,
    )
    expected = trainer.text_encoder(trainer.tokens)[0]
    trainer.fit(TrainingRecord())
    assert not any("lora" in name for name, _ in trainer.text_encoder.named_parameters())
    assert torch.equal(trainer.embed(), expected)
    assert not trainer.embed().requires_grad


def test_accumulation_is_the_mean_gradient_of_its_parts(
    scene_folder: Path, base_folder: Path
) -> None:
    trainer = build_trainer(
        base_folder,
        scene_folder,
        train_batch_size=2,
        gradient_accumulation_steps=3,
        max_grad_norm=1e9,
    )
    expected = []
    for part in range(3):
        draws = generator(derive_seed(0, 0, 0, part))
        loss = trainer.loss(trainer.pool.choose(part, draws), draws)
        expected.append(torch.autograd.grad(loss, trainer.parameters))
    seen = []
    trainer.optimizer.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(parameter.grad.clone() for parameter in trainer.parameters)
    )
    trainer.take_step()
    for gradient, *parts in zip(seen, *expected, strict=True):
        torch.testing.assert_close(gradient, sum(parts) / 3, rtol=1e-4, atol=1e-7)


def test_gradient_checkpointing_changes_memory_and_not_gradients(
    scene_folder: Path, base_folder: Path
) -> None:
    gradients = []
    for checkpointing in (False, True):
        trainer = build_trainer(
            base_folder, scene_folder, checkpointing=checkpointing, train_batch_size=2
        )
        draws = generator(1)
        loss = trainer.loss(trainer.pool.choose(0, draws), draws)
        gradients.append(torch.autograd.grad(loss, trainer.parameters))
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_tenth_of_the_prompts_are_dropped(scene_folder: Path, base_folder: Path) -> None:
    trainer = build_trainer(base_folder, scene_folder, train_batch_size=8)
    with torch.no_grad():
        prompt, empty = trainer.embed()
        seen: list[torch.Tensor] = []
        trainer.unet.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[2]))
        for moment in range(40):
            draws = generator(moment)
            trainer.loss(trainer.pool.choose(0, draws), draws)
    dropped = [torch.allclose(embedding, empty) for embedding in seen]
    kept = [torch.allclose(embedding, prompt) for embedding in seen]
    assert all(one != other for one, other in zip(dropped, kept, strict=True))
    assert 15 < sum(dropped) < 53


@pytest.mark.parametrize("side", [8, 20])
def test_attention_on_a_cpu_is_torch_s_own(side: int) -> None:
    torch.manual_seed(0)
    layer = Attention(24, cross_attention_dim=16, heads=2, dim_head=12)
    photo = torch.randn(2, side * side, 24, requires_grad=True)
    text = torch.randn(2, 7, 16)
    self_attention = Attention(24, heads=2, dim_head=12)
    results = []
    for processor in (AttnProcessor2_0(), attend_on_cpu):
        layer.set_processor(processor)
        self_attention.set_processor(processor)
        out = layer(self_attention(photo), encoder_hidden_states=text)
        results.append((out, *torch.autograd.grad(out.square().sum(), photo)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
