"""Ranking scores of results folders: those that are there, or made by `loftr_ranking.py`."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.suite.cache import Cache, make_key
from benchmark.suite.folders import ResultsFolder
from benchmark.suite.scorer import Scored
from realfill.errors import UserError
from realfill.ranking_file import RANKING_FILE, read_ranking
from realfill.storage import file_hash


@dataclass
class Ranker:
    """A run's rankings. Without a script it takes those that are there."""

    script: Path | None
    again: bool
    """Whether to rank anew what is ranked."""
    cache: Cache
    rankings: dict[str, list[str]] = field(default_factory=dict)
    """By results folder, the names of its completions, best first."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Why nothing can be ranked in this run."""

    def rank(self, result: Scored) -> None:
        """Read or make the ranking of one folder, or note why there is none.

        As ever, folders in full precision or with generated references are not ranked.
        """
        folder = result.folder
        if not result.images or folder.is_fp32 or folder.is_generated:
            return
        try:
            self.rankings[folder.name] = self.read_or_make(result)
        except UserError as error:
            if self.script is None:
                if (folder.path / RANKING_FILE).exists():
                    result.notes.append(f"its ranking does not count: {error}")
            elif self.script.is_file():
                result.left_out.append(str(error))
            else:
                self.unavailable["ranking"] = str(error)

    def read_or_make(self, result: Scored) -> list[str]:
        """Return the names of the completions by rank. Raises `UserError` if that fails.

        The ranking in the folder counts while the completions are those that it was first seen
        with; otherwise the script makes one.
        """
        path = result.folder.path / RANKING_FILE
        fault = find_fault(path, result, self.cache)
        if self.script and (fault or self.again):
            make_ranking(result.folder, self.script)
            fault = find_fault(path, result, None)
        if fault:
            raise UserError(f"{path}: {fault}")
        self.cache.write({ranking_key(path): make_key(result.hashes).encode()})
        return [name for name in read_ranking(path) if name in result.hashes]


def ranking_key(path: Path) -> str:
    """Return the key under which the cache holds what the ranking in `path` was seen with."""
    return make_key("ranking", str(path.resolve()), file_hash(path))


def find_fault(path: Path, result: Scored, cache: Cache | None) -> str | None:
    """Say why the file `path` is not the ranking of these completions, or return None.

    Without a cache, the file counts as just made.
    """
    try:
        missing = sorted(set(result.hashes) - set(read_ranking(path)))
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"damaged ({type(error).__name__})"
    if missing:
        return f"does not rank {', '.join(missing)}"
    if cache is None:
        return None
    key = ranking_key(path)
    if seen_with := cache.read([key]).get(key):
        return None if seen_with.decode() == make_key(result.hashes) else "of other completions"
    newest = max(path.with_name(image).stat().st_mtime for image in result.hashes)
    return "older than the completions" if path.stat().st_mtime < newest else None


def make_ranking(folder: ResultsFolder, script: Path) -> None:
    """Let `script` rank the completions in `folder`. Raises `UserError` if it fails."""
    if not script.is_file():
        raise UserError(f"{script}: no such file; --loftr_script_path none does without")
    references = folder.scene_folder / "ref"
    command = [sys.executable, str(script.resolve()), "--source-dir", str(folder.path)]
    command += ["--ref-dir", str(references), "--scene", str(folder.scene_folder)]
    command += ["--rank-only", "--ranking-output-file", RANKING_FILE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise UserError(f"{script.name} failed: {lines[-1]}")
