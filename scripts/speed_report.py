"""Tables and a picture of where a second goes, from what bench_speed measures."""

from pathlib import Path

import matplotlib.pyplot as plt

from scripts.scores import print_table

PARTS = ("photos", "draws", "autoencoder", "text encoder", "UNet", "backward", "optimizer")
"""Of a training step."""


def print_tables(results: list[dict]) -> None:
    """Print the parts of both recipes as Markdown, with the ratio."""
    for title, digits in (("training step", 3), ("sampling", 3), ("whole scene", 0)):
        rows = []
        for name, plain in results[0][title].items():
            ours = results[1][title][name]
            ratio = f"{plain / ours:.1f}" if ours else ""
            rows.append([name, f"{plain:.{digits}f}", f"{ours:.{digits}f}", ratio])
        print_table([f"{title}, seconds", "plain", "this project", "ratio"], rows)
    for result in results:
        memory = [f"{name} {value:.1f}" for name, value in result["peak memory in GB"].items()]
        print(f"\n{result['recipe']['name']}: peak memory in GB: {', '.join(memory)}")


def draw_bars(results: list[dict], path: Path) -> None:
    """Draw a training step of both recipes as stacked bars."""
    figure, axes = plt.subplots(figsize=(9, 2.2), layout="constrained")
    names = [result["recipe"]["name"] for result in results]
    left = [0.0, 0.0]
    for part in PARTS:
        widths = [result["training step"][part] for result in results]
        axes.barh(names, widths, left=left, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds a training step")
    axes.legend(ncols=len(PARTS), fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
