"""Recipes: what to train and how, declared in TOML and read into frozen dataclasses.

``models/<name>.toml`` is a recipe; the file's name is its name. Every setting is checked here, before anything heavy is
imported: an unknown key, a wrong type or a value out of range is refused.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from advlab import renamed, workspace
from advlab.declarations import toml
from advlab.declarations.adversaries import Adversary
from advlab.declarations.certified import Certified
from advlab.errors import InvalidValue, unknown
from advlab.validation import (
    MOST,
    invalid,
    is_int,
    is_number,
    require_choice,
    require_fraction,
    require_int,
    require_str,
)

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine")
MONITORS = ("accuracy", "loss", "val_accuracy", "val_loss", "val_robust_accuracy", "val_certified_accuracy")
PUBLISHED = ("note", "parameters", "test_accuracy", "train_accuracy", "validation_accuracy")


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after ``patience`` epochs without a better ``monitor``; the weights of the best epoch are kept."""

    patience: int
    monitor: str = "val_loss"

    def __post_init__(self) -> None:
        require_int("training.early_stopping.patience", self.patience, 1)
        require_choice("training.early_stopping.monitor", self.monitor, MONITORS)


@dataclass(frozen=True)
class Training:
    """How Keras' ``fit`` is called. ``learning_rate`` None: the optimizer's own; ``train_samples`` None: all.

    ``validation_split`` is the fraction in [0, 1) held out of the end of the training images, as Keras does it.
    Every ``checkpoint_every`` epochs the whole state is saved, so that an interrupted run can be resumed (0: never).
    ``precision`` is that of the arithmetic, a Keras dtype policy; weights stay float32, also in the file.
    Two baselines of adversarial training: ``label_smoothing`` in [0, 1) is the fraction of each label that is spread
    over all classes (Szegedy et al. 2016, arXiv:1512.00567); ``gaussian_noise`` is the standard deviation, in pixel
    units, of noise added to each training image, which then is clipped to [0, 1].
    ``schedule`` ``cosine`` lets the learning rate rise from a twenty-fifth of ``learning_rate`` in the first fifth of
    all steps, then fall to zero (one cycle: Smith & Topin 2017, arXiv:1708.07120). Each training image is shifted by up
    to ``random_shift`` pixels down or up and right or left, and with ``random_flip`` every second one is mirrored.
    ``weight_averaging`` in [0, 1) is the momentum of an exponential moving average of the weights over the train steps,
    0 for none: the averaged weights are those that are validated, selected and saved, as 0.999 does for adversarial
    training (Gowal et al. 2020, arXiv:2010.03593). Of texts, ``word_substitution`` is the probability in
    [0, 1) with which each word of a training text is replaced by a neighbour, drawn anew at each step; neighbours are
    those of the vectors of the same network, trained plainly first (as Jia & Liang 2019, arXiv:1909.00986, augment).
    """

    optimizer: str
    batch_size: int
    epochs: int
    learning_rate: float | None = None
    seed: int = 0
    validation_split: float = 0.0
    train_samples: int | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint_every: int = 1
    precision: str = "float32"
    adversary: Adversary | None = None
    certified: Certified | None = None
    label_smoothing: float = 0.0
    gaussian_noise: float = 0.0
    schedule: str = "constant"
    random_shift: int = 0
    random_flip: bool = False
    weight_averaging: float = 0.0
    word_substitution: float = 0.0

    def __post_init__(self) -> None:
        require_choice("training.optimizer", self.optimizer, OPTIMIZERS)
        require_int("training.batch_size", self.batch_size, 1)
        require_int("training.epochs", self.epochs, 1)
        require_int("training.seed", self.seed, 0, 2**32 - 1)
        require_fraction("training.validation_split", self.validation_split)
        require_int("training.checkpoint_every", self.checkpoint_every, 0)
        require_choice("training.precision", self.precision, PRECISIONS)
        if self.learning_rate is not None and not (is_number(self.learning_rate) and 0 < self.learning_rate < 1e6):
            raise invalid("training.learning_rate", self.learning_rate, "a number above 0")
        if self.train_samples is not None:
            require_int("training.train_samples", self.train_samples, 1)
        require_choice("training.schedule", self.schedule, SCHEDULES)
        if self.schedule != "constant" and self.learning_rate is None:
            raise InvalidValue(
                f"training.schedule '{self.schedule}' needs the rate from which it falls. Set training.learning_rate, "
                "such as 0.003 for 'adamw'."
            )
        require_int("training.random_shift", self.random_shift, 0)
        if not isinstance(self.random_flip, bool):
            raise invalid("training.random_flip", self.random_flip, "true or false")
        require_fraction("training.label_smoothing", self.label_smoothing)
        require_fraction("training.gaussian_noise", self.gaussian_noise)
        require_fraction("training.weight_averaging", self.weight_averaging)
        require_fraction("training.word_substitution", self.word_substitution)
        if self.adversary is not None and self.gaussian_noise:
            raise InvalidValue(
                "training.gaussian_noise is a baseline without an adversary. Leave it out, or training.adversary."
            )
        if self.certified is not None and (self.adversary is not None or self.gaussian_noise):
            raise InvalidValue(
                "training.certified is a training of its own. Leave it out, or training.adversary and "
                "training.gaussian_noise."
            )
        stopping = self.early_stopping
        for key, measured in (("adversary", "robust"), ("certified", "certified")):
            if getattr(self, key) is not None and not self.validation_split:
                raise InvalidValue(
                    f"training.{key} needs validation images, on which {measured} accuracy is measured after each "
                    "epoch. Set training.validation_split above 0, such as 0.1."
                )
            monitor = f"val_{measured}_accuracy"
            if stopping is not None and stopping.monitor == monitor and getattr(self, key) is None:
                raise InvalidValue(
                    f"training.early_stopping.monitor '{monitor}' is measured only where the recipe has the table "
                    f"[training.{key}]. Add it, or monitor 'val_accuracy'."
                )
        if stopping is not None and stopping.monitor.startswith("val_") and not self.validation_split:
            raise InvalidValue(
                f"training.early_stopping.monitor '{stopping.monitor}' needs validation images. "
                "Set training.validation_split above 0, or monitor 'loss' or 'accuracy'."
            )


@dataclass(frozen=True)
class Recipe:
    """One classifier that can be trained. ``source`` says where its settings and ``published`` figures come from.

    ``architecture`` holds ``name``, a function of ``advlab.classifiers.architectures``, and its keyword arguments.
    ``classes`` is how many classes the data must have (None: any number).
    ``published`` holds ``parameters`` (a count), accuracies (fractions in [0, 1]) and a ``note``, each only if printed.
    """

    name: str
    title: str
    dataset: str
    architecture: Mapping[str, Any]
    training: Training
    source: str = ""
    published: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        toml.require_description(self)
        require_str("dataset", self.dataset)
        if self.classes is not None:
            require_int("classes", self.classes, 2)
        _check_architecture(self.architecture)
        if "words" in self.architecture and self.training.precision != "float32":
            raise InvalidValue(
                "training.precision must be 'float32' for texts, whose words are numbers that 16 bits do not hold. "
                f"Got '{self.training.precision}'."
            )
        for key, value in self.published.items():
            if key not in PUBLISHED:
                raise unknown("key in [published]", key, PUBLISHED)
            if key == "note":
                require_str("published.note", value)
            elif key == "parameters":
                require_int("published.parameters", value, 1, 10**12)
            elif not (is_number(value) and 0 <= value <= 1):
                raise invalid(f"published.{key}", value, "a float in the range [0, 1]")


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of that name, or in that TOML file; errors name the file, the key, the value and what is allowed."""
    path = workspace.find_recipe(str(name_or_path))
    table = toml.read(path)
    with toml.about(path):
        toml.known_keys(Recipe, table, "")
        training = training_from(toml.table(table.get("training", {}), "training"))
        for key in ("architecture", "published"):
            toml.table(table.get(key, {}), key)
        if "architecture" in table:
            table["architecture"] = renamed.architecture(table["architecture"])
        return Recipe(**{**table, "name": path.stem, "training": training})


def training_from(table: Mapping[str, Any]) -> Training:
    """The settings in a table ``[training]``, whose inner tables are TOML's or have been read already."""
    toml.known_keys(Training, table, "training.")
    training = dict(table)
    for key, cls in (("adversary", Adversary), ("certified", Certified), ("early_stopping", EarlyStopping)):
        inner = training.get(key)
        if inner is not None and not isinstance(inner, cls):
            toml.known_keys(cls, toml.table(inner, f"training.{key}"), f"training.{key}.")
            training[key] = cls(**inner)
    return Training(**training)


def settings(recipe: Recipe | Mapping[str, Any]) -> dict[str, Any]:
    """All that the weights depend on, ready for JSON: data set, architecture, and non-default training settings.

    A recipe may be given as its dictionary in a model card, which may lack settings that were added later.
    """
    table: Mapping[str, Any] = json.loads(json.dumps(asdict(recipe))) if isinstance(recipe, Recipe) else recipe
    defaults = {f.name: f.default for f in fields(Training)} | {
        "checkpoint_every": table["training"].get("checkpoint_every")
    }
    training = {key: value for key, value in table["training"].items() if value != defaults.get(key)}
    for name, cls in (("adversary", Adversary), ("certified", Certified)):
        if name in training:
            own = {f.name: f.default for f in fields(cls)}
            training[name] = {key: value for key, value in training[name].items() if value != own.get(key)}
    return {
        "dataset": table["dataset"],
        "architecture": renamed.architecture(table["architecture"]),
        "training": training,
    }


def _check_architecture(architecture: Mapping[str, Any]) -> None:
    """Check name and arguments against the signatures in ``architectures.py``, read without importing Keras."""
    source = (Path(__file__).parent.parent / "classifiers" / "architectures.py").read_text("utf-8")
    functions = {node.name: node.args for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    names = tuple(name for name in functions if not name.startswith("_"))
    if "name" not in architecture:
        raise InvalidValue(f"The key architecture.name is missing. Allowed: {', '.join(sorted(names))}.")
    name = architecture["name"]
    require_choice("architecture.name", name, names)
    arguments = functions[name]
    annotations = {a.arg: ast.unparse(a.annotation) for a in arguments.kwonlyargs if a.annotation is not None}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None and argument.arg not in architecture:
            raise InvalidValue(f"The key architecture.{argument.arg} is missing: architecture '{name}' needs it.")
    for key, value in architecture.items():
        if key in annotations:
            _check_argument(f"architecture.{key}", value, annotations[key])
        elif key != "name":
            raise unknown(f"key of architecture '{name}'", key, annotations)


def _check_argument(key: str, value: Any, annotation: str) -> None:
    if annotation.startswith("Literal["):
        require_choice(key, value, ast.literal_eval(f"({annotation[len('Literal[') : -1]},)"))
    elif annotation == "int":
        require_int(key, value, 1)
    elif annotation == "float":
        require_fraction(key, value)
    elif annotation == "bool":
        if not isinstance(value, bool):
            raise invalid(key, value, "true or false")
    elif annotation == "Sequence[int]":
        if not isinstance(value, list | tuple) or not all(is_int(v) and 1 <= v <= MOST for v in value):
            raise invalid(key, value, f"a list of ints in the range [1, {MOST}]")
    elif "Mapping" not in annotation or not isinstance(value, Mapping):
        require_str(key, value)
