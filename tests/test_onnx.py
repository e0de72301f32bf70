"""ONNX networks and VNN-LIB properties, which verifiers exchange; the files are written here, by ONNX's own helpers."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import advlab
from advlab.classifiers.files import read_model
from advlab.cli import main
from advlab.declarations.vnnlib import load_property
from advlab.errors import InvalidFile, InvalidValue, Mismatch


def constant(name, *shape):
    seed = sum(name.encode())
    return numpy_helper.from_array(np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def network(path, input_shape, nodes, constants, classes=3):
    """Write a network whose nodes follow one another: ``(operation, constants, settings)``."""
    made, before = [], "X"
    for number, (operation, given, settings) in enumerate(nodes):
        after = "Y" if number == len(nodes) - 1 else f"t{number}"
        made.append(helper.make_node(operation, [before, *given], [after], f"n{number}", **settings))
        before = after
    image = helper.make_tensor_value_info("X", TensorProto.FLOAT, input_shape)
    logits = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", classes])
    graph = helper.make_graph(made, "net", [image], [logits], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    return path


GEMM = ("Gemm", ["w", "b"], {"transB": 1})
CONV = ("Conv", ["k", "kb"], {"strides": [2, 2], "pads": [1, 1, 1, 1]})
NORM = [constant("s", 2), constant("t", 2), constant("m", 2), numpy_helper.from_array(np.ones(2, np.float32), "v")]
NETWORKS = {
    "dense": ([1, 6, 1], [("Flatten", [], {}), GEMM, ("Relu", [], {}), ("Gemm", ["w2"], {})], [("w2", 4, 3)], (4, 6)),
    "products and sums": (
        ["n", 6],
        [("Sub", ["o"], {}), ("Div", ["d"], {}), ("MatMul", ["m6"], {}), ("Add", ["b4"], {}), ("Tanh", [], {}), GEMM],
        [("o", 1), ("d", 6), ("m6", 6, 4), ("b4", 4)],
        (3, 4),
    ),
    "convolution": (
        [1, 2, 7, 5],
        [CONV, ("LeakyRelu", [], {"alpha": 0.2}), ("Reshape", ["flat"], {}), GEMM],
        [("k", 2, 2, 3, 3), ("kb", 2)],
        (3, 2 * 4 * 3),
    ),
    "pooling": (
        ["n", 2, 6, 6],
        [
            ("Mul", ["c"], {}),
            ("BatchNormalization", ["s", "t", "m", "v"], {}),
            ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Sigmoid", [], {}),
            ("AveragePool", [], {"kernel_shape": [2, 2]}),
            ("Dropout", [], {}),
            ("Flatten", [], {}),
            GEMM,
        ],
        [("c", 2, 1, 1)],
        (3, 2 * 2 * 2),
    ),
    "scores of channels": (
        [1, 1, 4, 4],
        [
            ("Conv", ["k3"], {"group": 1}),
            ("GlobalAveragePool", [], {}),
            ("Reshape", ["flat"], {}),
            ("Identity", [], {}),
        ],
        [("k3", 3, 1, 3, 3)],
        (3, 3),
    ),
}


@pytest.fixture(params=NETWORKS)
def net(request, tmp_path):
    shape, nodes, constants, kernel = NETWORKS[request.param]
    made = [constant(*one) for one in constants] + [
        constant("w", *kernel),
        constant("b", kernel[0]),
        ints("flat", 1, -1),
    ]
    return network(tmp_path / "net.onnx", shape, nodes, made + NORM)


def test_a_network_computes_what_onnx_says(net):
    model = read_model(net)
    x = np.random.default_rng(1).normal(0, 2, (1, *model.input_shape[1:])).astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx.load(net)).run(None, {"X": x})
    np.testing.assert_allclose(np.asarray(model(x)), expected, rtol=1e-4, atol=1e-5)


def test_bounds_hold_for_every_network(net):
    """Each layer that is read has bounds, and no point of a region goes beyond them."""
    classifier = advlab.load_classifier(net)
    shape = classifier.image_shape or (1, int(np.prod(classifier.keras_model.input_shape[1:])), 1)
    images = np.random.default_rng(2).random((4, *shape), np.float32)
    labels = classifier.probabilities(images).argmax(1)
    found = advlab.certify(classifier, (images, labels), "crown", epsilon=0.02, progress=False)
    assert np.isfinite(found.margin).all()
    for _ in range(50):
        near = np.clip(images + np.random.default_rng(3).uniform(-0.02, 0.02, images.shape), 0, 1).astype(np.float32)
        logits = classifier.logits(near).numpy()
        others = np.where(np.eye(3, dtype=bool)[labels], -np.inf, logits).max(1)
        assert (logits[np.arange(4), labels] - others >= found.margin - 1e-5).all()


BOX = """; a comment
(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 {high})) (assert (>= X_0 -2.0))
(assert (<= X_1 5))
(assert (>= X_1 3))
"""


@pytest.fixture
def difference(tmp_path):
    """Two inputs in, ``relu(x_0 + 1)`` and ``relu(x_1)`` out: on the box of BOX, [0, high + 1] and [3, 5]."""
    weights = [
        numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"),
        numpy_helper.from_array(np.array([1, 0], np.float32), "b"),
    ]
    nodes = [("Gemm", ["w", "b"], {}), ("Relu", [], {})]
    return network(tmp_path / "difference.onnx", [1, 2], nodes, weights, classes=2)


def stated(tmp_path, text, high="1.5"):
    path = tmp_path / "p.vnnlib"
    path.write_text(BOX.format(high=high) + text)
    return path


@pytest.mark.parametrize("method", ["ibp", "crown", "alpha", "exact"])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("(assert (>= Y_0 Y_1))", "proven"),  # 2.5 < 3
        ("(assert (or (and (<= Y_1 2.999)) (and (>= Y_0 2.501))))", "proven"),
        ("(assert (<= Y_0 -0.001))", "proven"),
        ("(assert (or (and (>= Y_0 1.0) (<= Y_1 2.5)) (>= Y_1 5.1)))", "proven"),  # one condition each fails
    ],
)
def test_what_no_input_of_the_box_reaches_is_proven(difference, tmp_path, method, text, status):
    found = advlab.certify_property(difference, stated(tmp_path, text), method, progress=False)
    assert found.status == "proven"
    assert 0 < found.margin < 0.51
    assert found.vnncomp() == "unsat"


@pytest.mark.parametrize(
    "text",
    [
        "(assert (>= Y_0 Y_1))",
        "(assert (or (and (<= Y_1 2.0)) (and (>= Y_0 3.4))))",
        "(assert (>= Y_0 3.2)) (assert (<= Y_1 3.4))",  # both at once
    ],
)
def test_an_input_that_violates_is_in_the_box_and_does_violate(difference, tmp_path, text):
    path = stated(tmp_path, text, high="2.5")
    found = advlab.certify_property(difference, path, progress=False)
    assert found.status == "violated"
    assert -2 <= found.x[0] <= 2.5
    assert 3 <= found.x[1] <= 5
    np.testing.assert_allclose(found.y, [max(found.x[0] + 1, 0), found.x[1]], rtol=1e-6)
    assert load_property(path).violated_by(found.y)
    assert found.vnncomp().startswith("sat\n((X_0 ")


def test_bounds_alone_leave_a_violated_property_unknown(difference, tmp_path):
    found = advlab.certify_property(
        difference, stated(tmp_path, "(assert (>= Y_0 Y_1))", "2.5"), "crown", progress=False
    )
    assert (found.status, found.x, found.vnncomp()) == ("unknown", None, "unknown")


def test_a_property_agrees_with_the_certificate_of_the_same_ball(net, tmp_path):
    """The competition's image classes: a ball around an image, and 'no other class has the largest output'."""
    classifier = advlab.load_classifier(net)
    size = int(np.prod(classifier.keras_model.input_shape[1:]))
    shape = classifier.image_shape or (1, size, 1)
    image = np.random.default_rng(4).uniform(0.2, 0.8, (1, *shape)).astype(np.float32)
    label = classifier.probabilities(image).argmax(1)
    flat = np.asarray(classifier.adapted(image), np.float64).ravel().tolist()
    lines = [f"(declare-const X_{i} Real)" for i in range(size)] + [f"(declare-const Y_{i} Real)" for i in range(3)]
    for i, pixel in enumerate(flat):
        lines += [f"(assert (<= X_{i} {pixel + 0.02!r}))", f"(assert (>= X_{i} {pixel - 0.02!r}))"]
    others = " ".join(f"(and (>= Y_{k} Y_{label[0]}))" for k in range(3) if k != label[0])
    path = tmp_path / "ball.vnnlib"
    path.write_text("\n".join([*lines, f"(assert (or {others}))"]))
    by_ball = advlab.certify(classifier, (image, label), "crown", epsilon=0.02, progress=False)
    by_property = advlab.certify_property(classifier, path, "crown", progress=False)
    np.testing.assert_allclose(by_property.margin, by_ball.margin[0], rtol=1e-5, atol=1e-9)


BAD_PROPERTIES = {
    "(assert (>= Y_0 Y_2))": "'Y_2' is not declared",
    "(assert (>= Y_0 X_0))": "neither inputs nor outputs alone",
    "(assert (<= X_0 X_1)) (assert (>= Y_0 1))": "compares inputs with one another",
    "(assert (or (and (<= X_0 0) (>= Y_0 1)) (>= Y_1 9)))": "boxes of their own",
    "(assert (>= X_0 2.0)) (assert (>= Y_0 1))": "X_0 must have a lower and an upper bound",
    "(assert (not (>= Y_0 1)))": "not a comparison",
    "(assert (>= Y_0 nan))": "neither a number nor a variable",
    "(assert (>= Y_0 1)": "not closed",
    "(assert (>= Y_0 1)))": "closes that was not opened",
    "(declare-network f)": "version 1 of VNN-LIB",
    "": "says nothing about the outputs",
    "(" * 5000 + ")" * 5000: "nested more than 100 deep",
}


@pytest.mark.parametrize("text", BAD_PROPERTIES)
def test_a_property_that_is_not_one_is_refused(tmp_path, text):
    with pytest.raises(InvalidFile, match=BAD_PROPERTIES[text]):
        load_property(stated(tmp_path, text))


def test_a_property_of_another_network_is_refused(net, tmp_path):
    with pytest.raises(Mismatch, match="speaks of 2 inputs and 2 outputs"):
        advlab.certify_property(net, stated(tmp_path, "(assert (>= Y_0 1))"))


def test_probabilities_have_no_bounds(tmp_path):
    weights = [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")]
    net = network(tmp_path / "n.onnx", [1, 2], [("Gemm", ["w"], {}), ("Softmax", [], {})], weights, classes=2)
    with pytest.raises(InvalidValue, match="ends in softmax"):
        advlab.certify_property(net, stated(tmp_path, "(assert (>= Y_0 1))"))


BAD_NETWORKS = {
    "an operation without a layer": ([1, 3], [("Softplus", [], {})], "'n0' .Softplus.. Supported: Add"),
    "settings without a layer": (
        [1, 1, 3, 3],
        [("MaxPool", [], {"kernel_shape": [2, 2], "pads": [1] * 4})],
        "with kernel",
    ),
    "two images at a time": ([2, 3], [("Relu", [], {})], "a batch of 1"),
    "an open size": ([1, "d"], [("Relu", [], {})], "fixed sizes"),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_a_network_that_cannot_be_read_is_refused(tmp_path, name):
    shape, nodes, message = BAD_NETWORKS[name]
    with pytest.raises(InvalidFile, match=message):
        read_model(network(tmp_path / "net.onnx", shape, nodes, []))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07\x12\x07pytorch"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=r"net\.onnx"):
        read_model(path)


def test_weights_in_another_file_are_never_looked_for(tmp_path, difference):
    model = onnx.load(difference)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    path = tmp_path / "outside.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidFile, match="another file"):
        read_model(path)


def test_the_command(difference, tmp_path):
    path = stated(tmp_path, "(assert (>= Y_0 Y_1))")

    def call(*options):
        return CliRunner().invoke(main, ["certify", str(difference), *options])

    shown = call("--property", str(path))
    assert shown.exit_code == 0
    assert "p of difference: proven (exact" in shown.output
    assert json.loads(call("--property", str(path), "--method", "ibp", "--json").stdout)["status"] == "proven"
    assert "Leave out --epsilon" in call("--property", str(path), "--epsilon", "0.1").output
    assert "--epsilon, or a VNN-LIB property with --property" in call().output
