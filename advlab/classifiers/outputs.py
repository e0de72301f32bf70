"""Which output of a Keras model holds the scores of the classes; what is not a classifier is refused by name."""

from __future__ import annotations

from typing import Any

import keras

from advlab.errors import InvalidValue, unknown

# Losses of models that predict a quantity, as Keras names them, lower case and without underscores.
_REGRESSION_LOSSES = {
    *("mse", "meansquarederror", "mae", "meanabsoluteerror", "huber", "huberloss", "logcosh", "cosinesimilarity"),
    *("mape", "meanabsolutepercentageerror", "msle", "meansquaredlogarithmicerror"),
}


def select_output(model: keras.Model, name: str, output_layer: str | None = None) -> keras.Model:
    """The model from its image to its class scores ``(n, k)`` or ``(n, 1, 1, k)``.

    ``output_layer`` names a layer, or an output of several; None takes the only output. Raises ``InvalidValue`` for a
    model with several inputs or outputs, and for outputs that are maps or sequences; ``UnknownName`` for a layer that
    the model does not have.
    """
    if len(model.inputs) != 1:
        listed = ", ".join(f"'{tensor.name}' {_shape(tensor)}" for tensor in model.inputs)
        raise InvalidValue(
            f"Model '{name}' has {len(model.inputs)} inputs: {listed}. A classifier takes one, the image: make a "
            "model of it in which the others are constants."
        )
    if output_layer is not None:
        model = keras.Model(model.inputs[0], _tensor(model, output_layer))
    if len(model.outputs) != 1:
        listed = ", ".join(
            f"'{output}' {_shape(t)}" for output, t in zip(output_names(model), model.outputs, strict=True)
        )
        raise InvalidValue(
            f"Model '{name}' has {len(model.outputs)} outputs: {listed}. Name the one that scores the classes: "
            f"--output-layer {output_names(model)[0]} (output_layer= in Python)."
        )
    (output,), shape = output_names(model), tuple(model.outputs[0].shape[1:])
    if not shape or shape[-1] is None or any(size != 1 for size in shape[:-1]):
        raise InvalidValue(
            f"Output '{output}' of model '{name}' has the shape {shape} for one image: {_description(shape)}. A "
            "classifier outputs one number for each class. Name another layer with --output-layer (output_layer= in "
            "Python), or add a GlobalAveragePooling2D or Flatten layer."
        )
    return model


def output_names(model: keras.Model) -> list[str]:
    """The name of the layer behind each output."""
    return [tensor._keras_history.operation.name for tensor in model.outputs]


def refuse_regression(model: keras.Model, name: str, loss: str) -> None:
    """Raise ``InvalidValue`` for one linear unit that was trained to predict a quantity."""
    if loss.lower().replace("_", "") in _REGRESSION_LOSSES:
        (output,) = output_names(model)
        raise InvalidValue(
            f"Output '{output}' of model '{name}' is one linear unit trained with the loss {loss}: a regression. "
            "If it decides between two classes, say how: --output-type probability (labels 0 and 1) or score (labels "
            "-1 and 1); output= in Python."
        )


def loss_name(loss: Any) -> str:
    """The name of a loss as Keras configures it: a string, a function, an object, or a saved one of these."""
    if isinstance(loss, dict):
        loss = loss.get("class_name") if loss.get("class_name") != "function" else loss.get("config")
    if isinstance(loss, str) or loss is None:
        return loss or ""
    return str(getattr(loss, "__name__", type(loss).__name__))


def _tensor(model: keras.Model, output_layer: str) -> Any:
    names = output_names(model)
    if output_layer in names:
        return model.outputs[names.index(output_layer)]
    layers = {operation.name: operation for operation in getattr(model, "operations", model.layers)}
    if output_layer not in layers:
        raise unknown("layer", output_layer, layers)
    return layers[output_layer].output


def _description(shape: tuple[int | None, ...]) -> str:
    if len(shape) == 3:
        return "a map with a prediction for each position, as of a segmentation or detection"
    return "a sequence of predictions" if len(shape) == 2 else "no list of classes"


def _shape(tensor: Any) -> str:
    return " x ".join("?" if size is None else str(size) for size in tensor.shape[1:]) or "()"
