"""The pool of encoded draws."""

from pathlib import Path

import pytest
import torch

from realfill.model.base import load_base
from realfill.scene import load_scene
from realfill.seeds import derive_seed
from realfill.training.crops import upload_photos
from realfill.training.latent_pool import POOL_BATCHES, DrawPool, batches_at, encode


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pool(scene_folder: Path, base_folder: Path) -> DrawPool:
    photos = upload_photos(load_scene(scene_folder), 64, torch.device("cpu"))
    vae = load_base(str(base_folder), torch.float32).vae
    return DrawPool(photos, vae, 2, 64, 4, (7, 0))


def test_without_reuse_every_moment_has_its_own_batch() -> None:
    assert [list(batches_at(moment, 1)) for moment in range(40)] == [[n] for n in range(40)]


@pytest.mark.parametrize("reuse", [2, 4, 7])
def test_the_pool_fills_and_then_gives_up_one_batch_every_few_moments(reuse: int) -> None:
    windows = [batches_at(moment, reuse) for moment in range(400)]
    assert [len(window) for window in windows[:POOL_BATCHES]] == list(range(1, POOL_BATCHES + 1))
    assert all(len(window) == POOL_BATCHES for window in windows[POOL_BATCHES - 1 :])
    newest = [window[-1] for window in windows[POOL_BATCHES - 1 :]]
    assert newest == [POOL_BATCHES - 1 + moment // reuse for moment in range(len(newest))]


def test_an_encoded_draw_is_what_the_autoencoder_says_of_it(pool: DrawPool) -> None:
    batch = pool.photos.draw(3, 64, generator(5))
    draws = encode(pool.vae, batch)
    for i in range(3):
        masked = batch.images[i] * (batch.masks[i] < 0.5)
        for which, image in enumerate((batch.images[i], masked)):
            with torch.no_grad():
                posterior = pool.vae.encode(image[None]).latent_dist
            torch.testing.assert_close(draws.means[i, which], posterior.mean[0])
            torch.testing.assert_close(draws.deviations[i, which], posterior.std[0])
    assert draws.masks.shape == draws.known.shape == (3, 1, 16, 16)


def test_a_pool_begun_in_the_middle_has_what_one_from_the_start_has(pool: DrawPool) -> None:
    begun_late = DrawPool(pool.photos, pool.vae, 2, 64, 4, (7, 0))
    for moment in range(30):
        chosen = pool.choose(moment, generator(moment))
    for one, other in zip(chosen, begun_late.choose(29, generator(29)), strict=True):
        assert torch.equal(one, other)
    assert set(pool.batches) == set(begun_late.batches) == set(batches_at(29, 4))


def test_a_chosen_batch_is_distinct_draws_of_the_pool(pool: DrawPool) -> None:
    pool.choose(POOL_BATCHES, generator())
    everything = {
        tuple(mean.flatten()[:8].tolist())
        for draws in pool.batches.values()
        for mean in draws.means
    }
    assert len(everything) == 2 * POOL_BATCHES
    seen = set()
    for attempt in range(200):
        chosen = pool.choose(POOL_BATCHES, generator(attempt))
        keys = {tuple(mean.flatten()[:8].tolist()) for mean in chosen.means}
        assert len(keys) == 2
        seen |= keys
    assert seen == everything


def test_processes_draw_differently(pool: DrawPool) -> None:
    other = DrawPool(pool.photos, pool.vae, 2, 64, 4, (7, 1))
    assert derive_seed("draws", 7, 0, 0) != derive_seed("draws", 7, 1, 0)
    assert not torch.equal(pool.choose(0, generator()).means, other.choose(0, generator()).means)
