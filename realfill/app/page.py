"""The page: what is on it, and what each control does."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from realfill.app import commands, painting, verdicts, views, workspace
from realfill.app.jobs import Queue
from realfill.errors import UserError

EVERY = 0.7
"""Seconds between looks at what changed."""
RED = "#ff3b30"
KEYS = """
<script>
addEventListener("keydown", event => {
  if (event.key === "o" && !event.target.closest("input, textarea"))
    document.body.classList.add("holding");
});
addEventListener("keyup", event => document.body.classList.remove("holding"));
</script>
"""
"""While O is held, the photo as it was is seen."""
INTRODUCTION = """# Fill a photo with what was really there
Drop a photo, paint over what should go, and drop a few other photos of the same place. What they
show is put where it belongs. Nothing leaves this machine."""
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


class Page:
    """What the controls do: each method takes values of components and returns new ones."""

    def __init__(self, folder: Path, examples: dict[str, Path]) -> None:
        """Use a workspace folder; `examples` are scene folders by name."""
        self.folder, self.examples, self.queue = folder, examples, Queue()

    def choices(self) -> list[tuple[str, str]]:
        """Return what can be opened: the scenes of the workspace, and the examples."""
        own = [(workspace.describe(self.folder, n), n) for n in workspace.list_scenes(self.folder)]
        return own + [(f"example: {name}", f"example: {name}") for name in self.examples]

    def opened(self, name: str) -> list[Any]:
        """Return the components that show a scene: name, list, editor, cards."""
        photo, mask = (part(self.folder, name) for part in (workspace.photo_of, workspace.mask_of))
        editor = painting.editor_value(photo, mask)
        return [name, gr.update(choices=self.choices(), value=name), editor, *self.references(name)]

    def references(self, name: str) -> list[Any]:
        """Return the cards of the references, and the choices for removing one."""
        count = len(workspace.references_of(self.folder, name)) if name else 0
        numbers = [str(number) for number in range(1, count + 1)]
        cards = verdicts.cards(self.folder, name) if name else ""
        return [cards, gr.update(choices=numbers, value=None, visible=count > 0)]

    def drop_photo(self, upload: str | None) -> list[Any]:
        """Make a scene of an uploaded photo."""
        if upload is None:
            return gr.skip()
        return self.opened(workspace.new_scene(self.folder, Path(upload)))

    def open(self, choice: str | None, shown: str) -> list[Any]:
        """Open a scene, a copy of an example, or a copy of a scene folder by its path."""
        if not choice or choice == shown:
            return gr.skip()
        if choice.startswith("example: "):
            return self.opened(self.from_folder(self.examples[choice.removeprefix("example: ")]))
        if choice in workspace.list_scenes(self.folder):
            return self.opened(choice)
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
            self.queue.add(name, "Looking at your photos", [commands.look(self.folder, name)])

    def keep_painting(self, name: str, editor: dict[str, Any] | None) -> str:
        """Make what was painted the scene's mask."""
        if not name:
            raise UserError(NO_SCENE)
        return workspace.write_mask(self.folder, name, painting.painted(editor))

    def separate(self, name: str, editor: dict[str, Any] | None) -> Any:
        """Replace what was marked by the object that it is a part of."""
        if not name:
            raise UserError(NO_SCENE)
        photo = workspace.photo_of(self.folder, name)
        small = painting.preview(photo)
        mask = painting.separate(small, painting.painted(editor).resize(small.size))
        return painting.editor_value(photo, mask)

    def extend(self, name: str, editor: dict[str, Any], *sides: int) -> list[Any]:
        """Extend the canvas; what was painted stays."""
        if not name:
            raise UserError(NO_SCENE)
        if painting.painted(editor).getbbox():
            name = self.keep_painting(name, editor)
        left, top, right, bottom = sides
        return self.opened(workspace.extend(self.folder, name, (left, top, right, bottom)))

    def add_references(self, name: str, editor: dict, uploads: list[str] | None) -> list[Any]:
        """Add photos to the references and look at them."""
        if not uploads:
            return gr.skip()
        if not name:
            raise UserError(NO_SCENE)
        if painting.painted(editor).getbbox():
            name = self.keep_painting(name, editor)
        paths = [Path(upload) for upload in uploads]
        name, faults = workspace.add_references(self.folder, name, paths)
        for fault in faults:
            gr.Warning(fault, title="Left out")
        self.look(name)
        return [name, gr.update(choices=self.choices(), value=name), *self.references(name), None]

    def remove_reference(self, name: str, number: str | None) -> list[Any]:
        """Remove one of the references."""
        if not number:
            return gr.skip()
        name = workspace.remove_reference(self.folder, name, int(number) - 1)
        return [name, gr.update(choices=self.choices(), value=name), *self.references(name)]

    def ready(self, name: str, editor: dict[str, Any] | None) -> str:
        """Return the scene's name once there is all that a completion needs."""
        name = self.keep_painting(name, editor)
        if not workspace.references_of(self.folder, name):
            raise UserError("There are no other photos yet: drop one or more of the same place.")
        return name

    def fill(self, name: str, editor: dict[str, Any] | None) -> list[Any]:
        """Fill the hole from the references."""
        name = self.ready(name, editor)
        self.free(name)
        self.queue.add(name, "Filling from your photos", [commands.fill(self.folder, name)])
        return [name, gr.update(choices=self.choices(), value=name)]

    def train(
        self, name: str, editor: dict[str, Any] | None, base: str, steps: int, count: int
    ) -> list[Any]:
        """Train a model on the scene, or go on with it, and sample completions."""
        name = self.ready(name, editor)
        self.free(name)
        command = commands.train(self.folder, name, base.strip(), int(steps), int(count))
        self.queue.add(name, "Training on this place", [command])
        return [name, gr.update(choices=self.choices(), value=name)]

    def free(self, name: str) -> None:
        """End the mere look at the references, which filling does anew."""
        work = self.queue.latest(name)
        if work and not work.ended and work.commands == [commands.look(self.folder, name)]:
            self.queue.cancel(name)

    def tick(self, name: str, overlay: bool, seen: tuple) -> list[Any]:
        """Return what changed since the state `seen`."""
        if not name:
            return [gr.skip()] * 9
        filled = views.filled(self.folder, name)
        trained = views.shown(self.folder, workspace.TRAINED, name)
        work = self.queue.latest(name)
        state = (name, overlay, filled.stamp, trained.stamp, work and work.state)
        status = gr.update(value=views.status(self.queue, name))
        busy = bool(work and not work.ended)
        cancel = gr.update(visible=busy)
        if seen == state:
            return [status, cancel, *[gr.skip()] * 6, state]
        files = [(str(path), f"{n}. {path.name}") for n, path in enumerate(trained.files, 1)]
        slider, download = gr.update(value=None, visible=False), gr.update(visible=False)
        if filled.best:
            pair = views.before_and_after(self.folder, name, filled.best, overlay)
            slider = gr.update(value=pair, visible=True)
            download = gr.update(value=str(filled.best), visible=True)
        sheet = workspace.result_folder(self.folder, workspace.TRAINED, name) / "contact_sheet.png"
        sheet_update = gr.update(
            value=str(sheet) if sheet.exists() else None, visible=sheet.exists()
        )
        label = "Go on training" if views.resumable(self.folder, name) else "Train a model"
        return [
            status,
            cancel,
            slider,
            download,
            gr.update(value=files, visible=bool(files)),
            sheet_update,
            gr.update(value=verdicts.cards(self.folder, name)),
            gr.update(value=label),
            state,
        ]

    def compare(self, name: str, event: gr.SelectData) -> Any:
        """Compare a completion of the gallery with the photo."""
        files = views.shown(self.folder, workspace.TRAINED, name).files
        pair = views.before_and_after(self.folder, name, files[event.index], False)
        return gr.update(value=pair, visible=True)


def build(folder: Path, examples: dict[str, Path]) -> gr.Blocks:
    """Return the page over a workspace folder, with scene folders as examples."""
    page = Page(folder, examples)
    with gr.Blocks(title="RealFill", analytics_enabled=False) as blocks:
        name, seen = gr.State(""), gr.State(())
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                gr.Markdown("## 1. Your photo")
                photo = gr.File(
                    label="Drop a photo, or click to choose one", file_types=["image"], height=140
                )
                scenes = gr.Dropdown(
                    page.choices(),
                    value=None,
                    label="Or open an earlier one, an example, or a scene folder by its path",
                    allow_custom_value=True,
                    elem_id="scenes",
                )
                editor = gr.ImageEditor(
                    type="pil",
                    label="Paint over what should go",
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(colors=[RED], color_mode="fixed"),
                    height=460,
                    format="png",
                    elem_id="editor",
                )
                separate = gr.Button("Select the object that I marked", size="sm")
                with gr.Accordion("Or extend the photo", open=False):
                    sides = [
                        gr.Slider(0, 100, 0, step=5, label=f"{side}, in percent")
                        for side in ("left", "top", "right", "bottom")
                    ]
                    extend = gr.Button("Extend", size="sm")
            with gr.Column(scale=2, min_width=320):
                gr.Markdown("## 2. Other photos of the same place")
                uploads = gr.File(
                    label="Drop one or more",
                    file_count="multiple",
                    file_types=["image"],
                    height=140,
                    elem_id="uploads",
                )
                cards = gr.HTML(elem_id="cards")
                remove = gr.Radio([], label="Remove a photo", visible=False)
                gr.Markdown("## 3. Fill")
                fill = gr.Button("Fill from my photos", variant="primary", elem_id="fill")
                status = gr.HTML(elem_classes="status", elem_id="status")
                cancel = gr.Button(
                    "Cancel", size="sm", variant="stop", visible=False, elem_id="cancel"
                )
        result = gr.ImageSlider(
            label="Before and after (hold O for before)",
            visible=False,
            elem_id="result",
            interactive=False,
            max_height=700,
        )
        with gr.Row():
            overlay = gr.Checkbox(label="Show where each pixel comes from", elem_id="overlay")
            download = gr.DownloadButton("Download at full size", visible=False, elem_id="download")
        gr.Markdown("## 4. What no photo shows: train a model on this place")
        with gr.Row():
            base = gr.Textbox(
                label="Base model: a folder or hub id (empty: the small one that comes along)"
            )
            steps = gr.Slider(1, 2000, 300, step=1, label="Training steps")
            count = gr.Slider(1, 16, 8, step=1, label="Completions")
        train = gr.Button("Train a model", elem_id="train")
        gallery = gr.Gallery(
            label="Completions, best first: click one to compare it above",
            visible=False,
            columns=4,
            elem_id="gallery",
            interactive=False,
        )
        sheet = gr.DownloadButton("Download the contact sheet", visible=False)
        opened = [name, scenes, editor, cards, remove]
        changed = [status, cancel, result, download, gallery, sheet, cards, train, seen]
        photo.upload(said(page.drop_photo), [photo], opened)
        scenes.input(said(page.open), [scenes, name], opened)
        separate.click(said(page.separate), [name, editor], [editor])
        extend.click(said(page.extend), [name, editor, *sides], opened)
        uploads.upload(
            said(page.add_references),
            [name, editor, uploads],
            [name, scenes, cards, remove, uploads],
        )
        remove.input(said(page.remove_reference), [name, remove], [name, scenes, cards, remove])
        fill.click(said(page.fill), [name, editor], [name, scenes])
        train.click(said(page.train), [name, editor, base, steps, count], [name, scenes])
        cancel.click(page.queue.cancel, [name], None)
        gallery.select(page.compare, [name], [result])
        gr.Timer(EVERY).tick(
            page.tick, [name, overlay, seen], changed, show_progress="hidden", queue=True
        )
        blocks.load(lambda: gr.update(choices=page.choices()), None, [scenes])
    return blocks
