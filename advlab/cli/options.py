"""Options that several commands share: of classifiers and data, KEY=VALUE settings, completion in a shell."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

import advlab
from advlab.cli.main import ClassifierOption

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Numbers(click.ParamType[Any]):
    """``255``, ``1/127.5``, or one number for each channel, ``0.017,0.018,0.017``."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A float, or a list of floats."""
        try:
            numbers = [_number(part) for part in str(value).split(",")]
        except (ValueError, ZeroDivisionError):
            self.fail(f"'{value}' is no number, nor numbers separated by commas, such as 255 or 0.017,0.018,0.017.")
        return numbers[0] if len(numbers) == 1 else numbers


class _Range(_Numbers):
    """``-1,1``: the pixels that are black and white."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Two floats."""
        numbers = super().convert(value, param, ctx)
        if not isinstance(numbers, list) or len(numbers) != 2:
            self.fail(f"'{value}' is not LOW,HIGH: the pixels that are black and white, such as 0,255 or -1,1.")
        return tuple(numbers)


class _Size(click.ParamType[Any]):
    """``32x48``, height and width, or ``32`` for both."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Two ints."""
        sides = str(value).lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() and len(side) <= 9 for side in sides):
            self.fail(
                f"'{str(value)[:40]}' is no size. Give height and width in pixels, such as 32x48, or 32 for both."
            )
        return int(sides[0]), int(sides[-1])


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    return float(numerator) / float(denominator) if slash else float(numerator)


_OPTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {  # what a ModelFile is given: the option, its help, and more
    "preprocess": (
        "--preprocess",
        "Pixels as keras.applications prepares them; caffe: 0-255, blue first.",
        {"type": click.Choice(["tf", "torch", "caffe"])},
    ),
    "scale": (
        "--scale",
        "The model is given scale * pixel + offset: 255 for 0-255 models; or one number for each channel.",
        {"type": _Numbers(), "metavar": "X[,X,X]"},
    ),
    "offset": ("--offset", "See --scale.", {"type": _Numbers(), "metavar": "X[,X,X]"}),
    "resize": (
        "--resize",
        "Height and width of images from files, where the model takes any.",
        {"type": _Size(), "metavar": "HxW"},
    ),
    "output": (
        "--output-type",
        "What the last layer outputs; a score is positive for class 1.",
        {"type": click.Choice(["probability", "logit", "score"])},
    ),
    "output_layer": ("--output-layer", "The layer that scores the classes.", {"metavar": "NAME"}),
    "class_names": ("--classes", "Names of the classes, one on each line.", {"metavar": "FILE"}),
    "architecture": (
        "--architecture",
        "Of a file of weights: a recipe, a network of keras.applications, or what model.to_json() returned.",
        {"metavar": "NAME|FILE.json"},
    ),
    "weights": ("--weights", "A file of weights for --model NAME, the architecture.", {"metavar": "FILE"}),
    "custom_objects": (
        "--custom",
        "Python file with the model's own layers and functions; needs --trust.",
        {"metavar": "FILE.py"},
    ),
}


def _model_file(model: str, weights: str | None, said: dict[str, Any]) -> Any:
    """The file of a model; with weights, theirs, whose architecture the model's name is."""
    return advlab.ModelFile(model, **said) if weights is None else advlab.ModelFile(weights, architecture=model, **said)


def classifier_options(*names: str) -> Callable[[_Function], Any]:
    """The options of a command that opens the model, or the models, in its parameters ``names`` (none: ``model``).

    The command gets a ``ModelFile`` in place of each name where one of them is used, and --trust as ``trust``.
    """

    def decorate(command: _Function) -> Any:
        @functools.wraps(command)
        def with_model_file(*arguments: Any, **values: Any) -> Any:
            said = {key: value for key in _OPTIONS if (value := values.pop(f"classifier_{key}")) is not None}
            weights = said.pop("weights", None)
            if weights is not None and "architecture" in said:
                raise click.UsageError("--weights makes the model's name the architecture. Leave out --architecture.")
            for name in names or ("model",):
                models = values[name]
                if not said and weights is None:
                    break
                if not models:
                    option = _OPTIONS[next(iter(said), "weights")][0]
                    raise click.UsageError(f"{option} says how a model is opened. Name the model with --model.")
                if isinstance(models, tuple):
                    values[name] = tuple(_model_file(model, weights, said) for model in models)
                else:
                    values[name] = _model_file(models, weights, said)
            return command(*arguments, **values)

        help_of_trust = "Run code in the model file, a SavedModel, and the file of --custom."
        decorated: Any = click.option("--trust", is_flag=True, cls=ClassifierOption, help=help_of_trust)(
            with_model_file
        )
        for key, (option, description, settings) in reversed(_OPTIONS.items()):
            decorated = click.option(option, f"classifier_{key}", cls=ClassifierOption, help=description, **settings)(
                decorated
            )
        return decorated

    return decorate


def dataset_options(description: str = "A name or path [default: what the model was trained on].") -> Any:
    """The options --dataset and --range; the command gets a ``Dataset`` in place of a name with --range."""

    def decorate(command: _Function) -> Any:
        @functools.wraps(command)
        def with_dataset(*arguments: Any, **values: Any) -> Any:
            value_range = values.pop("value_range")
            if value_range is not None:
                if values["dataset"] is None:
                    raise click.UsageError("--range says what the pixels of your arrays are. Name them with --dataset.")
                limit = values.get("samples")
                values["dataset"] = advlab.load_dataset(values["dataset"], limit=limit, value_range=value_range)
            return command(*arguments, **values)

        return click.option("--dataset", help=description, shell_complete=complete("datasets"))(
            range_option(with_dataset)
        )

    return decorate


range_option = click.option(
    "--range",
    "value_range",
    type=_Range(),
    metavar="LOW,HIGH",
    help="The pixels that are black and white in a .npz file: 0,255 or -1,1.",
)
size_type = _Size()


def complete(category: str = "") -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What a shell offers for a value: the names of a category, and files where none of them begins like that."""

    def offered(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if folder := ctx.find_root().params.get("workspace"):
            os.environ["ADVLAB_WORKSPACE"] = folder
        names = [name for name in (advlab.available(category) if category else ()) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]

    return offered


def parse_settings(settings: Sequence[str], function: Callable[..., Any]) -> dict[str, Any]:
    """The ``KEY=VALUE`` of --set as parameters for a function, whose own arguments are no parameters of a method."""
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE, such as --set steps=100. Got '{setting}'.")
        if key in inspect.signature(function).parameters:
            option = f"; use --{key.replace('_', '-')}" if key in ("norm", "epsilon", "seed", "target") else ""
            raise click.UsageError(f"--set takes parameters of the method, and '{key}' is none{option}.")
        parameters[key] = value
    return parameters


def _asked_for(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The model, or an error that names those there are."""
    if value is None and not ctx.resilient_parsing:
        names = ", ".join(sorted(advlab.available("models")))
        raise click.UsageError(f"Which model? Name it with --model: {names}, or the path of a file.")
    return value


def model_option(*names: str) -> Callable[[_Function], _Function]:
    """The option --model of a command that judges a classifier: nobody should read the numbers of another one."""
    description = "A name ('advlab list models') or a path; required."
    return click.option(
        "--model",
        *names,
        metavar="NAME|PATH",
        callback=_asked_for,
        help=description,
        shell_complete=complete("models"),
    )


passes_option = click.option(
    "--passes",
    type=click.IntRange(1),
    metavar="N",
    help="Average N passes at each query, for random models [default: 1].",
)
_STAND_INS = {"straight_through": "identity", "smoothed": "smoothed"}


def backward_options(command: _Function) -> _Function:
    """Layers whose gradient is taken from elsewhere: ``take_stand_ins`` reads what was given."""
    for name, description in {
        "--smoothed": "Follow the slopes of a layer that jumps or is flat, measured; repeatable.",
        "--straight-through": "Pass the gradient through a layer as if it changed nothing; repeatable.",
    }.items():
        command = click.option(name, multiple=True, metavar="LAYER", help=description)(command)
    return command


def take_stand_ins(options: dict[str, Any]) -> dict[str, str]:
    """Layer -> what stands in for its gradient, taken out of the options of a command."""
    return {layer: stand_in for option, stand_in in _STAND_INS.items() for layer in options.pop(option)}


def _tracked(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Where to track, once it is known to be there: before any work."""
    if value is not None:
        advlab.track([], value)
    return value


track_option = click.option(
    "--track", metavar="mlflow", callback=_tracked, help="Record numbers and findings as runs of MLflow."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines (docs/json.md).")
