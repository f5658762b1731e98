"""What each control of the page does."""

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
from PIL import Image

from realfill.app import commands, display, painting, verdicts, workspace
from realfill.app.jobs import Queue, Work
from realfill.errors import UserError
from realfill.sampling.folder import CONTACT_SHEET

Editor = dict[str, Any] | None
Mask = Image.Image | None
LOOKING, TRIAL = "Looking at your photos", ""
"""The title of a mere look; the name of no scene, for which training is timed."""
EXAMPLE = "yard"
THE_PHOTO, CLICKED_BEFORE = "the photo", "the completion clicked before"
NO_SCENE = "There is no photo yet: drop one above, or open an example."


def said(function: Callable) -> Callable:
    """Let a control say what is wrong as a sentence on the page."""

    @wraps(function)
    def told(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            gr.Warning(str(error), title="Not yet")
            return gr.skip()

    return told


class Controls:
    """What the controls do: each method takes values of components and returns new ones."""

    def __init__(self, folder: Path, examples: dict[str, Path], is_local: bool) -> None:
        """Use a workspace folder; `examples` are scene folders by name.

        Only if the page is local, other folders of this machine can be opened.
        """
        self.folder, self.examples, self.queue = folder, examples, Queue()
        self.is_local = is_local
        self.scratch = TemporaryDirectory()

    def choices(self) -> list[tuple[str, str]]:
        """Return what can be opened: the scenes of the workspace, and the examples."""
        own = [(workspace.describe(self.folder, n), n) for n in workspace.list_scenes(self.folder)]
        return own + [(f"example: {name}", f"example: {name}") for name in self.examples]

    def opened(self, name: str) -> list[Any]:
        """Return what shows a scene: name, list, editor, what was painted before, cards."""
        photo, mask = workspace.photo_of(self.folder, name), workspace.mask_of(self.folder, name)
        editor = painting.editor_value(photo, mask)
        scenes = gr.update(choices=self.choices(), value=name)
        return [name, scenes, editor, mask, *self.references(name)]

    def references(self, name: str) -> list[Any]:
        """Return the cards of the references, and the choices for removing one."""
        count = len(workspace.references_of(self.folder, name)) if name else 0
        numbers = [str(number) for number in range(1, count + 1)]
        cards = verdicts.cards(self.folder, name) if name else ""
        return [cards, gr.update(choices=numbers, value=None, visible=count > 0)]

    def drop_photo(self, upload: str | None) -> Any:
        """Make a scene of an uploaded photo."""
        if upload is None:
            return gr.skip()
        return self.opened(workspace.new_scene(self.folder, Path(upload)))

    def open(self, choice: str | None, shown: str) -> Any:
        """Open a scene, a copy of an example, or a copy of a scene folder by its path."""
        if not choice or choice == shown:
            return gr.skip()
        if choice.startswith("example: "):
            return self.opened(self.from_folder(self.examples[choice.removeprefix("example: ")]))
        if choice in workspace.list_scenes(self.folder):
            return self.opened(choice)
        if not self.is_local:
            raise UserError(f"{choice}: there is no such scene; choose one of the list.")
        return self.opened(self.from_folder(Path(choice).expanduser()))

    def from_folder(self, folder: Path) -> str:
        """Copy a scene folder, and look at its references."""
        name = workspace.copy_scene(self.folder, folder)
        self.look(name)
        return name

    def look(self, name: str) -> None:
        """Have geometry look at the references, if nothing else is being done."""
        work = self.queue.latest(name)
        ready = workspace.mask_of(self.folder, name) and workspace.references_of(self.folder, name)
        if ready and (work is None or work.ended):
            self.start(Work(name, LOOKING, [commands.look(self.folder, name)]))

    def start(self, work: Work) -> None:
        """Begin work for a scene: after a look at its references, before the trial."""
        self.queue.cancel(TRIAL)
        self.queue.add(work, after=LOOKING)

    def keep_painting(self, name: str, editor: Editor, before: Mask) -> str:
        """Make what was painted the scene's mask."""
        if not name:
            raise UserError(NO_SCENE)
        return workspace.write_mask(self.folder, name, painting.painted(editor, before))

    def separate(self, name: str, editor: Editor, before: Mask) -> list[Any]:
        """Replace what was marked by the object that it is a part of."""
        if not name:
            raise UserError(NO_SCENE)
        photo = workspace.photo_of(self.folder, name)
        small = painting.preview(photo, workspace.PAINTED)
        mask = painting.separate(small, painting.painted(editor, before).resize(small.size))
        return [painting.editor_value(photo, mask), mask]

    def clear(self, name: str) -> list[Any]:
        """Take away what was painted."""
        if not name:
            raise UserError(NO_SCENE)
        return [painting.editor_value(workspace.photo_of(self.folder, name), None), None]

    def extend(self, name: str, editor: Editor, before: Mask, *sides: int) -> list[Any]:
        """Extend the canvas; what was painted stays."""
        if not name:
            raise UserError(NO_SCENE)
        if painting.painted(editor, before).getbbox():
            name = self.keep_painting(name, editor, before)
        left, top, right, bottom = sides
        return self.opened(workspace.extend(self.folder, name, (left, top, right, bottom)))

    def add_references(
        self, name: str, editor: Editor, before: Mask, uploads: list[str] | None
    ) -> Any:
        """Add photos to the references and look at them."""
        if not uploads:
            return gr.skip()
        if not name:
            raise UserError(NO_SCENE)
        if painting.painted(editor, before).getbbox():
            name = self.keep_painting(name, editor, before)
        paths = [Path(upload) for upload in uploads]
        name, faults = workspace.add_references(self.folder, name, paths)
        for fault in faults:
            gr.Warning(fault, title="Left out")
        self.look(name)
        return [name, gr.update(choices=self.choices(), value=name), *self.references(name), None]

    def remove_reference(self, name: str, number: str | None) -> Any:
        """Remove one of the references."""
        if not number:
            return gr.skip()
        name = workspace.remove_reference(self.folder, name, int(number) - 1)
        return [name, gr.update(choices=self.choices(), value=name), *self.references(name)]

    def ready(self, name: str, editor: Editor, before: Mask) -> str:
        """Return the scene's name once there is all that a completion needs."""
        name = self.keep_painting(name, editor, before)
        if not workspace.references_of(self.folder, name):
            raise UserError("There are no other photos yet: drop one or more of the same place.")
        return name

    def fill(self, name: str, editor: Editor, before: Mask) -> list[Any]:
        """Fill the hole from the references."""
        name = self.ready(name, editor, before)
        prepare = partial(workspace.hand_over_geometry, self.folder, workspace.FILLED, name)
        command = commands.fill(self.folder, name)
        self.start(Work(name, "Filling from your photos", [command], prepare=prepare))
        return [name, gr.update(choices=self.choices(), value=name)]

    def train(
        self, name: str, editor: Editor, before: Mask, base: str, steps: int, count: int
    ) -> list[Any]:
        """Train a model on the scene, or go on with it, and sample completions."""
        name = self.ready(name, editor, before)
        prepare = partial(workspace.hand_over_geometry, self.folder, workspace.TRAINED, name)
        command = commands.train(self.folder, name, base.strip(), int(steps), int(count))
        work = Work(name, "Training on this place", [command], prepare=prepare, base=base.strip())
        self.start(work)
        return [name, gr.update(choices=self.choices(), value=name)]

    def estimate(self, name: str, base: str, steps: int) -> str:
        """Return how long training takes, as a sentence.

        The embedded base is tried out for that, once a photo is filled and nothing else is done.
        """
        pace, before = self.queue.pace(base.strip()), self.queue.latest(TRIAL)
        wanted = pace is None and not base.strip() and self.queue.idle
        wanted = wanted and (before is None or before.state == "cancelled")
        if wanted and name and display.shown(self.folder, workspace.FILLED, name).files:
            command = commands.trial(self.examples[EXAMPLE], Path(self.scratch.name) / "trial")
            self.queue.add(Work(TRIAL, "Timing a training step", [command], base=""))
        return display.duration(pace, int(steps))

    def tick(self, name: str, overlay: bool, base: str, steps: int, seen: tuple) -> list[Any]:
        """Return what changed since the state `seen`."""
        estimate = self.estimate(name, base, steps)
        if not name:
            return [*[gr.skip()] * 10, estimate, seen]
        filled = display.filled(self.folder, name)
        trained = display.shown(self.folder, workspace.TRAINED, name)
        validation = display.newest_validation(self.folder, name)
        work = self.queue.latest(name)
        state = (name, overlay, filled.stamp, trained.stamp, validation, work and work.state)
        status = gr.update(value=display.status(self.queue, name))
        if seen == state:
            return [status, *[gr.skip()] * 9, estimate, state]
        changed = [
            gr.update(visible=bool(work and not work.ended)),  # the button that cancels
            *self.best(name, filled.best, overlay),
            *self.trained(name, trained.files),
            gr.update(value=validation, visible=validation is not None and not trained.files),
            gr.update(value=verdicts.cards(self.folder, name)),
        ]
        return [status, *changed, estimate, state]

    def best(self, name: str, best: Path | None, overlay: bool) -> list[Any]:
        """Return what shows the best of what the references have filled: slider, download."""
        if best is None:
            return [gr.update(value=None, visible=False)] * 2
        pair = display.before_and_after(self.folder, name, best, overlay)
        return [gr.update(value=pair, visible=True), gr.update(value=str(best), visible=True)]

    def trained(self, name: str, files: tuple[Path, ...]) -> list[Any]:
        """Return what shows a model's completions: gallery, files, choice, the button."""
        captioned = [(str(path), f"{n}. {path.name}") for n, path in enumerate(files, 1)]
        sheet = workspace.result_folder(self.folder, workspace.TRAINED, name) / CONTACT_SHEET
        whole = [str(path) for path in (sheet, *files) if path.exists()]
        word = "Go on training" if display.resumable(self.folder, name) else "Train a model"
        there = bool(files)
        shown = [gr.update(value=value, visible=there) for value in (captioned, whole)]
        return [*shown, gr.update(visible=there), gr.update(value=word)]

    def compare(self, name: str, against: str, before: int | None, event: gr.SelectData) -> Any:
        """Compare a completion of the gallery with the photo, or with the one clicked before."""
        files = display.shown(self.folder, workspace.TRAINED, name).files
        chosen = files[event.index]
        if against == CLICKED_BEFORE and before is not None and before < len(files):
            pair = display.two_completions(files[before], chosen)
        else:
            pair = display.before_and_after(self.folder, name, chosen, False)
        return [gr.update(value=pair, visible=True), event.index]
