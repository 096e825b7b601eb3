"""List the search spaces and the published architectures that come with the package, or show one space.

A space is shown with its genes and their choices; with --yaml as a file of your own may begin: change it, or say
`extends: NAME` in a file and only what is different (docs/spaces.md).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_spaces import SearchSpace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE", nargs="?", help="show this one: a name, or a .yaml file")
    parser.add_argument("--yaml", action="store_true", help="print it as a YAML file")


def run(arguments: argparse.Namespace) -> int:
    from search_spaces import InputError, get_space, states_keypoints

    if arguments.space is None:
        if arguments.yaml:
            raise InputError("--yaml: of which space? vipnas spaces SPACE --yaml")
        _list()
    elif arguments.yaml:
        print(_as_yaml(get_space(arguments.space)), end="")
    else:
        space = get_space(arguments.space)
        is_said = states_keypoints(arguments.space)
        _show(space, f"{space.keypoints} keypoints" if is_said else "keypoints as in the data")
    return 0


def _list() -> None:
    from nas.cli.output import print_table
    from search_spaces import get_space, published, published_names, space_names

    spaces = [get_space(name) for name in space_names()]
    print_table(
        "Search spaces",
        ("name", "family", "networks", "genes", "input (height × width)", "output"),
        [
            (s.name, s.family, f"{s.size:.1e}", str(len(s.gene_names)), _sizes(s), _outputs(s))
            for s in spaces
        ],
    )
    print(
        "Each of heatmaps alone is also a space of video networks: --frames T (or video.frames in a configuration) "
        "makes it one of T propagated frames after a key frame."
    )
    networks = [(name, published(name)) for name in published_names()]
    print_table(
        "Published architectures",
        ("name", "family", "id", "input (height × width)", "output"),
        [(name, a.family, a.id, _size(a.input_size), a.head.output) for name, a in networks],
    )


def _outputs(space: SearchSpace) -> str:
    return " or ".join(space.head.choices("output"))


def _show(space: SearchSpace, keypoints: str) -> None:
    from nas.cli.output import print_table
    from search_spaces.complexity import count

    chosen = [(gene.name, ", ".join(gene.words)) for gene in space.genes]
    several = [row for row, gene in zip(chosen, space.genes, strict=True) if len(gene.values) > 1]
    print_table(f"{space.name}: the genes that have a choice", ("gene", "choices"), several)
    costs = [count(network) for network in (space.smallest(), space.largest())]
    macs = " to ".join(f"{cost.macs / 1e6:.1f}" for cost in costs)
    parameters = " to ".join(f"{cost.parameters / 1e6:.2f}" for cost in costs)
    print(f"family {space.family}, input {_sizes(space)}, {keypoints}")
    print(f"{space.size:.1e} networks of {macs} MMACs and {parameters} M parameters")


def _as_yaml(space: SearchSpace) -> str:
    import yaml

    content = {key: value for key, value in space.to_json().items() if key != "format"}
    text: str = yaml.safe_dump(_without_empty(content), sort_keys=False, default_flow_style=None, width=120)
    return text


def _without_empty(value: Any) -> Any:
    """Tuples as lists, which YAML writes as everybody knows them, and no choices where there is none."""
    if isinstance(value, dict):
        return {key: _without_empty(one) for key, one in value.items() if one not in ((), [])}
    return [_without_empty(one) for one in value] if isinstance(value, list | tuple) else value


def _sizes(space: SearchSpace) -> str:
    return " to ".join(_size(size) for size in dict.fromkeys((space.sizes[0], space.sizes[-1])))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
