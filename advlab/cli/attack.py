"""Craft adversarial examples."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import (
    backward_options,
    classifier_options,
    complete,
    dataset_options,
    json_option,
    parse_settings,
    passes_option,
    take_stand_ins,
    track_option,
)
from advlab.cli.output import print_cost, print_evaluations, print_json, relative_path, say_if_fewer

SECTION = "attack"
_SETTINGS = ("norm", "top", "seed", "restarts", "early_stop", "precision", "passes", "backward")


def _refuse_stop(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            "--stop is now the flag --early-stop. Use --early-stop for --stop success; leave out --stop never, which "
            "is the default."
        )


@main.command()
@click.option(
    "--method",
    shell_complete=complete("methods"),
    default="fgsm",
    show_default=True,
    help="A name ('advlab list methods'), or your own file of a method, my.py, which is run.",
)
@click.option(
    "--model",
    default="fashion",
    shell_complete=complete("models"),
    show_default=True,
    help="A name ('advlab list models') or a path.",
)
@dataset_options()
@click.option("--norm", help="linf, l2, l1, l0 or none [default: the method's first].")
@click.option(
    "--epsilon",
    metavar="E",
    help="Radius for pixels in [0, 1]: 0.1 or 8/255; not for minimal methods [default: linf 0.1, l2 1.5, l1 10].",
)
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option(
    "--target",
    metavar="CLASS",
    help="Class to reach, by number or name; least-likely or random: one for each image [default: any wrong one].",
)
@click.option("--top", type=click.IntRange(1), metavar="K", help="Success: the label is not among the K likeliest.")
@click.option("--mask", metavar="FILE", help="A picture, white where pixels may change, black elsewhere.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
@click.option("--restarts", type=int, default=1, show_default=True, help="Runs from different random starts.")
@click.option(
    "--early-stop", is_flag=True, help="End each image at its first success: faster, but confidence shifts say little."
)
@click.option("--stop", hidden=True, expose_value=False, callback=_refuse_stop, help="Replaced by --early-stop.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--batch-size", type=int, metavar="N", help="Images at a time [default: by the model's size].")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of gradients; success is always verified in float32.",
)
@passes_option
@backward_options
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and attack nothing.")
@click.option("--output", metavar="PATH", help="[default: attacks/MODEL/METHOD-NORM-EPSILON.h5]")
@click.option("--force", is_flag=True, help="Craft all images again; replace an archive of another result.")
@track_option
@classifier_options()
@json_option
def attack(
    model: str,
    dataset: str | None,
    method: str,
    epsilon: str | None,
    settings: tuple[str, ...],
    track: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Craft adversarial examples and save them as an archive.

    Example: advlab attack --method pgd --epsilon 8/255 --set steps=100
    """
    parameters = parse_settings(settings, advlab.attack)
    options["backward"] = take_stand_ins(options)
    if dry_run:
        chosen = {name: options[name] for name in _SETTINGS if options[name] is not None}
        inputs = {name: options[name] for name in ("samples", "batch_size", "trust")}
        print_cost(advlab.cost(model, dataset, method, epsilon=epsilon, **inputs, **chosen, **parameters), as_json)
        return
    result = advlab.attack(model, dataset, method, epsilon=epsilon, save=True, **options, **parameters)
    say_if_fewer(len(result))
    path, evaluations = result.path, [advlab.evaluate(result)]
    if track:
        advlab.track(evaluations, track, artifacts=[path])
    if as_json:
        print_json(advlab.to_records(evaluations, [path]))
        return
    print_evaluations(evaluations)
    fraction = result.execution.computed_fraction
    if options["early_stop"] and 0 < fraction < 1:
        click.echo(f"Early stop: {fraction:.0%} of all steps were computed, {1 / fraction:.1f} times fewer.", err=True)
    click.echo(f"Archive: {relative_path(path)}. Next: advlab report {relative_path(path)}", err=True)
