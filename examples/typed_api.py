"""The whole public API once, as an editor and mypy see it: from a recipe to a report, in about a minute.

    python examples/typed_api.py FOLDER

Everything is written to FOLDER, whose name may be anything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import advlab


def half_step(problem: advlab.Problem, *, fraction: float = 0.5) -> advlab.Loop:
    """A method of one's own: FGSM that uses only a fraction of its budget."""
    ball = problem.ball

    def update(state: advlab.State, query: advlab.Query, step: object) -> advlab.State:
        size = fraction * tf.cast(ball.epsilon, tf.float32)
        return {"x": ball.project(query.x + ball.steepest(query.gradient, query.x, size))}

    return advlab.Loop(1, lambda: {"x": problem.x}, update)


def runner_up(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """A loss of one's own: how close the logits are to being wrong, float32 ``(n,)``."""
    is_label = tf.one_hot(labels, logits.shape[-1])
    return tf.reduce_max(logits - 1e9 * is_label, -1) - tf.reduce_sum(logits * is_label, -1)


def main(folder: Path) -> None:
    """Train, attack, evaluate and report."""
    os.environ["ADVLAB_WORKSPACE"] = str(folder)
    advlab.use_device("auto")
    diagnosis: advlab.Diagnosis = advlab.doctor()
    started: Path = advlab.new("recipe", "mine")
    print(len(diagnosis.checks), started)
    recipe: advlab.Recipe = advlab.load_recipe("digits")
    classifier: advlab.Classifier = advlab.train(recipe, epochs=5)
    data: advlab.Dataset = advlab.load_dataset("digits", limit=50)

    spec = advlab.Attack("pgd", norm="linf", epsilon="8/255", steps=20)
    result: advlab.AttackResult = advlab.attack(classifier, data, spec)
    several: list[advlab.AttackResult] = advlab.attack(classifier, data, "fgsm", epsilon=[0.05, 0.1])
    adaptive = advlab.Attack("pgd", steps=5, loss=runner_up, passes=2)
    aimed: advlab.AttackResult = advlab.attack(classifier, data, adaptive)
    through: advlab.Classifier = classifier.with_backward({"flatten": lambda x: tf.reshape(x, [-1, 784])})
    print(aimed.attack.variant, through.digest == classifier.digest)
    weak = advlab.attack(classifier, (data.x, data.y), half_step, epsilon=0.1)
    path: Path = result.save()
    evaluation: advlab.Evaluation = advlab.evaluate(advlab.load_result(path))
    others = [advlab.evaluate(each) for each in (*several, weak)]
    print(advlab.table([evaluation, *others]))
    print(advlab.compare(others[0], others[1]).p_value)
    findings: tuple[advlab.Finding, ...] = advlab.cross_findings([evaluation, *others])
    worst: advlab.WorstCase = advlab.worst_case([evaluation])
    print(len(findings), worst.accuracy.value, len(advlab.to_records([evaluation])))

    verified: advlab.Verification = advlab.verify(path)
    curve: advlab.SecurityCurve = advlab.curve(classifier, data)
    advlab.figures.save(advlab.figures.security_curve(curve), folder / "curve.svg")
    test: advlab.SelfTest = advlab.selftest(classifier, data, "pgd", samples=3)
    audit: advlab.Audit = advlab.audit(classifier, data, samples=20)
    report: advlab.DefenseReport = advlab.defense_report(classifier, "digits-robust", data, samples=20)
    print(report.conclusion())
    advlab.figures.save(advlab.figures.defense(report), folder / "defense.svg")
    detector: advlab.Detector = advlab.Detector("energy").fit(classifier, data)
    detection: advlab.Detection = advlab.evaluate_detector(classifier, detector, data, samples=20)
    advlab.figures.save(advlab.figures.roc(detection), folder / "roc.svg")
    both: advlab.Classifier = advlab.ensemble([classifier, advlab.load_classifier("digits-robust")], random=True)
    print(both.classes)
    hardened: advlab.Hardened = advlab.harden(classifier, minutes=0.02, samples=20, output=folder / "hardened.h5")
    print(hardened.table())
    suite: list[advlab.Evaluation] = advlab.run(classifier, data, "quick")
    declared = folder / "small.toml"
    declared.write_text('title = "T"\nclassifiers = ["digits"]\nattacks = ["fgsm"]\nsamples = 9\nepsilons.l2 = [1]\n')
    expected: advlab.Cost = advlab.cost(classifier, data, spec)
    print(expected.table(), expected.seconds)
    plan: advlab.BenchmarkPlan = advlab.plan_benchmark(declared)
    print(len(advlab.load_benchmark(declared).cells))
    compared: advlab.Comparison = advlab.benchmark(declared)
    print(plan.caption(), compared.table(), advlab.compare_archives([path]).table())
    with advlab.use_workers(2):
        print(advlab.attack(classifier, data, spec).execution.workers)
    matrix: advlab.TransferMatrix = advlab.transfer([result], [advlab.ModelFile("digits", trust=False)])
    explained: advlab.Attributions | None = advlab.explain(result, samples=2, steps=8).attributions
    counts: np.ndarray = advlab.attribute(classifier, data.x[:2], method="saliency")
    print(explained and explained.method, counts.shape)
    advlab.figures.save(advlab.figures.attributions(data.x[:2], counts), folder / "counts.svg")
    masked = advlab.attack(classifier, data, "pgd", mask=np.eye(28), top=2)
    print(masked.per_image.mask is not None)
    certificate: advlab.Certificate = advlab.certify(classifier, data, "crown", epsilon="8/255")
    stated: advlab.PropertyCertificate | None = advlab.certify_property("n.onnx", "p.vnnlib") if len(data) < 1 else None
    print(stated and stated.status)
    lower = advlab.certify(classifier, data, "crown", epsilon=0.1, radii=True)
    print(advlab.SecurityCurve.from_results(curve.results, [lower]).proven_accuracy(0.01))
    files: list[advlab.Evaluation] = advlab.evaluate_files([path])
    print(len(files), certificate.bracket(result), advlab.evaluate(result, certificate=certificate).bracket)
    print(verified.holds, test.found, len(audit.findings), len(suite), matrix.table(), curve.table([0.05]), sep="\n")

    noise: advlab.NoiseEvaluation = advlab.evaluate_noise(classifier, samples=20)
    predictions: advlab.Predictions = advlab.predict(classifier, data.x[:3])
    summary: advlab.ModelSummary = advlab.summary(classifier)
    print(noise.table(), predictions.table(), summary.table(), sep="\n")
    advlab.export(result, npy=folder / "images.npy", csv=folder / "samples.csv")
    images: np.ndarray = np.load(folder / "images.npy")
    imported: advlab.AttackResult = advlab.import_images(images, classifier, data, epsilon=0.1)
    advlab.report([evaluation, advlab.evaluate(imported), *suite], folder / "report.html")
    try:
        advlab.attack(classifier, data, "pgd", eps=0.1)
    except advlab.UnknownName as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
