"""The static defence: adversarial images of an undefended network, crafted once and added to the training images.

Strengthening Deep Neural Networks, chapter 10. It withstands the images that it has seen, and an attack on the new
network as little as before: a baseline, and a lesson.
"""

from __future__ import annotations

from dataclasses import replace

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.adversaries import Adversary
from advlab.declarations.attack import Attack
from advlab.declarations.recipes import Recipe
from advlab.engine.attack import craft


def plain(recipe: Recipe) -> Recipe:
    """The same recipe without its adversary: the network that the images are crafted on."""
    settings, stopping = recipe.training, recipe.training.early_stopping
    if stopping is not None and stopping.monitor == "val_robust_accuracy":
        stopping = replace(stopping, monitor="val_accuracy")
    return replace(recipe, training=replace(settings, adversary=None, word_substitution=0.0, early_stopping=stopping))


def crafted(base: Classifier, data: Dataset, adversary: Adversary, seed: int, progress: bool | None) -> Dataset:
    """FGSM images (of texts, those of HotFlip) of as many first training images as the adversary says."""
    images = data.take(adversary.augment_images)
    method = "hotflip" if data.vocabulary else "fgsm"
    spec = Attack(method, norm=adversary.norm, epsilon=adversary.epsilon, seed=seed)
    return replace(images, x=craft(base, images, spec, progress=progress).x_adv)
