"""Images and perturbations as pictures."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.image import imsave

from advlab.figures.texts import replacements_uri, text_uri
from advlab.text import decode

_NO_SOFTWARE: dict[str, Any] = {"Software": None}


def rgb(image: np.ndarray) -> np.ndarray:
    """An image ``(h, w, c)`` as ``(h, w, 3)`` in [0, 1]; other than one or three channels are averaged to grey."""
    colours = image if image.shape[-1] in (1, 3) else image.mean(-1, keepdims=True)
    return np.broadcast_to(np.clip(np.nan_to_num(colours), 0, 1), (*colours.shape[:2], 3))


def png(image: np.ndarray) -> bytes:
    """An image ``(h, w, c)`` in [0, 1] as PNG."""
    buffer = io.BytesIO()
    imsave(buffer, np.rint(255 * rgb(image)).astype(np.uint8), format="png", metadata=_NO_SOFTWARE)
    return buffer.getvalue()


def data_uri(image: np.ndarray, side: int = 96) -> str:
    """The PNG of an image ``(h, w, c)`` as an address for ``<img src>``: every n-th pixel, no side above ``side``."""
    stride = math.ceil(max(image.shape[:2]) / side)
    return f"data:image/png;base64,{b64encode(png(image[::stride, ::stride])).decode()}"


def change_uri(x: np.ndarray, x_adv: np.ndarray, vocabulary: Sequence[str], scale: float | None, side: int = 96) -> str:
    """The change of an image made visible, or of a text what became of which word, for ``<img src>``."""
    if vocabulary:
        return replacements_uri(decode(x, vocabulary), decode(x_adv, vocabulary))
    return data_uri(perturbation_image(x, x_adv, scale), side)


def sample_uri(x: np.ndarray, vocabulary: Sequence[str], compared: np.ndarray | None = None, side: int = 96) -> str:
    """An image, or a text whose words that differ from ``compared`` are marked, for ``<img src>``."""
    if vocabulary:
        return text_uri(decode(x, vocabulary), None if compared is None else decode(compared, vocabulary))
    return data_uri(x, side)


def perturbation_image(x: np.ndarray, x_adv: np.ndarray, scale: float | None = None) -> np.ndarray:
    """The signed change of one image ``(h, w, c)`` as an image in [0, 1]: 0.5 is unchanged.

    1 is a change of ``scale``, 0 of ``-scale``; ``scale`` is the Linf budget, or None for the largest change in this
    image. Changes are amplified 1 / (2 scale) times.
    """
    change = x_adv.astype(np.float64) - x.astype(np.float64)
    limit = (float(np.abs(change).max(initial=0.0)) if scale is None else scale) or 1.0
    return np.clip(0.5 + change / (2 * limit), 0, 1)
