"""The command line: each command parses, makes one library call, prints.

Results go to standard output; progress and the next command to type go to standard error.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import advlab
from advlab.errors import AdvlabError

_KINDS = ("models", "methods", "suites", "datasets", "archives")


class _Group(click.Group):
    """Shows errors without a traceback, unless ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AdvlabError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException(f"Interrupted. {str(error) or 'Nothing was left half written.'}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--workspace", metavar="DIR", help="Where models/ and attacks/ live [default: ADVLAB_WORKSPACE or here].")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(advlab.__version__, prog_name="advlab")
@click.pass_context
def main(ctx: click.Context, workspace: str | None, debug: bool) -> None:
    """How robust is a Keras image classifier, and can that number be believed?

    \b
    First steps:
      advlab demo                                 the whole path on small data, in under a minute
      advlab attack --method pgd --model fashion  craft adversarial examples
      advlab report attacks/fashion/*.h5          a page to look at
    """
    if workspace:
        os.environ["ADVLAB_WORKSPACE"] = workspace


@main.command()
@click.argument("recipe")
@click.option("--epochs", type=int, metavar="N", help="Passes over the training images [default: as the recipe says].")
@click.option("--seed", type=int, metavar="N", help="Same seed, same machine: the same weights.")
@click.option("--force", is_flag=True, help="Replace weights that were produced before.")
@click.option("--tensorboard", metavar="DIR", help="Write logs for TensorBoard.")
def train(recipe: str, epochs: int | None, seed: int | None, force: bool, tensorboard: str | None) -> None:
    """Train the classifier of RECIPE and save it as models/RECIPE.h5.

    RECIPE is a name ('advlab list models') or the path of a TOML file. Example: advlab train fashion
    """
    classifier = advlab.train(recipe, epochs=epochs, seed=seed, force=force, tensorboard=tensorboard)
    card = classifier.card
    published = card["published"].get("test_accuracy")
    beside = f" (published: {published:.2%})" if published else ""
    click.echo(
        f"{classifier.name}: test accuracy {card['test_accuracy']:.2%}{beside}, {card['seconds']:.1f} s of training"
    )
    click.echo(f"Next: advlab attack --method fgsm --model {classifier.name}", err=True)


@main.command()
@click.option("--method", default="fgsm", show_default=True, help="'advlab list methods' shows them.")
@click.option("--model", default="fashion", show_default=True, help="A name ('advlab list models') or a path.")
@click.option("--dataset", help="A name or path [default: what the model was trained on].")
@click.option("--norm", help="linf, l2, l1, l0 or none [default: the method's first].")
@click.option(
    "--epsilon",
    metavar="E",
    help="Radius for pixels in [0, 1]: 0.1 or 8/255; not for minimal methods [default: linf 0.1, l2 1.5, l1 10].",
)
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option("--target", metavar="CLASS", help="Class to reach, by number or name [default: any wrong one].")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
@click.option("--restarts", type=int, default=1, show_default=True, help="Runs from different random starts.")
@click.option(
    "--stop", type=click.Choice(["never", "success"]), default="never", show_default=True, help="When a sample ends."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all random draws.")
@click.option("--batch-size", type=int, metavar="N", help="Images at a time [default: by the model's size].")
@click.option("--scale", type=float, help="The model is given scale * pixel + offset: 255 for 0-255 models.")
@click.option("--offset", type=float, help="See --scale.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of gradients; success is always verified in float32.",
)
@click.option("--output", metavar="PATH", help="[default: attacks/MODEL/METHOD-NORM-EPSILON.h5]")
@click.option("--force", is_flag=True, help="Replace an archive of something else; start an unfinished one anew.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
def attack(settings: tuple[str, ...], **options: Any) -> None:
    """Craft adversarial examples and save them as an archive.

    Example: advlab attack --method pgd --epsilon 8/255 --set steps=100
    """
    parameters = dict(_pair(setting) for setting in settings)
    result, path = advlab.attack_to_archive(parameters=parameters, **options)
    _show([advlab.evaluate(result)])
    share = result.settings["computed_share"]
    if options["stop"] == "success" and 0 < share < 1:
        click.echo(
            f"Broken images left early: {share:.0%} of all steps were computed, {1 / share:.1f} times fewer.", err=True
        )
    click.echo(f"Saved {_near(path)}. Next: advlab report {_near(path)}", err=True)


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("--model", metavar="NAME|PATH", help="Score the images on this classifier: transfer.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def evaluate(archives: tuple[str, ...], model: str | None, trust: bool, as_json: bool) -> None:
    """Print clean against perturbed accuracy and confidence shift of archives.

    Example: advlab evaluate attacks/fashion/*.h5
    """
    classifier = advlab.load_classifier(model, trust=trust) if model else None
    evaluations = [advlab.evaluate(advlab.load_result(path), classifier) for path in archives]
    if as_json:
        import json

        click.echo(json.dumps([evaluation.to_dict() for evaluation in evaluations], indent=2))
        return
    _show(evaluations)
    if not model:
        click.echo(f"Next: advlab report {' '.join(_near(path) for path in archives)}", err=True)


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
def report(archives: tuple[str, ...], output: str) -> None:
    """Write one self-contained HTML page about archives.

    Example: advlab report attacks/fashion/*.h5
    """
    advlab.report([advlab.evaluate(advlab.load_result(path)) for path in archives], output)
    click.echo(output)


@main.command()
@click.argument("suite")
@click.option("--model", default="fashion", show_default=True, help="A name ('advlab list models') or a path.")
@click.option("--dataset", help="A name or path [default: what the model was trained on].")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option("--norm", help="linf, l2, l1 or l0 [default: the suite's own].")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: the suite's own].")
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@click.option("--force", is_flag=True, help="Craft everything again; replace archives of something else.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
def run(suite: str, model: str, dataset: str | None, output: str, **options: Any) -> None:
    """Run every attack of SUITE, save the archives, print the table and write the report.

    Interrupted, the same command continues. Example: advlab run standard --model mnist --epsilon 0.2
    """
    evaluations = advlab.run(suite, model, dataset, save=True, **options)
    advlab.report(evaluations, output)
    _show(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser.", err=True)


@main.command()
@click.argument("archive", metavar="ARCHIVE")
@click.option("--model", metavar="NAME|PATH", help="Where the classifier lies now [default: where it was].")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
def verify(archive: str, model: str | None, trust: bool) -> None:
    """Score the images of ARCHIVE again and re-check its budget, on this machine.

    Exits with 1 where it does not hold. Example: advlab verify attacks/fashion/pgd-linf-0.1.h5
    """
    found = advlab.verify(archive, model=model, trust=trust)
    for row, margin in zip(found.flips, found.margins, strict=True):
        click.echo(f"row {row}: classified differently here, by a margin of {margin:.2g} in probability")
    for row in found.outside:
        click.echo(f"row {row}: outside the budget or the box")
    click.echo(
        f"{found.samples} images: robust accuracy {found.recorded_accuracy:.2%} recorded, {found.accuracy:.2%} here; "
        f"{len(found.flips)} flips; largest perturbation {found.largest:.6g}; {len(found.outside)} outside"
    )
    if not found.holds:
        raise click.ClickException(f"'{archive}' does not hold on this machine.")
    click.echo("It holds.")


@main.command()
@click.option("--method", default="pgd", show_default=True, help="'advlab list methods' shows them.")
@click.option("--model", "classifier", default="fashion", show_default=True, help="A name or a path.")
@click.option("--dataset", help="A name or path [default: what the model was trained on].")
@click.option("--norm", help="linf, l2, l1 or l0 [default: the method's first].")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1] [default: linf 0.1, l2 1.5, l1 10, l0 20].")
@click.option("--samples", type=click.IntRange(1), default=100, show_default=True, help="The first N test images.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all random draws.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def selftest(settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Plant adversarial examples near the decision boundary and count how many a method finds.

    A sound attack finds nearly all of them; a random search should find few.

    Example: advlab selftest --method apgd --model mnist --epsilon 0.2
    """
    tested = advlab.selftest(parameters=dict(_pair(setting) for setting in settings), **options)
    if as_json:
        import json

        click.echo(json.dumps(tested.to_dict(), indent=2))
        return
    click.echo(f"{tested}")
    if tested.planted < tested.samples:
        click.echo(
            f"In {tested.samples - tested.planted} of {tested.samples} images nothing could be planted.", err=True
        )


@main.command(name="list")
@click.argument("kind", required=False, metavar=f"[{'|'.join(_KINDS)}]")
def list_(kind: str | None) -> None:
    """List what there is to work with; without a kind, everything."""
    lines = []
    for each in [kind] if kind else _KINDS:
        entries = advlab.catalogue(each)
        if kind and not entries:
            click.echo(f"No {each} here.", err=True)
        width = max((len(name) for name in entries), default=0)
        lines += [] if kind else ["", each.upper()]
        lines += [f"{name:<{width}}  {text}" for name, text in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))


@main.command()
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
def demo(output: str) -> None:
    """The whole path on the embedded digits, in under a minute: train, attack, evaluate, report."""
    evaluations = advlab.demo(output)
    _show(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser. Next: advlab attack --method pgd --model digits", err=True)


def start() -> None:
    """The entry point: the command line without what TensorFlow's C++ half writes to standard error when it loads.

    Python's own standard error keeps the terminal; only the bare file descriptor is silenced, and not with --debug.
    """
    if "--debug" not in sys.argv:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        os.close(silent)
    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        # The reader has seen enough; what is still in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout.flush()
    sys.stderr.flush()
    # Every file is closed by now. Taking the interpreter apart costs a tenth of a listing, and more behind TensorFlow.
    os._exit(code if isinstance(code, int) else int(code is not None))


def _pair(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set takes KEY=VALUE, such as --set steps=100. Got '{setting}'.")
    return key.strip(), value.strip()


def _show(evaluations: list[advlab.Evaluation]) -> None:
    """The table on standard output; what speaks against its numbers on standard error."""
    click.echo(advlab.table(evaluations))
    for evaluation in evaluations:
        for finding in evaluation.findings:
            click.echo(f"{finding.severity}: {evaluation.attack.slug}: {finding.evidence}. {finding.do}", err=True)


def _near(path: str | os.PathLike[str]) -> str:
    import shlex

    relative = os.path.relpath(path)
    return shlex.quote(os.fspath(path) if relative.startswith("..") else relative)
