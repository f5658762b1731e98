"""The report as plain text, for the terminal and `benchmark_report.txt`."""

from collections.abc import Sequence

from benchmark.report.build import Report
from realfill.command_line import printable

RULE = "=" * 80


def as_text(report: Report) -> str:
    """Return the whole report, lines of any length, without a date: equal runs give equal text."""
    lines = [RULE, " Benchmark Results Summary ".center(80, "="), RULE]
    lines += [f"Folders Scored: {len(report['folders'])}"]
    lines += [f"Metrics Evaluated: {', '.join(report['settings'])}"]
    for each in report["sets"]:
        lines += ["", f"--- Overall Average Scores ({each['title']}) ---", *averages(report, each)]
    if report["published"]:
        lines += ["", "--- Published for RealBench (by others, not computed here) ---"]
        lines += published(report)
    for each in report["comparisons"]:
        lines += ["", f"--- Comparison: {each['title']} ---", *comparison(report, each)]
    for each in report["sets"]:
        if each["filtering"]["scenes"]:
            lines += ["", f"--- LoFTR Filtering Analysis (Average Scores over {each['title']}) ---"]
            lines += filtering(report, each["filtering"])
    lines += ["", "--- Scenes ---", *scenes(report)]
    lines += left_out(report)
    lines += ["", RULE, "Metric Interpretation Guide:", *guide(report), RULE]
    return printable("\n".join(lines))


def averages(report: Report, each: Report) -> list[str]:
    """Return a set's average of each score."""
    rows = [["", "Average Score", "Num Scenes (N)"]]
    for score in report["scores"]:
        name = score["name"]
        rows.append([score["title"], number(each["means"][name], score), str(each["counts"][name])])
    return table(rows)


def published(report: Report) -> list[str]:
    """Return the published rows, each with its source and its LPIPS convention."""
    columns = list(report["published"][0]["values"])
    rows = [["", *columns, "N", "LPIPS convention", "source"]]
    for row in report["published"]:
        values = [
            f"{value:.2f}" if name == "psnr" else f"{value:.3f}"
            for name, value in row["values"].items()
        ]
        rows.append(
            [row["method"], *values, str(row["scenes"]), row["lpips_convention"], row["source"]]
        )
    return table(rows)


def comparison(report: Report, each: Report) -> list[str]:
    """Return the means of two sets over their common scenes, and the difference."""
    lines = [f"{len(each['scenes'])} common scene(s): {', '.join(each['scenes']) or 'none'}"]
    rows = [["", *each["labels"], "difference", "95% interval", "N"]]
    for score in report["scores"]:
        row = each["differences"].get(score["name"])
        if row:
            values = [number(row[key], score) for key in ("first", "second")]
            values += [signed(row["difference"], score), interval(row, score), str(row["scenes"])]
            rows.append([score["title"], *values])
    return lines + (table(rows) if len(rows) > 1 else ["n/a (no scores in common)"])


def interval(row: Report, score: Report) -> str:
    """Return the bounds of a difference, or why there are none."""
    if row["low"] is None:
        return "n/a (one scene)"
    return f"{signed(row['low'], score)} to {signed(row['high'], score)}"


def filtering(report: Report, each: Report) -> list[str]:
    """Return the average scores over the best ranked completions."""
    rows = [["", *(f"best {share:.0%}" for share in each["shares"])]]
    for score in report["scores"]:
        if score["name"] in each["curves"]:
            curve = each["curves"][score["name"]]
            rows.append([score["title"], *(number(value, score) for value in curve)])
    return [f"over {each['scenes']} ranked scene(s)", *table(rows)]


def scenes(report: Report) -> list[str]:
    """Return the mean scores of each folder."""
    shown = [s for s in report["scores"] if any(s["name"] in f["means"] for f in report["folders"])]
    rows = [["", *(score["title"] for score in shown), "images"]]
    for folder in report["folders"]:
        values = [number(folder["means"][score["name"]], score) for score in shown]
        rows.append([folder["name"], *values, str(len(folder["images"]))])
    return table(rows)


def left_out(report: Report) -> list[str]:
    """Return what could not be computed, with the reasons, and what else is worth knowing."""
    lines = [f"{name}: n/a: {reason}" for name, reason in report["unavailable"].items()]
    lines += [f"{name}: not scored: {reason}" for name, reason in report["not_scored"].items()]
    for folder in report["folders"]:
        lines += [f"{folder['name']}: left out: {line}" for line in folder["left_out"]]
    notes = [
        f"{folder['name']}: {line}" for folder in report["folders"] for line in folder["notes"]
    ]
    return (["", "--- Left Out ---", *lines] if lines else []) + (
        ["", "--- Notes ---", *notes] if notes else []
    )


def guide(report: Report) -> list[str]:
    """Return which direction of each score is better."""
    lines = []
    for word, wanted in (("Higher", True), ("Lower", False)):
        titles = [s["title"] for s in report["scores"] if s["higher_is_better"] is wanted]
        if titles:
            lines.append(f"  {word} is Better for: {'; '.join(titles)}")
    return lines


def number(value: float | None, score: Report) -> str:
    """Return a score's value in its digits, or n/a."""
    return "n/a" if value is None else f"{value:.{score['digits']}f}"


def signed(value: float, score: Report) -> str:
    """Return a difference with its sign."""
    return f"{value:+.{score['digits']}f}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
