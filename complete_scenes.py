"""Complete scenes whole: geometry, a model if it is needed, the best completion, the scores.

python complete_scenes.py SCENE --output_dir RESULTS
python complete_scenes.py --scenes SCENES --output_dir RESULTS --fill model

Started again, it does what is missing.
"""

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import realfill
from realfill.command_line import SOMETHING_LEFT_OUT, make_parser, printable, real, run
from realfill.commands import complete, train
from realfill.errors import UserError
from realfill.record import refuse_scene
from realfill.scenes.plan import REPORT, Plan, find_scenes, name_of
from realfill.scenes.progress import Outcome
from realfill.scenes.run import PAGE

EXIT_CODES = "Exit code 0: all scenes are complete; 3: all but those that a line names; 2: none is."


def build_parser() -> ArgumentParser:
    """Return the parser of this script's flags."""
    parser = make_parser("Complete scenes whole: geometry, a model if it is needed, the scores.")
    parser.epilog = EXIT_CODES
    add = parser.add_argument
    add("scene", metavar="SCENE", nargs="*", type=Path, help="scene folders, with ref/ and target/")
    add("--scenes", type=Path, help="folder of scene folders")
    add("--output_dir", type=Path, required=True, help="each scene has a folder of its name in it")
    add(
        "--fill",
        choices=("exemplar", "model", "canvas"),
        default="exemplar",
        help="what fills what geometry leaves: pieces of the references, a model that is trained "
        "on the scene, or one that is not and sees a reference beside the photo "
        "(default: %(default)s)",
    )
    add(
        "--skip_training_if_known",
        type=real(0),
        default=0.98,
        metavar="SHARE",
        help="if geometry knows this share of the hole or more, train no model: exemplars fill the "
        "rest, in one completion, as all would be alike (default: %(default)s)",
    )
    add("--train_flags", default="", help='of train_realfill.py: --train_flags="@data/demo.args"')
    add("--infer_flags", default="", help='of infer.py: --infer_flags="--num_images 8 --seed 0"')
    add("--address", help="Ray cluster to use, as auto or HOST:PORT (default: this machine)")
    return parser


def parse_arguments() -> tuple[list[Path], Plan, str | None]:
    """Parse the command line; return the scenes, what to do with them, and the cluster."""
    parser = build_parser()
    arguments = parser.parse_args()
    if not arguments.scene and not arguments.scenes:
        parser.error("give scene folders, or --scenes")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        parser.error("start it with python: it is one process, not several of a launch")
    scenes = find_scenes(arguments.scene, arguments.scenes)
    return scenes, make_plan(arguments, parser), arguments.address


def make_plan(arguments: Namespace, parser: ArgumentParser) -> Plan:
    """Return what the flags say is done with each scene."""
    folders = ["--output_dir", str(arguments.output_dir)]
    training = ["--train_data_dir", "SCENE", *folders]
    inference = ["--scene", "SCENE", "--fill", arguments.fill, *folders]
    if arguments.fill == "model":
        inference += ["--model_path", "MODEL"]
    asked = complete.parse_arguments([*shlex.split(arguments.infer_flags), *inference])
    if asked.fill == "none" or asked.validation_image or asked.validation_mask:
        parser.error("--infer_flags: --geometry only and --validation_image are for infer.py alone")
    if arguments.fill != "canvas":
        asked.model_path = None  # each scene has its own, if any
    return Plan(
        output_dir=arguments.output_dir,
        training=train.parse_arguments([*shlex.split(arguments.train_flags), *training]),
        make_job=complete.job_maker(asked),
        fill=arguments.fill,
        enough=arguments.skip_training_if_known,
    )


def main() -> None:
    """Complete the scenes, score those that have a truth, and say what was left out."""
    scenes, plan, address = parse_arguments()
    refuse_scene(plan.output_dir, None)
    outcomes = realfill.complete_scenes(plan, scenes, address)
    done = [outcome for outcome in outcomes if not outcome.fault]
    for outcome in outcomes:
        if outcome.fault:
            line = f"left out: {name_of(outcome.scene)}: {outcome.fault}"
            print(printable(line), file=sys.stderr)
    if not done:
        raise UserError(f"{plan.output_dir}: no scene could be completed; see above")
    print(f"{len(done)} of {len(scenes)} scenes are complete; look at {plan.output_dir / PAGE}")
    explain_gaps(plan, done)
    write_report(plan, done)
    if len(done) < len(scenes):
        sys.exit(SOMETHING_LEFT_OUT)


def write_report(plan: Plan, done: list[Outcome]) -> None:
    """Score the completions of scenes with a truth, if some are new or the report is missing."""
    with_truth = [each for each in done if any((each.scene / "target").glob("gt.*"))]
    report = plan.output_dir / REPORT
    there = (report / "report.html").exists()
    if not with_truth or (there and not any(outcome.new for outcome in with_truth)):
        return
    import benchmarks  # takes a second to import

    parents = dict.fromkeys(str(outcome.scene.resolve().parent) for outcome in with_truth)
    flags = ["--results_base_dir", str(plan.output_dir), "--scenes", *parents]
    flags += ["--metrics", "psnr", "ssim", "--loftr_script_path", "none"]
    flags += ["--num_images", str(plan.make_job.keywords["num_images"])]
    flags += ["--cache_dir", str(report / "cache"), "--output_file", str(report / "report.txt")]
    benchmarks.score(flags)


def explain_gaps(plan: Plan, done: list[Outcome]) -> None:
    """Say once what a model would add, if exemplars filled what no photo shows."""
    known = [outcome.record.known for outcome in done if outcome.record and outcome.new]
    gaps = sum(share < plan.enough for share in known)
    if gaps and plan.fill == "exemplar":
        print(
            f"in {gaps} scenes, pieces of the references fill what geometry does not know; with "
            "a GPU and a base from the model hub, --fill model invents what no photo shows"
        )


if __name__ == "__main__":
    run(main)
