"""A commented file to begin with: a method, a recipe or a study that works as it is."""

from __future__ import annotations

from pathlib import Path

from advlab import workspace, writing
from advlab.declarations.methods import method_names
from advlab.errors import FileExists, InvalidValue, unknown

_METHOD = '''"""My method (Linf, L2): one sentence that says what it does.

Author et al. 2024, "Title", arXiv:0000.00000, equation 1, and what differs from it.
"""

from __future__ import annotations

import tensorflow as tf

from advlab import Loop, Problem, Query, State

NORMS = ("linf", "l2")  # the first is the default
GOAL = "bounded"  # the worst image within epsilon; "minimal": the nearest adversarial image


def craft(problem: Problem, *, steps: int = 10, fraction: float = 0.25) -> Loop:
    """Each parameter needs a type and a default: --set steps=20 on the command line, steps=20 in Python.

    Args:
        problem: The images x, float32 (n, h, w, c) in [0, 1], their labels, and the ball around them.
        steps: Gradient steps on each image.
        fraction: Length of a step, relative to epsilon.
    """
    ball = problem.ball
    size = fraction * tf.cast(ball.epsilon, tf.float32)

    def start() -> State:
        # One row for each image; "x" is what is queried first. Add tensors of your own, such as a momentum.
        return {"x": problem.x}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        # query has x, logits, loss, success and the gradient of the loss. What is returned is queried next; the best
        # image of each is kept, so that a step in vain does no harm.
        return {"x": ball.project(query.x + ball.steepest(query.gradient, query.x, size))}

    return Loop(steps, start, update)
'''
_RECIPE = """# A classifier to be trained: advlab train NAME
title = "One line that says what it is"
source = "Where its figures come from, or: my own"
dataset = "digits"  # or fashion-mnist, mnist, cifar10, or the path of a .npz file or of a folder of images by class

[architecture]
name = "mlp"  # dense layers
hidden = [64]  # units of each

[training]
optimizer = "adam"
batch_size = 32
epochs = 10
validation_split = 0.1  # this fraction of the training images is held out

# Train against an attacker, by taking away the signs below:
# [training.adversary]
# method = "pgd"
# norm = "linf"
# epsilon = 0.1
"""
_STUDY = """# One recipe in several variations, trained and attacked alike: advlab study NAME
title = "One line that says what is compared"
source = "Where the question comes from, or: my own"
recipe = "digits"  # the base; a row may name another one
suite = "quick"  # robust accuracy is the worst case of these attacks
norm = "linf"
epsilon = 0.1
samples = 200

# Each row changes what it names, and nothing else.
[[row]]
name = "narrow"
architecture = { hidden = [16] }

[[row]]
name = "wide"
architecture = { hidden = [128] }
training = { epochs = 10 }
"""
_TEXTS = {"method": _METHOD, "recipe": _RECIPE, "study": _STUDY}


def new(kind: str, name: str, *, force: bool = False) -> Path:
    """Write a commented file to begin with, and return its path.

    Args:
        kind: ``method``, a file ``<name>.py`` in the current folder; ``recipe``, in ``models/`` of the workspace; or
            ``study``, in ``models/studies/``.
        name: What it shall be called: letters, digits, ``-`` and ``_``.
        force: Whether a file that is there may be replaced.

    Raises:
        UnknownName: For another kind.
        InvalidValue: For a name that cannot be the name of a file.
        FileExists: Where the file, or one of that name that came with advlab, exists.
    """
    if kind not in _TEXTS:
        raise unknown("kind of file", kind, _TEXTS)
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise InvalidValue(f"The name of a {kind} has letters, digits, '-' and '_' only. Got '{name}'.")
    path, existing = {
        "method": (Path(f"{name}.py"), method_names()),
        "recipe": (workspace.root() / "models" / f"{name}.toml", workspace.recipes()),
        "study": (workspace.root() / "models" / "studies" / f"{name}.toml", workspace.studies()),
    }[kind]
    writing.refuse_existing(path, force, f"a new {kind}")
    if name in existing and not path.exists():
        raise FileExists(f"A {kind} '{name}' came with advlab. Choose another name.")
    with writing.atomic_write(path) as temporary:
        temporary.write_text(_TEXTS[kind].replace("NAME", name), "utf-8")
    return path
