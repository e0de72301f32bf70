"""Commands that train classifiers and craft adversarial examples."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.shared import dump, json_option, main, near, pair, show


@main.command()
@click.argument("recipe")
@click.option("--dataset", metavar="DATA", help="Train on this instead: a name, .npz file or folder of images.")
@click.option("--name", help="Of the classifier [default: RECIPE, or RECIPE-DATA with another data set].")
@click.option("--epochs", type=int, metavar="N", help="Passes over the training images [default: as the recipe says].")
@click.option("--seed", type=int, metavar="N", help="Same seed, same machine: the same weights.")
@click.option("--resume", is_flag=True, help="Go on with a training that was interrupted.")
@click.option("--force", is_flag=True, help="Replace weights that were produced before; start anew.")
@click.option("--tensorboard", metavar="DIR", help="Write logs for TensorBoard.")
@json_option
def train(recipe: str, as_json: bool, **options: Any) -> None:
    """Train the classifier of RECIPE and save it as models/RECIPE.h5, with its training curve as .svg.

    RECIPE is a name ('advlab list models') or the path of a TOML file. Own images: a .npz file with x_train, y_train,
    x_test and y_test, or folders train/CLASS/ and test/CLASS/. Example: advlab train fashion --dataset photos/
    """
    classifier = advlab.train(recipe, **options)
    if as_json:
        dump(classifier.to_dict())
        return
    card = classifier.card
    if card["ended"]:
        click.echo(f"note: {card['ended']}", err=True)
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
@json_option
def attack(settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Craft adversarial examples and save them as an archive.

    Example: advlab attack --method pgd --epsilon 8/255 --set steps=100
    """
    parameters = dict(pair(setting) for setting in settings)
    result, path = advlab.attack_to_archive(parameters=parameters, **options)
    evaluations = [advlab.evaluate(result)]
    if as_json:
        dump(advlab.as_json(evaluations, [path]))
        return
    show(evaluations)
    share = result.settings["computed_share"]
    if options["stop"] == "success" and 0 < share < 1:
        click.echo(
            f"Broken images left early: {share:.0%} of all steps were computed, {1 / share:.1f} times fewer.", err=True
        )
    click.echo(f"Saved {near(path)}. Next: advlab report {near(path)}", err=True)


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
@json_option
def run(suite: str, model: str, dataset: str | None, output: str, as_json: bool, **options: Any) -> None:
    """Run every attack of SUITE, save the archives, print the table and write the report.

    Interrupted, the same command continues. Example: advlab run standard --model mnist --epsilon 0.2
    """
    evaluations = advlab.run(suite, model, dataset, save=True, **options)
    advlab.report(evaluations, output)
    if as_json:
        dump(advlab.as_json(evaluations))
    else:
        show(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser.", err=True)


@main.command()
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@json_option
def demo(output: str, as_json: bool) -> None:
    """The whole path on the embedded digits, in under a minute: train, attack, evaluate, report."""
    evaluations = advlab.demo(output)
    if as_json:
        dump(advlab.as_json(evaluations))
    else:
        show(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser. Next: advlab attack --method pgd --model digits", err=True)
