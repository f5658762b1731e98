"""benchmarks.py, called and run: folders, cache, comparisons, rankings, what is left out."""

import csv
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmark.photos import upright_size
from benchmark.suite.analysis import bootstrap
from realfill.record import CompletionsRecord
from tests import metric_models
from tests.conftest import ROOT, RunScript, draw_photo, environment
from tests.helpers import (
    SIDE,
    command,
    dataset_flags,
    score,
    write_folder,
    write_ranking,
    write_realbench,
    write_truth,
)

REPORTS = (".txt", ".json", ".csv", ".html")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a results directory with two sets of three scenes, beside their `scenes`."""
    for number, scene in enumerate(("arch", "bridge", "court")):
        write_truth(tmp_path / "scenes" / scene, number)
        folder = tmp_path / "results" / scene
        write_folder(folder / "before", tmp_path / "scenes" / scene, 40 + 9 * number)
        write_folder(folder / "after", tmp_path / "scenes" / scene, 20 + 2 * number)
    return tmp_path / "results"


def read_reports(folder: Path, name: str = "report") -> dict[str, bytes]:
    return {suffix: (folder / f"{name}{suffix}").read_bytes() for suffix in REPORTS}


def test_only_what_changed_is_scored_again(results: Path) -> None:
    first = score(results)
    assert first["measured"] == 18 * 2
    before = read_reports(results.parent)
    assert score(results)["measured"] == 0
    assert read_reports(results.parent) == before

    changed = results / "bridge" / "after" / "1.png"
    shutil.copy2(results / "arch" / "before" / "2.png", changed)
    second = score(results)
    assert second["measured"] == 2
    assert all(read_reports(results.parent)[suffix] != before[suffix] for suffix in REPORTS)
    for old, new in zip(first["folders"], second["folders"], strict=True):
        for image in old["images"]:
            same = old["images"][image] == new["images"][image]
            assert same == ((new["name"], image) != ("bridge/after", "1.png"))

    mask = results.parent / "scenes" / "court" / "target" / "mask.png"
    Image.new("L", (SIDE, SIDE), 255).save(mask)
    assert score(results)["measured"] == 6 * 2
    assert score(results, "--resolution", "native")["measured"] == 18 * 2
    assert score(results, "--force_recalc", "SSIM")["measured"] == 18
    assert score(results, "--force_recalc", "all")["measured"] == 36


def test_a_run_that_finds_all_in_the_cache_does_not_wait_for_torch(results: Path) -> None:
    metric_models.make_dino(results.parent / "models")
    flags = ["--metrics", "psnr", "dino", "--model_dir", results.parent / "models"]
    assert score(results, *flags)["measured"] == 36
    script = "import runpy, sys; runpy.run_path('benchmarks.py', run_name='__main__')\n"
    script += "assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    arguments = command(results, *flags)[2:]
    subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, check=True)


def test_a_killed_run_goes_on_to_the_same_report(results: Path) -> None:
    for scene in range(12):
        write_truth(results.parent / "scenes" / f"s{scene}", scene)
        write_folder(results / f"s{scene}", results.parent / "scenes" / f"s{scene}", 30)
    calm = score(results, "--cache_dir", results.parent / "calm", name="calm")
    process = subprocess.Popen(
        command(results), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("[1/"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not any((results.parent / f"report{suffix}").exists() for suffix in REPORTS)
    again = score(results)
    assert 0 < again["measured"] <= calm["measured"] - 6
    assert read_reports(results.parent) == read_reports(results.parent, "calm")


def test_two_runs_share_a_cache(results: Path) -> None:
    score(results, "--cache_dir", results.parent / "calm", name="calm")
    processes = [
        subprocess.Popen(command(results, name=f"{name}/report"), cwd=ROOT, env=environment())
        for name in ("one", "two")
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    reports = [read_reports(results.parent, name) for name in ("calm", "one/report", "two/report")]
    assert reports[0] == reports[1] == reports[2]
    assert score(results)["measured"] == 0


def test_sets_are_compared_over_their_common_scenes(results: Path) -> None:
    shutil.rmtree(results / "court" / "before")
    report = score(results, "--compare", "before", "after")
    [comparison] = report["comparisons"]
    assert comparison["scenes"] == ["arch", "bridge"]
    means = {folder["name"]: folder["means"]["psnr"] for folder in report["folders"]}
    differences = [means[f"{s}/after"] - means[f"{s}/before"] for s in ("arch", "bridge")]
    found = comparison["differences"]["psnr"]
    assert found["scenes"] == 2
    assert found["difference"] == pytest.approx(np.mean(differences))
    assert found["low"] <= found["difference"] <= found["high"]
    assert "before vs after" in report["printed"]


def test_folders_of_results_are_compared(results: Path) -> None:
    for kind in ("before", "after"):
        for scene in ("arch", "bridge", "court"):
            shutil.copytree(results / scene / kind, results.parent / kind / f"{scene}-results")
    folders = [results.parent / kind for kind in ("before", "after")]
    named = score(results, "--compare", "before", "after")["comparisons"][0]["differences"]
    given = score(folders[0], "--compare", *folders)["comparisons"][0]["differences"]
    assert given == named


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, 20)
    reference = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=2
    ).confidence_interval
    np.testing.assert_allclose(bootstrap(differences), reference, atol=0.03)


def test_the_datasets_names_and_the_published_rows(tmp_path: Path) -> None:
    realbench = write_realbench(tmp_path)
    report = score(realbench, *dataset_flags(realbench))
    names = [folder["name"] for folder in report["folders"] if folder["set"] == "RealBench"]
    assert names == [f"RealBench-{number}-results" for number in (0, 2, 10)]
    counts = {each["name"]: each["scenes"] for each in report["sets"]}
    assert counts == {"Custom": 1, "Custom fp32": 1, "Custom gen": 1} | {
        "RealBench": 3,
        "RealBench fp32": 3,
        "RealBench gen": 3,
    }
    titles = [comparison["title"] for comparison in report["comparisons"]]
    assert titles[0] == "FP16 vs FP32 (Common RealBench Non-Generated Scenes)"
    assert titles[1] == "Non-Generated vs Generated (Common RealBench FP16 Scenes)"
    text = (realbench.parent / "report.txt").read_text()
    assert "Overall Average Scores (RealBench FP16 Non-Generated)" in text
    assert re.search(r"TransFill +13\.28 +0\.404 +0\.542 +0\.192 +0\.860 +0\.866 +33", text)
    assert re.search(r"reproduced +13\.78 +0\.440 +0\.248 .* rest zeroed", text)
    rows = list(csv.DictReader((realbench.parent / "report.csv").open()))
    assert len(rows) == 12 * 3 * 2
    assert all(float(row["value"]) for row in rows)


def test_published_rows_stand_beside_realbench_only(results: Path) -> None:
    assert score(results)["published"] == []
    assert "TransFill" not in (results.parent / "report.html").read_text()


RANKER = """
import json, pathlib, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
folder = pathlib.Path(flags["--source-dir"])
if not pathlib.Path(flags["--ref-dir"]).is_dir():
    sys.exit("no references")
names = sorted(path.name for path in folder.glob("?.png"))
ranking = [{"rank": i, "score": 1, "filename": n} for i, n in enumerate(reversed(names))]
pathlib.Path(folder, sys.argv[-1]).write_text(json.dumps({"ranking": ranking}))
"""


def test_filtering_follows_from_the_rankings(results: Path) -> None:
    """The ranker is a stand-in with the command line of loftr_ranking.py, last first."""
    for scene in ("arch", "bridge", "court"):
        shutil.rmtree(results / scene / "before")
        write_ranking(results / scene / "after", (1, 0, 2))
    report = score(results)
    curve = report["sets"][0]["filtering"]["curves"]["psnr"]
    numbers = [[f["images"][f"{i}.png"]["psnr"] for i in (1, 0, 2)] for f in report["folders"]]
    kept = [np.mean([row[:keep] for row in numbers]) for keep in (3, 2, 2, 1)]
    np.testing.assert_allclose(curve, kept)

    shutil.copy2(results / "arch/after/2.png", results / "arch/after/0.png")
    report = score(results)
    assert report["sets"][0]["filtering"]["scenes"] == 2
    assert "of other completions" in report["folders"][0]["notes"][0]
    ranker = results.parent / "ranker.py"
    ranker.write_text(RANKER)
    report = score(results, "--loftr_script_path", ranker)
    assert report["sets"][0]["filtering"]["scenes"] == 3
    assert [f["ranking"][0] for f in report["folders"]] == ["2.png", "1.png", "1.png"]
    report = score(results, "--loftr_script_path", ranker, "--force_recalc", "loftr")
    assert [f["ranking"][0] for f in report["folders"]] == ["2.png"] * 3
    assert report["measured"] == 0

    shutil.rmtree(results.parent / "scenes" / "bridge" / "ref")
    (results / "bridge/after/loftr_ranking_scores.json").unlink()
    report = score(results, "--loftr_script_path", ranker, code=3)
    assert "ranker.py failed: no references" in report["folders"][1]["left_out"][0]
    report = score(results, "--loftr_script_path", "missing.py", code=3)
    assert "missing.py: no such file" in report["unavailable"]["ranking"]


def test_only_what_was_asked_for_can_be_missing(results: Path) -> None:
    CompletionsRecord(script="infer.py", num_images=2).write(results / "arch/after")
    (results / "arch/after/2.png").unlink()
    folders = {folder["name"]: folder for folder in score(results)["folders"]}
    assert folders["arch/after"]["left_out"] == []
    assert list(folders["arch/after"]["images"]) == ["0.png", "1.png"]
    (results / "arch/after/1.png").unlink()
    folders = {folder["name"]: folder for folder in score(results, code=3)["folders"]}
    assert folders["arch/after"]["left_out"] == ["1 of 2 completions are missing"]


def test_what_cannot_be_scored_is_said_and_the_rest_goes_on(results: Path) -> None:
    (results / "arch/after/2.png").unlink()
    shutil.copy(results / "arch/after/0.png", results / "arch/after/7.png")
    (results / "arch/before/0.png").write_bytes(b"no image")
    Image.open(results / "bridge/after/0.png").resize((80, 80)).save(results / "bridge/after/0.png")
    (results.parent / "scenes" / "court" / "target" / "gt.png").unlink()
    write_folder(results / "unknown", results.parent / "scenes" / "arch", 20)
    report = score(results, code=3)
    folders = {folder["name"]: folder for folder in report["folders"]}
    assert folders["arch/after"]["left_out"] == ["1 of 3 completions are missing"]
    assert folders["arch/after"]["notes"] == ["1 more than the 3 expected; not looked at"]
    assert "0.png: damaged or not an image" in folders["arch/before"]["left_out"][0]
    assert folders["arch/before"]["images"]["0.png"] == {"psnr": None, "ssim": None}
    assert folders["bridge/after"]["notes"] == [
        "1 of 3 completions: 80 x 80, the truth 96 x 96; all were resized"
    ]
    assert "gt.png: no such file" in report["not_scored"]["court/after"]
    assert "no scene folder of this name" in report["not_scored"]["unknown"]
    assert report["printed"].count("1 of 3 completions are missing") == 2  # once run, once report
    assert "0.png,psnr,n/a" in (results.parent / "report.csv").read_text()
    assert subprocess.run(command(results), cwd=ROOT, env=environment()).returncode == 3
    native = score(results, "--resolution", "native", code=3)
    folders = {folder["name"]: folder for folder in native["folders"]}
    assert "cannot be scored at their own size" in folders["bridge/after"]["left_out"][0]
    assert list(folders["bridge/after"]["images"]) == ["1.png", "2.png"]


def test_a_metric_without_weights_is_not_available(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    report = score(results, "--metrics", "psnr", "dino", code=3)
    assert "dino-vits16" in report["unavailable"]["dino"]
    assert report["sets"][0]["means"]["dino"] is None
    assert report["sets"][0]["means"]["psnr"] > 10
    text = (results.parent / "report.txt").read_text()
    assert re.search(r"DINO +n/a", text)
    assert "dino: n/a: " in text


def test_model_metrics_in_one_run(results: Path) -> None:
    shutil.rmtree(results / "court")
    models = results.parent / "models"
    for make in ("make_dino", "make_clip", "make_lpips", "make_inception"):
        getattr(metric_models, make)(models)
    flags = ["--metrics", "LPIPS", "DINO", "CLIP", "fid", "p_ids", "ring_colour"]
    flags += ["--model_dir", models]
    report = score(results, *flags)
    assert report["measured"] == 12 * 5 + 2  # fid looks at the truths, too; p_ids has its features
    assert [score["metric"] for score in report["scores"]][-1] == "ring_colour"
    for each in report["sets"]:
        assert all(value is not None for value in each["means"].values())
    before, after = (each["means"]["lpips_hole"] for each in report["sets"][::-1])
    assert before > after
    assert score(results, *flags)["measured"] == 0
    metric_models.make_dino(models, seed=1)
    assert score(results, *flags)["measured"] == 12


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--results_base_dir", "nowhere"], "nowhere: no such folder"),
        (["--scenes", "nowhere"], "nowhere: no such folder"),
        (["--metrics", "beauty"], "no such metric; there are psnr"),
        (["--metrics", "base"], "no such metric; there are psnr"),
        (["--force_recalc", "beauty"], "not among the --metrics"),
        (["--compare", "before", "never"], "--compare never: no such set"),
        (["--num_images", "0"], "must be 1 or more"),
    ],
)
def test_mistakes(results: Path, refuse: RunScript, flags: list[str], message: str) -> None:
    assert message in refuse("benchmarks.py", *command(results)[2:], *flags)
    assert not (results.parent / "report.txt").exists()


def test_a_damaged_cache_is_said_and_done_without(results: Path, start: RunScript) -> None:
    (results.parent / "cache").mkdir()
    (results.parent / "cache" / "scores.sqlite").write_text("this is not a database " * 99)
    assert "scores.sqlite: cannot be used" in start("benchmarks.py", *command(results)[2:])
    assert (results.parent / "report.html").exists()


def test_sizes_are_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_photo(0, 90, 60).save(tmp_path / "turned.jpg", exif=exif)
    draw_photo(0, 90, 60).save(tmp_path / "turned.png", exif=exif)
    assert upright_size(tmp_path / "turned.jpg") == (60, 90)
    assert upright_size(tmp_path / "turned.png") == (60, 90)
