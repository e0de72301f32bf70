"""Prove how robust a classifier is: bounds, branch and bound, or smoothing, on the images of a data set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from advlab import workspace
from advlab.errors import InvalidValue, unknown
from advlab.lock import exclusive
from advlab.results.certificate import Certificate, certificate_slug
from advlab.results.layout import CERTIFICATE
from advlab.results.result import refuse_other
from advlab.threat import ThreatModel, parse_epsilon, parse_norm
from advlab.validation import invalid, is_number, require_int
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

NORMS = {  # method: the norms whose balls it bounds
    "ibp": ("linf", "l2", "l1", "l0"),  # l0: of texts, where it counts words
    "crown": ("linf", "l2", "l1", "l0"),
    "alpha": ("linf", "l2", "l1", "l0"),
    "exact": ("linf", "l2", "l1"),
    "smoothing": ("l2",),
}


def certify(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: str = "crown",
    *,
    epsilon: float | str,
    norm: str = "linf",
    samples: int | None = None,
    radii: bool = False,
    time_limit: float | None = None,
    sigma: float = 0.25,
    draws: int = 1000,
    confidence: float = 0.999,
    seed: int = 0,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
) -> Certificate:
    """Prove that no image within ``epsilon`` of each test image, in the box [0, 1], is misclassified; or show one.

    ``classifier`` and ``dataset`` may be names, paths or what they name, as in ``attack``; ``samples`` takes the first
    so many images. ``method``:

    - ``ibp``: interval bounds (arXiv:1810.12715); ``crown``: backward linear bounds (arXiv:1811.00866); ``alpha``:
      with optimised slopes (arXiv:2011.13824). Each is at least as tight as the one before, and slower.
    - ``exact``: what ``crown`` leaves open is attacked, then decided by branch and bound on the ReLUs
      (arXiv:2103.06624) for piecewise-linear networks under Linf; elsewhere ``alpha`` has the last word.
    - Of texts the norm is ``l0``: ``epsilon`` words may be replaced by any of their 50 neighbours, as the attacks on
      words do it; for networks that take the maximum over positions after the embedding (arXiv:1909.00986).
    - ``smoothing``: randomised smoothing (arXiv:1902.02918) with Gaussian noise ``sigma``, ``draws`` and
      ``confidence``, for any classifier under L2. It certifies the smoothed classifier, another model.

    ``radii`` adds the largest radius up to ``epsilon`` that is proven of each image, by eight rounds of bisection with
    the bounds of the method (``exact``: those of ``alpha``): the lower side of a security curve.

    Proven means: for the stored weights as real numbers, on every real image of the region, guarded against the
    rounding of the bounds themselves; ``Certificate.rounding`` bounds what float32 adds. Counterexamples are verified
    in float32 by the classifier itself. After ``time_limit`` seconds the rest is unknown. ``save`` writes
    ``certificates/<classifier>/<slug>.h5`` in the workspace, ``force`` replaces another one there; after Ctrl-C an
    unfinished file beside it holds the answers so far, and the same call goes on.

    Raises ``InvalidValue``, ``UnknownName`` or ``Mismatch`` before any work.
    """
    if method not in NORMS:
        raise unknown("certification method", method, NORMS)
    norm = parse_norm(norm)
    if norm not in NORMS[method]:
        raise InvalidValue(
            f"Method '{method}' has no bounds under norm '{norm}'. Choose one of: {', '.join(NORMS[method])}."
        )
    threat = ThreatModel(norm, _positive(epsilon))
    if samples is not None:
        require_int("samples", samples, 1)
    if time_limit is not None and not (is_number(time_limit) and time_limit > 0):
        raise invalid("time_limit", time_limit, "a number of seconds above 0")
    settings = _smoothing(sigma, draws, confidence, seed)
    model = resolve_classifier(classifier, trust)
    _require_fitting_norm(model, norm)
    data = resolve_dataset(dataset, model, samples).take(samples)
    if radii and norm == "l0":
        raise InvalidValue("Norm 'l0' counts words, one certificate for each count. Leave radii out.")
    if radii and method == "smoothing":
        raise InvalidValue("Method 'smoothing' gives each image's radius anyway. Leave radii out.")
    slug = certificate_slug(method, threat, radii)
    unfinished = workspace.unfinished_certificate_path(model.name, slug) if save else None

    from advlab.certification.certify import certify as prove

    with exclusive(unfinished):
        if unfinished is not None and force:
            unfinished.unlink(missing_ok=True)
        if save and not force:
            path = workspace.certificate_path(model.name, slug)
            refuse_other(path, {"classifier_digest": model.digest, "dataset_digest": data.digest}, CERTIFICATE)
        certificate = prove(
            model,
            data,
            norm=threat.norm,
            epsilon=threat.epsilon,
            method=method,
            time_limit=math.inf if time_limit is None else time_limit,
            smoothing=settings if method == "smoothing" else None,
            radii=radii,
            unfinished=unfinished,
            progress=progress,
        )
        if unfinished is not None:
            certificate.save(force=force)
            unfinished.unlink(missing_ok=True)
    return certificate


def _require_fitting_norm(model: Classifier, norm: str) -> None:
    if model.vocabulary and norm != "l0":
        raise InvalidValue(
            f"Norm '{norm}' measures pixels, and model '{model.name}' is one of texts. Use norm 'l0', which counts the "
            "words that may be replaced: norm='l0', epsilon=1."
        )
    if not model.vocabulary and norm == "l0":
        raise InvalidValue(f"Images have no bounds under norm 'l0'. Got model '{model.name}'; use linf, l2 or l1.")


def _positive(epsilon: float | str) -> float:
    value = parse_epsilon(epsilon)
    if not value:
        raise InvalidValue(
            "epsilon must be above 0. With 0 the answer is clean accuracy: advlab evaluate shows it, or "
            "classifier.probabilities(x).argmax(1) == y."
        )
    if math.isinf(value):
        raise InvalidValue("epsilon must be finite: nothing is proven of all images. Try epsilon=0.01.")
    return value


def _smoothing(sigma: float, draws: int, confidence: float, seed: int) -> dict[str, float]:
    require_int("draws", draws, 1)
    require_int("seed", seed, 0)
    if not (is_number(sigma) and 0 < sigma < math.inf):
        raise invalid("sigma", sigma, "a float in the range (0, inf)")
    if not (is_number(confidence) and 0 < confidence < 1):
        raise invalid("confidence", confidence, "a float in the range (0, 1)")
    return {"sigma": sigma, "draws": draws, "confidence": confidence, "seed": seed}
