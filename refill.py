"""ReFill: complete a photo, add the best completions to the references, and complete it again.

accelerate launch refill.py --scene SCENE --output_dir OUTPUT

Started again after an interruption, it goes on where it stopped.
"""

import shlex
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from realfill.command_line import LARGEST_SEED, make_parser, run, whole
from realfill.commands import complete, train
from realfill.errors import UserError
from realfill.images.read import read_photo
from realfill.lock import one_writer
from realfill.ranking.references import add_best, photos_in
from realfill.ranking_file import RANKING_FILE, read_ranking
from realfill.record import refuse_scene
from realfill.scene import Scene, load_scene, load_truth
from realfill.settings import MATCHERS
from realfill.sheets.contact import make_rounds_sheet
from realfill.storage import clear_partial_writes, put_folder, write_image

if TYPE_CHECKING:
    from accelerate import PartialState


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Complete a photo, learn from the best completions, complete it again.")
    add = parser.add_argument
    add("--scene", type=Path, required=True, help="scene folder; it stays as it is")
    add("--output_dir", type=Path, default="refill", help="for both rounds (default: %(default)s)")
    add(
        "--target-count", "--target_count", type=whole(1), default=5, help="references in round two"
    )
    add("--matcher", choices=MATCHERS, default="auto", help="what ranks (default: %(default)s)")
    add(
        "--seed",
        type=whole(0, LARGEST_SEED),
        help="seed of both rounds (default: random, written down)",
    )
    add("--train_flags", default="", help='of both training runs: --train_flags="--lora_rank 4"')
    add("--infer_flags", default="", help='for both sampling runs: --infer_flags="--num_images 8"')
    return parser


def main() -> None:
    """Leave round-1/, round-2/ and refill.png in the output folder."""
    arguments = build_parser().parse_args()
    scene = load_scene(arguments.scene)
    if len(scene.references) >= arguments.target_count:
        raise UserError(
            f"{arguments.scene}: has {len(scene.references)} references already; "
            f"--target_count must be more, so that completions can be added"
        )
    refuse_scene(arguments.output_dir, arguments.scene)
    from realfill.devices import start_process  # torch: seconds to import

    state = start_process()
    with one_writer(arguments.output_dir):
        state.wait_for_everyone()
        play_both(arguments, scene, state)


def play_both(arguments: Namespace, scene: Scene, state: "PartialState") -> None:
    """Play both rounds and draw them side by side."""
    rounds = [arguments.output_dir / f"round-{number}" for number in (1, 2)]
    first = play(rounds[0], arguments.scene, arguments, state)
    grown = rounds[1] / arguments.scene.resolve().name
    if state.is_main_process:
        grow_scene(arguments.scene, first, grown, arguments.target_count)
    state.wait_for_everyone()
    second = play(rounds[1], grown, arguments, state)
    if state.is_main_process:
        path = arguments.output_dir / "refill.png"
        pictures = [{path.name: read_photo(path) for path in ranked} for ranked in (first, second)]
        write_image(path, make_rounds_sheet(scene, pictures, load_truth(arguments.scene)))
        print(f"look at {path}")


def play(
    folder: Path, training_scene: Path, arguments: Namespace, state: "PartialState"
) -> list[Path]:
    """Train on `training_scene`, sample, and rank by the user's own references.

    Returns the completions, best first. What is done already is not done again.
    """
    seed = [] if arguments.seed is None else ["--seed", str(arguments.seed)]
    state.print(f"{folder.name}: training on {training_scene}")
    train.main(
        [
            *shlex.split(arguments.train_flags),
            *("--train_data_dir", str(training_scene), "--output_dir", str(folder / "model")),
            *("--resume_from_checkpoint", "latest", *seed),
        ]
    )
    state.wait_for_everyone()  # until the main process has written what the next stage reads
    completions = folder / "completions"
    complete.main(
        [
            *shlex.split(arguments.infer_flags),
            *("--model_path", str(folder / "model"), "--scene", str(arguments.scene)),
            *("--output_dir", str(completions), "--rank", arguments.matcher, *seed),
        ]
    )
    state.wait_for_everyone()
    return [completions / name for name in read_ranking(completions / RANKING_FILE)]


def grow_scene(scene: Path, ranked: list[Path], grown: Path, target_count: int) -> None:
    """Write to `grown` a copy of the scene with the best completions among its references.

    Raises `UserError` if one is there already that was grown from others.
    """
    grown.parent.mkdir(exist_ok=True)
    clear_partial_writes(grown.parent)
    added: list[Path] = []

    def write(new: Path) -> None:
        shutil.copytree(scene / "target", new / "target")
        (new / "ref").mkdir()
        for photo in photos_in(scene / "ref"):
            shutil.copy(photo, new / "ref")
        added.extend(add_best(ranked, new / "ref", target_count))

    if not put_folder(grown, write):
        raise UserError(
            f"{grown}: was grown with another --target_count, scene or other completions; "
            "round two rests on it; choose another --output_dir"
        )
    print(f"{grown}: the scene with {len(added)} completions added to its references")


if __name__ == "__main__":
    run(main)
