"""Several classifiers as one: the mean of what they say, or one of them drawn at each query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.logits import last_activation
from advlab.classifiers.mixture import Mixture
from advlab.errors import InvalidValue, Mismatch


def ensemble(members: Sequence[Classifier], *, random: bool = False, name: str = "ensemble") -> Classifier:
    """Several classifiers as one, which ``save`` writes into one file.

    Args:
        members: Two or more classifiers of images of one shape and the same classes; each keeps its own pixel units.
        random: False: the mean of their probabilities. True: for each image one of them, drawn anew at each query.
        name: Of the new classifier.

    Raises:
        InvalidValue: For fewer than two classifiers, or one that leaves the shape of its images open.
        Mismatch: Where shapes or numbers of classes differ.

    A random ensemble is a moving target, not a robust one: attack it with ``passes=``, as ``advlab.defense_report``
    and ``advlab.audit`` do. Sources: Pinot et al. 2020, arXiv:2002.11565; Dbouk, Shanbhag 2022, arXiv:2206.03362.
    """
    members = list(members)
    if len(members) < 2:
        raise InvalidValue(f"An ensemble needs two classifiers or more. Got {len(members)}.")
    first = members[0]
    for member in members:
        if member.image_shape is None or None in member.image_shape:
            raise InvalidValue(
                f"An ensemble needs to know the shape of the images; model '{member.name}' leaves it open. "
                "Build the model with a fixed input shape."
            )
        if (member.image_shape, member.classes) != (first.image_shape, first.classes):
            raise Mismatch(
                f"Model '{first.name}' takes images {first.image_shape} of {first.classes} classes, model "
                f"'{member.name}' {member.image_shape} of {member.classes}. Give members of one shape and one task."
            )
    inputs = keras.Input(first.image_shape, name="image")
    answers = [_as_probabilities(member, number)(inputs) for number, member in enumerate(members)]
    model = keras.Model(inputs, Mixture(random)(answers), name="ensemble")
    card: dict[str, Any] = {key: first.card[key] for key in ("dataset", "class_names") if key in first.card}
    return Classifier(model, name=name, card=card)


def _as_probabilities(member: Classifier, number: int) -> keras.Model:
    """A member from images in [0, 1] to probabilities, under a name of its own."""
    inputs = keras.Input(member.image_shape, name="image")
    outputs = member.keras_model(member.adapted.as_layers(inputs))
    if member.settings.output != "probability" and last_activation(member.keras_model) not in ("softmax", "sigmoid"):
        outputs = keras.layers.Activation("sigmoid" if outputs.shape[-1] == 1 else "softmax")(outputs)
    return keras.Model(inputs, outputs, name=f"member_{number}")
