"""Train the small inpainting base model of `data/tiny-inpainting` from a folder of photos.

    python -m scripts.train_tiny_base --photos PHOTOS --work_dir work/tiny
    python -m scripts.train_tiny_base --photos PHOTOS --work_dir work/tiny --evaluate

A KL autoencoder (four times smaller each way, four channels) is trained first, then a UNet on
its latents, with the objective of latent diffusion (arXiv 2112.10752) in the v-prediction form
with zero terminal SNR (arXiv 2305.08891), and random masks. The result is an ordinary
`StableDiffusionInpaintPipeline` folder. Budgets are minutes of training; a run that is stopped
goes on from `--work_dir` where it was.
"""

import argparse
import json
import math
import platform
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from realfill.checkpoints import optimizer_tensors, restore_optimizer
from realfill.contact_sheet import mark_hole
from realfill.devices import DTYPES, choose_precision
from realfill.files import write_json, write_tensors
from realfill.masks import random_masks, random_rectangles
from realfill.models import load_base
from realfill.sampling import SamplingSettings, complete
from scripts.bench_scenes import fill_without_learning, psnr_inside

SIZE = 128
"""Native size: the side in pixels of the crops that the UNet sees."""
STORED_SIZE = 160
"""Short side of the photos in memory: crops are drawn between SIZE and this, for several scales."""
AUTOENCODER_CROP = 64
PROMPTS = ("", "a photo", "a photo of sks")


def load_photos(folder: Path, held_out_count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Read all photos as uint8 `(3, H, W)` with a short side of 160 px: training, held out."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    held_out = set([path for path in paths if path.name.startswith("bsds-")][-held_out_count:])
    training, testing = [], []
    for path in tqdm(paths, desc="photos"):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        scale = STORED_SIZE / min(photo.size)
        photo = photo.resize([round(side * scale) for side in photo.size], Image.LANCZOS)
        tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
        (testing if path in held_out else training).append(tensor)
    return training, testing


def draw_crops(photos: list[Tensor], count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw `count` random crops, `(count, 3, size, size)` in [-1, 1], half of them mirrored."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    crops = []
    for _ in range(count):
        photo = photos[below(len(photos))]
        side = size + below(size * STORED_SIZE // SIZE - size + 1)
        top, left = below(photo.shape[1] - side + 1), below(photo.shape[2] - side + 1)
        crop = photo[None, :, top : top + side, left : left + side].float()
        crop = F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True)
        crops.append(crop.flip(-1) if below(2) else crop)
    return torch.cat(crops) / 127.5 - 1


def draw_masks(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw masks like the job's: rectangles, one box, a half-plane; everything for a tenth."""
    masks = random_masks(count, size, generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    for mask in masks[:, 0]:
        kind, *numbers = torch.rand(5, generator=generator).tolist()
        if kind < 0.35:
            center_x, center_y = (0.8 * (2 * number - 1) for number in numbers[:2])
            half_width, half_height = (0.15 + 0.5 * number for number in numbers[2:])
            box = ((x - center_x).abs() < half_width) & ((y - center_y).abs() < half_height)
            mask.copy_(box.float())
        elif kind < 0.6:
            angle = math.pi / 2 * round(4 * numbers[0]) + 0.1 * (numbers[1] - 0.5)
            edge = 0.9 * numbers[2] - 0.3
            mask.copy_((x * math.cos(angle) + y * math.sin(angle) > edge).float())
    return masks


def build_autoencoder() -> AutoencoderKL:
    """Build the untrained autoencoder: 128 x 128 x 3 to 32 x 32 x 4 and back."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )


def build_unet() -> UNet2DConditionModel:
    """Build the untrained 9-channel UNet; heads are 32 wide, which a CPU runs fastest."""
    return UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=9,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 192),
        layers_per_block=1,
        attention_head_dim=(2, 3, 6),
        cross_attention_dim=64,
        norm_num_groups=16,
        use_linear_projection=True,
    )


def write_text_encoder(folder: Path) -> None:
    """Write a byte-level CLIP tokenizer and a two-layer CLIP text encoder with fixed weights.

    The base has no captions to learn from; the text encoder is there so that prompts, their
    dropping, and LoRA on the text encoder take the same path as in the real base.
    """
    symbols = sorted(ByteLevel.alphabet())
    tokens = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    tokenizer_folder = folder / "tokenizer"
    tokenizer_folder.mkdir(parents=True, exist_ok=True)
    write_json(tokenizer_folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (tokenizer_folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 32}
    specials = {"bos_token": tokens[-2], "eos_token": tokens[-1]}
    specials |= {"unk_token": tokens[-1], "pad_token": tokens[-1]}
    write_json(tokenizer_folder / "tokenizer_config.json", settings | specials)
    write_json(tokenizer_folder / "special_tokens_map.json", specials)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=64,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
        pad_token_id=len(tokens) - 1,
    )
    CLIPTextModel(config).half().save_pretrained(folder / "text_encoder")


def make_scheduler() -> DDIMScheduler:
    """Return the noise schedule: SD's, rescaled to zero terminal SNR, v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def train(
    model: torch.nn.Module,
    losses: Iterator[Tensor],
    minutes: float,
    learning_rate: float,
    folder: Path,
) -> None:
    """Minimize `losses` for `minutes`, warm-up and cosine over that time; go on from `folder`."""
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, (0.9, 0.99), weight_decay=1e-2)
    folder.mkdir(parents=True, exist_ok=True)
    saved, log = folder / "training.safetensors", folder / "log.jsonl"
    seconds, step = 0.0, 0
    if saved.exists():
        tensors = load_file(saved)
        seconds, step = tensors.pop("seconds").item(), int(tensors.pop("step"))
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        state = {k[10:]: v for k, v in tensors.items() if k.startswith("optimizer.")}
        restore_optimizer(optimizer, state)

    def save() -> None:
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(optimizer).items()}
        tensors |= {"seconds": torch.tensor(seconds), "step": torch.tensor(step)}
        write_tensors(saved, tensors)

    model.train()
    recent, saved_at = [], seconds
    progress = tqdm(total=round(60 * minutes), initial=round(seconds), unit="s", desc=folder.name)
    while seconds < 60 * minutes:
        started = time.monotonic()
        done = seconds / (60 * minutes)
        for group in optimizer.param_groups:
            rate = learning_rate * min(1, (step + 1) / 100, 0.5 + 0.5 * math.cos(math.pi * done))
            group["lr"] = rate
        loss = next(losses)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        recent.append(loss.detach())
        elapsed = time.monotonic() - started
        progress.update(round(seconds + elapsed) - round(seconds))
        seconds += elapsed
        if step % 50 == 0:
            mean, recent = torch.stack(recent).mean().item(), []
            progress.set_postfix(step=step, loss=f"{mean:.4f}")
            with log.open("a") as lines:
                lines.write(json.dumps({"step": step, "seconds": seconds, "loss": mean}) + "\n")
        if seconds - saved_at > 60:
            save()
            saved_at = seconds
    save()


def autoencoder_losses(
    autoencoder: AutoencoderKL, photos: list[Tensor], device: torch.device, batch: int
) -> Iterator[Tensor]:
    """Yield L1 on pixels and on their gradients, with a light KL, over fresh crops for ever.

    A third of the crops carry a grey hole, as the masked image does that the UNet is given.
    """
    generator = torch.Generator().manual_seed(time.time_ns())
    while True:
        crops = draw_crops(photos, batch, AUTOENCODER_CROP, generator)
        masked = batch // 3
        crops[:masked] *= 1 - random_rectangles(masked, AUTOENCODER_CROP, generator)
        crops = crops.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = autoencoder.encode(crops).latent_dist
            decoded = autoencoder.decode(posterior.sample()).sample
        difference = decoded.float() - crops
        loss = difference.abs().mean() + 0.5 * difference.square().mean()
        for axis in (-1, -2):
            loss = loss + 0.5 * difference.diff(dim=axis).abs().mean()
        yield loss + 1e-6 * posterior.kl().mean()


@torch.no_grad()
def latent_scale(autoencoder: AutoencoderKL, photos: list[Tensor], device: torch.device) -> float:
    """Return the factor that brings latents of photos to unit standard deviation."""
    crops = draw_crops(photos, 128, SIZE, torch.Generator().manual_seed(0)).to(device)
    latents = torch.cat([autoencoder.encode(part).latent_dist.mean for part in crops.split(16)])
    return 1 / latents.std().item()


def unet_losses(
    pipeline: StableDiffusionInpaintPipeline,
    photos: list[Tensor],
    device: torch.device,
    batch: int,
) -> Iterator[Tensor]:
    """Yield the diffusion loss over fresh crops, masks, timesteps and noise for ever.

    Each encoded crop serves twice, with another timestep and noise, to spare the autoencoder.
    The hole counts four times as much as the known pixels, which the composite replaces.
    """
    unet, vae = pipeline.unet, pipeline.vae
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(time.time_ns())
    with torch.no_grad():
        embeddings = torch.cat([pipeline.encode_prompt(p, device, 1, False)[0] for p in PROMPTS])
    while True:
        crops = draw_crops(photos, batch // 2, SIZE, generator)
        masks = draw_masks(batch // 2, SIZE, generator)
        pairs = torch.cat([crops, crops * (1 - masks)]).to(device)
        pairs = pairs.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            encoded = vae.encode(pairs).latent_dist.sample().float() * vae.config.scaling_factor
        latents, conditions = (part.repeat(2, 1, 1, 1) for part in encoded.chunk(2))
        masks = F.interpolate(masks.to(device), latents.shape[2:]).repeat(2, 1, 1, 1)
        noise = torch.randn_like(latents)
        steps = torch.randint(scheduler.config.num_train_timesteps, (batch,), device=device)
        noisy = scheduler.add_noise(latents, noise, steps)
        inputs = torch.cat([noisy, masks, conditions], 1)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        prompts = embeddings[torch.randint(len(PROMPTS), (batch,), device=device)]
        with torch.autocast(device.type, torch.bfloat16):
            predicted = unet(inputs, steps, prompts).sample
        errors = (predicted.float() - scheduler.get_velocity(latents, noise, steps)).square()
        yield ((0.25 + 0.75 * masks) * errors).mean()


def square(photo: Tensor) -> Image.Image:
    """Return the middle square of a stored photo at the native size."""
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    left, top = (image.width - STORED_SIZE) // 2, (image.height - STORED_SIZE) // 2
    image = image.crop((left, top, left + STORED_SIZE, top + STORED_SIZE))
    return image.resize((SIZE, SIZE), Image.BOX)


@torch.no_grad()
def reconstruction_psnr(
    pipeline: StableDiffusionInpaintPipeline, photos: list[Image.Image]
) -> float:
    """Return the autoencoder's mean PSNR in dB over `photos`."""
    values = []
    for photo in photos:
        pixels = pipeline.image_processor.preprocess(photo).to(pipeline.device, pipeline.vae.dtype)
        decoded = pipeline.vae(pixels).sample.float().clamp(-1, 1)
        values.append(-10 * ((decoded - pixels) / 2).square().mean().log10())
    return torch.stack(values).mean().item()


def evaluate(folder: Path, photos: list[Tensor], samples: int = 1) -> dict[str, float]:
    """Return held-out PSNR in dB: reconstruction, and filling a centred quarter of the area.

    Writes `samples.jpg` into `folder`: twelve of the fills, drawn by a fixed seed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = load_base(str(folder), DTYPES[choose_precision(device, None)]).to(device)
    squares = [square(photo) for photo in photos]
    hole = np.zeros((SIZE, SIZE), dtype=bool)
    hole[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    mask = Image.fromarray((hole * 255).astype(np.uint8))
    scores: dict[str, list[float]] = {"base": [], "mean colour": [], "Telea": []}
    first_fills = []
    for photo in tqdm(squares, desc="evaluation"):
        truth = np.asarray(photo)
        fills = complete(
            pipeline, photo, mask, range(samples), 0, SamplingSettings(SIZE), quiet=True
        )
        images = [np.asarray(image) for _, image in fills]
        first_fills.append(images[0])
        scores["base"] += [psnr_inside(image, truth, hole) for image in images]
        for name, image in fill_without_learning(truth, hole).items():
            scores[name].append(psnr_inside(image, truth, hole))
    draw_samples(squares, mask, first_fills).save(folder / "samples.jpg", quality=90)
    figures = {f"filling, {name}": float(np.mean(values)) for name, values in scores.items()}
    return {"reconstruction": reconstruction_psnr(pipeline, squares)} | figures


def draw_samples(
    squares: list[Image.Image], mask: Image.Image, fills: list[np.ndarray]
) -> Image.Image:
    """Draw twelve photos by a fixed seed: above with the hole marked, below filled."""
    chosen = random.Random(0).sample(range(len(squares)), min(12, len(squares)))
    sheet = Image.new("RGB", (len(chosen) * SIZE, 2 * SIZE))
    for column, index in enumerate(chosen):
        sheet.paste(mark_hole(squares[index], mask), (column * SIZE, 0))
        sheet.paste(Image.fromarray(fills[index]), (column * SIZE, SIZE))
    return sheet


def count_training(folder: Path) -> tuple[int, float]:
    """Return the steps and the minutes that a training in `folder` has taken."""
    tensors = load_file(folder / "training.safetensors")
    return int(tensors["step"]), tensors["seconds"].item() / 60


def write_card(arguments: argparse.Namespace, photos: int, figures: dict[str, float]) -> None:
    """Write the model card from what was trained and measured."""
    pipeline = load_base(str(arguments.output_dir), torch.float32)
    lines = []
    for name, model in (("autoencoder", pipeline.vae), ("unet", pipeline.unet)):
        steps, minutes = count_training(arguments.work_dir / name)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        samples = steps * arguments.batch_size
        lines.append(f"| {name} | {millions:.2f} M | {steps:,} | {samples:,} | {minutes:.0f} min |")
    results = [f"| {name} | {value:.2f} |" for name, value in figures.items()]
    card = CARD.format(
        size=SIZE,
        photos=photos,
        held_out=arguments.held_out,
        data_note=arguments.data_note,
        hardware=arguments.hardware,
        training="\n".join(lines),
        results="\n".join(results),
    )
    (arguments.output_dir / "README.md").write_text(card, "utf-8")


CARD = """# tiny-inpainting

A small inpainting model, so that this project runs, demonstrates itself and is tested where
there is no model hub and no GPU. It is an ordinary `StableDiffusionInpaintPipeline` folder with
the classes and the code path of Stable Diffusion 2 inpainting, about a hundredth of its size: a
KL autoencoder (factor 4, 4 channels), a 9-channel UNet with cross-attention, and a byte-level CLIP
text encoder whose weights are random and fixed, since there were no captions to learn from.
fp16 safetensors; native size {size} px on the short side; v-prediction with zero terminal SNR.

![Held-out photos with a hole, and the first sample for each](samples.jpg)

Twelve held-out photos, drawn by a fixed seed and not chosen, and the first sample for each.

## Training

{photos} photos; {held_out} others were held out. {data_note}

| part | parameters | steps | samples seen | wall time |
| --- | ---: | ---: | ---: | ---: |
{training}

Hardware: {hardware}. The script is `scripts/train_tiny_base.py`; it says what the losses are.

## Held-out figures

PSNR in dB at {size} x {size} on the held-out photos: of the autoencoder's reconstruction, and
inside a centred hole of a quarter of the area (one sample a photo), beside two ways to
fill it that learn nothing.

| what | PSNR (dB) |
| --- | ---: |
{results}

## What it is not for

It knows little of the world: a few thousand steps on a few photos. It continues colours and large
shapes, and invents nothing that a person would call an object. It is not for completing photos
that matter, nor for judging RealFill: for that, train on Stable Diffusion 2 inpainting.
"""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder of photos (.jpg, .png) to train on")
    add("--work_dir", type=Path, default=Path("work/tiny-inpainting"), help="logs and checkpoints")
    add("--output_dir", type=Path, default=Path("data/tiny-inpainting"), help="pipeline folder")
    add("--autoencoder_minutes", type=float, default=25, help="training time of the autoencoder")
    add("--unet_minutes", type=float, default=60, help="training time of the UNet")
    add("--held_out", type=int, default=100, help="the last so many bsds-* are not trained on")
    add("--batch_size", type=int, default=16, help="crops a step")
    add("--evaluate", action="store_true", help="only measure and write the model card")
    add("--data_note", default="", help="a sentence on the photos and their licence, for the card")
    add("--hardware", default=platform.processor() or platform.machine(), help="for the card")
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, write the pipeline, measure it, write its card."""
    arguments = parse_arguments()
    training, held_out = load_photos(arguments.photos, arguments.held_out)
    if not arguments.evaluate:
        train_pipeline(arguments, training)
    figures = evaluate(arguments.output_dir, held_out)
    print(json.dumps(figures, indent=2))
    write_card(arguments, len(training), figures)


def train_pipeline(arguments: argparse.Namespace, photos: list[Tensor]) -> None:
    """Train autoencoder and UNet, going on where an earlier run was, and write the pipeline."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = arguments.batch_size
    torch.manual_seed(0)
    vae = build_autoencoder().to(device, memory_format=torch.channels_last)
    losses = autoencoder_losses(vae, photos, device, batch)
    train(vae, losses, arguments.autoencoder_minutes, 1.5e-3, arguments.work_dir / "autoencoder")
    vae.eval().requires_grad_(False)
    vae.register_to_config(scaling_factor=latent_scale(vae, photos, device))

    write_text_encoder(arguments.work_dir)
    unet = build_unet().to(device, memory_format=torch.channels_last)
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(arguments.work_dir / "text_encoder").to(device),
        tokenizer=CLIPTokenizer.from_pretrained(arguments.work_dir / "tokenizer"),
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    losses = unet_losses(pipeline, photos, device, batch)
    train(unet, losses, arguments.unet_minutes, 6e-4, arguments.work_dir / "unet")
    pipeline.to(dtype=torch.float16).save_pretrained(arguments.output_dir)


if __name__ == "__main__":
    main()
