"""Mutated image files, records, rankings, masks and flags: one line at worst, never a traceback.

The default suite tries a few of each; `make test-slow` runs a minute, with REALFILL_FUZZ_SEED.
"""

import io
import json
import os
import resource
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, features

from benchmark.suite.rankings import find_fault, read_ranking
from benchmark.suite.scorer import Scored
from realfill.errors import UserError
from realfill.images.read import is_image, read_mask, read_photo
from realfill.ranking_file import RANKING_FILE, is_ranking
from realfill.record import RECORD_FILE, TrainingRecord, claim
from realfill.scene import load_target
from realfill.seeds import choose_seed
from realfill.training.checkpoints import find_damage
from realfill.training.runs import require_same
from tests.conftest import draw_photo

SEED = int(os.environ.get("REALFILL_FUZZ_SEED", 0))
FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA"]
FORMATS += ["AVIF"] if features.check("avif") else []
FEW, MANY_IMAGES, MANY_RECORDS = 60, 10_000, 2_000


def encode(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    try:
        draw_photo(0).convert(mode).save(buffer, kind)
    except (OSError, ValueError):
        draw_photo(0).save(buffer, kind)
    return buffer.getvalue()


SAMPLES = [encode(kind, mode) for kind in FORMATS for mode in ("RGB", "RGBA", "L", "P", "I;16")]
KINDS = st.sampled_from(["flip", "cut", "drop", "double", "number"])
EDITS = st.lists(st.tuples(KINDS, st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)


def mutate(content: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """Return `content` after edits at places given as shares of its length."""
    data = bytearray(content)
    for kind, share, value in edits:
        # Half of the edits go to the header, in which most of the meaning is.
        place = int(share * 2 * len(data)) if share < 0.5 else int((share - 0.5) * 128)
        place = min(place, max(0, len(data) - 1))
        if kind == "flip" and data:
            data[place] ^= value
        elif kind == "cut":
            del data[place + 8 :]
        elif kind == "drop":
            del data[place : place + value]
        elif kind == "double":
            data[place:place] = data[place : place + value]
        else:
            data[place : place + 4] = bytes([value, 255, value, 0])
    return bytes(data)


def check_image(content: bytes, edits: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, mask = Path(folder) / "a.dat", Path(folder) / "mask.png"
        path.write_bytes(mutate(content, edits))
        is_image(path)
        for read in (read_photo, read_mask):
            try:
                assert min(read(path).size) >= 64
            except UserError as error:
                assert len(str(error).splitlines()) == 1
        Image.new("L", (120, 90)).save(mask)
        for pair in ((path, mask), (mask, path)):
            try:
                load_target(*pair)
            except UserError as error:
                assert "a.dat" in str(error) or "mask.png" in str(error)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
KEYS = ("settings", "identity", "base", "base_folder", "files", "script", "steps", "model_path")
KEYS += ("prompt", "revision", "lora_sha256", "base_fingerprints", "ranking", "metadata")
RECORDS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.fixed_dictionaries({"settings": st.dictionaries(st.sampled_from(["seed", "x"]), VALUES)}),
    st.fixed_dictionaries({"ranking": st.lists(st.dictionaries(
        st.sampled_from(["rank", "filename"]), VALUES)), "metadata": VALUES}),
)  # fmt: skip


def check_record(content: object, cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = json.dumps(content).encode()
        for file in (RECORD_FILE, "state.json", RANKING_FILE):
            (folder / file).write_bytes(text[: len(text) - cut])
        try:
            record = TrainingRecord.read(folder)
            assert isinstance(choose_seed(None, record.seed), int)
            claim(folder, "infer.py", ["0.png"])
            require_same(TrainingRecord(identity={"base": "1"}, steps=1), record, folder)
        except UserError as error:
            assert name in str(error)
        assert find_damage(folder) is None or isinstance(find_damage(folder), str)
        path = folder / RANKING_FILE
        result = Scored(None, hashes={"0.png": "x"})
        (folder / "0.png").touch()
        if find_fault(path, result, None) is None:
            assert "0.png" in read_ranking(path)
        is_ranking(path)


def fuzz(check, count: int, *strategies) -> None:
    """Call `check` with `count` examples."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=health
    )
    seed(SEED)(chosen(given(*strategies)(check)))()


def test_a_few_mutated_images() -> None:
    fuzz(check_image, FEW, st.sampled_from(SAMPLES), EDITS)


def test_a_few_mutated_records() -> None:
    fuzz(check_record, FEW, RECORDS, st.integers(0, 3))


@pytest.mark.slow
def test_many_mutated_images_within_two_gigabytes() -> None:
    fuzz(check_image, MANY_IMAGES, st.sampled_from(SAMPLES), EDITS)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kilobytes < 2 * 2**20


@pytest.mark.slow
def test_many_mutated_records() -> None:
    fuzz(check_record, MANY_RECORDS, RECORDS, st.integers(0, 3))
