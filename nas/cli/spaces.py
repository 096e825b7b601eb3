"""List the search spaces and the published architectures that come with the package."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: there is one list."""


def run(_arguments: argparse.Namespace) -> int:
    from nas.cli.output import print_table
    from search_spaces import get_space, published, published_names, space_names

    spaces = [get_space(name) for name in space_names()]
    print_table(
        "Search spaces",
        ("name", "family", "networks", "genes", "input (height × width)", "output"),
        [
            (s.name, s.family, f"{s.size:.1e}", str(len(s.gene_names)), _size(s.input_size), s.head.output)
            for s in spaces
        ],
    )
    print(
        "Each of heatmaps is also a space of video networks: --frames T (or video.frames in a configuration) makes it "
        "one of T propagated frames after a key frame."
    )
    networks = [(name, published(name)) for name in published_names()]
    print_table(
        "Published architectures",
        ("name", "family", "id", "input (height × width)", "output"),
        [(name, a.family, a.id, _size(a.input_size), a.head.output) for name, a in networks],
    )
    return 0


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
