"""Commands that judge what was crafted, and list what there is."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.shared import dump, json_option, main, near, pair, show

_KINDS = ("models", "studies", "methods", "suites", "datasets", "archives")


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("--model", metavar="NAME|PATH", help="Score the images on this classifier: transfer.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def evaluate(archives: tuple[str, ...], model: str | None, trust: bool, as_json: bool) -> None:
    """Print clean against perturbed accuracy and confidence shift of archives.

    Example: advlab evaluate attacks/fashion/*.h5
    """
    classifier = advlab.load_classifier(model, trust=trust) if model else None
    evaluations = [advlab.evaluate(advlab.load_result(path), classifier) for path in archives]
    if as_json:
        dump(advlab.as_json(evaluations, archives))
        return
    show(evaluations)
    if not model:
        click.echo(f"Next: advlab report {' '.join(near(path) for path in archives)}", err=True)


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@json_option
def report(archives: tuple[str, ...], output: str, as_json: bool) -> None:
    """Write one self-contained HTML page about archives.

    Example: advlab report attacks/fashion/*.h5
    """
    advlab.report([advlab.evaluate(advlab.load_result(path)) for path in archives], output)
    if as_json:
        dump({"schema": 1, "path": output, "evaluations": len(archives)})
    else:
        click.echo(output)


@main.command()
@click.argument("archive", metavar="ARCHIVE")
@click.option("--model", metavar="NAME|PATH", help="Where the classifier lies now [default: where it was].")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def verify(archive: str, model: str | None, trust: bool, as_json: bool) -> None:
    """Score the images of ARCHIVE again and re-check its budget, on this machine.

    Exits with 1 where it does not hold. Example: advlab verify attacks/fashion/pgd-linf-0.1.h5
    """
    found = advlab.verify(archive, model=model, trust=trust)
    if as_json:
        dump(found.to_dict())
    else:
        _tell(found)
    if not found.holds:
        raise click.ClickException(f"'{archive}' does not hold on this machine.")


def _tell(found: Any) -> None:
    for row, margin in zip(found.flips, found.margins, strict=True):
        click.echo(f"row {row}: classified differently here, by a margin of {margin:.2g} in probability")
    for row in found.outside:
        click.echo(f"row {row}: outside the budget or the box")
    click.echo(
        f"{found.samples} images: robust accuracy {found.recorded_accuracy:.2%} recorded, {found.accuracy:.2%} here; "
        f"{len(found.flips)} flips; largest perturbation {found.largest:.6g}; {len(found.outside)} outside"
    )
    if found.holds:
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
@json_option
def selftest(settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Plant adversarial examples near the decision boundary and count how many a method finds.

    A sound attack finds nearly all of them; a random search should find few.

    Example: advlab selftest --method apgd --model mnist --epsilon 0.2
    """
    tested = advlab.selftest(parameters=dict(pair(setting) for setting in settings), **options)
    if as_json:
        dump(tested.to_dict())
        return
    click.echo(f"{tested}")
    if tested.planted < tested.samples:
        click.echo(
            f"In {tested.samples - tested.planted} of {tested.samples} images nothing could be planted.", err=True
        )


@main.command(name="list")
@click.argument("kind", required=False, metavar=f"[{'|'.join(_KINDS)}]")
@json_option
def list_(kind: str | None, as_json: bool) -> None:
    """List what there is to work with; without a kind, everything."""
    found = {each: advlab.catalogue(each) for each in ([kind] if kind else _KINDS)}
    if as_json:
        dump({"schema": 1, **found})
        return
    lines = []
    for each, entries in found.items():
        if kind and not entries:
            click.echo(f"No {each} here.", err=True)
        width = max((len(name) for name in entries), default=0)
        lines += [] if kind else ["", each.upper()]
        lines += [f"{name:<{width}}  {text}" for name, text in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))
