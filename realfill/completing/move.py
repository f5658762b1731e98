"""Moving a subject within a photo: remove it, paste it elsewhere, complete what was hidden of it.

SEELE (arXiv 2401.16861, section 3); where other photos show what was behind it, geometry fills
that first.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageChops

from realfill.completing.complete import complete_scene
from realfill.completing.job import Job, ModelFlags
from realfill.devices import start_process
from realfill.errors import UserError
from realfill.images.blend import cut_mask, grow, resize
from realfill.images.read import read_photo
from realfill.lock import one_writer
from realfill.record import Record, all_versions, claim, holds_another, refuse_model, refuse_scene
from realfill.sampling.folder import BEST_FILE
from realfill.scene import Scene
from realfill.sheets.contact import BACKGROUND, SHEET, draw_grid, mark_hole, trim
from realfill.storage import file_hash, write_image

SCRIPT = "reposition.py"
RESULT, STEPS = "repositioned.png", "steps.png"
REMOVED, COMPLETED = "removed", "completed"
"""Folders of the two stages that fill."""


@dataclass(frozen=True)
class Move:
    """What is moved where."""

    photo: Image.Image
    subject: Image.Image
    """Its mask: L, 0 or 255, of the photo's size."""
    shift: tuple[int, int]
    """To the right and down, in pixels."""
    output_dir: Path
    scale: float = 1.0
    """Of the subject, about the middle of its box."""
    hidden: Image.Image | None = None
    """Mask of what is to be completed of the subject, where it stands before it is moved."""
    references: dict[str, Image.Image] = field(default_factory=dict)
    """Other photos of the scene, by name."""
    model: ModelFlags = field(default_factory=ModelFlags)
    """Without a `model_path`, pieces of the photos fill."""
    completion_tokens: Path | None = None
    """Of the hidden part; those of `model` are for the removal."""
    harmonization: Path | None = None
    """Folder of a LoRA that was trained to harmonize."""
    seed: int = 0
    num_images: int = 4
    """Completions in each stage that fills, of which the best goes on."""
    overwrite: bool = False


def reposition(move: Move) -> None:
    """Leave repositioned.png and steps.png in the output folder, and what led there.

    Raises `UserError` if the subject would leave the photo, or if the folder holds another move.
    """
    refuse_scene(move.output_dir, None)
    refuse_model(move.output_dir)
    moved_mask = carry(move, move.subject)
    if not moved_mask.getbbox():
        raise UserError("--shift: moves all of the subject out of the photo; move it less far")
    state = start_process()
    with one_writer(move.output_dir):
        state.wait_for_everyone()
        record = make_record(move)
        holds_another(record, move.output_dir, "move", move.overwrite)
        if state.is_main_process:
            record.write(move.output_dir)
        removed = fill(move, REMOVED, move.photo, grow(move.subject), move.model)
        pasted = paste(move, removed, carry(move, move.subject, sharp=False))
        steps = {"the photo, subject marked": mark_hole(move.photo, move.subject)}
        steps |= {"removed": removed, "pasted": pasted}
        if move.hidden is not None:
            hole = ImageChops.subtract(carry(move, move.hidden), moved_mask)
            if not hole.getbbox():
                raise UserError("--hidden: nothing of it lies outside the subject, in the photo")
            tokens = replace(move.model, task_tokens=move.completion_tokens)
            pasted = fill(replace(move, references={}), COMPLETED, pasted, hole, tokens)
            moved_mask = ImageChops.lighter(moved_mask, hole)
            steps["completed"] = pasted
        if move.harmonization is not None:
            pasted = harmonized(move, pasted, moved_mask)
            steps["harmonized"] = pasted
        if state.is_main_process:
            write_image(move.output_dir / RESULT, pasted)
            write_image(move.output_dir / STEPS, draw_steps(steps))
            print(f"wrote {move.output_dir / RESULT}; look at {move.output_dir / STEPS}")


def make_record(move: Move) -> Record:
    """Return what realfill.json says of this move. Raises `UserError` for foreign files."""
    scene = Scene("", move.references, move.photo, move.subject)
    files = [RESULT, STEPS, REMOVED, COMPLETED]
    tokens = [move.model.task_tokens, move.completion_tokens]
    settings = {
        "photos": scene.digest(),
        "hidden": move.hidden and Scene("", {}, move.photo, move.hidden).digest(),
        "shift": list(move.shift),
        "scale": move.scale,
        "seed": move.seed,
        "num_images": move.num_images,
        "model": {name: str(value) for name, value in asdict(move.model).items()},
        "tokens": [path and file_hash(path) for path in tokens],
        "harmonization": move.harmonization and str(move.harmonization),
    }
    return Record(
        script=SCRIPT,
        files=claim(move.output_dir, SCRIPT, files),
        settings=settings,
        versions=all_versions(),
    )


def fill(
    move: Move, stage: str, photo: Image.Image, mask: Image.Image, model: ModelFlags
) -> Image.Image:
    """Fill `mask` of `photo` in a folder of the stage's name; return the best completion."""
    scene, folder = Scene(stage, move.references, photo, mask), move.output_dir / stage
    complete_scene(
        Job(
            scene,
            folder,
            num_images=move.num_images,
            seed=move.seed,
            overwrite=move.overwrite,
            geometry="auto" if move.references else "off",
            fill="model" if model.model_path else "exemplar",
            model=model,
        )
    )
    best = folder / BEST_FILE
    return read_photo(best if best.is_file() else folder / "0.png")


def carry(move: Move, picture: Image.Image, sharp: bool = True) -> Image.Image:
    """Return `picture` (of the photo's size) as the move carries it, black where nothing came.

    A `sharp` mask has no values between 0 and 255.
    """
    box = move.subject.getbbox()
    assert box is not None, "a mask is not empty"
    middle = [(box[axis] + box[axis + 2]) / 2 for axis in range(2)]
    size = tuple(max(1, round(side * move.scale)) for side in picture.size)
    corner = [
        round(place + shift - place * move.scale)
        for place, shift in zip(middle, move.shift, strict=True)
    ]
    carried = Image.new(picture.mode, picture.size)
    carried.paste(resize(picture, (size[0], size[1])), (corner[0], corner[1]))
    return cut_mask(carried) if sharp else carried


def paste(move: Move, background: Image.Image, weight: Image.Image) -> Image.Image:
    """Return `background` with the subject where it moves to; `weight` (L) is its carried mask."""
    return Image.composite(carry(move, move.photo, sharp=False), background, weight)


def harmonized(move: Move, photo: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `photo` with what is in `mask` harmonized by the LoRA. Raises `UserError`."""
    from realfill.canvas.harmonize import harmonize  # diffusers: seconds to import
    from realfill.completing.model_filler import load_model, settle

    flags = replace(move.model, model_path=str(move.harmonization), task_tokens=None)
    pipeline, record, _ = load_model(flags, start_process())
    return harmonize(pipeline, photo, mask, move.seed, settle(flags, record, pipeline))


def draw_steps(steps: dict[str, Image.Image]) -> Image.Image:
    """Draw the photo after each step, captioned; RGB of at most 1600 x 1000 pixels."""
    sheet = Image.new("RGB", SHEET, BACKGROUND)
    draw_grid(sheet, list(steps.items()), (0, 8, *SHEET))
    return trim(sheet)
