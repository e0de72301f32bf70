"""The result of an attack, and its file: the archive.

Everything that evaluation, figures and report need is stored here, so that nothing behind it needs TensorFlow. On disk
an archive is HDF5: a JSON header in the root attribute ``advlab``, readable without the arrays, and one data set for
each array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from advlab import renamed, storage, workspace
from advlab.declarations.attack import Attack
from advlab.errors import AdvlabError, FileExists, InvalidFile
from advlab.lazy import Images
from advlab.results.attributions import Attributions
from advlab.results.diagnostics import Diagnostics, SelfTestCounts
from advlab.results.execution import Execution
from advlab.results.layout import ARCHIVE, require_consistent
from advlab.results.per_image import PerImage
from advlab.results.shown import Shown
from advlab.storage import Layout
from advlab.validation import as_int, shown

ROWS = (  # what a result has for each image, beside the images
    "labels",
    "indices",
    "clean_probabilities",
    "adversarial_probabilities",
    "attempted",
    "forward_passes",
    "backward_passes",
)
_ARRAYS = ("x", "x_adv", *ROWS)
_ATTRIBUTIONS = ("rows", "clean", "adversarial")
_HEADER = (
    "classifier",
    "classifier_digest",
    "dataset",
    "split",
    "dataset_digest",
    "classes",
    "seconds",
    "versions",
    "command",
    "notes",
)


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack produced on ``n`` images of ``k`` classes.

    Shapes and types: ``x`` and ``x_adv`` float32 ``(n, h, w, c)`` in [0, 1], arrays or, where they are many,
    ``LazyImages``; ``labels`` and ``indices`` (positions in the full split) int64 ``(n,)``; the probabilities float32
    ``(n, k)``, of exactly the stored arrays; ``attempted`` bool ``(n,)``, False where the sample was out of scope (its
    label is the target) or left out, because an earlier attack of the same suite had succeeded on it; there ``x_adv``
    equals ``x``; passes int32 ``(n,)`` per sample. ``patch``, float32 ``(s, s, c)`` in [0, 1], is the picture that lies
    on all images, where the method seeks one; ``attributions`` those of some images, where they were made.
    ``attack`` is what was asked, ``per_image`` what of it differs from image to image, ``execution`` how it was run,
    ``diagnostics`` what findings need, ``notes`` codes of findings about the classifier. Of several attacks joined
    ``parts`` names them and ``selftest`` tests them together. ``source_digest`` is that of the classifier the images
    were crafted against, where it is another one, ``provenance`` and ``vocabulary`` the data set's, and
    ``location`` the path of the archive, where there is one.
    """

    attack: Attack
    classifier: str
    classifier_digest: str
    dataset: str
    split: str
    dataset_digest: str
    classes: tuple[str, ...]
    x: Images
    x_adv: Images
    labels: np.ndarray
    indices: np.ndarray
    clean_probabilities: np.ndarray
    adversarial_probabilities: np.ndarray
    attempted: np.ndarray
    forward_passes: np.ndarray
    backward_passes: np.ndarray
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    per_image: PerImage = field(default_factory=PerImage)
    patch: np.ndarray | None = None
    attributions: Attributions | None = None
    execution: Execution = field(default_factory=Execution)
    notes: tuple[str, ...] = ()
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    selftest: SelfTestCounts | None = None
    parts: tuple[str, ...] = ()
    source_digest: str = ""
    provenance: str = ""
    vocabulary: tuple[str, ...] = ()
    location: Path | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        accuracy = np.mean(self.correct & self.robust)
        return (
            f"AttackResult {self.attack.slug} on {self.classifier}, {self.dataset} {self.split}: {len(self)} images, "
            f"clean accuracy {np.mean(self.correct):.1%}, robust accuracy {accuracy:.1%}"
        )

    def _repr_html_(self) -> str:
        from advlab.figures.notebook import result_html

        return result_html(self)

    def show(self, images: int = 5) -> Shown:
        """The first ``images`` that the attack turns from right to wrong, with what it changed, as a notebook shows it.

        Where there are fewer of them the others follow. Raises ``InvalidValue`` for a number below 1.
        """
        count = as_int("images", images, 1)
        turned = self.correct & self.success
        return Shown(self, np.argsort(~turned, kind="stable")[:count])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The ``k`` classes; a classifier may know more of them than the data set names, those go by their number."""
        k = self.clean_probabilities.shape[1]
        return (*self.classes, *map(str, range(len(self.classes), k)))[:k]

    @property
    def correct(self) -> np.ndarray:
        """bool ``(n,)``: the clean image is classified as its label (with ``top``: that is among the likeliest)."""
        return self.attack.threat.accepts(self.clean_probabilities, self.labels)

    @property
    def success(self) -> np.ndarray:
        """bool ``(n,)``: the stored perturbed image gets the target, or without a target any class but its label."""
        threat = self.attack.threat
        if not threat.targeted:
            return ~threat.accepts(self.adversarial_probabilities, self.labels)
        return (self.adversarial_probabilities.argmax(1) == self.targets) & self.attempted

    @property
    def targets(self) -> np.ndarray:
        """int64 ``(n,)``: the class that counts as success, -1 for any but the label."""
        if self.per_image.target is not None:
            return self.per_image.target
        target = self.attack.threat.target
        return np.full(len(self), -1 if target is None else target)

    @property
    def epsilons(self) -> np.ndarray:
        """float64 ``(n,)``: the radius around each image, infinite where the smallest change was sought."""
        if self.per_image.epsilon is not None:
            return self.per_image.epsilon
        return np.full(len(self), self.attack.threat.epsilon, np.float64)

    @property
    def left_out(self) -> np.ndarray:
        """bool ``(n,)``: not attempted, because an earlier attack of the suite had succeeded on it."""
        return ~self.attempted & (self.labels != self.targets)

    @property
    def robust(self) -> np.ndarray:
        """bool ``(n,)``: classified as its label on the clean and on the perturbed image, and not left out."""
        accepted = self.attack.threat.accepts(self.adversarial_probabilities, self.labels)
        return self.correct & accepted & ~self.left_out

    @property
    def shown_order(self) -> np.ndarray:
        """int64 ``(n,)``: the order in which a report picks images to show: random, and the same every time."""
        return np.random.default_rng(0).permutation(len(self))

    @property
    def minimal(self) -> bool:
        """Whether it sought the smallest change: without any limit, or by a bisection up to one."""
        return self.attack.goal == "minimal"

    @property
    def path(self) -> Path:
        """Where its archive lies, or would: ``attacks/<classifier>/<slug>.h5`` in the workspace."""
        return self.location or workspace.archive_path(self.classifier, self.attack.slug)

    def specification(self) -> dict[str, Any]:
        """What the result depends on; equal specifications may replace each other's archives."""
        return {
            "attack": self.attack.to_dict(),
            "classifier_digest": self.classifier_digest,
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
        }

    def save(self, path: str | PathLike[str] | None = None, *, force: bool = False) -> Path:
        """Write the archive, whole or not at all, and return its path.

        Raises ``FileExists`` where ``path`` holds something other than an archive of the same specification.
        """
        archive = self.path if path is None else Path(path)
        refuse_other(archive, {} if force else self.specification(), samples=len(self))
        header = {name: getattr(self, name) for name in _HEADER}
        header |= {
            "kind": "archive",
            "samples": len(self),
            "attack": self.attack.to_dict(),
            "execution": self.execution.to_dict(),
            "selftest": self.selftest and self.selftest._asdict(),
            "parts": list(self.parts),
            "source_digest": self.source_digest,
            "provenance": self.provenance,
        }
        header |= {} if self.attributions is None else {"attribution_method": self.attributions.method}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"diagnostics/{name}": array for name, array in self.diagnostics.arrays().items()}
        arrays |= {} if self.patch is None else {"patch": self.patch}
        if self.vocabulary:
            arrays["vocabulary"] = np.frombuffer("\n".join(self.vocabulary).encode(), np.uint8)
        if self.attributions is not None:
            arrays |= {f"attributions/{name}": getattr(self.attributions, name) for name in _ATTRIBUTIONS}
        arrays |= {f"per_image/{name}": array for name, array in self.per_image.arrays().items()}
        storage.write(archive, header, arrays, levels=("x",))
        return archive

    def with_predictions(
        self, classifier: str, digest: str, clean: np.ndarray, adversarial: np.ndarray
    ) -> AttackResult:
        """The same images with the predictions of another classifier: what a transfer evaluation reads.

        ``source_digest`` keeps the digest of the one they were crafted against.
        """
        return replace(
            self,
            classifier=classifier,
            classifier_digest=digest,
            clean_probabilities=clean,
            adversarial_probabilities=adversarial,
            source_digest=self.source_digest or self.classifier_digest,
            diagnostics=Diagnostics(similarity=self.diagnostics.similarity),
            attributions=None,
            notes=(),
        )


def load_result(path: str | PathLike[str]) -> AttackResult:
    """Read an archive written by ``AttackResult.save``; raises ``InvalidFile`` for anything else."""
    header, arrays = storage.read(Path(path), ARCHIVE)
    fields: dict[str, Any] = {name: header[name] for name in _HEADER} | {name: arrays[name] for name in _ARRAYS}
    stored, per_image = (
        {name.removeprefix(group): array for name, array in arrays.items() if name.startswith(group)}
        for group in ("diagnostics/", "per_image/")
    )
    try:
        require_consistent(header, arrays)
        fields |= {"classes": tuple(header["classes"]), "notes": tuple(header["notes"])}
        fields["diagnostics"] = Diagnostics.from_arrays(renamed.diagnostics(stored))
        fields["patch"] = arrays.get("patch")
        if "vocabulary" in arrays:
            fields["vocabulary"] = tuple(arrays["vocabulary"].astype(np.uint8).tobytes().decode("utf-8").split("\n"))
        if "attribution_method" in header:
            explained = [arrays[f"attributions/{name}"] for name in _ATTRIBUTIONS]
            fields["attributions"] = Attributions(header["attribution_method"], *explained)
        fields["per_image"] = PerImage.from_arrays(per_image)
        fields |= _recorded(header)
        return AttackResult(**fields, location=Path(path))
    except (AdvlabError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InvalidFile(f"'{path}' is a damaged archive ({error}). Craft it again.") from error


def _recorded(header: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked and how it was run, also of an earlier version, which kept most of it in ``settings``."""
    earlier = renamed.settings(header.get("settings", {}))
    test = header.get("selftest") or earlier.get("selftest")
    goal = {"goal": earlier["goal"]} if "goal" in earlier else {}
    return {
        "attack": Attack.from_dict({**goal, **header["attack"]}),
        "execution": Execution.from_dict(header.get("execution") or earlier),
        "selftest": test and SelfTestCounts(*(int(test[name]) for name in SelfTestCounts._fields)),
        "parts": tuple(header.get("parts") or earlier.get("attacks") or ()),
        "source_digest": str(header.get("source_digest") or earlier.get("source_digest") or ""),
        "provenance": str(header.get("provenance", "")),
    }


def refuse_other(
    path: Path, specification: Mapping[str, Any], layout: Layout = ARCHIVE, samples: int | None = None
) -> None:
    """Raise where ``path`` holds nothing of that layout (``InvalidFile``), or another specification (``FileExists``).

    An empty specification stands for any; ``samples`` is the number of images that the new result has.
    """
    if not path.exists():
        return
    header = storage.read_header(path, layout)
    stored = {name: header.get(name) for name in specification}
    if "attack" in stored:
        try:
            stored["attack"] = _recorded(header)["attack"].to_dict()
        except (AdvlabError, AttributeError, KeyError, TypeError, ValueError):
            stored["attack"] = None  # damaged, and thus another one
    if stored != specification:
        names = [name for name in specification if stored[name] != specification[name]]
        if names == ["dataset_digest"] and samples not in (None, there := header.get("samples")):
            raise FileExists(
                f"'{path}' holds {there:,} images, and {samples:,} are asked for. Name another place with --output, "
                "replace it with --force, or move it away."
            )
        differences = ", ".join(_difference(name, stored[name], specification[name]) for name in names)
        raise FileExists(
            f"'{path}' holds another result, of {header.get('samples')} images "
            f"(it differs in: {differences}). Use --force to replace it, name another place with --output, "
            "or move it away."
        )


def _difference(name: str, stored: Any, asked: Any) -> str:
    """What of two specifications differs, in words; of attacks, which of their settings."""
    if name != "attack" or not isinstance(stored, Mapping):
        return {"classifier_digest": "classifier", "dataset_digest": "images", "dataset": "data set"}.get(name, name)
    settings = ({**attack, **(attack.get("parameters") or {})} for attack in (stored, asked))
    there, here = ({k: v for k, v in each.items() if k not in ("parameters", "overrides")} for each in settings)
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    keys = ["method"] if "method" in keys else keys
    words = [f"{key} is {shown(there.get(key))} there and {shown(here.get(key))} here" for key in keys]
    return f"attack, {', '.join(words)}" if words else "attack"
