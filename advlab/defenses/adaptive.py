"""The attack on a classifier and its detector together: an image counts only where both accept it.

Bryniarski et al. 2021, "Evading adversarial example detection defenses with orthogonal projected gradient descent",
arXiv:2106.15023: projected gradient descent climbs the classifier's loss while an image is still classified correctly,
and descends the detector's score once it is not. A weighted sum of both would leave the choice of the weight.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.data.dataset import Dataset
from advlab.defenses.detector import Detector
from advlab.engine.steps import Batch, build_problem
from advlab.methods import pgd
from advlab.problem import random
from advlab.problem.gradients import value_and_gradient
from advlab.problem.passes import mean_over_passes
from advlab.progress import Progress
from advlab.threat import ThreatModel

_BATCH = 250
_RESTARTS = 2


def craft_joint(
    detector: Detector,
    data: Dataset,
    threat: ThreatModel,
    *,
    steps: int = 100,
    passes: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> np.ndarray:
    """Adversarial images float32 ``(n, h, w, c)`` of a threat model, against a fitted detector and its classifier.

    Of each image the misclassified iterate of the lowest score is kept, over all steps and restarts; where none is
    misclassified, the last one. In every second restart the detector's gradient is made orthogonal to the classifier's
    (section 4.1), so that lowering the score does not undo the error. For a detector that draws at random, such as
    ``dropout``, each gradient is the mean over so many ``passes`` (EOT).
    """
    classifier, statistic, _ = detector.fitted

    def score_and_gradient(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The score, and the gradient of what lowers it."""
        score, _, gradient = value_and_gradient(statistic, x)
        return score, gradient

    def run(x: tf.Tensor, labels: tf.Tensor, streams: tf.Tensor, orthogonal: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        none = tf.fill(tf.shape(labels), -1)
        batch = Batch(x, labels, aim=none, target=none, streams=streams, restart=none + 1, nearest=x)
        problem = build_problem(batch, threat.norm, tf.constant(threat.epsilon, tf.float64), classifier.logits)
        loop = pgd.craft(problem, steps=steps)

        def take_step(
            step: tf.Tensor, x: tf.Tensor, best: tf.Tensor, lowest: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            query = problem.query(x)
            climb = tf.convert_to_tensor(query.gradient)
            suspicion, uphill = mean_over_passes(score_and_gradient, x, passes)
            better = query.success & (suspicion < lowest)
            best = tf.where(_rows(better | tf.math.is_inf(lowest)), x, best)
            lowest = tf.where(better, suspicion, lowest)
            along = tf.reduce_sum(uphill * climb, (1, 2, 3), keepdims=True)
            square = tf.reduce_sum(climb**2, (1, 2, 3), keepdims=True)
            across = uphill - tf.math.divide_no_nan(along, square) * climb
            downhill = -tf.where(orthogonal, across, uphill)
            gradient = tf.where(_rows(query.success), downhill, climb)
            moved = loop.update({"x": x}, query._replace(gradient=gradient), step)["x"]
            return step + 1, tf.ensure_shape(moved, x.shape), best, lowest

        lowest = tf.fill(tf.shape(labels), np.float32(np.inf))
        # One more query than updates: the last iterate is looked at too.
        state = (tf.constant(0), loop.start()["x"], x, lowest)
        _, _, best, lowest = tf.while_loop(lambda step, *_: step <= steps, take_step, state)
        return best, lowest

    compiled = tf.function(run, autograph=False, reduce_retracing=True)
    x_adv = np.empty_like(data.x)
    with Progress(-(-len(data) // _BATCH) * _RESTARTS, f"evade {detector.name}", show=progress) as bar:
        for start in range(0, len(data), _BATCH):
            rows = slice(start, start + _BATCH)
            lowest = np.full(len(data.y[rows]), np.inf, np.float32)
            x_adv[rows] = data.x[rows]
            for restart in range(_RESTARTS):
                streams = random.streams(seed, restart, tf.constant(data.indices[rows], tf.int32))
                labels = tf.constant(data.y[rows], tf.int32)
                found, suspicion = compiled(tf.constant(data.x[rows]), labels, streams, tf.constant(restart % 2 == 1))
                better = (suspicion.numpy() < lowest) | np.isinf(lowest)
                x_adv[rows] = np.where(better[:, None, None, None], found.numpy(), x_adv[rows])
                lowest = np.minimum(lowest, suspicion.numpy())
                bar.advance(1)
    return x_adv


def _rows(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]
