"""Train and measure the models of the zoo, keep a record of each, and write the table ``models/README.md``.

    python benchmarks/models.py [NAME...] [--weights FOLDER] [--ship]
    python benchmarks/models.py --write

Takes ``FOLDER/NAME.h5`` where it is there, else trains it into that folder (by default a temporary one) as the recipe
says, and attacks it with the suite ``standard``. Its record goes into ``models/measured.json`` at once, and a file that
has its record is not measured again, so that an interrupted run can go on. ``--ship`` then copies weights into
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
from advlab import workspace
from advlab.data.official import WITH_NOISE
from advlab.declarations.recipes import Recipe, load_recipe, settings
from advlab.declarations.studies import load_study
from advlab.evaluation.metrics import Rate
from advlab.evaluation.study import load_study_result

MODELS = Path(__file__).parent.parent / "models"
RECORDS, README, PRETRAINED = MODELS / "measured.json", MODELS / "README.md", MODELS / "pretrained"
SUITE, NORM, EPSILON = "standard", "linf", 0.05
IMAGES, FEW = 500, 100  # test images that are attacked; few for networks that are not dense, to keep a run bearable
ROOM = 5_000_000  # bytes of all shipped weights
FIRST, LAST = ("digits", "fashion", "mnist"), ("mnist-mlp-512",)
ACCURACIES = ("test_accuracy", "train_accuracy", "validation_accuracy")
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "nadam": "Nadam", "rmsprop": "RMSprop", "sgd": "SGD"}
HEAD = (
    "| model | architecture | data set | parameters | training | seconds | test accuracy | published | points apart "
    f"| other accuracies (published, points apart) | robust accuracy, {NORM} {EPSILON} | attacked images | file "
    "| digest |"
)
CELLS = {"simple": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def recipes() -> dict[str, Recipe]:
    """The recipes of this checkout, by name."""
    return {name: load_recipe(MODELS / f"{name}.toml") for name in sorted(path.stem for path in MODELS.glob("*.toml"))}


def records() -> dict[str, dict[str, Any]]:
    """What was measured so far, by name."""
    return json.loads(RECORDS.read_text("utf-8")) if RECORDS.exists() else {}


def remember(name: str, record: Mapping[str, Any]) -> None:
    """Put one record among the others."""
    with workspace.written(RECORDS) as temporary:
        temporary.write_text(json.dumps(records() | {name: record}, indent=1, sort_keys=True) + "\n", "utf-8")


def measured(recipe: Recipe, path: Path) -> dict[str, Any]:
    """The record of a model, trained first where ``path`` is not there; the one that exists where nothing changed."""
    if path.exists():
        classifier = advlab.load_classifier(path)
    else:
        classifier = advlab.train(recipe, save=False)
        classifier.save(path)
    card, known = classifier.card, records().get(recipe.name)
    if settings(card["recipe"]) != settings(recipe):
        raise SystemExit(f"'{path}' was trained by another recipe than models/{recipe.name}.toml. Remove it.")
    images = IMAGES if recipe.architecture["name"] == "mlp" else FEW
    threat = {"suite": SUITE, "norm": NORM, "epsilon": EPSILON, "samples": images}
    same = {"digest": classifier.digest, "recipe": settings(recipe)}
    if known and same.items() <= known.items() and threat.items() <= known["robust_accuracy"].items():
        return known
    robust = robustness(recipe, classifier, threat)
    return {
        "recipe": settings(recipe),
        **{key: card[key] for key in ("parameters", *ACCURACIES, "epochs_run", "seconds", "versions")},
        "robust_accuracy": threat | vars(robust),
        "digest": classifier.digest,
        "bytes": path.stat().st_size,
        "machine": machine(),
    }


def robustness(recipe: Recipe, classifier: advlab.Classifier, threat: Mapping[str, Any]) -> Rate:
    """Robust accuracy on the first images, as a study has measured it for the same training, else measured now."""
    for path in (MODELS / "studies").glob("*.json"):
        for row in load_study_result(load_study(path.with_suffix(".toml")), path).rows:
            same = (row.settings, row.threat, row.test_accuracy)
            if same == (settings(recipe), threat, classifier.card["test_accuracy"]) and row.robust_accuracy:
                return row.robust_accuracy
    # A network that also knows noise is attacked on the same images as one that does not.
    data = advlab.load_dataset(recipe.dataset.removesuffix(WITH_NOISE), limit=threat["samples"])
    return advlab.run(SUITE, classifier, data, norm=NORM, epsilon=EPSILON, selftest=0)[-1].robust_accuracy


def ship(weights: Path) -> None:
    """Fill ``models/pretrained`` with measured weights, in the order of choice, as far as there is room."""
    files = {path.stem: path for path in PRETRAINED.glob("*.h5")}
    for name, record in records().items():
        path = weights / f"{name}.h5"
        if path.exists() and advlab.load_classifier(path).digest == record["digest"]:
            files[name] = path
    chosen = selection({name: path.stat().st_size for name, path in files.items()})
    for name in files.keys() - set(chosen):
        (PRETRAINED / f"{name}.h5").unlink(missing_ok=True)
    for name in chosen:
        with workspace.written(PRETRAINED / f"{name}.h5") as temporary:
            shutil.copyfile(files[name], temporary)


def selection(sizes: Mapping[str, int]) -> list[str]:
    """Of files of so many bytes those that are shipped: some before all others, one last, between them by size."""
    first = {name: place for place, name in enumerate(FIRST)}
    chosen, room = [], ROOM
    for name in sorted(sizes, key=lambda name: (first.get(name, len(FIRST)), name in LAST, sizes[name], name)):
        if sizes[name] <= room:
            chosen.append(name)
            room -= sizes[name]
    return chosen


def architecture(recipe: Recipe) -> str:
    """The network in words: ``56-56 relu, dropout 0.3``."""
    given = recipe.architecture
    activation = given.get("activation", "relu")
    match given["name"]:
        case "mlp":
            words = [f"{'-'.join(map(str, given['hidden']))} {activation}" if given["hidden"] else "softmax regression"]
        case "convnet":
            size, pool = given.get("kernel_size", 3), given.get("pool_size", 2)
            filters = "-".join(map(str, given["filters"]))
            words = [f"{filters} convolutions {size}x{size} {activation}, max-pool {pool}"]
        case _:
            both = "bidirectional " if given.get("bidirectional") else ""
            words = [f"{both}{CELLS[given.get('cell', 'simple')]} {given['units']}"]
    words += [f"{key} {given[key]:g}" for key in ("dropout", "l1", "l2") if given.get(key)]
    words += ["batch normalization"] if given.get("batch_normalization") else []
    start = given.get("kernel_initializer")
    if start:
        words.append(f"from {start}" if isinstance(start, str) else f"from {start['class_name']} {start['config']}")
    return ", ".join(words).translate(str.maketrans("", "", "{}'"))


def training(recipe: Recipe, epochs_run: int | None = None) -> str:
    """How it is trained, in words: ``Adam, 6 epochs, batch 32``."""
    given = recipe.training
    early = epochs_run is not None and epochs_run < given.epochs
    words = [
        OPTIMIZERS[given.optimizer] + ("" if given.learning_rate is None else f" at {given.learning_rate:g}"),
        f"{epochs_run} of {given.epochs} epochs" if early else f"{given.epochs} epochs",
        f"batch {given.batch_size}",
    ]
    words += [f"first {given.train_samples:,} images"] if given.train_samples else []
    words += [f"validation split {given.validation_split:g}"] if given.validation_split else []
    words += [given.precision] if given.precision != "float32" else []
    return ", ".join(words)


def difference(recipe: Recipe, record: Mapping[str, Any], key: str) -> str:
    """Measured minus published in points; one above a point needs the recipe's note."""
    if record.get(key) is None or key not in recipe.published:
        return ""
    points = round(100 * (record[key] - recipe.published[key]), 2)
    return f"{points:+.2f}" + (" unexplained" if abs(points) > 1 and "note" not in recipe.published else "")


def row(recipe: Recipe, record: Mapping[str, Any], shipped: bool) -> str:
    """One model in the table; what is not measured or not printed stays empty."""

    def share(facts: Mapping[str, Any], key: str) -> str:
        return "" if facts.get(key) is None else f"{facts[key]:.2%}"

    others = [
        f"{key.partition('_')[0]} {share(record, key)} ({share(recipe.published, key)}, {apart})"
        for key in ACCURACIES[1:]
        if (apart := difference(recipe, record, key))
    ]
    robust = record.get("robust_accuracy")
    cells = (
        f"[`{recipe.name}`]({recipe.name}.toml)",
        architecture(recipe),
        recipe.dataset,
        f"{record['parameters']:,}" if record else "",
        training(recipe, record.get("epochs_run")),
        f"{record['seconds']:.0f}" if record else "",
        share(record, "test_accuracy"),
        share(recipe.published, "test_accuracy"),
        difference(recipe, record, "test_accuracy"),
        ", ".join(others),
        "{:.1f}% [{:.1f}, {:.1f}]".format(*(100 * robust[key] for key in ("value", "low", "high"))) if robust else "",
        f"{robust['total']:,}" if robust else "",
        f"{record['bytes'] / 1e6:.2f} MB, {'shipped' if shipped else 'not shipped'}" if record else "not measured",
        f"`{record['digest']}`" if record else "",
    )
    return f"| {' | '.join(cells)} |"


def page() -> Iterator[str]:
    """The lines of ``models/README.md``, from the recipes, the records and the shipped files."""
    zoo, known = recipes(), records()
    notes = {name: recipe.published["note"] for name, recipe in zoo.items() if "note" in recipe.published}
    shipped = {path.stem: path.stat().st_size for path in PRETRAINED.glob("*.h5")}
    where = sorted({record["machine"] for record in known.values()})
    versions = {", ".join(f"{name} {number}" for name, number in r["versions"].items()) for r in known.values()}
    yield from (
        "# The zoo",
        "",
        "Generated by `python benchmarks/models.py`: do not edit.",
        "",
        "- A row is a recipe: `advlab train NAME` trains it. Its source is named in its file. Published accuracies are "
        "those that the source prints.",
        "- Training accuracy is the mean over the last epoch with dropout active, as books print it.",
        f"- Robust accuracy: of the first test images, under the suite `{SUITE}`, {NORM}, epsilon {EPSILON}, with its "
        f"95 % Wilson interval. Networks that are not dense are attacked on {FEW} images.",
        "- Points apart are measured less published; where they are more than one, a note below says why.",
        "- The digest is that of layers, settings and weights: `advlab.load_classifier(NAME).digest`, which every "
        "archive of an attack names too.",
        f"- {len(shipped)} models are shipped, {sum(shipped.values()) / 1e6:.2f} MB of at most {ROOM / 1e6:g} MB.",
        *(f"- Measured on {place}." for place in where),
        *(f"- Trained with {words}." for words in sorted(versions)),
        "",
        HEAD,
        f"|{'---|' * (HEAD.count('|') - 1)}",
        *(row(recipe, known.get(name, {}), name in shipped) for name, recipe in zoo.items()),
        "",
        "Notes:",
        "",
        *(f"- `{name}`: {note.rstrip('.')}." for name, note in notes.items()),
    )


def write() -> None:
    """Write ``models/README.md``."""
    with workspace.written(README) as temporary:
        temporary.write_text("\n".join(page()) + "\n", "utf-8")


def main() -> None:
    """Train, measure, ship, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; default: all")
    parser.add_argument("--weights", type=Path, help="a folder of trained .h5 files, and where missing ones are put")
    parser.add_argument("--ship", action="store_true", help="copy weights into models/pretrained as far as they fit")
    parser.add_argument("--write", action="store_true", help="write models/README.md and nothing else")
    given = parser.parse_args()
    zoo = recipes()
    if unknown := sorted(set(given.names) - set(zoo)):
        parser.error(f"no recipe models/{unknown[0]}.toml; there are {', '.join(zoo)}")
    with tempfile.TemporaryDirectory() as folder:
        weights = given.weights or Path(folder)
        for name in [] if given.write else given.names or zoo:
            remember(name, measured(zoo[name], weights / f"{name}.h5"))
            write()
            print(row(zoo[name], records()[name], (PRETRAINED / f"{name}.h5").exists()), flush=True)
        if given.ship and not given.write:
            ship(weights)
    write()


if __name__ == "__main__":
    main()
