"""How a model is opened, fed and read: said once on the command line, in the same way for every command."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

import advlab
from advlab import workspace
from advlab.classifiers.applications import application_settings, find_application
from advlab.cli.main import main
from advlab.errors import InvalidFile, InvalidValue, Mismatch
from tests.test_cli import call, commands

X = np.random.default_rng(0).random((12, 6, 6, 3)).astype("float32")
OWN_LAYER = """
import keras
from helper import factor

class Doubling(keras.layers.Layer):
    def call(self, x):
        return factor * x
"""


def network(shape=(6, 6, 3), classes=3) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])


@pytest.fixture
def model(tmp_path) -> Path:
    network().save(tmp_path / "net.h5")
    return tmp_path / "net.h5"


@pytest.fixture
def data(tmp_path) -> Path:
    """Images that the network classifies right where it is given 0-255, blue first."""
    y = advlab.Classifier.from_keras(network(), preprocess="caffe").probabilities(X).argmax(1)
    np.savez(tmp_path / "data.npz", x=X, y=y, classes=["a", "b", "c"])
    return tmp_path / "data.npz"


COMMANDS = {  # command: the library function that it calls, and its words around the model
    "attack": ("attack", ["--model", "MODEL", "--dataset", "DATA"]),
    "audit": ("audit", ["--model", "MODEL"]),
    "certify": ("certify", ["MODEL", "--epsilon", "0.1"]),
    "curve": ("curve", ["--model", "MODEL"]),
    "defense-report": ("defense_report", ["MODEL", "MODEL"]),
    "detect": ("evaluate_detector", ["energy", "--model", "MODEL"]),
    "evaluate": ("load_classifier", ["ARCHIVE", "--model", "MODEL"]),
    "explain": ("explain", ["ARCHIVE", "--model", "MODEL"]),
    "export": ("export", ["ARCHIVE", "--csv", "a.csv", "--model", "MODEL"]),
    "harden": ("harden", ["MODEL"]),
    "import": ("import_images", ["x.npy", "--model", "MODEL"]),
    "noise": ("evaluate_noise", ["MODEL"]),
    "predict": ("predict", ["MODEL", "0"]),
    "run": ("run", ["quick", "--model", "MODEL"]),
    "selftest": ("selftest", ["--model", "MODEL"]),
    "show": ("summary", ["MODEL"]),
    "transfer": ("transfer", ["ARCHIVE", "--model", "MODEL", "--model", "MODEL"]),
    "verify": ("verify", ["ARCHIVE", "--model", "MODEL"]),
}


def test_every_command_that_opens_a_model_is_here():
    takes = {name for name, command in commands().items() if any(p.name == "trust" for p in command.params)}
    assert takes - {"benchmark"} == COMMANDS.keys()  # the models of a benchmark stand in its file


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_hands_the_same_model_on(name, model, tmp_path, monkeypatch):
    function, words = COMMANDS[name]
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\nbird\n")
    said = ["--scale", "255,1/2,3", "--offset", "-1,0,1", "--output-type", "logit", "--classes", names]
    given: list[object] = []

    def capture(*arguments, **options):
        given.extend([*arguments, *options.values()])
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(advlab, function, capture)
    call(name, *(model if word == "MODEL" else word for word in words), *said)
    flat = [inner for value in given for inner in (value if isinstance(value, tuple) else [value])]
    files = [value for value in flat if isinstance(value, advlab.ModelFile)]
    assert len(files) == words.count("MODEL")
    expected = advlab.Classifier.from_keras(network(), scale=[255, 0.5, 3], offset=[-1, 0, 1], output="logit")
    classifier = files[0].load()
    assert classifier.digest == expected.digest
    assert classifier.card["class_names"] == ["cat", "dog", "bird"]


def test_one_model_through_the_commands(model, data, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened, images = ["--preprocess", "caffe"], ["--dataset", data]
    result = json.loads(call("attack", "--model", model, *opened, *images, "--epsilon", "1/255", "--json").stdout)[0]
    assert result["clean_accuracy"]["value"] == 1
    archive = next((workspace / "attacks").rglob("*.h5"))
    assert "It holds." in call("verify", archive).stdout, "the archive knows how its model was fed"
    assert "It holds." in call("verify", archive, "--model", model, *opened).stdout
    assert "another 'net'" in call("verify", archive, "--model", model, "--preprocess", "tf", code=1).stderr
    csv = tmp_path / "a.csv"
    call("export", archive, "--csv", csv, "--png", tmp_path / "png")
    assert "predicted_png" in csv.read_text().splitlines()[0]
    assert "net" in call("transfer", archive, "--model", model, *opened).stdout
    predicted = advlab.predict(advlab.ModelFile(model, preprocess="caffe"), f"{data}:0-11")
    assert np.array_equal(predicted.probabilities.argmax(1), predicted.labels)
    assert call("predict", model, f"{data}:0-11", *opened).stdout == f"{predicted.table(3)}\n"
    shown = call("show", model, *opened, "--save-settings")
    assert "preprocess caffe" in shown.stdout
    assert (tmp_path / "net.h5.toml").read_text().splitlines()[1:] == ['preprocess = "caffe"']
    again = json.loads(call("attack", "--model", model, *images, "--epsilon", "1/255", "--json").stdout)[0]
    assert again["classifier"]["digest"] == result["classifier"]["digest"]


def test_weights_alone_take_the_network_of_a_recipe(trained, tmp_path):
    trained.keras_model.save_weights(tmp_path / "w.weights.h5")
    shown = json.loads(call("show", tmp_path / "w.weights.h5", "--architecture", "digits", "--json").stdout)
    assert shown["digest"] == trained.digest
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "net.json").write_text(trained.keras_model.to_json())
    by_file = advlab.load_classifier(tmp_path / "w.weights.h5", architecture=tmp_path / "far" / "net.json")
    assert by_file.digest == trained.digest
    message = call("show", tmp_path / "w.weights.h5", "--architecture", "digit", code=1).stderr
    assert "Unknown architecture 'digit'. Did you mean 'digits'?" in message


def test_a_model_with_its_own_architecture_takes_no_other(model):
    with pytest.raises(InvalidFile, match=r"holds its own architecture.*Leave out --architecture"):
        advlab.load_classifier(model, architecture="digits")


class TestOwnLayers:
    @pytest.fixture
    def own(self, tmp_path) -> Path:
        """A model with a layer of its own, the file that defines it, and a file that this imports."""

        class Doubling(keras.layers.Layer):
            def call(self, x):
                return 2 * x

        keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), Doubling(), layers.Dense(3)]).save(
            tmp_path / "own.keras"
        )
        (tmp_path / "helper.py").write_text("factor = 2\n")
        (tmp_path / "layers_of_mine.py").write_text(OWN_LAYER)
        return tmp_path / "own.keras"

    def test_they_come_from_a_python_file_that_is_trusted(self, own, tmp_path):
        code = tmp_path / "layers_of_mine.py"
        call("show", own, code=1)
        message = call("show", own, "--custom", code, code=1).stderr
        assert "is Python code, which would run on this machine" in message
        assert "use --trust" in message
        assert "Doubling" in call("show", own, "--custom", code, "--trust").stdout

    @pytest.mark.parametrize(
        ("content", "message"),
        [("1 / 0", "cannot be run: ZeroDivisionError"), ("import sys; sys.exit()", "cannot be run: SystemExit")],
    )
    def test_a_python_file_that_fails_is_named(self, own, tmp_path, content, message):
        (tmp_path / "bad.py").write_text(content)
        with pytest.raises(InvalidFile, match=message):
            advlab.load_classifier(own, custom_objects=tmp_path / "bad.py", trust=True)
        with pytest.raises(InvalidFile, match="There is no Python file"):
            advlab.load_classifier(own, custom_objects=tmp_path / "none.py", trust=True)


class TestSize:
    def open_network(self) -> keras.Model:
        image = keras.Input((None, None, 3))
        return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))

    def test_where_the_model_leaves_it_open_it_can_be_said(self, tmp_path):
        self.open_network().save(tmp_path / "open.keras")
        shown = json.loads(call("show", tmp_path / "open.keras", "--resize", "5x7", "--save-settings", "--json").stdout)
        assert shown["settings"] == {"resize": [5, 7]}
        classifier = advlab.load_classifier(tmp_path / "open.keras")
        assert classifier.image_shape == (5, 7, 3)
        saved = advlab.load_classifier(classifier.save(tmp_path / "again.h5"))
        assert saved.image_shape == (5, 7, 3)

    def test_flat_inputs_take_any_size_of_their_pixels(self):
        classifier = advlab.Classifier.from_keras(network((50,)), resize=(5, 10))
        assert classifier.image_shape == (5, 10, 1)
        with pytest.raises(InvalidValue, match=r"inputs of shape \(50,\), which cannot be resized to 7 x 7"):
            advlab.Classifier.from_keras(network((50,)), resize=(7, 7))

    def test_a_size_that_the_model_does_not_take_is_refused(self):
        with pytest.raises(InvalidValue, match="takes images of 6 x 6 pixels, which cannot be resized to 5 x 6"):
            advlab.Classifier.from_keras(network(), resize=(5, 6))
        for size in ((5,), (0, 1), "5", (5.0, 5)):
            with pytest.raises(InvalidValue, match="resize must be height and width"):
                advlab.Classifier.from_keras(network(), resize=size)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "much"], "'much' is no number, nor numbers separated by commas"),
        (["--scale", "1/0"], "is no number"),
        (["--resize", "5x5x5"], "'5x5x5' is no size. Give height and width in pixels, such as 32x48"),
        (["--preprocess", "pytorch"], "'tf', 'torch', 'caffe'"),
        (["--output-type", "tanh"], "'probability', 'logit', 'score'"),
    ],
)
def test_values_that_cannot_be_read_are_wrong_usage(words, message, model):
    assert message in call("show", model, *words, code=2).stderr


def test_options_of_a_model_need_a_model():
    message = call("evaluate", "archive.h5", "--scale", "255", code=2).stderr
    assert "--scale says how a model is opened. Name the model with --model." in message


def test_class_names_are_a_readable_list(model, tmp_path):
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    assert "has 3 classes. Got 2 names" in call("show", model, "--classes", tmp_path / "two.txt", code=1).stderr
    (tmp_path / "empty.txt").write_text("\n")
    assert "names no classes" in call("show", model, "--classes", tmp_path / "empty.txt", code=1).stderr
    assert "No such file" in call("show", model, "--classes", tmp_path / "none.txt", code=1).stderr


class TestRange:
    @pytest.mark.parametrize("stored", [255 * X, (2 * X - 1)], ids=["0 to 255", "-1 to 1"])
    def test_it_says_what_the_pixels_of_arrays_are(self, stored, model, tmp_path):
        low, high = (0, 255) if stored.max() > 1 else (-1, 1)
        np.savez(tmp_path / "own.npz", x=stored, y=np.zeros(12, int))
        words = ["attack", "--model", model, "--dataset", tmp_path / "own.npz", "--method", "noise"]
        assert "pixels" in call(*words, code=1).stderr
        call(*words, "--range", f"{low},{high}", "--output", tmp_path / "a.h5")
        np.testing.assert_allclose(advlab.load_result(tmp_path / "a.h5").x, X, atol=1e-6)
        predicted = advlab.predict(model, f"{tmp_path / 'own.npz'}:0-11", value_range=(low, high))
        np.testing.assert_allclose(predicted.x, X, atol=1e-6)

    def test_it_is_for_arrays_alone(self, model):
        words = ["attack", "--model", model, "--range", "0,255"]
        assert "Name them with --dataset" in call(*words, code=2).stderr
        assert "those of 'digits' are known" in call(*words, "--dataset", "digits", code=1).stderr
        assert "'5' is not LOW,HIGH" in call("predict", model, "0", "--range", "5", code=2).stderr


def test_the_help_has_a_section_for_the_classifier():
    page = CliRunner().invoke(main, ["attack", "--help"]).output
    assert page.index("Options:") < page.index("Options of the classifier") < page.index("--preprocess")


def test_parameters_of_a_method_are_not_those_of_a_classifier(model, data):
    with pytest.raises(advlab.UnknownName, match=r"belongs to the classifier: advlab.load_classifier\(path, scale="):
        advlab.attack(model, data, "fgsm", scale=255)


def test_an_archive_keeps_which_layer_scored_the_classes(tmp_path):
    image = keras.Input((6, 6, 3))
    hidden = layers.Flatten()(image)
    model = keras.Model(image, [layers.Dense(3, name="classes")(hidden), layers.Dense(1, name="age")(hidden)])
    model.save(tmp_path / "two.keras")
    words = ["--dataset", tmp_path / "d.npz", "--model", tmp_path / "two.keras"]
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(12) % 3)
    message = call("attack", *words, code=1).stderr
    assert "--output-layer" in message
    call("attack", *words, "--output-layer", "classes", "--output", tmp_path / "a.h5")
    assert advlab.verify(tmp_path / "a.h5").holds
    classifier = advlab.load_classifier(tmp_path / "two.keras", output_layer="classes")
    saved = advlab.load_classifier(classifier.save(tmp_path / "saved.h5"))
    np.testing.assert_array_equal(saved.probabilities(X), classifier.probabilities(X))
    assert saved.digest == classifier.digest
    with pytest.raises(Mismatch):
        advlab.verify(tmp_path / "a.h5", model=network())


def test_saving_over_a_model_renews_the_settings_beside_it(model):
    advlab.load_classifier(model, scale=255).save_settings(model)
    plain = advlab.Classifier.from_keras(network())
    assert advlab.load_classifier(plain.save(model)).digest == plain.digest


class TestApplications:
    """The networks of keras.applications by name."""

    @pytest.mark.parametrize("name", [n for n, f in vars(keras.applications).items() if inspect.isfunction(f)])
    def test_their_images_are_prepared_as_keras_documents_it(self, name):
        function = find_application(name)
        module = getattr(keras.applications, function.__module__.rpartition(".")[2])
        expected = module.preprocess_input(255 * X.astype("float32"))
        classifier = advlab.Classifier.from_keras(network(), **application_settings(function).to_dict())
        np.testing.assert_allclose(classifier.adapted(X), expected, atol=1e-4)

    def test_a_name_and_weights_are_a_model(self, tmp_path):
        given = keras.applications.MobileNetV2(weights=None, classes=3, input_shape=(32, 32, 3))
        given.save_weights(tmp_path / "fine.weights.h5")
        (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
        words = ["--classes", tmp_path / "names.txt", "--resize", "32"]
        shown = call("show", "mobilenet_v2", "--weights", tmp_path / "fine.weights.h5", *words, "--json")
        settings = {"preprocess": "tf", "resize": (32, 32), "class_names": ["cat", "dog", "bird"]}
        expected = advlab.Classifier.from_keras(given, **settings)
        assert json.loads(shown.stdout)["digest"] == expected.digest
        assert json.loads(shown.stdout)["settings"]["preprocess"] == "tf"
        message = call("show", "MobileNetV2", "--weights", tmp_path / "fine.weights.h5", "--resize", "5", code=1).stderr
        assert "takes no images of this size" in message

    def test_a_name_is_one_of_a_recipe_or_of_keras(self, model):
        message = call("show", "mobilenet_v9", "--weights", model, code=1).stderr
        assert "Unknown architecture 'mobilenet_v9'" in message
        assert "keras.applications, such as mobilenet_v2" in message
        message = call("show", "digits", "--weights", model, "--architecture", "digits", code=2).stderr
        assert "Leave out --architecture" in message


def test_nothing_is_written_beside_a_shipped_model():
    with pytest.raises(InvalidValue, match="'digits' is shipped with advlab"):
        advlab.summary("digits", save_settings=True)
    assert not list(workspace.shipped().glob("models/pretrained/*.toml"))
