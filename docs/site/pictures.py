"""The pictures of the site: what each method adds to five images, the figures of the gallery, and the balls of norms.

python docs/site/pictures.py   draws docs/pictures/norms.svg again
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np

import advlab
from advlab.declarations.methods import load_method, method_names

IMAGES = 5
SIDE = 3  # times as large as the digits
# Fewer steps of what asks thousands of times, so that a page takes minutes.
SETTINGS: dict[str, dict[str, Any]] = {
    "boundary": {"steps": 200},
    "hopskipjump": {"steps": 5},
    "square": {"steps": 500},
    "zoo": {"steps": 30},
    "carlini_wagner": {"steps": 200},
    "ead": {"steps": 200},
    "alma": {"steps": 200},
    "fmn": {"steps": 200},
    "sigma_zero": {"steps": 200},
}
_DATA = 'data = advlab.load_dataset("digits", limit=100)'
_PGD = 'evaluation = advlab.evaluate(advlab.attack("digits", data, "pgd", epsilon=0.1))'
GALLERY = {  # title -> Python whose last line is the figure
    "Clean image and change": f"""{_DATA}
result = advlab.attack("digits", data, "pgd", epsilon=0.1)
advlab.figures.addition(result)""",
    "Robust accuracy": f"""{_DATA}
evaluations = [advlab.evaluate(advlab.attack("digits", data, name, epsilon=0.1)) for name in ("noise", "fgsm", "pgd")]
advlab.figures.accuracy_bars(evaluations)""",
    "Confidence shift": f"""{_DATA}
{_PGD}
advlab.figures.confidence_shift(evaluation)""",
    "Security curve": f"""{_DATA}
advlab.figures.security_curve([advlab.curve(name, data) for name in ("digits", "digits-robust")])""",
    "Class flow": f"""{_DATA}
{_PGD}
advlab.figures.class_flow(evaluation)""",
    "Calibration": f"""{_DATA}
{_PGD}
advlab.figures.reliability(evaluation)""",
    "Attributions": f"""{_DATA}
x = data.x[:3]
advlab.figures.attributions(x, advlab.attribute("digits", x))""",
    "Training curve": """classifier = advlab.load_classifier("digits-robust")
advlab.figures.training_curve(classifier.card["history"], title="digits-robust")""",
}


def drawn(code: str) -> Any:
    """What the last line of some Python gives."""
    *lines, last = ast.parse(code).body
    names: dict[str, Any] = {"advlab": advlab}
    exec(compile(ast.Module(lines, []), "gallery", "exec"), names)
    if not isinstance(last, ast.Expr):
        raise TypeError(f"The last line draws nothing: {ast.unparse(last)}")
    return eval(compile(ast.Expression(last.value), "gallery", "eval"), names)


def method_pictures(folder: Path) -> dict[str, str]:
    """Method -> the name of its picture, written into ``folder``: adversarial images above, the change below.

    Those of texts have none.
    """
    data = advlab.load_dataset("digits", limit=IMAGES)
    written = {}
    for name in method_names():
        method = load_method(name)
        if method.data == "texts":
            continue
        epsilon = 0.1 if method.goal == "bounded" and method.norms[0] == "linf" else None
        result = advlab.attack("digits", data, name, epsilon=epsilon, progress=False, **SETTINGS.get(name, {}))
        clean, adversarial = np.asarray(result.x), np.asarray(result.x_adv)
        scale = float(np.abs(adversarial - clean).max()) or 1.0
        rows = [adversarial, 0.5 + 0.5 * (adversarial - clean) / scale]
        framed = ((0, 0), (1, 1), (1, 1), (0, 0))
        tiles = [np.concatenate(list(np.pad(row, framed, constant_values=1)), 1) for row in rows]
        picture = np.concatenate(tiles, 0).repeat(SIDE, 0).repeat(SIDE, 1)
        (folder / f"method-{name}.png").write_bytes(advlab.figures.png(picture.astype(np.float32)))
        written[name] = f"method-{name}.png"
    return written


def norms() -> Any:
    """The images within a budget of one, of two pixels each, under each norm and in the box [0, 1]."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Polygon, Rectangle

    from advlab.figures.style import MEAN, ROBUST, STYLE

    x, y, budget = 0.4, 0.35, 0.25
    corners = [(x - budget, y), (x, y + budget), (x + budget, y), (x, y - budget)]
    regions: dict[str, list[Any]] = {
        "Linf: no pixel by more": [Rectangle((x - budget, y - budget), 2 * budget, 2 * budget)],
        "L2: the length of the change": [Circle((x, y), budget)],
        "L1: the sum of the changes": [Polygon(corners)],
        "L0: one pixel, at will": [Rectangle((0, y - 0.008), 1, 0.016), Rectangle((x - 0.008, 0), 0.016, 1)],
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 2.7), layout="constrained")
        for axis, (title, patches) in zip(figure.subplots(1, 4), regions.items(), strict=True):
            for patch in patches:
                patch.set(color=MEAN, alpha=0.5, lw=0)
                axis.add_patch(patch)
            axis.plot(x, y, "o", color=ROBUST, ms=5)
            axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 1], yticks=[0, 1], aspect="equal")
            axis.set_title(title, fontsize=8)
            axis.set_xlabel("first pixel", fontsize=8)
        figure.axes[0].set_ylabel("second pixel", fontsize=8)
    return figure


if __name__ == "__main__":
    advlab.figures.save(norms(), Path(__file__).parent.parent / "pictures" / "norms.svg")
