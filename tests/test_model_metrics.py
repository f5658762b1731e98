"""The metrics with a model against implementations that are not ours, with the same weights."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.base import Metric, Options, Unavailable, find_metric
from benchmark.photos import Photo, Truth
from realfill.errors import UserError
from tests import metric_models
from tests.conftest import draw_photo
from tests.metric_helpers import loaded, reference_images, run_alone, small_images


def test_lpips_is_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lpips

    metric = loaded("lpips", tmp_path / "models")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "checkpoints").symlink_to(tmp_path / "models" / "lpips")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    truth, photos = small_images(tmp_path)
    expected, hole, images = reference_images(truth, photos, 512)
    zero_one = torch.from_numpy(hole).float()

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        return lpips.im2tensor(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))

    whole = lpips.LPIPS(net="alex", verbose=False)
    spatial = lpips.LPIPS(net="alex", spatial=True, verbose=False)
    with torch.no_grad():
        reference = [
            [
                whole(tensor(expected) * zero_one, tensor(image) * zero_one).item(),
                spatial(tensor(expected), tensor(image))[0, 0][torch.from_numpy(hole)].mean(),
            ]
            for image in images
        ]
    np.testing.assert_allclose(metric.measure(truth, photos), reference, rtol=1e-4)


def test_dino_is_the_cosine_of_the_cls_features(tmp_path: Path) -> None:
    from torchvision.transforms import v2
    from transformers import AutoModel

    metric = loaded("dino", tmp_path)
    truth, photos = small_images(tmp_path)
    model = AutoModel.from_pretrained(tmp_path / "dino-vits16").eval()
    transform = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def features(path: Path) -> torch.Tensor:
        pixels = transform(Image.open(path).convert("RGB"))[None]
        with torch.no_grad():
            return model(pixel_values=pixels).last_hidden_state[0, 0]

    check_cosines(metric, truth, photos, features)


def test_clip_is_the_cosine_of_the_image_features(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel

    metric = loaded("clip", tmp_path)
    truth, photos = small_images(tmp_path)
    folder = tmp_path / "clip-vit-base-patch32"
    model, processor = CLIPModel.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)

    def features(path: Path) -> torch.Tensor:
        inputs = processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            pooled = model.vision_model(**inputs).pooler_output
            return model.visual_projection(pooled)[0]

    check_cosines(metric, truth, photos, features)


def check_cosines(metric: Metric, truth: Truth, photos: Sequence[Photo], features) -> None:
    measured = np.ravel(metric.measure(truth, photos))
    expected = features(truth.path)
    reference = [
        torch.nn.functional.cosine_similarity(expected, features(photo.path), dim=0)
        for photo in photos
    ]
    np.testing.assert_allclose(measured, reference, atol=1e-5)
    assert len(set(measured.round(6))) == 3


HUBCONF = """
import torch
from dreamsim.feature_extraction.vision_transformer import vit_base

def dino_vitb16(pretrained=True, **kwargs):
    model = vit_base(patch_size=16, num_classes=0)
    file = torch.hub.get_dir() + "/checkpoints/dino_vitbase16_pretrain.pth"
    model.load_state_dict(torch.load(file, weights_only=True))
    return model
"""


def test_dreamsim_is_the_packages(tmp_path: Path) -> None:
    """The package takes DINO from torch.hub; its folder stands where the hub would put it."""
    from dreamsim import dreamsim

    metric = loaded("dreamsim", tmp_path)
    truth, photos = small_images(tmp_path)
    photos = photos[1:]
    measured = np.ravel(metric.measure(truth, photos))
    home = tmp_path / "dreamsim"
    (home / "facebookresearch_dino_main").mkdir()
    (home / "facebookresearch_dino_main" / "hubconf.py").write_text(HUBCONF)
    (home / "trusted_list").write_text("facebookresearch_dino\n")
    before = torch.hub.get_dir()
    try:
        model, preprocess = dreamsim(device="cpu", cache_dir=str(home))
    finally:
        torch.hub.set_dir(before)
    expected = preprocess(Image.open(truth.path))
    with torch.no_grad():
        reference = [model(expected, preprocess(Image.open(p.path))).item() for p in photos]
    np.testing.assert_allclose(measured, reference, atol=1e-5)
    assert 0 < measured[0] < measured[1]


def test_fid_is_torch_fidelitys(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    metric = loaded("fid", tmp_path)
    _, photos = small_images(tmp_path)
    weights = next((tmp_path / "fid").iterdir())
    extractor = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    for photo, features in zip(photos, metric.measure(None, photos), strict=True):
        pixels = torch.from_numpy(np.array(Image.open(photo.path))).permute(2, 0, 1)[None]
        torch.testing.assert_close(extractor(pixels)[0], torch.tensor([features]))
    random = np.random.default_rng(0)
    sets = random.normal(size=(30, 8)), random.normal(0.5, 2, size=(50, 8))
    statistics = [fid_features_to_statistics(torch.from_numpy(features)) for features in sets]
    reference = fid_statistics_to_metric(*statistics, verbose=False)
    assert metric.distance(*sets, np.zeros(50, int)) == pytest.approx(
        reference["frechet_inception_distance"]
    )
    with pytest.raises(UserError, match="two truths or more"):
        metric.distance(sets[0][:1], sets[1], np.zeros(50, int))


@pytest.mark.parametrize("name", ["lpips", "dreamsim", "dino", "clip"])
def test_weights_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(Unavailable, match="not in --model_dir and cannot be downloaded"):
        find_metric(name)(Options(model_dir=tmp_path / "none")).load()


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lpips" / "alexnet-owt-7be5be79.pth"
    metric_models.write_torch(path, {"code": pytest.raises})
    with pytest.raises(Unavailable, match="Weights only load failed"):
        find_metric("lpips")(Options(model_dir=tmp_path)).load()


def test_fid_runs_alone_on_a_folder_of_truths(tmp_path: Path) -> None:
    metric = loaded("fid", tmp_path / "models")
    truth, photos = small_images(tmp_path)
    truths = tmp_path / "truths"
    truths.mkdir()
    for index in range(2):
        draw_photo(index).save(truths / f"{index}.png")
    flags = ["--mask_path", truth.mask_path, "--results_dir", tmp_path / "results"]
    flags += ["--model_dir", tmp_path / "models"]
    printed = run_alone("fid", "--gt_path", truths, *flags)
    features = [
        np.array(metric.measure(None, some))
        for some in ([Photo(truths / "0.png"), Photo(truths / "1.png")], photos)
    ]
    assert float(printed.split()[1]) == pytest.approx(
        metric.distance(*features, np.full(3, -1)), rel=1e-3
    )
