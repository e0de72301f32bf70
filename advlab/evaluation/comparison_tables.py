"""A comparison as a table: plain text, Markdown, CSV, LaTeX as it goes into a paper, and HTML for notebooks."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Sequence

from advlab.evaluation.comparison import Column, Comparison, Model, Summary
from advlab.evaluation.html_table import html_table
from advlab.formatting import Grid, Page, page_width, printable, shortened

BEST = "*"
_CSV = (
    "model model_digest dataset dataset_digest samples attack norm epsilon seed clean_accuracy robust_accuracy "
    "robust_low robust_high passes seconds findings archive archive_digest command"
)
_MODEL = 24  # the most columns that a name may take in plain text
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def table(comparison: Comparison) -> str:
    """A block of lines for each set of images, at most 100 columns wide; what does not fit side by side goes below."""
    parts: list[Grid | str] = []
    for digest, columns in comparison.by_images.items():
        models = _models(comparison, digest)
        names = [shortened(printable(name), _MODEL) for name in names_of(comparison, models)]
        parts += [images(comparison, digest), ""]
        texts = {column: [text(comparison.summary(model, column), BEST) for model in models] for column in columns}
        clean = [_clean(comparison, model, digest) for model in models]
        for block in _blocks(columns, texts, max(map(len, (*names, "model"))) + 9):
            heads = ["model", "clean %", *(f"{column.attack} {column.budget}" for column in block)]
            rows = [
                [name, clean[number], *(texts[column][number] for column in block)] for number, name in enumerate(names)
            ]
            parts += [Grid(heads, rows, heads[:1]), ""]
    return Page.of(*parts, *textwrap.wrap(caption(comparison), page_width()), *_failures(comparison))


def markdown(comparison: Comparison) -> str:
    """A table for each set of images; the best is bold."""
    lines = [f"# {comparison.title}", ""]
    for digest, columns in comparison.by_images.items():
        heads = ["model", "clean %", *(f"{column.attack}<br>{column.budget}" for column in columns)]
        lines += [f"{images(comparison, digest)}:", "", f"| {' | '.join(heads)} |", "|:--" + "|--:" * (len(heads) - 1)]
        lines[-1] += "|"
        models = _models(comparison, digest)
        for model, name in zip(models, names_of(comparison, models), strict=True):
            cells = [text(comparison.summary(model, column), "**", both=True) for column in columns]
            line = [name.replace("|", "\\|"), _clean(comparison, model, digest), *cells]
            lines.append(f"| {' | '.join(line)} |")
        lines.append("")
    bold = "bold where" if len(comparison.models) > 1 else ""
    return "\n".join([*lines, caption(comparison, bold), *_failures(comparison)]) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A line for each score, with everything that is known of it but the flags of its images."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV.split())
    for s in comparison.scores:
        accuracy, column = s.accuracy, s.column
        epsilon = column.epsilon if math.isfinite(column.epsilon) else ""
        row = [*s.model, column.dataset, column.dataset_digest, len(s.robust), column.attack, column.norm, epsilon]
        row += [s.seed, f"{s.correct.mean():.6g}", f"{accuracy.value:.6g}", f"{accuracy.low:.6g}"]
        row += [f"{accuracy.high:.6g}", f"{s.passes:.6g}", f"{s.seconds:.6g}", " ".join(s.findings)]
        writer.writerow([*row, s.archive, s.archive_digest, s.command])
    return buffer.getvalue()


def latex(comparison: Comparison) -> str:
    r"""A ``table`` for each set of images, in ``\usepackage{booktabs}``; the best is bold."""
    parts = ["% \\usepackage{booktabs}"]
    for digest, columns in comparison.by_images.items():
        attacks = list(dict.fromkeys(column.attack for column in columns))
        ordered = [column for attack in attacks for column in columns if column.attack == attack]
        groups, rules, start = [], [], 3
        for attack in attacks:
            width = sum(column.attack == attack for column in ordered)
            groups.append(f"\\multicolumn{{{width}}}{{c}}{{{_tex(attack)}}}")
            rules.append(f"\\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        lines = [f"\\begin{{tabular}}{{l{'r' * (1 + len(ordered))}}}", "\\toprule"]
        lines += [f" & & {' & '.join(groups)} \\\\", " ".join(rules)]
        lines += [f"model & clean & {' & '.join(_tex(column.budget) for column in ordered)} \\\\", "\\midrule"]
        models = _models(comparison, digest)
        for model, name in zip(models, names_of(comparison, models), strict=True):
            cells = [_tex_cell(comparison.summary(model, column)) for column in ordered]
            lines.append(f"{_tex(name)} & {' & '.join([_clean(comparison, model, digest), *cells])} \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        said = f"{comparison.title}. {images(comparison, digest)}. {caption(comparison, 'bold where')}"
        parts.append("\n".join(["\\begin{table}", "\\centering", *lines, f"\\caption{{{_tex(said)}}}", "\\end{table}"]))
    return "\n\n".join(parts) + "\n"


def as_html(comparison: Comparison) -> str:
    """Tables for notebooks."""
    tables = []
    for digest, columns in comparison.by_images.items():
        heads = ["model", "clean %", *(f"{column.attack} {column.budget}" for column in columns)]
        models = _models(comparison, digest)
        rows = [
            (name, _clean(comparison, model, digest), *(text(comparison.summary(model, c), "") for c in columns))
            for model, name in zip(models, names_of(comparison, models), strict=True)
        ]
        tables.append(html_table(images(comparison, digest), heads, rows, named=True))
    return "".join(tables)


def images(comparison: Comparison, digest: str) -> str:
    """The images of some columns in words: ``1,000 images of mnist``."""
    score = next(s for s in comparison.scores if s.column.dataset_digest == digest)
    return f"{len(score.robust):,} images of {printable(score.column.dataset)}"


def caption(comparison: Comparison, marked: str = f"{BEST} where") -> str:
    """What a reader of the table must know."""
    parts = ["Robust accuracy in percent (correct clean and perturbed) with 95% Wilson interval"]
    if any(len(comparison.of(s.model, s.column)) > 1 for s in comparison.scores):
        parts.append("mean of the seeds, ± their standard deviation")
    said = ", ".join(parts) + "."
    if marked and len(comparison.models) > 1:
        said += f" Best: {marked} McNemar's exact test tells it from every other model of the column (p < 0.01)."
    return said


def names_of(comparison: Comparison, models: Sequence[Model]) -> list[str]:
    """What models are called: with the start of the digest where several share a name."""
    names = [model.name for model in comparison.models]
    return [f"{m.name} ({m.digest[:6]})" if names.count(m.name) > 1 else m.name for m in models]


def text(summary: Summary | None, mark: str, both: bool = False) -> str:
    """``45.3 [42.1, 48.5] ±0.4``, with a mark behind it (or on both sides) where it is the best."""
    if summary is None:
        return "-"
    rate = summary.rate
    spread = "" if math.isnan(summary.spread) else f" ±{100 * summary.spread:.1f}"
    value = f"{100 * rate.value:.1f}"
    if summary.is_best:
        value = f"{mark if both else ''}{value}{mark}"
    return f"{value} {rate.interval}{spread}"


def _models(comparison: Comparison, digest: str) -> list[Model]:
    scores = [s for s in comparison.scores if s.column.dataset_digest == digest]
    return list(dict.fromkeys(score.model for score in scores))


def _clean(comparison: Comparison, model: Model, digest: str) -> str:
    clean = comparison.clean(model, digest)
    return "-" if clean is None else f"{100 * clean.value:.1f}"


def _blocks(columns: Sequence[Column], texts: dict[Column, list[str]], taken: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    used = taken
    for column in columns:
        width = 2 + max(map(len, (f"{column.attack} {column.budget}", *texts[column])))
        if blocks[-1] and used + width > page_width():
            blocks.append([])
            used = taken
        blocks[-1].append(column)
        used += width
    return blocks


def _failures(comparison: Comparison) -> list[str]:
    return [f"failed: {cell}: {error}" for cell, error in (comparison.failed or {}).items()]


def _tex(words: str) -> str:
    return "".join(_TEX.get(character, character) for character in printable(words)).replace("±", "$\\pm$")


def _tex_cell(summary: Summary | None) -> str:
    if summary is None:
        return "--"
    rate, value = summary.rate, f"{100 * summary.rate.value:.1f}"
    spread = "" if math.isnan(summary.spread) else f"\\,$\\pm$\\,{100 * summary.spread:.1f}"
    value = f"\\textbf{{{value}}}" if summary.is_best else value
    return f"{value}{spread} {{\\footnotesize{rate.interval}}}"
