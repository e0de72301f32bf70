"""The networks of the model zoo: each function returns an uncompiled ``keras.Model`` that ends in a softmax layer.

Those for texts of two classes end in one sigmoid unit.

The signature of a function is the schema of ``[architecture]`` in a recipe: ``name`` names the function and the other
keys are its keyword arguments. Every ``input_shape`` is ``(h, w)`` or ``(h, w, c)``; inputs are float32 in [0, 1] and
outputs are float32 probabilities. Layers have fixed names, so equal recipes give equal files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

from advlab.errors import InvalidValue, Mismatch, unknown
from advlab.text import SCALE

Shape = tuple[int, ...]


def mlp(
    input_shape: Shape,
    classes: int,
    *,
    hidden: Sequence[int],
    activation: str = "relu",
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    batch_normalization: bool = False,
    kernel_initializer: str | Mapping[str, Any] = "glorot_uniform",
) -> keras.Model:
    """Fully connected layers, each followed by dropout; no hidden layer makes it softmax regression.

    ``l1`` and ``l2`` penalise the kernels of the hidden layers (both: elastic net). ``batch_normalization`` acts before
    the activation. ``kernel_initializer`` applies to every layer: a Keras name, or ``{class_name, config}``.
    """
    layers: list[keras.layers.Layer] = [keras.layers.Flatten(name="flatten")]
    for number, units in enumerate(hidden, 1):
        layers.append(
            keras.layers.Dense(
                units,
                activation="linear" if batch_normalization else _activation(activation),
                kernel_initializer=_initializer(kernel_initializer),
                kernel_regularizer=keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
                name=f"hidden_{number}",
            )
        )
        if batch_normalization:
            layers.append(keras.layers.BatchNormalization(name=f"normalization_{number}"))
            layers.append(keras.layers.Activation(_activation(activation), name=f"activation_{number}"))
        layers += _dropout(dropout, number)
    layers.append(_probabilities(classes, kernel_initializer))
    return _model("mlp", _without_grey_channel(input_shape), layers)


def convnet(
    input_shape: Shape,
    classes: int,
    *,
    filters: Sequence[int],
    kernel_size: int = 3,
    pool_size: int = 2,
    stride: int = 1,
    padding: Literal["valid", "same"] = "valid",
    hidden: Sequence[int] = (),
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Model:
    """Convolutions, max-pooling between them (not after the last), dense layers ``hidden``, dropout, the softmax layer.

    ``pool_size`` 1 leaves the pooling out. Raises ``Mismatch`` where the images are too small for the convolutions.
    """
    shape = input_shape if len(input_shape) == 3 else (*input_shape, 1)
    _check_extent(min(shape[:2]), len(filters), kernel_size, pool_size, stride, padding)
    layers: list[keras.layers.Layer] = []
    for number, count in enumerate(filters, 1):
        if number > 1 and pool_size > 1:
            layers.append(keras.layers.MaxPooling2D(pool_size, name=f"pool_{number - 1}"))
        layers.append(
            keras.layers.Conv2D(
                count,
                kernel_size,
                strides=stride,
                padding=padding,
                activation=_activation(activation),
                name=f"convolution_{number}",
            )
        )
    layers.append(keras.layers.Flatten(name="flatten"))
    for number, units in enumerate(hidden, 1):
        layers.append(keras.layers.Dense(units, activation=_activation(activation), name=f"hidden_{number}"))
    layers += [*_dropout(dropout, 1), _probabilities(classes)]
    return _model("convnet", shape, layers)


def resnet(input_shape: Shape, classes: int, *, filters: Sequence[int], blocks: int = 1) -> keras.Model:
    """Stages of residual blocks (He et al. 2016, arXiv:1512.03385), then the mean over all positions and the softmax.

    ``filters`` has the channels of each stage, ``blocks`` how many blocks a stage has. A block adds two convolutions
    of 3 x 3, each with batch normalisation, to what it is given; the first of each later stage halves height and width,
    and a convolution of 1 x 1 brings what it is given to the same shape. Raises ``InvalidValue`` without filters.
    """
    if not filters:
        raise InvalidValue("filters must name the channels of at least one stage, such as [16, 32, 64]. Got [].")
    shape = input_shape if len(input_shape) == 3 else (*input_shape, 1)
    image = keras.Input(shape, name="image")
    x = _activated(_convolution(image, filters[0], "stem"), "stem_relu")
    for stage, count in enumerate(filters, 1):
        for block in range(1, blocks + 1):
            name, stride = f"stage_{stage}_block_{block}", 2 if stage > 1 and block == 1 else 1
            inner = _activated(_convolution(x, count, f"{name}_first", stride), f"{name}_first_relu")
            inner = _convolution(inner, count, f"{name}_second")
            if stride > 1 or x.shape[-1] != count:
                x = _convolution(x, count, f"{name}_shortcut", stride, size=1)
            x = _activated(keras.layers.Add(name=f"{name}_sum")([x, inner]), name)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, _probabilities(classes)(x), name="resnet")


def rnn(
    input_shape: Shape,
    classes: int,
    *,
    units: int,
    cell: Literal["simple", "lstm", "gru"] = "simple",
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """One recurrent layer that reads an image as ``h`` steps of ``w * c`` pixels; ``dropout`` acts on its inputs."""
    cells = {"simple": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    if cell not in cells:
        raise unknown("cell", cell, cells)
    layer = cells[cell](units, dropout=dropout, name="recurrent")
    if bidirectional:
        layer = keras.layers.Bidirectional(layer, name="bidirectional")
    shape = _without_grey_channel(input_shape)
    rows = [keras.layers.Reshape((shape[0], shape[1] * shape[2]), name="rows")] if len(shape) == 3 else []
    return _model("rnn", shape, [*rows, layer, _probabilities(classes)])


def _model(name: str, shape: Shape, layers: Sequence[keras.layers.Layer]) -> keras.Model:
    return keras.Sequential([keras.Input(shape, name="image"), *layers], name=name)


def _convolution(x: Any, filters: int, name: str, stride: int = 1, size: int = 3) -> Any:
    """A convolution that keeps height and width, or halves them, with batch normalisation."""
    x = keras.layers.Conv2D(filters, size, stride, padding="same", use_bias=False, name=f"{name}_convolution")(x)
    return keras.layers.BatchNormalization(name=f"{name}_normalization")(x)


def pooled_words(
    input_shape: Shape,
    classes: int,
    *,
    words: int,
    embedding: int,
    hidden: int,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
) -> keras.Model:
    """Texts: an embedding of ``words`` numbers, the maximum over all positions, a dense layer, one sigmoid unit."""
    layers = [
        *_embedded(input_shape, words, embedding, embedding_dropout),
        keras.layers.GlobalMaxPooling1D(name="maximum"),
        keras.layers.Dense(hidden, activation="relu", name="hidden"),
    ]
    return _model("pooled_words", input_shape, [*layers, *_dropout(dropout, 2), _two_classes(classes)])


def convolved_words(
    input_shape: Shape,
    classes: int,
    *,
    words: int,
    embedding: int,
    filters: int,
    kernel_size: int,
    hidden: int,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
) -> keras.Model:
    """Texts: as ``pooled_words``, with a convolution over ``kernel_size`` words before the maximum."""
    layers = [
        *_embedded(input_shape, words, embedding, embedding_dropout),
        keras.layers.Conv1D(filters, kernel_size, padding="same", activation="relu", name="convolution"),
        keras.layers.GlobalMaxPooling1D(name="maximum"),
        keras.layers.Dense(hidden, activation="relu", name="hidden"),
    ]
    return _model("convolved_words", input_shape, [*layers, *_dropout(dropout, 2), _two_classes(classes)])


def recurrent_words(
    input_shape: Shape,
    classes: int,
    *,
    words: int,
    embedding: int,
    units: int,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
) -> keras.Model:
    """Texts: an embedding of ``words`` numbers, an LSTM that reads them in order, one sigmoid unit."""
    layers = [*_embedded(input_shape, words, embedding, embedding_dropout), keras.layers.LSTM(units, name="recurrent")]
    return _model("recurrent_words", input_shape, [*layers, *_dropout(dropout, 2), _two_classes(classes)])


def _embedded(input_shape: Shape, words: int, embedding: int, dropout: float) -> list[keras.layers.Layer]:
    """From texts as ``advlab.text`` has them to vectors ``(l, embedding)``."""
    return [
        keras.layers.Rescaling(SCALE, name="numbers"),
        keras.layers.Reshape((input_shape[0] * input_shape[1],), name="positions"),
        keras.layers.Embedding(words, embedding, name="embedding"),
        *_dropout(dropout, 1),
    ]


def _two_classes(classes: int) -> keras.layers.Layer:
    if classes != 2:
        raise Mismatch(f"This network tells two classes apart, by one sigmoid unit. The data has {classes}.")
    return keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")


def _activated(x: Any, name: str) -> Any:
    return keras.layers.ReLU(name=name)(x)


def _without_grey_channel(shape: Shape) -> Shape:
    """``(h, w, 1)`` as ``(h, w)``: the shape in which books and tutorials feed grey images to dense layers."""
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def _dropout(rate: float, number: int) -> list[keras.layers.Layer]:
    return [keras.layers.Dropout(rate, name=f"dropout_{number}")] if rate else []


def _probabilities(classes: int, initializer: str | Mapping[str, Any] = "glorot_uniform") -> keras.layers.Layer:
    """Always in float32: in 16 bits, probabilities near 1 could not be distinguished."""
    return keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=_initializer(initializer),
        dtype="float32",
        name="probabilities",
    )


def _activation(name: str) -> Callable[..., Any]:
    functions = [key for key, value in vars(keras.activations).items() if key.islower() and inspect.isfunction(value)]
    names = sorted(set(functions) - {"deserialize", "get", "serialize"})
    if name not in names:
        raise unknown("activation", name, names)
    return keras.activations.get(name)


def _initializer(setting: str | Mapping[str, Any]) -> keras.initializers.Initializer:
    """A new initialiser for each layer: a shared one would give equal layers equal weights."""
    try:
        return keras.initializers.get(setting if isinstance(setting, str) else dict(setting))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"kernel_initializer must be a Keras initializer, such as 'glorot_uniform', or a table such as "
            f"{{ class_name = 'TruncatedNormal', config = {{ stddev = 1.0 }} }}. Got {setting!r}."
        ) from error


def _check_extent(extent: int, convolutions: int, kernel: int, pool: int, stride: int, padding: str) -> None:
    size = extent
    for number in range(convolutions):
        pooled = size // pool if number else size
        size = -(-pooled // stride) if padding == "same" else (pooled - kernel) // stride + 1
        if size < 1:
            raise Mismatch(
                f"Images of {extent} pixels are too small for {convolutions} convolutions of {kernel} pixels with "
                f"pooling by {pool}: nothing is left for convolution {number + 1}. Use fewer filters or larger images."
            )
