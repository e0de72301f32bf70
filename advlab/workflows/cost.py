"""What attacks would cost, before they are run: passes, time and room on the disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab import workspace, writing
from advlab.declarations.attack import Attack
from advlab.errors import InvalidValue
from advlab.formatting import Grid, Page, in_bytes, in_time, plain, printable
from advlab.workflows.inputs import MethodLike, resolve_classifier, resolve_dataset, resolve_method

if TYPE_CHECKING:
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

SCHEMA = 1


@dataclass(frozen=True)
class AttackCost:
    """What one attack takes at most. ``passes`` are forward and backward, for one image; None: not known ahead.

    ``seconds`` is what these take on this machine; images that are misclassified early cost less.
    """

    attack: str
    passes: int | None
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What attacks on ``images`` images take at most: ``memory`` bytes the largest of them, ``disk`` bytes all.

    ``available`` bytes of memory can still be had, None where the system does not say; ``free`` are on the disk.
    """

    classifier: str
    dataset: str
    images: int
    attacks: tuple[AttackCost, ...]
    memory: int
    available: int | None
    disk: int
    free: int

    @property
    def seconds(self) -> float:
        """Of all attacks whose cost is known, at most."""
        return sum(attack.seconds or 0.0 for attack in self.attacks)

    def table(self) -> str:
        """A line for each attack, and the sum."""
        rows = [
            [
                cost.attack,
                "-" if cost.passes is None else f"{cost.passes:,}",
                "-" if cost.seconds is None else in_time(cost.seconds),
            ]
            for cost in self.attacks
        ]
        available = "" if self.available is None else f" ({in_bytes(self.available)} are free)"
        sums = (
            f"{self.images:,} images of {printable(self.dataset)} on {printable(self.classifier)}: at most "
            f"{in_time(self.seconds)} on this machine, as if no image ended early, {in_bytes(self.memory)} of "
            f"memory{available} and {in_bytes(self.disk)} on the disk ({in_bytes(self.free)} are free)."
        )
        return Page.of(Grid(["attack", "passes for an image", "time"], rows, ["attack"]), "", sums)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return plain({"schema": SCHEMA, **self.__dict__, "attacks": self.attacks, "seconds": self.seconds})


def cost(
    classifier: ClassifierLike,
    dataset: DatasetLike | None,
    attacks: MethodLike | Sequence[Attack],
    *,
    samples: int | None = None,
    batch_size: int | None = None,
    trust: bool = False,
    **settings: Any,
) -> Cost:
    """What attacks would take at most: passes for an image, seconds on this machine, bytes of memory and on the disk.

    The passes are counted, and one is timed; nothing is attacked. ``classifier``, ``dataset``, ``samples``,
    ``batch_size`` and ``trust`` as in ``advlab.attack``, and for the name of a method ``settings`` as in
    ``advlab.Attack``; the attacks of a suite are ``load_suite(name).under(norm, epsilon)``. Raises ``InvalidValue``
    without an attack, and what ``attack`` raises for inputs that do not fit.
    """
    from advlab.engine.cost import available_memory, most_memory, most_passes, require_memory, seconds_per_pass

    if isinstance(attacks, Sequence) and not isinstance(attacks, str):
        specs = list(attacks)
    else:
        method = resolve_method(attacks)
        specs = [method if isinstance(method, Attack) else Attack(method, **settings)]
    if not specs:
        raise InvalidValue("Give at least one attack.")
    network = resolve_classifier(classifier, trust)
    images = resolve_dataset(dataset, network, samples).take(samples)
    network.check(images)
    require_memory(network, len(images), batch_size)
    second = seconds_per_pass(network, images)
    costs = []
    for spec in specs:
        counted = most_passes(spec, images.shape, network.classes)
        passes = None if counted is None else sum(counted)
        costs.append(AttackCost(spec.slug, passes, None if passes is None else passes * len(images) * second))
    folder = workspace.archive_path(network.name, specs[0].slug)
    disk = len(specs) * archive_bytes(len(images), images.shape, network.classes)
    memory = most_memory(network, images.x.shape, batch_size)
    bytes_free = available_memory(), disk, writing.free_bytes(folder)
    return Cost(network.name, images.name, len(images), tuple(costs), memory, *bytes_free)


def archive_bytes(images: int, shape: Sequence[int], classes: int) -> int:
    """Of an archive before compression: clean pixels of a byte, perturbed ones of four, two rows of probabilities."""
    return images * (5 * math.prod(shape) + 8 * classes + 64)


def require_room(path: Path, images: int, shape: Sequence[int], classes: int) -> None:
    """Raise ``InvalidValue`` where the perturbed images cannot be written: compression saves half of them at most."""
    needed, free = archive_bytes(images, shape, classes), writing.free_bytes(path)
    if needed > 2 * free:
        raise InvalidValue(
            f"The archive of {images:,} images takes up to {in_bytes(needed)}, and {in_bytes(free)} are free at "
            f"'{path.parent}'. Attack fewer (--samples), free some space, or choose another --workspace."
        )
