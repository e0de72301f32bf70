"""Opening a saved classifier, with all that may be said about its file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab import workspace
from advlab.data.loading import load_dataset
from advlab.declarations.recipes import load_recipe
from advlab.errors import unknown

if TYPE_CHECKING:
    import keras

    from advlab.classifiers.classifier import Classifier
    from advlab.classifiers.inputs import Numbers, Size
    from advlab.classifiers.settings import Settings

_PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class ModelFile(os.PathLike[str]):
    """A saved model that is opened when it is needed, and how: every function that takes a path of a model takes it.

    Attributes:
        name_or_path: ``fashion`` (produced in the workspace, else shipped), or the path of a file or SavedModel folder.
        trust: Allows code in the model file, a SavedModel, and the file of ``custom_objects`` to run.
        custom_objects: Your own layer classes and functions, by the names that the model file gives them, or the Python
            file that defines them, which is run only with ``trust``.
        architecture: For a file of weights alone: a Keras model, the name of a recipe or of a network of
            keras.applications (of the classes and size that are given, else of ImageNet's, fed as it documents), or the
            file that holds ``model.to_json()``; None: the JSON file beside the weights.
        scale: As in ``Classifier.from_keras``, and so are the following. What is None is taken from the settings beside
            the file (``Classifier.save_settings``), else from its model card.
        offset: See ``scale``.
        preprocess: See ``scale``.
        output: See ``scale``.
        output_layer: See ``scale``.
        resize: See ``scale``.
        class_names: The names, or a text file with one on each line.
    """

    name_or_path: _PathLike
    trust: bool = False
    custom_objects: Mapping[str, Any] | _PathLike | None = None
    architecture: keras.Model | _PathLike | None = None
    scale: Numbers | None = None
    offset: Numbers | None = None
    preprocess: str | None = None
    output: str | None = None
    output_layer: str | None = None
    resize: Size | None = None
    class_names: Sequence[str] | _PathLike | None = None

    def __fspath__(self) -> str:
        return os.fspath(self.name_or_path)

    def __str__(self) -> str:
        return os.fspath(self.name_or_path)

    @property
    def settings(self) -> Settings:
        """How the model is fed and read, as far as it is said here."""
        from advlab.classifiers.settings import Settings, read_class_names

        names = self.class_names
        if isinstance(names, str | os.PathLike):
            names = read_class_names(names)
        return Settings(self.scale, self.offset, self.preprocess, self.output, self.output_layer, self.resize, names)

    def over(self, recorded: Settings) -> ModelFile:
        """This file, fed and read as ``recorded`` where nothing is said here."""
        merged = vars(self.settings.over(recorded))
        return replace(self, class_names=merged.pop("classes"), **merged)

    def load(self) -> Classifier:
        """The classifier; raises ``UnknownName`` with the nearest name, ``InvalidFile`` or ``InvalidValue``."""
        path = workspace.find_weights(str(self))

        from advlab.classifiers.classifier import Classifier
        from advlab.classifiers.custom_objects import read_custom_objects
        from advlab.classifiers.settings import read_settings

        settings = self.settings
        if self.architecture is not None:
            settings = settings.over(read_settings(path))
        network, usual = _network(self.architecture, settings)
        custom = self.custom_objects
        if isinstance(custom, str | os.PathLike):
            custom = read_custom_objects(custom, self.trust)
        classifier = Classifier.load(
            path,
            self.trust,
            custom_objects=custom,
            architecture=network,
            settings=settings if usual is None else settings.over(usual),
        )
        classifier.source = str(self)
        return classifier


def load_classifier(
    name_or_path: _PathLike,
    *,
    trust: bool = False,
    custom_objects: Mapping[str, Any] | _PathLike | None = None,
    architecture: keras.Model | _PathLike | None = None,
    scale: Numbers | None = None,
    offset: Numbers | None = None,
    preprocess: str | None = None,
    output: str | None = None,
    output_layer: str | None = None,
    resize: Size | None = None,
    class_names: Sequence[str] | _PathLike | None = None,
) -> Classifier:
    """A saved classifier by name (``fashion``: produced in the workspace, else shipped) or by path.

    The arguments are those of ``ModelFile``, which may be given itself. Raises ``UnknownName`` with the nearest name,
    ``InvalidFile`` or ``InvalidValue``.
    """
    options: dict[str, Any] = {
        "trust": trust,
        "custom_objects": custom_objects,
        "architecture": architecture,
        "scale": scale,
        "offset": offset,
        "preprocess": preprocess,
        "output": output,
        "output_layer": output_layer,
        "resize": resize,
        "class_names": class_names,
    }
    said = {key: value for key, value in options.items() if value is not None and value is not False}
    if isinstance(name_or_path, ModelFile):
        return replace(name_or_path, **said).load()
    return ModelFile(name_or_path, **said).load()


def _network(
    source: keras.Model | _PathLike | None, settings: Settings
) -> tuple[keras.Model | Path | None, Settings | None]:
    """The network of a recipe for images like those of its data set, or of keras.applications, and how that is fed.

    A model or a JSON file is returned as it is.
    """
    if not isinstance(source, str | os.PathLike):
        return source, None
    name = os.fspath(source)
    if Path(name).suffix == ".json":
        return Path(name), None
    if name in workspace.recipes() or workspace.looks_like_path(name):
        from advlab.training.train import build

        recipe = load_recipe(name)
        return build(recipe, load_dataset(recipe.dataset, limit=1)), None

    from advlab.classifiers.applications import application_settings, build_application, find_application

    function = find_application(name)
    if function is None:
        hint = "Or one of keras.applications, such as mobilenet_v2, or the JSON file that holds model.to_json()."
        raise unknown("architecture", name, workspace.recipes(), hint)
    classes = None if settings.classes is None else len(settings.classes)
    return build_application(function, classes, settings.resize), application_settings(function)
