"""The device of a process: chosen by name, before TensorFlow is at work, and recorded."""

from __future__ import annotations

import pytest
import tensorflow as tf

import advlab
from advlab.classifiers import devices
from advlab.errors import InvalidValue
from advlab.workflows.model_file import load_classifier


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What is chosen here is not chosen for other tests."""
    monkeypatch.setenv(devices.DEVICE, "auto")
    devices.prepare.cache_clear()
    yield
    devices.prepare.cache_clear()


@pytest.fixture
def two_gpus(monkeypatch):
    """Two graphics processors as TensorFlow would show them; returns those whose memory grows as needed."""
    visible, growing = ["first", "second"], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(visible))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda chosen, kind: visible.__setitem__(slice(None), chosen))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grow: growing.append(gpu))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"device_name": f"Example {gpu}"})
    return growing


def test_an_unknown_device_names_those_there_are():
    with pytest.raises(InvalidValue, match=r"Unknown device 'tpu'\. Available here: auto, cpu"):
        advlab.use_device("tpu")


def test_the_processor_is_recorded(trained, digits):
    assert advlab.use_device("cpu") == "CPU"
    assert advlab.attack(trained, digits.take(2)).execution.device == "CPU"


def test_what_the_environment_names_counts_where_a_classifier_is_loaded(monkeypatch):
    monkeypatch.setenv(devices.DEVICE, "gpu:7")
    with pytest.raises(InvalidValue, match=r"Unknown device 'gpu:7'\. Available here: auto, cpu"):
        load_classifier("digits")


@pytest.mark.parametrize(
    ("name", "chosen", "used"),
    [
        ("auto", "GPU Example first", ["first", "second"]),
        ("cpu", "CPU", []),
        ("gpu:0", "GPU Example first", ["first"]),
        ("GPU:1", "GPU Example second", ["second"]),
    ],
)
def test_a_gpu_is_chosen_by_number_and_its_float32_is_float32(two_gpus, name, chosen, used):
    tf.config.experimental.enable_tensor_float_32_execution(True)
    assert advlab.use_device(name) == chosen
    assert tf.config.get_visible_devices("GPU") == two_gpus == used
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_a_change_of_device_under_way_is_refused(two_gpus, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    with pytest.raises(InvalidValue, match="cannot be changed to 'gpu:1' once TensorFlow is at work"):
        advlab.use_device("gpu:1")
