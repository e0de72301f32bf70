"""Two published demonstrations that a strong-looking number may be wrong, on networks trained here.

    python benchmarks/demonstrations.py [--epochs N] [--samples N] [--keep DIR] [--write]

1. A network trained adversarially under Linf 0.3 on MNIST, attacked under L2 with epsilon 2: Square, an attack without
   gradients, finds far more adversarial examples than PGD with many restarts. Andriushchenko et al. 2019,
   arXiv:1912.00049.
2. A network trained the same way on Fashion-MNIST: PGD of 100 steps reports a higher robust accuracy than AutoAttack's
   cascade at the same epsilon. Croce, Hein 2020, arXiv:2003.01690.

Training takes some minutes for each network on two processor cores; ``--keep`` stores and reuses them.
Prints Markdown; ``--write`` puts it into ``benchmarks/DEMONSTRATIONS.md``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import advlab

RESULTS = Path(__file__).parent / "DEMONSTRATIONS.md"
EPSILON, STEPS, BATCH = 0.3, 10, 128
_WARM_UP = 2  # epochs over which epsilon grows: at full size from the start, such a training run does not learn


def network(seed: int) -> keras.Model:
    """Two convolutions and two dense layers, as Madry et al. 2017 (arXiv:1706.06083) used for MNIST, but narrower."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = inputs
    for filters in (16, 32):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 5, padding="same", activation="relu")(x))
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def adversarially_trained(data: advlab.Dataset, epochs: int, seed: int = 0) -> keras.Model:
    """Every batch is replaced by its adversarial examples of PGD under Linf ``EPSILON`` before the optimizer step."""
    model = network(seed)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    def loss_of(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True)))

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
        low, high = tf.maximum(x - epsilon, 0.0), tf.minimum(x + epsilon, 1.0)
        x_adv = tf.clip_by_value(x + tf.random.uniform(tf.shape(x), -epsilon, epsilon), low, high)
        for _ in tf.range(STEPS):
            with tf.GradientTape() as tape:
                tape.watch(x_adv)
                loss = loss_of(x_adv, y)
            x_adv = tf.clip_by_value(x_adv + 2.5 * epsilon / STEPS * tf.sign(tape.gradient(loss, x_adv)), low, high)
        with tf.GradientTape() as tape:
            loss = loss_of(x_adv, y)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    batches = len(data) // BATCH
    generator = np.random.default_rng(seed)
    for epoch in range(epochs):
        order, start_time, losses = generator.permutation(len(data)), time.perf_counter(), []
        for i in range(batches):
            rows = order[i * BATCH : (i + 1) * BATCH]
            epsilon = EPSILON * min(1.0, (epoch + i / batches) / _WARM_UP)
            losses.append(step(tf.constant(data.x[rows]), tf.constant(data.y[rows]), tf.constant(epsilon, tf.float32)))
        optimizer.learning_rate.assign(1e-3 * (1 + np.cos(np.pi * (epoch + 1) / epochs)) / 2 + 1e-5)
        print(
            f"{data.name} epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.perf_counter() - start_time:.0f} s",
            flush=True,
        )
    return model


def classifier(name: str, epochs: int, keep: Path | None) -> tuple[advlab.Classifier, str]:
    """The network for a data set, from ``keep`` where it exists, and the time its training took, in words."""
    path = None if keep is None else keep / f"{name}-linf-{EPSILON}.h5"
    if path is not None and path.exists():
        model = advlab.load_classifier(str(path))
        return model, training(model)
    start_time = time.perf_counter()
    model = adversarially_trained(advlab.load_dataset(name, split="train"), epochs)
    seconds = time.perf_counter() - start_time
    trained = advlab.Classifier.from_keras(
        model, name=f"{name}-linf-{EPSILON}", card={"dataset": name, "seconds": seconds, "epochs": epochs}
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        trained.save(path)
    return trained, training(trained)


def training(trained: advlab.Classifier) -> str:
    """As its card says: a stored network may have had other epochs than are requested now."""
    return f"{trained.card['epochs']} epochs of training took {trained.card['seconds']:.0f} s"


def row(evaluation: advlab.Evaluation, what: str) -> str:
    """One line of a table."""
    robust = evaluation.robust_accuracy
    return f"| {what} | {robust.value:.1%} [{robust.low:.1%}, {robust.high:.1%}] | {evaluation.result.seconds:.0f} |"


def black_box(epochs: int, samples: int, keep: Path | None) -> Iterator[str]:
    """Under L2 the gradients of a network trained under Linf do not lead to adversarial examples."""
    model, took = classifier("mnist", epochs, keep)
    data = advlab.load_dataset("mnist", limit=samples)
    clean = float(np.mean(model.probabilities(data.x).argmax(1) == data.y))
    yield from (
        "## Trained under Linf 0.3 on MNIST, attacked under L2 with epsilon 2",
        "",
        f"{samples:,} images; clean accuracy {clean:.1%}; {took}. Published, "
        "on the network of Madry et al.: 59.8% after PGD with 100 restarts, 16.7% under Square.",
        "",
        "| attack | robust accuracy | s |",
        "|---|---|---|",
    )
    attacks = {
        "PGD, 100 steps, 1 restart": ("pgd", 100, 1),
        "PGD, 100 steps, 100 restarts": ("pgd", 100, 100),
        "APGD, 100 steps": ("apgd", 100, 1),
        "Square, 5,000 queries": ("square", 5000, 1),
    }
    for name, (method, steps, restarts) in attacks.items():
        result = advlab.attack(
            model, data, method, norm="l2", epsilon=2.0, early_stop=True, restarts=restarts, steps=steps
        )
        yield row(advlab.evaluate(result), name)
    yield from (
        "",
        f"Of the same network under its own Linf {EPSILON}:",
        "",
        "| attack | robust accuracy | s |",
        "|---|---|---|",
    )
    result = advlab.attack(model, data, "pgd", epsilon=EPSILON, steps=100, early_stop=True)
    yield from (row(advlab.evaluate(result), "PGD, 100 steps, 1 restart"), "")


def cascade(epochs: int, samples: int, keep: Path | None) -> Iterator[str]:
    """One strong attack is not as strong as four different ones."""
    model, took = classifier("fashion-mnist", epochs, keep)
    data = advlab.load_dataset("fashion-mnist", limit=samples)
    clean = float(np.mean(model.probabilities(data.x).argmax(1) == data.y))
    yield from (
        "## Trained under Linf 0.3 on Fashion-MNIST, attacked under Linf 0.3",
        "",
        f"{samples:,} images; clean accuracy {clean:.1%}; {took}. Published, "
        "on several networks: PGD of 100 steps reports 11 to 22 points more than AutoAttack.",
        "",
        "| attack | robust accuracy | s |",
        "|---|---|---|",
    )
    pgd = advlab.attack(model, data, "pgd", epsilon=EPSILON, steps=100, early_stop=True)
    yield row(advlab.evaluate(pgd), "PGD, 100 steps")
    for evaluation in advlab.run(model, data, "standard", epsilon=EPSILON, selftest=0):
        yield row(evaluation, f"`standard`, {evaluation.attack.variant}" if not evaluation.joins else "`standard`")
    yield ""


def main() -> None:
    """Train, attack, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="a folder for the trained networks")
    parser.add_argument("--only", choices=["mnist", "fashion-mnist"], help="one of the two")
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{RESULTS.name}")
    arguments = parser.parse_args()
    lines = [
        "# Two published demonstrations, reproduced",
        "",
        f"Generated on {date.today()} by `python benchmarks/demonstrations.py --write`: do not edit. The networks are "
        "narrower than the published ones, so the effect counts here and not its size.",
        "",
    ]
    for name, demonstration in {"mnist": black_box, "fashion-mnist": cascade}.items():
        if arguments.only in (None, name):
            for line in demonstration(arguments.epochs, arguments.samples, arguments.keep):
                print(line, flush=True)
                lines.append(line)
    if arguments.write:
        RESULTS.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()
