"""Train and measure the models of the zoo, keep a record of each, and write the table ``models/README.md``.

    python benchmarks/models.py [NAME...] [--weights FOLDER] [--ship]
    python benchmarks/models.py --write

Uses ``FOLDER/NAME.h5`` where it exists, else trains it into that folder (by default a temporary one) as the recipe
says, and attacks it with the suite ``standard``. Its record goes into ``models/measured.json`` at once, and a file that
has its record is not measured again, so that an interrupted run can be resumed; so are attacks, whose archives lie in
the workspace (ADVLAB_WORKSPACE). ``--ship`` then copies weights into
``models/pretrained/`` as far as there is room; ``--write`` writes the table only. Needs the real data (ADVLAB_DATA).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocks import machine

import advlab
from advlab import writing
from advlab.data.official import WITH_NOISE
from advlab.declarations.recipes import Recipe, load_recipe, settings
from advlab.declarations.studies import load_study
from advlab.evaluation.metrics import Rate, rate
from advlab.evaluation.study import load_study_result

MODELS = Path(__file__).parent.parent / "models"
RECORDS, README, PRETRAINED = MODELS / "measured.json", MODELS / "README.md", MODELS / "pretrained"
SUITE, NORM, EPSILON = "standard", "linf", 0.05
IMAGES, FEW = 500, 100  # test images that are attacked; few for networks that are not dense, to keep a run bearable
ROBUST_IMAGES = 1000  # of networks trained against an adversary, at its own epsilon; of residual ones 200
WORDS = 10  # of a text that may be replaced
PROVEN_IMAGES = 10_000  # of networks trained for certificates, bounded at their own epsilon
ROOM = 16_000_000  # bytes of all shipped weights
FIRST, LAST = ("digits", "fashion", "mnist", "cifar10", "mnist-robust", "fashion-robust"), ("mnist-mlp-512",)
ACCURACIES = ("test_accuracy", "train_accuracy", "validation_accuracy")
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "nadam": "Nadam", "rmsprop": "RMSprop", "sgd": "SGD"}
HEAD = (
    "| model | architecture | data set | parameters | training | seconds | test accuracy | published | points apart "
    f"| other accuracies (published, points apart) | robust accuracy, {NORM} {EPSILON} | attacked images "
    "| robust accuracy as trained | file | digest |"
)
CELLS = {"simple": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def recipes() -> dict[str, Recipe]:
    """The recipes of this checkout, by name."""
    return {name: load_recipe(MODELS / f"{name}.toml") for name in sorted(path.stem for path in MODELS.glob("*.toml"))}


def records() -> dict[str, dict[str, Any]]:
    """The records so far, by name."""
    return json.loads(RECORDS.read_text("utf-8")) if RECORDS.exists() else {}


def store(name: str, record: Mapping[str, Any]) -> None:
    """Add or replace one record."""
    with writing.atomic_write(RECORDS) as temporary:
        temporary.write_text(json.dumps(records() | {name: record}, indent=1, sort_keys=True) + "\n", "utf-8")


def measured(recipe: Recipe, path: Path) -> dict[str, Any]:
    """The record of a model, trained first where ``path`` does not exist; the stored one where nothing changed."""
    if path.exists():
        classifier = advlab.load_classifier(path)
    else:
        classifier = advlab.train(recipe, save=False)
        classifier.save(path)
    card, stored = classifier.card, records().get(recipe.name)
    if settings(card["recipe"]) != settings(recipe):
        raise SystemExit(f"'{path}' was trained by another recipe than models/{recipe.name}.toml. Remove it.")
    threat = threat_of(recipe)
    adversary, certified = recipe.training.adversary, recipe.training.certified
    own: dict[str, Any] = {}
    trained_against = adversary or certified
    if trained_against is not None:
        count = 200 if recipe.architecture["name"] == "resnet" else ROBUST_IMAGES
        own = threat | {"norm": trained_against.norm, "epsilon": trained_against.epsilon, "samples": count}
    identity = {"digest": classifier.digest, "recipe": settings(recipe)}
    wanted = {"robust_accuracy": threat} | ({"robust_accuracy_as_trained": own} if own else {})
    if stored and identity.items() <= stored.items():
        is_complete = [values.items() <= stored.get(key, {}).items() for key, values in wanted.items()]
        if all(is_complete):
            return stored
    return {
        "recipe": settings(recipe),
        **{key: card[key] for key in ("parameters", *ACCURACIES, "epochs_run", "seconds", "versions")},
        **{key: values | vars(robustness(recipe, classifier, values)) for key, values in wanted.items()},
        **({"proven_accuracy": proven(classifier, recipe.dataset, certified.epsilon)} if certified is not None else {}),
        "digest": classifier.digest,
        "bytes": path.stat().st_size,
        "machine": machine(),
    }


def threat_of(recipe: Recipe) -> dict[str, Any]:
    """Under what robust accuracy is measured."""
    if "words" in recipe.architecture:
        images = FEW if recipe.architecture["name"] == "recurrent_words" else ROBUST_IMAGES
        return {"suite": "text", "norm": "l0", "epsilon": WORDS, "samples": images}
    images = IMAGES if recipe.architecture["name"] == "mlp" else FEW
    return {"suite": SUITE, "norm": NORM, "epsilon": EPSILON, "samples": images}


def proven(classifier: advlab.Classifier, dataset: str, epsilon: float) -> dict[str, Any]:
    """The share of test images that interval bounds prove at the epsilon of certified training."""
    data = advlab.load_dataset(dataset, limit=PROVEN_IMAGES)
    certificate = advlab.certify(classifier, data, epsilon=epsilon, method="ibp", samples=len(data), save=False)
    return vars(rate(certificate.proven))


def robustness(recipe: Recipe, classifier: advlab.Classifier, threat: Mapping[str, Any]) -> Rate:
    """Robust accuracy on the first images, from a study of the same training run, else measured now."""
    for path in (MODELS / "studies").glob("*.json"):
        for row in load_study_result(load_study(path.with_suffix(".toml")), path).rows:
            row_identity = (row.settings, row.threat, row.test_accuracy)
            if row_identity == (settings(recipe), threat, classifier.card["test_accuracy"]) and row.robust_accuracy:
                return row.robust_accuracy
    # A network that was also trained on noise is attacked on the same images as one that was not.
    data = advlab.load_dataset(recipe.dataset.removesuffix(WITH_NOISE), limit=threat["samples"])
    norm, epsilon = threat["norm"], threat["epsilon"]
    suite = threat["suite"]
    evaluations = advlab.run(classifier, data, suite, norm=norm, epsilon=epsilon, selftest=0, save=True)
    return advlab.worst_case(evaluations).accuracy


def ship(weights: Path) -> None:
    """Fill ``models/pretrained`` with measured weights, in the order of choice, as far as there is room."""
    files = {path.stem: path for path in PRETRAINED.glob("*.h5")}
    for name, record in records().items():
        path = weights / f"{name}.h5"
        if path.exists() and advlab.load_classifier(path).digest == record["digest"]:
            files[name] = path
    selected = selection({name: path.stat().st_size for name, path in files.items()})
    for name in files.keys() - set(selected):
        (PRETRAINED / f"{name}.h5").unlink(missing_ok=True)
    for name in selected:
        with writing.atomic_write(PRETRAINED / f"{name}.h5") as temporary:
            shutil.copyfile(files[name], temporary)


def selection(sizes: Mapping[str, int]) -> list[str]:
    """The files to ship, given their bytes: ``FIRST``, then by size, then ``LAST``, as far as there is room."""
    first = {name: position for position, name in enumerate(FIRST)}
    selected, room = [], ROOM
    for name in sorted(sizes, key=lambda name: (first.get(name, len(FIRST)), name in LAST, sizes[name], name)):
        if sizes[name] <= room:
            selected.append(name)
            room -= sizes[name]
    return selected


def architecture(recipe: Recipe) -> str:
    """The network in words: ``56-56 relu, dropout 0.3``."""
    options = recipe.architecture
    activation = options.get("activation", "relu")
    match options["name"]:
        case "mlp":
            words = [
                f"{'-'.join(map(str, options['hidden']))} {activation}" if options["hidden"] else "softmax regression"
            ]
        case "convnet":
            size, pool = options.get("kernel_size", 3), options.get("pool_size", 2)
            filters = "-".join(map(str, options["filters"]))
            words = [f"{filters} convolutions {size}x{size} {activation}"]
            words += [f"stride {options['stride']}"] if "stride" in options else []
            words += [f"max-pool {pool}"] if pool > 1 else []
            words += [f"{'-'.join(map(str, options['hidden']))} {activation}"] if options.get("hidden") else []
        case "resnet":
            stages, filters = len(options["filters"]), "-".join(map(str, options["filters"]))
            words = [f"residual, {stages} x {options.get('blocks', 1)} blocks of {filters} convolutions 3x3"]
        case "pooled_words" | "convolved_words" | "recurrent_words":
            words = [f"{options['words']:,} words, vectors of {options['embedding']}"]
            words += [f"{options['filters']} convolutions of {options['kernel_size']}"] if "filters" in options else []
            words += [f"LSTM {options['units']}"] if "units" in options else ["maximum"]
            words += [f"{options['hidden']} relu"] if "hidden" in options else []
        case _:
            both = "bidirectional " if options.get("bidirectional") else ""
            words = [f"{both}{CELLS[options.get('cell', 'simple')]} {options['units']}"]
    words += [f"{key} {options[key]:g}" for key in ("dropout", "l1", "l2") if options.get(key)]
    words += ["batch normalization"] if options.get("batch_normalization") else []
    start = options.get("kernel_initializer")
    if start:
        words.append(f"from {start}" if isinstance(start, str) else f"from {start['class_name']} {start['config']}")
    return ", ".join(words).translate(str.maketrans("", "", "{}'"))


def training(recipe: Recipe, epochs_run: int | None = None) -> str:
    """How it is trained, in words: ``Adam, 6 epochs, batch 32``."""
    options = recipe.training
    early = epochs_run is not None and epochs_run < options.epochs
    words = [
        OPTIMIZERS[options.optimizer] + ("" if options.learning_rate is None else f" at {options.learning_rate:g}"),
        f"{epochs_run} of {options.epochs} epochs" if early else f"{options.epochs} epochs",
        f"batch {options.batch_size}",
    ]
    words += [f"first {options.train_samples:,} images"] if options.train_samples else []
    words += [f"validation split {options.validation_split:g}"] if options.validation_split else []
    if options.adversary is not None:
        words.append(f"adversary {options.adversary.method}, {options.adversary.norm} {options.adversary.epsilon:g}")
    if options.certified is not None:
        words.append(f"interval bounds, linf {options.certified.train_epsilon or options.certified.epsilon:g}")
    words += [f"{options.schedule} schedule"] if options.schedule != "constant" else []
    words += [f"shifted by up to {options.random_shift}"] if options.random_shift else []
    words += ["mirrored at random"] if options.random_flip else []
    words += ["averaged weights"] if options.weight_averaging else []
    words += [options.precision] if options.precision != "float32" else []
    return ", ".join(words)


def difference(recipe: Recipe, record: Mapping[str, Any], key: str) -> str:
    """Measured minus published in points; one above a point needs the recipe's note."""
    if record.get(key) is None or key not in recipe.published:
        return ""
    points = round(100 * (record[key] - recipe.published[key]), 2)
    return f"{points:+.2f}" + (" unexplained" if abs(points) > 1 and "note" not in recipe.published else "")


def row(recipe: Recipe, record: Mapping[str, Any], shipped: bool) -> str:
    """One model in the table; what is not measured or not printed stays empty."""

    def percent(figures: Mapping[str, Any], key: str) -> str:
        return "" if figures.get(key) is None else f"{figures[key]:.2%}"

    def interval(rate: Mapping[str, Any]) -> str:
        return "{:.1f}% [{:.1f}, {:.1f}]".format(*(100 * rate[key] for key in ("value", "low", "high")))

    others = [
        f"{key.partition('_')[0]} {percent(record, key)} ({percent(recipe.published, key)}, {apart})"
        for key in ACCURACIES[1:]
        if (apart := difference(recipe, record, key))
    ]
    robust, own = record.get("robust_accuracy"), record.get("robust_accuracy_as_trained")
    in_proof = f"; proven {interval(record['proven_accuracy'])}" if "proven_accuracy" in record else ""
    cells = (
        f"[`{recipe.name}`]({recipe.name}.toml)",
        architecture(recipe),
        recipe.dataset,
        f"{record['parameters']:,}" if record else "",
        training(recipe, record.get("epochs_run")),
        f"{record['seconds']:.0f}" if record else "",
        percent(record, "test_accuracy"),
        percent(recipe.published, "test_accuracy"),
        difference(recipe, record, "test_accuracy"),
        ", ".join(others),
        interval(robust) + (f", {robust['epsilon']} words" if robust.get("suite") == "text" else "") if robust else "",
        f"{robust['total']:,}" if robust else "",
        interval(own) + f", {own['norm']} {own['epsilon']:g}, {own['total']:,} images" + in_proof if own else "",
        f"{record['bytes'] / 1e6:.2f} MB, {'shipped' if shipped else 'not shipped'}" if record else "not measured",
        f"`{record['digest']}`" if record else "",
    )
    return f"| {' | '.join(cells)} |"


def page() -> Iterator[str]:
    """The lines of ``models/README.md``, from the recipes, the records and the shipped files."""
    zoo, stored = recipes(), records()
    notes = {name: recipe.published["note"] for name, recipe in zoo.items() if "note" in recipe.published}
    shipped = {path.stem: path.stat().st_size for path in PRETRAINED.glob("*.h5")}
    machines = sorted({record["machine"] for record in stored.values()})
    versions = {", ".join(f"{name} {number}" for name, number in r["versions"].items()) for r in stored.values()}
    yield from (
        "# The zoo",
        "",
        "Generated by `python benchmarks/models.py`: do not edit.",
        "",
        "- A row is a recipe: `advlab train NAME` trains it. Its source is named in its file. Published accuracies are "
        "those that the source prints.",
        "- Training accuracy is the mean over the last epoch with dropout active, as books print it.",
        f"- Robust accuracy: of the first test images, under the suite `{SUITE}`, {NORM}, epsilon {EPSILON}, with its "
        f"95 % Wilson interval. Networks that are not dense are attacked on {FEW} images, those of texts under the "
        f"suite `text`, where {WORDS} words may be replaced.",
        "- As trained is the same at the epsilon of the recipe's adversary or bounds; proven is what interval bounds "
        f"prove of {PROVEN_IMAGES:,} test images.",
        "- Points apart are measured less published; where they are more than one, a note below says why.",
        "- The digest is that of layers, settings and weights: `advlab.load_classifier(NAME).digest`, which every "
        "archive of an attack names too.",
        f"- {len(shipped)} models are shipped, {sum(shipped.values()) / 1e6:.2f} MB of at most {ROOM / 1e6:g} MB.",
        *(f"- Measured on {machine_name}." for machine_name in machines),
        *(f"- Trained with {words}." for words in sorted(versions)),
        "",
        HEAD,
        f"|{'---|' * (HEAD.count('|') - 1)}",
        *(row(recipe, stored.get(name, {}), name in shipped) for name, recipe in zoo.items()),
        "",
        "Notes:",
        "",
        *(f"- `{name}`: {note.rstrip('.')}." for name, note in notes.items()),
    )


def write() -> None:
    """Write ``models/README.md``."""
    with writing.atomic_write(README) as temporary:
        temporary.write_text("\n".join(page()) + "\n", "utf-8")


def main() -> None:
    """Train, measure, ship, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; default: all")
    parser.add_argument("--weights", type=Path, help="a folder of trained .h5 files, and where missing ones are put")
    parser.add_argument("--ship", action="store_true", help="copy weights into models/pretrained as far as they fit")
    parser.add_argument("--write", action="store_true", help="write models/README.md and nothing else")
    arguments = parser.parse_args()
    zoo = recipes()
    if unknown := sorted(set(arguments.names) - set(zoo)):
        parser.error(f"no recipe models/{unknown[0]}.toml; there are {', '.join(zoo)}")
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or Path(folder)
        for name in [] if arguments.write else arguments.names or zoo:
            store(name, measured(zoo[name], weights / f"{name}.h5"))
            write()
            print(row(zoo[name], records()[name], (PRETRAINED / f"{name}.h5").exists()), flush=True)
        if arguments.ship and not arguments.write:
            ship(weights)
    write()


if __name__ == "__main__":
    main()
