"""Correspondences of photos with references: choosing the matcher, matching pairs, keeping them."""

import hashlib
import json
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from realfill.command_line import is_main_process
from realfill.errors import UserError
from realfill.images.blend import resize, size_in_multiples
from realfill.matching.base import Matcher, Matches
from realfill.matching.sift import Sift
from realfill.storage import appears_whole

LONG_SIDE, MULTIPLE = 840, 8
"""Photos are matched with their long side at this many pixels or fewer, as LoFTR was trained."""
CACHE = ".matches"
"""The folder beside the completions that keeps their matches."""


def choose_matcher(name: str, model_type: str = "outdoor", weights: Path | None = None) -> Matcher:
    """Return the matcher `name`; "auto" is LoFTR if its weights can be found, else SIFT.

    Raises `UserError` if LoFTR is asked for and its weights cannot be found.
    """
    if name == "sift":
        return Sift()
    from realfill.devices import start_process  # these take seconds to import
    from realfill.matching.loftr import Loftr

    state = start_process()
    try:
        return Loftr(model_type, weights, state.device)
    except UserError:
        if name == "loftr" or weights:
            raise
        state.print("LoFTR's weights are not here and the model hub cannot be reached: using SIFT")
        return Sift()


def at_matching_size(image: Image.Image) -> Image.Image:
    """Bring a photo (RGB) or a mask (L, kept sharp) to the size at which photos are matched."""
    size = size_in_multiples(
        image.size, min(image.size) * min(1, LONG_SIDE / max(image.size)), MULTIPLE
    )
    if image.mode == "L":
        return image.resize(size, Image.Resampling.NEAREST)
    return resize(image, size)


def match_pairs(
    matcher: Matcher,
    photos: dict[str, Image.Image],
    references: dict[str, Image.Image],
    cache: Path,
) -> dict[tuple[str, str], Matches]:
    """Match each RGB photo with each reference; return the matches by the two names.

    Matches are kept in `cache` under a hash of both images' pixels and of the matcher's settings.
    Pairs that are not there are shared out between the processes; each photo's features are
    computed once.
    """
    photo_digests = {name: digest(image) for name, image in photos.items()}
    reference_digests = {name: digest(image) for name, image in references.items()}
    paths = {
        (photo, reference): cache / pair_name(matcher, mine, its)
        for photo, mine in photo_digests.items()
        for reference, its in reference_digests.items()
    }
    matches = read_all(paths)
    lacking = [pair for pair in paths if pair not in matches]
    if is_main_process():
        cached = len(paths) - len(lacking)
        print(f"matching {len(paths)} pairs with {matcher.name}, {cached} from the cache")
    if not lacking:
        return matches
    from realfill.devices import start_process  # it takes seconds to import

    state = start_process()
    state.wait_for_everyone()  # all have seen the same pairs lacking before the first is written
    cache.mkdir(parents=True, exist_ok=True)
    waiting = {photo: [its for mine, its in lacking if mine == photo] for photo, _ in lacking}
    features = {}
    with state.split_between_processes(list(waiting)) as share:
        for photo in tqdm(share, desc="matching", unit="photo", disable=not state.is_main_process):
            for reference in waiting[photo]:
                if reference not in features:
                    image = at_matching_size(references[reference])
                    features[reference] = matcher.extract(image)
            found = matcher.match(
                matcher.extract(at_matching_size(photos[photo])),
                [features[reference] for reference in waiting[photo]],
            )
            for reference, its in zip(waiting[photo], found, strict=True):
                write_matches(paths[photo, reference], its)
    state.wait_for_everyone()
    matches = read_all(paths)
    for pair in lacking:
        if pair not in matches:
            raise UserError(f"{paths[pair]}: cannot be read back after it was written; start again")
    return matches


def read_all(paths: dict[tuple[str, str], Path]) -> dict[tuple[str, str], Matches]:
    """Return the matches of the pairs that have been matched before."""
    found = {pair: read_matches(path) for pair, path in paths.items()}
    return {pair: matches for pair, matches in found.items() if matches is not None}


def digest(image: Image.Image) -> str:
    """Return a hash of an image's size and pixels."""
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


def pair_name(matcher: Matcher, photo: str, reference: str) -> str:
    """Return the file name of a pair's matches, from the digests of both."""
    settings = json.dumps({"size": [LONG_SIDE, MULTIPLE], **matcher.settings}, sort_keys=True)
    name = hashlib.sha256(f"{settings} {photo} {reference}".encode()).hexdigest()
    return f"{name[:32]}.safetensors"


def write_matches(path: Path, matches: Matches) -> None:
    """Keep the matches of a pair."""
    with appears_whole(path) as temporary:
        save_file(matches._asdict(), temporary)


def read_matches(path: Path) -> Matches | None:
    """Read the matches of a pair, or return None if they are not there or damaged."""
    try:
        return Matches(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None
