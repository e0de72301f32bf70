"""Pictures of an evaluation: the only user of matplotlib, without pyplot and without a global backend.

Figures are ``matplotlib.figure.Figure`` objects that a notebook shows by themselves; ``svg`` puts them into a page.
"""

from advlab.figures.accuracy import accuracy_bars, confidence_shift
from advlab.figures.addition import addition
from advlab.figures.attributions import attribution_image, attributions
from advlab.figures.calibration import reliability
from advlab.figures.comparison import comparison
from advlab.figures.curve import security_curve
from advlab.figures.defense import defense
from advlab.figures.files import save
from advlab.figures.flow import class_flow
from advlab.figures.images import change_uri, data_uri, perturbation_image, png, sample_uri
from advlab.figures.predictions import predictions
from advlab.figures.roc import roc
from advlab.figures.study import study
from advlab.figures.style import CLEAN, INK, MEAN, ROBUST, svg
from advlab.figures.training import training_curve

__all__ = [
    "CLEAN",
    "INK",
    "MEAN",
    "ROBUST",
    "accuracy_bars",
    "addition",
    "attribution_image",
    "attributions",
    "change_uri",
    "class_flow",
    "comparison",
    "confidence_shift",
    "data_uri",
    "defense",
    "perturbation_image",
    "png",
    "predictions",
    "reliability",
    "roc",
    "sample_uri",
    "save",
    "security_curve",
    "study",
    "svg",
    "training_curve",
]
