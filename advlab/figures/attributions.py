"""Images beside the pixels that speak for their predictions: saliency maps and integrated gradients."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np

from advlab.errors import InvalidValue, Mismatch
from advlab.figures.images import rgb
from advlab.figures.style import STYLE, Figure

_MAX_IMAGES = 60
_CELL = 1.3  # inches
_BRIGHTEST = 99.0  # percentile of the pixels that is drawn white: a few outliers would leave the rest black


def attribution_image(values: np.ndarray) -> np.ndarray:
    """The attributions ``(h, w, c)`` of one image as a grey one, ``(h, w, 1)`` in [0, 1]: white counts most.

    It is the largest absolute value over the channels, as arXiv:1312.6034 draws it, up to the 99th percentile.
    """
    size = np.abs(np.nan_to_num(values.astype(np.float64))).max(-1, keepdims=True)
    limit = np.percentile(size, _BRIGHTEST) or size.max(initial=0.0) or 1.0
    return np.clip(size / limit, 0, 1)


def attributions(
    images: np.ndarray,
    values: np.ndarray,
    adversarial_images: np.ndarray | None = None,
    adversarial_values: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
) -> Figure:
    """A row for each image: the image, what counts in it, and the same of its perturbed twin.

    ``images`` are float ``(n, h, w)`` or ``(n, h, w, c)`` in [0, 1], ``values`` their attributions of shape
    ``(n, h, w, c)``, as ``advlab.attribute`` returns them; the other pair may be left out. ``captions``, n strings,
    stand beside the rows. Raises ``InvalidValue`` or ``Mismatch``.
    """
    titled = [("clean", images, values)]
    if adversarial_images is not None and adversarial_values is not None:
        titled.append(("adversarial", adversarial_images, adversarial_values))
    pairs = [(title, _with_channels(x), _with_channels(v)) for title, x, v in titled]
    count = len(pairs[0][1])
    if any(x.shape[:3] != v.shape[:3] or len(x) != count for _, x, v in pairs):
        shapes = ", ".join(f"{x.shape} and {v.shape}" for _, x, v in pairs)
        raise Mismatch(f"Images and their attributions have one shape. Got {shapes}.")
    if not 1 <= count <= _MAX_IMAGES or (captions is not None and len(captions) != count):
        raise InvalidValue(f"A figure shows 1 to {_MAX_IMAGES} images, each with a caption or none. Got {count}.")
    columns = 2 * len(pairs)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_CELL * columns, _CELL * count))
        for row in range(count):
            drawn = [
                titled_image
                for title, x, v in pairs
                for titled_image in ((title, x[row]), ("what counts", attribution_image(v[row])))
            ]
            for column, (title, image) in enumerate(drawn):
                axes = figure.add_subplot(count, columns, row * columns + column + 1)
                axes.imshow(rgb(image), interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                if not row:
                    axes.set_title(title, fontsize="small")
                if not column and captions is not None:
                    axes.set_ylabel(captions[row], fontsize="small")
        figure.tight_layout(pad=0.3)
    return figure


def _with_channels(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise InvalidValue(f"Images have the shape (n, h, w) or (n, h, w, c). Got {images.shape}.")
    return images[..., None] if images.ndim == 3 else images
