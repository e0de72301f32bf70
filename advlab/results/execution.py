"""How an attack was run, apart from what was asked for: batches, compilation, device, where the classifier lay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

Numbers = float | list[float]


@dataclass(frozen=True)
class Execution:
    """How an attack was run on this machine.

    Attributes:
        batch_size: Images at a time.
        compile: ``graph``, ``xla``, or ``host`` where another library ran it.
        device: ``CPU``, or ``GPU`` with its name.
        model: The name or path that the classifier was loaded from.
        scale: What pixels in [0, 1] are multiplied by for the model, one number or one for each channel.
        offset: What is then added.
        preprocess: The mode of keras.applications that scale and offset come from, "" for none.
        output: What the last layer was said to output, "" where nothing was said.
        output_layer: The layer that scored the classes, "" for the only output.
        workers: Processes that shared the images; 1 for none beside this one.
        computed_fraction: Of all steps, those that were computed; images that left early saved the rest.
    """

    batch_size: int = 0
    compile: str = "host"
    device: str = "CPU"
    model: str = ""
    scale: Numbers = 1.0
    offset: Numbers = 0.0
    preprocess: str = ""
    output: str = ""
    output_layer: str = ""
    workers: int = 1
    computed_fraction: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Execution:
        """The inverse of ``to_dict``; what is missing has its default."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})
