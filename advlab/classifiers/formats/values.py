"""Settings of layers: activations, initialisers, regularisers, constraints and types, as Keras 3 takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from advlab.classifiers.formats.config import is_foreign, plain
from advlab.errors import InvalidFile

# What Keras raises on settings, shapes or weights that do not fit, and what embedded code raises that cannot run here.
FAILURES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)
_HELPERS = {
    "_initializer": keras.initializers,
    "_regularizer": keras.regularizers,
    "_constraint": keras.constraints,
}
DEFAULT = object()


def keras2_hard_sigmoid(x: Any) -> Any:
    """The hard sigmoid of Keras 1 and 2, ``clip(0.2 x + 0.5, 0, 1)``; Keras 3 has the slope 1/6 under the same name."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def activation(value: Any, layer: str, generation: int, own: Callable[[str], Any]) -> Any:
    """The function that a setting of ``layer`` names, of Keras or found by ``own``; else raises ``InvalidFile``."""
    if isinstance(value, Mapping) and value.get("class_name") == "function":
        function = value.get("config")
        value = value if is_foreign(value) and not callable(own(str(function))) else function
    if value is None:
        return None
    if isinstance(value, str) and callable(own(value)):
        return own(value)
    if value == "keras2_hard_sigmoid" or (value == "hard_sigmoid" and generation < 3):
        return keras2_hard_sigmoid
    if isinstance(value, str):
        # TensorFlow 2.x saved tf.nn.softmax under its internal name softmax_v2.
        for candidate in (value, value.removesuffix("_v2")):
            function = getattr(keras.activations, candidate, None)
            if inspect.isfunction(function) and candidate not in ("get", "serialize", "deserialize"):
                return function
        raise InvalidFile(
            f"layer '{layer}' has the activation '{value[:60]}', which is not one of Keras {keras.__version__}. Give "
            f"its Python file: --custom FILE.py --trust (in Python custom_objects={{'{value[:60]}': function}})."
        )
    raise InvalidFile(
        f"layer '{layer}' has the activation {str(value)[:60]!r}, which is not one of Keras. Build the model in "
        "Python with your own code, load its weights there, and use advlab.Classifier.from_keras(model)."
    )


def helper(key: str, value: Any) -> Any:
    """The initialiser, regulariser or constraint for the setting ``key``, None, or ``DEFAULT``.

    None of them changes a prediction of a trained model, so what Keras 3 does not have becomes the default.
    """
    namespace = _HELPERS["_" + key.rpartition("_")[2]]
    if value is None:
        return None
    class_name: Any = value
    settings: Any = {}
    if isinstance(value, Mapping) and not is_foreign(value):
        class_name, settings = value.get("class_name"), value.get("config")
    cls = getattr(namespace, class_name, None) if isinstance(class_name, str) else None
    if not isinstance(cls, type) or not isinstance(settings, Mapping):
        return DEFAULT
    try:
        return cls(**{key: plain(setting) for key, setting in settings.items() if key in accepted(cls)})
    except (*FAILURES, InvalidFile):
        return DEFAULT


def is_helper(key: str) -> bool:
    """Whether a setting holds an initialiser, regulariser or constraint."""
    return key.endswith(tuple(_HELPERS))


def accepted(cls: Any) -> set[str]:
    """The settings that a class takes: its own parameters, and its parents' as far as it passes them on."""
    names: set[str] = set()
    for parent in cls.__mro__[:-1]:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def dtype(value: Any) -> str | None:
    """The name of a type or of a mixed-precision policy."""
    if isinstance(value, Mapping):
        config = value.get("config")
        value = config.get("name") if isinstance(config, Mapping) else None
    return value if isinstance(value, str) and not value.endswith("infer") else None
