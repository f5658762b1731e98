"""The page: what is on it, and what is called when."""

from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]

from realfill.app.controls import CLICKED_BEFORE, THE_PHOTO, Controls, said
from realfill.app.painting import PAINT

EVERY = 0.7
"""Seconds between looks at what changed."""
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
SIDES = ("left", "top", "right", "bottom")


def build(folder: Path, examples: dict[str, Path], is_local: bool) -> gr.Blocks:
    """Return the page over a workspace folder; see `Controls`."""
    page = Controls(folder, examples, is_local)
    with gr.Blocks(title="RealFill", analytics_enabled=False) as blocks:
        name, seen, before, clicked = gr.State(""), gr.State(()), gr.State(None), gr.State(None)
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                photo, scenes, editor, separate, clear, sides, extend = photo_part(page)
            with gr.Column(scale=2, min_width=320):
                uploads, cards, remove = references_part()
                fill, status, cancel = fill_part()
        result, overlay, download = result_part()
        base, steps, count, train, estimate, validation = training_part()
        gallery, against, files = completions_part()

        opened = [name, scenes, editor, before, cards, remove]
        paintings = [name, editor, before]
        edited = [name, scenes, cards, remove]
        photo.upload(said(page.drop_photo), [photo], opened)
        scenes.input(said(page.open), [scenes, name], opened)
        separate.click(said(page.separate), paintings, [editor, before])
        clear.click(said(page.clear), [name], [editor, before])
        extend.click(said(page.extend), [*paintings, *sides], opened)
        uploads.upload(said(page.add_references), [*paintings, uploads], [*edited, uploads])
        remove.input(said(page.remove_reference), [name, remove], edited)
        fill.click(said(page.fill), paintings, [name, scenes])
        train.click(said(page.train), [*paintings, base, steps, count], [name, scenes])
        cancel.click(page.queue.cancel, [name], None)
        gallery.select(page.compare, [name, against, clicked], [result, clicked])
        shown = [status, cancel, result, download]
        shown += [gallery, files, against, train, validation, cards]
        gr.Timer(EVERY).tick(
            page.tick,
            [name, overlay, base, steps, seen],
            [*shown, estimate, seen],
            show_progress="hidden",
            queue=True,
        )
        blocks.load(lambda: gr.update(choices=page.choices()), None, [scenes])
    return blocks


def photo_part(page: Controls) -> tuple[Any, ...]:
    """Add what makes the photo and its mask."""
    gr.Markdown("## 1. Your photo")
    photo = gr.File(label="Drop a photo, or click to choose one", file_types=["image"], height=140)
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
        brush=gr.Brush(colors=["#{:02x}{:02x}{:02x}".format(*PAINT)], color_mode="fixed"),
        height=460,
        format="png",
        elem_id="editor",
    )
    with gr.Row():
        separate = gr.Button("Select the object that I marked", size="sm")
        clear = gr.Button("Take away what I painted", size="sm")
    with gr.Accordion("Or extend the photo", open=False):
        sides = [gr.Slider(0, 100, 0, step=5, label=f"{side}, in percent") for side in SIDES]
        extend = gr.Button("Extend", size="sm")
    return photo, scenes, editor, separate, clear, sides, extend


def references_part() -> tuple[Any, ...]:
    """Add what takes and shows the other photos."""
    gr.Markdown("## 2. Other photos of the same place")
    uploads = gr.File(
        label="Drop one or more",
        file_count="multiple",
        file_types=["image"],
        height=140,
        elem_id="uploads",
    )
    return uploads, gr.HTML(elem_id="cards"), gr.Radio([], label="Remove a photo", visible=False)


def fill_part() -> tuple[Any, ...]:
    """Add the button that fills, and what says how far all work is."""
    gr.Markdown("## 3. Fill")
    fill = gr.Button("Fill from my photos", variant="primary", elem_id="fill")
    status = gr.HTML(elem_classes="status", elem_id="status")
    cancel = gr.Button("Cancel", size="sm", variant="stop", visible=False, elem_id="cancel")
    return fill, status, cancel


def result_part() -> tuple[Any, ...]:
    """Add the photo before and after."""
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
    return result, overlay, download


def training_part() -> tuple[Any, ...]:
    """Add what trains a model."""
    gr.Markdown("## 4. What no photo shows: train a model on this place")
    with gr.Row():
        base = gr.Textbox(
            label="Base model: a folder or hub id (empty: the small one that comes along)"
        )
        steps = gr.Slider(1, 2000, 300, step=1, label="Training steps")
        count = gr.Slider(1, 16, 8, step=1, label="Completions")
    train = gr.Button("Train a model", elem_id="train")
    estimate = gr.Markdown(elem_id="estimate")
    validation = gr.Image(
        label="What the model makes so far",
        type="filepath",
        visible=False,
        interactive=False,
        height=300,
        elem_id="validation",
    )
    return base, steps, count, train, estimate, validation


def completions_part() -> tuple[Any, ...]:
    """Add what shows a model's completions."""
    gallery = gr.Gallery(
        label="Completions, best first: click one to compare it above",
        visible=False,
        columns=4,
        elem_id="gallery",
        interactive=False,
    )
    against = gr.Radio(
        [THE_PHOTO, CLICKED_BEFORE],
        value=THE_PHOTO,
        label="Compare a completion with",
        visible=False,
        elem_id="against",
    )
    files = gr.File(
        label="The contact sheet, and each completion at full size, best first",
        visible=False,
        interactive=False,
        elem_id="files",
    )
    return gallery, against, files
