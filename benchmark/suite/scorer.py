"""Scoring results folders: what is in the cache is taken from there, the rest is measured."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.base import Metric, SetMetric, Unavailable, in_parallel
from benchmark.photos import Photo, Truth, upright_size
from benchmark.suite.cache import Cache, make_key
from benchmark.suite.folders import ResultsFolder, natural, numbered
from realfill.errors import UserError
from realfill.record import CompletionsRecord
from realfill.storage import file_hash

BATCH = 16
"""Completions measured, and kept in the cache, at once."""


@dataclass
class Scored:
    """What came out of one results folder."""

    folder: ResultsFolder
    images: list[str] = field(default_factory=list)
    """Names of the completions that were there to score."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """The numbers by score and completion."""
    hashes: dict[str, str] = field(default_factory=dict)
    """The hash of each completion's file."""
    features: dict[str, list[list[float]]] = field(default_factory=dict)
    """Of metrics that compare sets: by name, the truth's features and then the completions'."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of the folder; nothing is missing for it."""
    left_out: list[str] = field(default_factory=list)
    """What was not scored, and why."""
    measured: int = 0
    """Numbers computed in this run, in completions times metrics; the rest was in the cache."""

    def mean(self, score: str, images: Sequence[str] | None = None) -> float | None:
        """Return the mean of a score over all completions or over `images`, or None for none."""
        numbers = self.scores.get(score, {})
        wanted = numbers if images is None else [image for image in images if image in numbers]
        return sum(numbers[image] for image in wanted) / len(wanted) if wanted else None


@dataclass
class Scorer:
    """A run's metrics and its cache. Each metric's model is loaded once, when it is needed."""

    metrics: dict[str, Metric]
    cache: Cache
    num_images: int
    resolution: int | None
    forced: set[str]
    """Names of the metrics whose numbers in the cache do not count."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """By name, why a metric could not be computed in this run."""
    loaded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Settle what the numbers of each metric depend on besides the images."""
        self.identities = {
            name: [metric.kept_as or name, metric.version, metric.settings()]
            for name, metric in self.metrics.items()
        }

    def score(self, folder: ResultsFolder, done: Callable[[], None]) -> Scored:
        """Score one folder, calling `done` after each metric."""
        result = Scored(folder)
        try:
            truth = Truth(*folder.truth_and_mask())
            photos = [Photo(path) for path in choose_images(result, truth, self)]
        except (UserError, OSError) as error:
            result.left_out.append(str(error))
            photos = []
        if photos:
            hashes, photos = hash_files(truth, photos, result)
            result.hashes = {photo.path.name: hashes[photo.path] for photo in photos}
        result.images = [photo.path.name for photo in photos]
        for name, metric in self.metrics.items():
            if photos and isinstance(metric, SetMetric):
                found = self.numbers(name, [truth, *photos], hashes, None, result)
                if truth.path in found:
                    result.features[name] = list(found.values())
            elif photos:
                found = self.numbers(name, photos, hashes, truth, result)
                for place, score in enumerate(metric.scores):
                    result.scores[score.name] = {
                        path.name: numbers[place] for path, numbers in found.items()
                    }
            done()
        return result

    def numbers(
        self,
        name: str,
        photos: Sequence[Photo],
        hashes: dict[Path, str],
        truth: Truth | None,
        result: Scored,
    ) -> dict[Path, list[float]]:
        """Return the numbers of a metric for those `photos` that have them, in their order.

        `truth` is None for features, which depend on nothing but the photo.
        """
        context = [hashes[truth.path], hashes[truth.mask_path]] if truth else []
        identity = self.identities[name]
        keys = {photo.path: make_key(*identity, hashes[photo.path], *context) for photo in photos}
        known = {} if name in self.forced else self.cache.read(keys.values())
        missing = [photo for photo in photos if keys[photo.path] not in known]
        try:
            for start in range(0, len(missing), BATCH):
                batch = readable(missing[start : start + BATCH], result)
                measured = self.measure(name, truth, batch)
                new = {
                    keys[photo.path]: json.dumps(numbers).encode()
                    for photo, numbers in zip(batch, measured, strict=True)
                }
                self.cache.write(new)
                known |= new
                result.measured += len(new)
        except Unavailable as reason:
            self.unavailable[name] = str(reason)
        except UserError as reason:
            result.left_out.append(f"{name}: {reason}")
        return {path: json.loads(known[key]) for path, key in keys.items() if key in known}

    def measure(self, name: str, truth: Truth | None, photos: Sequence[Photo]) -> list[list[float]]:
        """Measure `photos`, loading the metric before its first. Raises `Unavailable`."""
        if name in self.unavailable:
            raise Unavailable(self.unavailable[name])
        metric = self.metrics[name]
        if photos and name not in self.loaded:
            metric.load()
            self.loaded.add(name)
        if not photos:
            return []
        if isinstance(metric, SetMetric):
            return metric.measure(truth, photos)
        assert truth is not None, "only features are of photos alone"
        return metric.measure(truth, photos)


def hash_files(
    truth: Truth, photos: Sequence[Photo], result: Scored
) -> tuple[dict[Path, str], list[Photo]]:
    """Return the hashes of all files, and the photos that have one; note what cannot be read."""

    def hash_or_fault(path: Path) -> str | OSError:
        try:
            return file_hash(path)
        except OSError as error:
            return error

    paths = [truth.path, truth.mask_path, *(photo.path for photo in photos)]
    found = dict(zip(paths, in_parallel(hash_or_fault, paths), strict=True))
    faults = {path: each for path, each in found.items() if isinstance(each, OSError)}
    result.left_out += [
        f"{path}: cannot be read ({each.strerror})" for path, each in faults.items()
    ]
    if faults.keys() & {truth.path, truth.mask_path}:
        return {}, []
    hashes = {path: each for path, each in found.items() if isinstance(each, str)}
    return hashes, [photo for photo in photos if photo.path in hashes]


def readable(photos: Sequence[Photo], result: Scored) -> list[Photo]:
    """Decode `photos` on all cores and return those that are not damaged."""

    def fault(photo: Photo) -> str | None:
        try:
            _ = photo.image
        except UserError as error:
            return str(error)
        return None

    faults = in_parallel(fault, photos)
    result.left_out += [line for line in faults if line and line not in result.left_out]
    return [photo for photo, line in zip(photos, faults, strict=True) if line is None]


def choose_images(result: Scored, truth: Truth, run: Scorer) -> list[Path]:
    """Return the completions in a results folder that can be scored, and note what differs.

    Raises `UserError` if there is none.
    """
    folder = result.folder.path
    there = sorted(numbered(folder), key=natural)
    expected = run.num_images
    paths = [path for path in there if int(path.stem) < expected]
    if extra := len(there) - len(paths):
        result.notes.append(f"{extra} more than the {expected} expected; not looked at")
    asked = CompletionsRecord.read(folder).num_images or expected
    if 0 < asked < expected:
        result.notes.append(f"{asked} completions were asked for, not the {expected} expected")
        expected = asked
    if missing := expected - len(paths):
        result.left_out.append(f"{missing} of {expected} completions are missing")
    paths = check_sizes(paths, truth, result, native=run.resolution is None)
    if not paths:
        raise UserError(f"{folder}: no completion to score")
    return paths


def check_sizes(paths: list[Path], truth: Truth, result: Scored, native: bool) -> list[Path]:
    """Return the completions whose size allows scoring; say if one is not the truth's.

    At their own size only equal sizes can be compared; otherwise all are resized to one square.
    """
    expected = upright_size(truth.path)
    mask = upright_size(truth.mask_path)
    sizes = {path: upright_size(path) for path in paths}
    other = {path: size for path, size in sizes.items() if size and size != expected}
    if expected and mask and mask != expected:
        line = f"the mask: {as_text(mask)}, the truth {as_text(expected)}"
        if native:
            raise UserError(f"{truth.mask_path}: {line}")
        result.notes.append(f"{line}; both were resized")
    if expected and other:
        found = ", ".join(sorted({as_text(size) for size in other.values()}))
        line = f"{len(other)} of {len(paths)} completions: {found}, the truth {as_text(expected)}"
        if native:
            result.left_out.append(f"{line}; they cannot be scored at their own size")
            return [path for path in paths if path not in other]
        result.notes.append(f"{line}; all were resized")
    return paths


def as_text(size: tuple[int, int]) -> str:
    """Return a size as people write it."""
    return f"{size[0]} x {size[1]}"
