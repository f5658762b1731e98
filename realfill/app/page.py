"""The page: what is on it."""

from pathlib import Path

import gradio as gr  # pyright: ignore[reportMissingImports]

from realfill.app.controls import Controls, said
from realfill.app.painting import PAINT

RED = "#{:02x}{:02x}{:02x}".format(*PAINT)
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


def build(folder: Path, examples: dict[str, Path], is_local: bool) -> gr.Blocks:
    """Return the page over a workspace folder; see `Controls`."""
    page = Controls(folder, examples, is_local)
    with gr.Blocks(title="RealFill", analytics_enabled=False) as blocks:
        name, seen, before = gr.State(""), gr.State(()), gr.State(None)
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
                    brush=gr.Brush(
                        colors=["#{:02x}{:02x}{:02x}".format(*PAINT)], color_mode="fixed"
                    ),
                    height=460,
                    format="png",
                    elem_id="editor",
                )
                with gr.Row():
                    separate = gr.Button("Select the object that I marked", size="sm")
                    clear = gr.Button("Take away what I painted", size="sm")
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
        opened = [name, scenes, editor, before, cards, remove]
        paintings = [name, editor, before]
        changed = [status, cancel, result, download, gallery, sheet, cards, train, seen]
        photo.upload(said(page.drop_photo), [photo], opened)
        scenes.input(said(page.open), [scenes, name], opened)
        separate.click(said(page.separate), paintings, [editor, before])
        clear.click(said(page.clear), [name], [editor, before])
        extend.click(said(page.extend), [*paintings, *sides], opened)
        uploads.upload(
            said(page.add_references),
            [*paintings, uploads],
            [name, scenes, cards, remove, uploads],
        )
        remove.input(said(page.remove_reference), [name, remove], [name, scenes, cards, remove])
        fill.click(said(page.fill), paintings, [name, scenes])
        train.click(said(page.train), [*paintings, base, steps, count], [name, scenes])
        cancel.click(page.queue.cancel, [name], None)
        gallery.select(page.compare, [name], [result])
        gr.Timer(EVERY).tick(
            page.tick, [name, overlay, seen], changed, show_progress="hidden", queue=True
        )
        blocks.load(lambda: gr.update(choices=page.choices()), None, [scenes])
    return blocks
