"""`loftr_ranking.py` and `infer.py --rank`, run as a user does."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from kornia.feature import LoFTR
from PIL import Image

from realfill.commands import complete
from realfill.scene import load_scene, load_truth
from scripts.bench_ranking import plant
from tests.conftest import ROOT, RunScript, draw_photo, launch, launch_two
from tests.helpers import contents, write_completions

SCRIPT = "loftr_ranking.py"


def read_ranking(folder: Path, name: str = "loftr_ranking_scores.json") -> dict:
    return json.loads((folder / name).read_text())


@pytest.fixture
def rank(start: RunScript) -> RunScript:
    """Return a function that ranks in this process and returns what was printed."""
    return partial(start, SCRIPT)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return completions of data/graf, of which the fourth is the truth."""
    scene, truth = load_scene(ROOT / "data/graf"), load_truth(ROOT / "data/graf")
    made = list(plant(scene, truth, load_truth(ROOT / "data/yard")).values())
    folder = tmp_path_factory.mktemp("planted")
    for index, image in enumerate([*made[1:4], made[0], *made[4:]]):
        image.save(folder / f"{index}.png")
    return folder


def test_the_seed_s_command(planted: Path) -> None:
    flags = ("--ref-dir", "data/graf/ref", "--rank-only", "--ranking-output-file", "seed.json")
    printed = launch(SCRIPT, "--source-dir", planted, *flags, "--matcher", "sift")
    assert "counting over the whole image" in printed
    ranking = read_ranking(planted, "seed.json")
    assert ranking["metadata"]["num_candidates_ranked"] == 9
    assert ranking["metadata"]["source_directory"] == str(planted)
    assert ranking["metadata"]["count"] == "whole"
    assert [place["rank"] for place in ranking["ranking"]] == list(range(1, 10))
    scores = [place["score"] for place in ranking["ranking"]]
    assert scores == sorted(scores, reverse=True)
    for place in ranking["ranking"]:
        assert place["path"] == str(planted / place["filename"])


def test_a_mask_or_a_scene_makes_it_geometric(planted: Path, rank: RunScript) -> None:
    flags = ("--source_dir", planted, "--rank_only")
    printed = rank(*flags, "--ref_dir", "data/graf/ref", "--mask", "data/graf/target/mask.png")
    assert "using SIFT" in printed, "auto, and no hub"
    by_mask = read_ranking(planted)
    printed = rank(*flags, "--scene", "data/graf", "--matcher", "sift")
    assert "10 pairs with sift, 10 from the cache" in printed
    assert read_ranking(planted) == by_mask
    assert by_mask["metadata"]["rule"] == "correspondences"
    assert by_mask["metadata"]["geometry"]["0.jpg"]["count"] == "geometric"
    assert by_mask["metadata"]["geometry"]["0.jpg"]["agreeing"] > 100
    first = by_mask["ranking"][0]
    assert first["filename"] == "3.png", "the truth"
    assert first["score"] == first["references"]["0.jpg"]["correspondences"] > 100
    assert 0 < first["mean_confidence"] < 1
    with Image.open(planted / "ranking.png") as sheet:
        assert 1000 <= sheet.width <= 1600
    rank(*flags, "--scene", "data/graf", "--matcher", "sift", "--conf-threshold", 0.5)
    assert 0 < read_ranking(planted)["ranking"][0]["score"] < first["score"]


def test_processes_share_the_pairs(scene_folder: Path, tmp_path: Path, start: RunScript) -> None:
    folder = write_completions(tmp_path / "completions", scene_folder)
    flags = (SCRIPT, "--source_dir", folder, "--scene", scene_folder, "--rank_only")
    rankings = []
    for run in (launch_two, start):
        run(*flags, "--matcher", "sift")
        rankings.append(contents(folder))
        assert len(list((folder / ".matches").iterdir())) > 1
        shutil.rmtree(folder / ".matches")
    assert rankings[0] == rankings[1]


def test_a_run_that_finds_all_in_the_cache_does_not_wait_for_torch(
    scene_folder: Path, tmp_path: Path, rank: RunScript
) -> None:
    folder = write_completions(tmp_path / "completions", scene_folder)
    flags = ["--source_dir", folder, "--scene", scene_folder, "--rank_only", "--matcher", "sift"]
    rank(*flags)
    script = f"import runpy, sys; runpy.run_path('{SCRIPT}', run_name='__main__')\n"
    script += "assert not {'torch', 'accelerate', 'kornia', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script, *map(str, flags)], cwd=ROOT, check=True)


def test_loftr_runs_with_local_weights(scene_folder: Path, tmp_path: Path, rank: RunScript) -> None:
    torch.manual_seed(0)
    model = LoFTR(pretrained=None)
    with torch.no_grad():  # so that random features are sure of what is nearly the same
        model.backbone.layer3_outconv.weight *= 5
    torch.save({"state_dict": model.state_dict()}, tmp_path / "loftr.ckpt")
    folder = write_completions(tmp_path / "completions", scene_folder)
    with Image.open(folder / "0.png") as photo:
        photo.point(lambda value: 0.97 * value).save(scene_folder / "ref/0.png")
    flags = ("--source_dir", folder, "--scene", scene_folder, "--rank_only")
    flags += ("--loftr_weights", tmp_path / "loftr.ckpt", "--conf_threshold", 0.2)
    assert "8 pairs with loftr, 0 from the cache" in rank(*flags)
    first = read_ranking(folder)
    assert first["metadata"]["matcher"]["matcher"] == "loftr"
    assert len(first["ranking"]) == 3
    assert "8 pairs with loftr, 8 from the cache" in rank(*flags)
    assert read_ranking(folder) == first
    rank(*flags, "--count", "whole")
    assert sum(place["correspondences"] for place in read_ranking(folder)["ranking"]) > 0
    draw_photo(20).save(folder / "1.png")
    assert "8 pairs with loftr, 6 from the cache" in rank(*flags)
    assert read_ranking(folder)["ranking"] != first["ranking"]


def test_the_best_are_added_once(planted: Path, tmp_path: Path, rank: RunScript) -> None:
    references = tmp_path / "ref"
    references.mkdir()
    with Image.open(ROOT / "data/graf/ref/0.jpg") as photo:
        photo.save(references / "7.webp")
        photo.resize((320, 256)).save(references / "other.jpg")
    (references / "notes.txt").write_text("mine")
    before = contents(references)
    flags = ("--source-dir", planted, "--ref-dir", references, "--matcher", "sift")
    flags += ("--mask", ROOT / "data/graf/target/mask.png", "--target-count")
    rank(*flags, 3)
    truth = (planted / "3.png").read_bytes()
    assert contents(references) == before | {references / "8.png": truth}
    ranking = read_ranking(planted)
    rank(*flags, 3)
    assert contents(references) == before | {references / "8.png": truth}
    rank(*flags, 4)
    assert read_ranking(planted)["ranking"] == ranking["ranking"], "copies do not vote"
    second = (planted / ranking["ranking"][1]["filename"]).read_bytes()
    added = {references / "8.png": truth, references / "9.png": second}
    assert contents(references) == before | added


def test_inference_ranks_and_marks_the_best(
    trained: tuple[Path, Path], tmp_path: Path, start
) -> None:
    scene, model = trained
    flags = ("--model_path", model, "--scene", scene, "--output_dir", tmp_path / "results")
    flags += ("--num_images", 3, "--num_inference_steps", 2, "--seed", 1)
    printed = start("infer.py", *flags, "--rank", "sift")
    first = read_ranking(tmp_path / "results")["ranking"][0]["filename"]
    assert f"best: {first}" in printed
    best = (tmp_path / "results" / "best.png").read_bytes()
    assert best == (tmp_path / "results" / first).read_bytes()
    ranked = (tmp_path / "results/contact_sheet.png").read_bytes()
    complete.main([*map(str, flags), "--mixed_precision", "no", "--overwrite"])
    assert (tmp_path / "results/contact_sheet.png").read_bytes() != ranked, "no frame any more"
    assert not (tmp_path / "results/best.png").exists(), "no old one passes for a new one"
    assert not (tmp_path / "results/loftr_ranking_scores.json").exists()


def empty_references(scene: Path, folder: Path) -> None:
    for path in (scene / "ref").iterdir():
        path.unlink()


def no_completions(scene: Path, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def other_mask(scene: Path, folder: Path) -> None:
    Image.new("L", (64, 64), 255).save(scene / "target/mask.png")


def other_size(scene: Path, folder: Path) -> None:
    draw_photo(0, 100, 90).save(folder / "1.png")


class Bomb:
    """An object that runs code where it is unpickled."""

    def __reduce__(self) -> tuple:
        """Say what is to be run."""
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty_references, "ref: no photos in it"),
        (no_completions, "completions: no completions"),
        (other_mask, "mask.png: the mask is 64 x 64, 0.png is 120 x 90"),
        (other_size, "1.png: is 100 x 90, 0.png is 120 x 90"),
    ],
)
def test_what_cannot_be_ranked(
    scene_folder: Path,
    tmp_path: Path,
    refuse: RunScript,
    spoil: Callable[[Path, Path], None],
    message: str,
) -> None:
    folder = write_completions(tmp_path / "completions", scene_folder)
    spoil(scene_folder, folder)
    flags = ("--source_dir", folder, "--scene", scene_folder, "--matcher", "sift", "--rank_only")
    assert message in refuse(SCRIPT, *flags)
    assert not (folder / "loftr_ranking_scores.json").exists()


def test_a_damaged_completion_is_left_out_and_the_others_are_ranked(
    scene_folder: Path, tmp_path: Path, start: RunScript
) -> None:
    folder = write_completions(tmp_path / "completions", scene_folder)
    (folder / "1.png").write_bytes(b"damaged")
    flags = ("--source_dir", folder, "--scene", scene_folder, "--matcher", "sift", "--rank_only")
    with pytest.raises(SystemExit) as stopped:
        start(SCRIPT, *flags)
    assert stopped.value.code == 3
    ranking = json.loads((folder / "loftr_ranking_scores.json").read_text())["ranking"]
    assert "1.png" not in [entry["filename"] for entry in ranking]
    assert ranking


def test_loftr_weights_that_are_none(
    scene_folder: Path, tmp_path: Path, refuse: RunScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_completions(tmp_path / "completions", scene_folder)
    flags = ("--source_dir", folder, "--scene", scene_folder, "--rank_only")
    (tmp_path / "text").write_text("no weights")
    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb()))
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "other")
    for name in ("text", "bomb", "other"):
        complaint = refuse(SCRIPT, *flags, "--loftr_weights", tmp_path / name)
        assert f"{tmp_path / name}: not LoFTR weights" in complaint
    assert not (ROOT / "exploded").exists()
    assert "no such file" in refuse(SCRIPT, *flags, "--loftr_weights", tmp_path / "missing")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    complaint = refuse(SCRIPT, *flags, "--matcher", "loftr")
    assert "could not be had from the model hub" in complaint
    assert "--loftr_weights FILE" in complaint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--rank_only",), "give --scene or --ref_dir"),
        (("--ref_dir", "data/graf/ref"), "give --rank_only, or --target_count"),
        (
            ("--ref_dir", "data/graf/ref", "--rank_only", "--count", "hole"),
            "needs to know the hole",
        ),
    ],
)
def test_flags_that_are_missing(
    planted: Path, refuse: RunScript, flags: tuple[str, ...], message: str
) -> None:
    assert message in refuse(SCRIPT, "--source_dir", planted, *flags)


def test_inference_ranks_only_with_references(base_folder: Path, refuse: RunScript) -> None:
    target = ROOT / "data/graf/target"
    flags = ("--validation_image", target / "target.png", "--validation_mask", target / "mask.png")
    complaint = refuse("infer.py", "--model_path", base_folder, *flags, "--rank", "sift")
    assert "--rank" in complaint
