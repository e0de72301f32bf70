"""On which device networks run, chosen once for the whole process."""

from __future__ import annotations

import contextlib
import os
from functools import cache

import tensorflow as tf

from advlab.errors import InvalidValue

DEVICE = "ADVLAB_DEVICE"  # the environment variable that the command line's --device sets


def use_device(name: str = "auto") -> str:
    """Choose the device of this process, before the first classifier is loaded.

    On a GPU, memory is taken as it is needed, and float32 stays float32: TensorFloat-32, which keeps 10 bits of each
    factor of a product, is turned off, since an attack would see the gradients of another network.

    Args:
        name: ``"cpu"``; ``"gpu:0"``, the first graphics processor; ``"auto"``, those that TensorFlow finds, else the
            processor.

    Returns:
        What was chosen, as archives record it: ``"CPU"``, or ``"GPU"`` with its name.

    Raises:
        InvalidValue: For a device that is not there, or another choice once TensorFlow is at work.
    """
    gpus = tf.config.list_physical_devices("GPU")
    there = ["auto", "cpu", *(f"gpu:{number}" for number in range(len(gpus)))]
    asked = name.strip().lower()
    if asked not in there:
        hint = (
            "" if gpus else " TensorFlow finds no GPU; pip install 'tensorflow[and-cuda]' brings what it needs for one."
        )
        raise InvalidValue(f"Unknown device '{name}'. Available here: {', '.join(there)}.{hint}")
    visible = gpus if asked == "auto" else [] if asked == "cpu" else [gpus[int(asked[4:])]]
    try:
        if visible != tf.config.get_visible_devices("GPU"):
            tf.config.set_visible_devices(visible, "GPU")
    except RuntimeError as error:
        raise InvalidValue(
            f"The device cannot be changed to '{name}' once TensorFlow is at work. Choose it before the first "
            "classifier is loaded: restart the notebook."
        ) from error
    with contextlib.suppress(RuntimeError):  # at work already: it takes memory as its user has decided
        for gpu in visible:
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    os.environ[DEVICE] = asked
    return device_name()


@cache
def prepare() -> None:
    """Choose the device that ``--device`` or ``ADVLAB_DEVICE`` names, once."""
    use_device(os.environ.get(DEVICE, "auto"))


def device_name() -> str:
    """``CPU``, or ``GPU`` with the name of the first that is used."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "CPU"
    return f"GPU {tf.config.experimental.get_device_details(gpus[0]).get('device_name', '')}".strip()
