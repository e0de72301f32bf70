"""Every layer and operation that this Keras can save comes back from ``.h5`` and ``.keras`` with the same outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from legacy_files import sequential, write_old

from advlab.classifiers import files
from advlab.classifiers.formats import operations
from advlab.errors import InvalidFile, InvalidValue

X = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 4, 3)).astype("float32")

# Operations


def functions() -> dict[str, Any]:
    named = {**vars(ops.image), **vars(ops.linalg), **vars(ops.nn), **vars(ops.numpy), **vars(ops)}
    return {name: f for name, f in sorted(named.items()) if inspect.isfunction(f)}


def flat(x):
    return ops.reshape(x, (-1, 48))


def ints(x):
    return ops.cast(10 * x, "int32")


def square(x):
    """Symmetric positive definite matrices."""
    return ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))) + ops.eye(4)


# The first of these that an operation takes, unless it has a call of its own below.
USUAL_CALLS: list[Callable[[Any, Any], Any]] = [
    lambda f, x: f(x),
    lambda f, x: f(x, x),
    lambda f, x: f([x, x]),
    lambda f, x: f(x, 1),
    lambda f, x: f(x, (1, 2)),
    lambda f, x: f(ints(x)),
    lambda f, x: f(ints(x), ints(x)),
]
OF_INTEGERS = ("bitwise_", "left_shift", "right_shift", "gcd", "lcm")
CALLS: dict[str, Callable[[Any], Any]] = {
    "adaptive_average_pool": lambda x: ops.adaptive_average_pool(x, (2, 2)),
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, (2, 2)),
    "affine_transform": lambda x: ops.image.affine_transform(x, np.float32([[1, 0, 1, 0, 1, 0, 0, 0]] * 2)),
    "batch_normalization": lambda x: ops.batch_normalization(x, np.ones(3, "float32"), np.ones(3, "float32"), -1),
    "bincount": lambda x: ops.bincount(ints(flat(x)), minlength=10),
    "broadcast_to": lambda x: ops.broadcast_to(x[0], (2, 4, 4, 3)),
    "cast": lambda x: ops.cast(x, "float16"),
    "cholesky": lambda x: ops.cholesky(square(x)),
    "cholesky_inverse": lambda x: ops.cholesky_inverse(ops.cholesky(square(x))),
    "conv": lambda x: ops.conv(x, np.ones((2, 2, 3, 5), "float32"), 1, "same"),
    "clip": lambda x: ops.clip(x, 0.2, 0.7),
    "corrcoef": lambda x: ops.corrcoef(flat(x)),
    "correlate": lambda x: ops.correlate(x[0, 0, 0], x[1, 0, 0]),
    "crop_images": lambda x: ops.image.crop_images(x, 1, 1, target_height=2, target_width=2),
    "ctc_decode": lambda x: ops.ctc_decode(x[:, 0], np.int32([4, 4])),
    "ctc_loss": lambda x: ops.ctc_loss(
        ints(x)[:, 0, 0, :1] // 5 + 1, x[:, 0], ints(x)[:, 0, 0, 0] // 10 + 1, ints(x)[:, 0, 0, 0] // 10 + 4
    ),
    "depth_to_space": lambda x: ops.depth_to_space(ops.tile(x, (1, 1, 1, 4)), 2),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, np.ones((2, 2, 3, 1), "float32")),
    "det": lambda x: ops.det(square(x)),
    "diag": lambda x: ops.diag(flat(x)[0]),
    "digitize": lambda x: ops.digitize(x, np.float32([0.2, 0.5])),
    "eig": lambda x: ops.abs(ops.eig(square(x))[0]),
    "eigh": lambda x: ops.eigh(square(x))[0],
    "dot_product_attention": lambda x: ops.dot_product_attention(x, 2 * x, 3 * x),
    "einsum": lambda x: ops.einsum("bijc,bkjc->bik", x, x),
    "elastic_transform": lambda x: ops.image.elastic_transform(x, alpha=0.0, seed=1),
    "extract_patches": lambda x: ops.image.extract_patches(x, 2),
    "extract_sequences": lambda x: ops.extract_sequences(flat(x), 8, 4),
    "fold": lambda x: ops.fold(ops.reshape(x, (-1, 12, 4)), 4, 2, stride=2),
    "gaussian_blur": lambda x: ops.image.gaussian_blur(x),
    "in_top_k": lambda x: ops.in_top_k(np.int32([1, 2]), flat(x), 5),
    "inv": lambda x: ops.inv(square(x)),
    "istft": lambda x: ops.istft(ops.stft(flat(x), 16, 8, 16), 16, 8, 16),
    "irfft": lambda x: ops.irfft(ops.rfft(flat(x))),
    "ldexp": lambda x: ops.ldexp(x, ints(x)),
    "kron": lambda x: ops.kron(x[0, 0], x[1, 0]),
    "logdet": lambda x: ops.logdet(square(x)),
    "lstsq": lambda x: ops.lstsq(square(x)[0, 0], x[0, 0]),
    "lu_factor": lambda x: ops.lu_factor(square(x)[0, 0]),
    "matmul": lambda x: ops.matmul(square(x), x),
    "relu with a threshold": lambda x: keras.activations.relu(x, 0.1, 0.7, 0.2),
    "fake_quant": lambda x: keras.quantizers.fake_quant_with_min_max_vars(x, 0.0, 1.0),
    "moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "norm": lambda x: ops.norm(x, axis=-1),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))),
    "pad_images": lambda x: ops.image.pad_images(x, 1, 1, target_height=6, target_width=6),
    "perspective_transform": lambda x: ops.image.perspective_transform(
        x, np.float32([[[0, 0], [0, 3], [3, 0], [3, 3]]] * 2), np.float32([[[0, 1], [0, 3], [3, 0], [3, 3]]] * 2)
    ),
    "map_coordinates": lambda x: ops.image.map_coordinates(x[0, ..., 0], np.float32([[0.5, 1], [1, 2]]), 1),
    "psnr": lambda x: ops.psnr(x, 1 - x, 1.0),
    "rearrange": lambda x: ops.rearrange(x[0], "h w c -> (h w) c"),
    "reshape": lambda x: ops.reshape(x, (-1, 2, 24)),
    "resize": lambda x: ops.image.resize(x, (6, 5)),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "saturate_cast": lambda x: ops.saturate_cast(300 * x, "uint8"),
    "scale_and_translate": lambda x: ops.image.scale_and_translate(
        x, (2, 6, 6, 3), np.float32([1.5, 1.5]), np.float32([0, 0]), (1, 2), "linear"
    ),
    "scatter": lambda x: ops.scatter(np.int32([[0], [2]]), x[:, 0, 0, 0], (4,)),
    "scatter_update": lambda x: ops.scatter_update(x, np.int32([[0, 0, 0, 0]]), np.float32([5])),
    "searchsorted": lambda x: ops.searchsorted(np.float32([0.2, 0.5]), x[0, 0, 0]),
    "segment_max": lambda x: ops.segment_max(x, np.int32([0, 0]), 1),
    "segment_min": lambda x: ops.segment_min(x, np.int32([0, 0]), 1),
    "segment_prod": lambda x: ops.segment_prod(x, np.int32([0, 0]), 1),
    "segment_sum": lambda x: ops.segment_sum(x, np.int32([0, 1]), 2),
    "select": lambda x: ops.select([x > 0.5, x > 0.2], [x, 2 * x]),
    "separable_conv": lambda x: ops.separable_conv(
        x, np.ones((2, 2, 3, 1), "float32"), np.ones((1, 1, 3, 2), "float32")
    ),
    "slice": lambda x: ops.slice(x, (0, 1, 1, 0), (2, 2, 2, 3)),
    "slice_update": lambda x: ops.slice_update(x, (0, 1, 1, 0), np.ones((1, 2, 2, 3), "float32")),
    "slogdet": lambda x: ops.slogdet(square(x)),
    "solve": lambda x: ops.solve(square(x), x),
    "solve_triangular": lambda x: ops.solve_triangular(ops.cholesky(square(x)), x, lower=True),
    "space_to_depth": lambda x: ops.space_to_depth(x, 2),
    "sparse_categorical_crossentropy": lambda x: ops.sparse_categorical_crossentropy(
        ints(x)[:, 0, 0, 0], ops.softmax(flat(x))
    ),
    "ssim": lambda x: ops.image.ssim(x, 1 - x, 1.0, filter_size=3),
    "stft": lambda x: ops.stft(flat(x), 16, 8, 16),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "take": lambda x: ops.take(x, [0, 2], axis=-1),
    "take_along_axis": lambda x: ops.take_along_axis(x, ints(x) % 3, -1),
    "tensordot": lambda x: ops.tensordot(x, x, axes=[[0, 1], [0, 1]]),
    "threshold": lambda x: ops.threshold(x, 0.5, 0.0),
    "unstack": lambda x: ops.unstack(x, axis=1),
    "vander": lambda x: ops.vander(flat(x)[0], 3),
    "x[:, 1:3, ::2]": lambda x: x[:, 1:3, ::2],
    "x[..., 0]": lambda x: x[..., 0],
    "x[0]": lambda x: x[0],
    "x[:, None]": lambda x: x[:, None],
    "x - array": lambda x: (x - np.float32([0.1, 0.2, 0.3])) / np.float32([1, 2, 3]),
    "1 - x": lambda x: 1 - x,
    "x + x, twice": lambda x: x + (x + x),
}
# Not called with the output of a layer, so no model contains them.
WITHOUT_SYMBOLIC_CALL = {
    *("arange", "bartlett", "blackman", "convert_to_numpy", "dtype", "empty", "eye", "full", "hamming", "hanning"),
    *("identity", "is_tensor", "kaiser", "ones", "shape", "tri", "zeros"),
}
# These take Python functions, whose code no model file holds.
OF_FUNCTIONS = {
    *("associative_scan", "cond", "custom_gradient", "fori_loop", "jvp", "map", "scan", "switch", "vectorize"),
    *("vectorized_map", "while_loop", "grad", "value_and_grad", "vjp"),
}
# These fail when a model with them runs on TensorFlow.
BROKEN_IN_KERAS = {"argpartition", "conv_transpose", "histogram", "view_as_complex"}
# Keras writes them into .keras files but does not read them.
ONLY_AS_HDF5 = {"adaptive_average_pool", "adaptive_max_pool"}
OPERATIONS = sorted((functions().keys() | CALLS.keys()) - WITHOUT_SYMBOLIC_CALL - OF_FUNCTIONS - BROKEN_IN_KERAS)


def applied(name: str) -> keras.Model:
    """A model that is one operation."""
    x = keras.Input(X.shape[1:])
    calls = [lambda _, x: CALLS[name](x)] if name in CALLS else USUAL_CALLS
    if name.startswith(OF_INTEGERS):
        calls = USUAL_CALLS[-2:]
    errors = []
    for call in calls:
        try:
            outputs = keras.tree.flatten(call(functions().get(name), x))
            return keras.Model(x, outputs[0] if len(outputs) == 1 else outputs)
        except Exception as error:  # noqa: BLE001  Keras raises whatever it likes for arguments that do not fit
            errors.append(error)
    raise errors[0]


def outputs(model: keras.Model, x: np.ndarray = X) -> list[np.ndarray]:
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_comes_back(name, tmp_path):
    model = applied(name)
    for suffix in (".h5", ".keras"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        if suffix == ".keras" and name in ONLY_AS_HDF5:
            with pytest.raises(InvalidFile, match=r"save it there as \.h5"):
                files.read_model(path)
            continue
        for expected, found in zip(outputs(model), outputs(files.read_model(path)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_no_operation_of_this_keras_is_left_out():
    tested = {
        type(operation).__name__
        for name in OPERATIONS
        for operation in applied(name).operations
        if not isinstance(operation, keras.Layer)
    }
    of_no_model = {
        *("Abs", "Conj", "SegmentReduction"),  # other names and the parent of classes that are tested
        *("Arange", "Full", "Mish"),  # take no output of a layer
        *("Argpartition", "ConvTranspose", "Histogram", "ViewAsComplex"),  # BROKEN_IN_KERAS
    }
    assert operations.classes().keys() == tested | of_no_model


# Layers

IMAGE, SEQUENCE, VECTOR, VOLUME = (4, 4, 3), (4, 3), (5,), (4, 4, 4, 3)


def normalization() -> keras.Layer:
    layer = layers.Normalization()
    layer.adapt(X)
    return layer


def small_net() -> keras.Model:
    return keras.Sequential([keras.Input(SEQUENCE), layers.Flatten(), layers.Dense(2)])


# How a layer is made, and the shape of its input (a list: of its inputs), where the usual ways below do not do.
LAYERS: dict[str, tuple[Callable[[], keras.Layer], Any]] = {
    "Activation": (lambda: layers.Activation("gelu"), IMAGE),
    "Activation of a function with settings": (lambda: layers.Activation(layers.LeakyReLU(0.3)), IMAGE),
    "AdaptiveAveragePooling1D": (lambda: layers.AdaptiveAveragePooling1D(2), SEQUENCE),
    "AdaptiveAveragePooling2D": (lambda: layers.AdaptiveAveragePooling2D((2, 1)), IMAGE),
    "AdaptiveAveragePooling3D": (lambda: layers.AdaptiveAveragePooling3D(2), VOLUME),
    "AdaptiveMaxPooling1D": (lambda: layers.AdaptiveMaxPooling1D(2), SEQUENCE),
    "AdaptiveMaxPooling2D": (lambda: layers.AdaptiveMaxPooling2D(2), IMAGE),
    "AdaptiveMaxPooling3D": (lambda: layers.AdaptiveMaxPooling3D(2), VOLUME),
    "AdditiveAttention": (layers.AdditiveAttention, [SEQUENCE, SEQUENCE]),
    "Attention": (lambda: layers.Attention(use_scale=True), [SEQUENCE, SEQUENCE]),
    "Bidirectional": (lambda: layers.Bidirectional(layers.LSTM(2)), SEQUENCE),
    "Bidirectional of two layers": (
        lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.GRU(2, go_backwards=True)),
        SEQUENCE,
    ),
    "CategoryEncoding": (lambda: layers.CategoryEncoding(4), VECTOR),
    "CenterCrop": (lambda: layers.CenterCrop(2, 2), IMAGE),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 2), IMAGE),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 2), VOLUME),
    "ConvLSTM3D": (lambda: layers.ConvLSTM3D(2, 2), (4, *VOLUME)),
    "Discretization": (lambda: layers.Discretization([0.2, 0.5]), IMAGE),
    "Dot": (lambda: layers.Dot(axes=1), [VECTOR, VECTOR]),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d"), SEQUENCE),
    "Embedding": (lambda: layers.Embedding(10, 3), VECTOR),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.1), IMAGE),
    "GroupNormalization": (lambda: layers.GroupNormalization(groups=3), IMAGE),
    "GroupQueryAttention": (lambda: layers.GroupQueryAttention(3, 4, 2), [SEQUENCE, SEQUENCE]),
    "Lambda": (lambda: layers.Lambda(lambda x: 2 * x), IMAGE),
    "MelSpectrogram": (lambda: layers.MelSpectrogram(fft_length=16, sequence_stride=4, num_mel_bins=4), (64,)),
    "MultiHeadAttention": (lambda: layers.MultiHeadAttention(2, 3), [SEQUENCE, SEQUENCE]),
    "Normalization": (normalization, IMAGE),
    "Normalization with given numbers": (lambda: layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 2, 3]), IMAGE),
    "Permute": (lambda: layers.Permute((2, 1, 3)), IMAGE),
    "Pipeline": (lambda: layers.Pipeline([layers.Rescaling(2.0), layers.RandomFlip()]), IMAGE),
    "RNN": (lambda: layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)]), SEQUENCE),
    "RandomColorDegeneration": (lambda: layers.RandomColorDegeneration(0.5), IMAGE),
    "RandomCrop": (lambda: layers.RandomCrop(3, 3), IMAGE),
    "RandomPosterization": (lambda: layers.RandomPosterization(8), IMAGE),
    "RandomTranslation": (lambda: layers.RandomTranslation(0.1, 0.1), IMAGE),
    "RandomZoom": (lambda: layers.RandomZoom(0.1), IMAGE),
    "RepeatVector": (lambda: layers.RepeatVector(3), VECTOR),
    "Rescaling": (lambda: layers.Rescaling(1 / 255, offset=[-1.0, -2.0, -3.0]), IMAGE),
    "ReversibleEmbedding": (lambda: layers.ReversibleEmbedding(10, 3), VECTOR),
    "Reshape": (lambda: layers.Reshape((-1, 6)), IMAGE),
    "Resizing": (lambda: layers.Resizing(6, 6), IMAGE),
    "STFTSpectrogram": (lambda: layers.STFTSpectrogram(frame_length=16, frame_step=4, fft_length=16), (64, 1)),
    "SimpleRNN": (lambda: layers.SimpleRNN(3, return_sequences=True, go_backwards=True), SEQUENCE),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Conv2D(2, 2)), IMAGE),
    "StackedRNNCells": (lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(2)])), SEQUENCE),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(2)), SEQUENCE),
    "TimeDistributed over a model": (lambda: layers.TimeDistributed(small_net()), IMAGE),
    "UpSampling2D": (lambda: layers.UpSampling2D(interpolation="bilinear"), IMAGE),
    "a layer in half precision": (lambda: layers.Dense(3, dtype="mixed_bfloat16"), VECTOR),
}
# The first of these that a layer takes.
USUAL_SETTINGS: list[dict[str, Any]] = [
    {},
    {"units": 3},
    {"filters": 3, "kernel_size": 2},
    {"kernel_size": 2},
    {"pool_size": 2},
    {"rate": 0.5},
    {"stddev": 0.1},
    {"factor": 0.2},
]
USUAL_SHAPES: list[Any] = [IMAGE, SEQUENCE, VECTOR, VOLUME, [IMAGE, IMAGE]]
REFUSED = {
    **dict.fromkeys(("StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing", "Hashing"), "text"),
    **dict.fromkeys(("TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"), "--trust"),
}
# Parents of others, cells, a layer that takes boxes, and one that Keras cannot put into a functional model.
NOT_ALONE = {
    *("InputLayer", "Layer", "Wrapper", "GRUCell", "LSTMCell", "SimpleRNNCell", "MaxNumBoundingBoxes", "Equalization"),
}
# Keras does not write them into HDF5 files.
ONLY_AS_KERAS = {
    *("RandomBrightness", "RandomColorDegeneration", "RandomPosterization", "RandomSaturation", "RandomSharpness"),
    "Solarization",
}


def is_layer(cls: object) -> bool:
    return inspect.isclass(cls) and issubclass(cls, keras.Layer)


NAMES = sorted({name for name, cls in vars(layers).items() if is_layer(cls)} | LAYERS.keys())


def with_layer(name: str) -> keras.Model:
    """A model that is one layer, with random weights."""
    errors = []
    cls = getattr(layers, name, None)
    made = [(lambda s=settings: cls(**s), shape) for settings in USUAL_SETTINGS for shape in USUAL_SHAPES]
    for make, shape in [LAYERS[name]] if name in LAYERS else made:
        try:
            inputs = [keras.Input(s) for s in shape] if isinstance(shape, list) else keras.Input(shape)
            model = keras.Model(inputs, make()(inputs) if name not in OF_TWO else make()(*inputs))
        except Exception as error:  # noqa: BLE001  Keras raises whatever it likes for settings that do not fit
            errors.append(error)
            continue
        if name == "Normalization":
            return model  # its weights are not what it computes with until it is told so
        draw = np.random.default_rng(0)
        model.set_weights([draw.uniform(0.1, 1, w.shape).astype(w.dtype) for w in model.get_weights()])
        return model
    raise errors[0]


OF_TWO = {"MultiHeadAttention", "GroupQueryAttention"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSED.keys() | NOT_ALONE])
def test_a_layer_comes_back(name, tmp_path):
    model = with_layer(name)
    draw = np.random.default_rng(1)
    x = [draw.random((2, *tensor.shape[1:]), dtype="float32") for tensor in model.inputs]
    x = x[0] if len(x) == 1 else x
    for suffix in (".h5", ".keras"):
        path = tmp_path / f"model{suffix}"
        if suffix == ".h5" and name in ONLY_AS_KERAS:
            with pytest.raises(InvalidValue, match=r"end in \.keras|model\.keras"):
                files.write_model(model, path, {})
            continue
        model.save(path)
        found = outputs(files.read_model(path, trust=name == "Lambda"), x)
        for expected, output in zip(outputs(model, x), found, strict=True):
            np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_are_not_for_images_or_run_code_are_refused_for_what_they_are(name, tmp_path):
    layer = {"class_name": name, "config": {"name": "the_layer", "batch_input_shape": [None, 4]}}
    path = write_old(tmp_path / "m.h5", sequential([layer]), {}, "3.4.0")
    with pytest.raises(InvalidFile, match=rf"'the_layer' \({name}\).*{REFUSED[name]}"):
        files.read_model(path)
