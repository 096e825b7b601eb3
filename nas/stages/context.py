"""What every stage of a run works on, and what it does around its work: the run's folder and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec

from nas.config import Config, note_config
from nas.data.codecs import is_whole_part
from nas.data.pose_data import PoseData
from nas.data.video_data import VideoData
from nas.processes.rank import is_first_process
from nas.run.folder import RunFolder
from nas.run.overwriting import refuse_foreign_config
from nas.run.stopped import keeping_state
from nas.stages.narrator import Narrator, SilentNarrator
from search_spaces import InputError, SearchSpace, get_space, states_keypoints

__all__ = ["StageContext", "check_heatmaps", "load_space"]

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class StageContext:
    """A run, and who watches it.

    Data that a stage has read are there for the next one that is given the same context.
    """

    config: Config
    resume: bool = False
    """Go on from what the run's folder holds; otherwise results that are there are an error."""
    narrator: Narrator = field(default_factory=SilentNarrator)
    notes_config: bool = True
    """Note in the run's folder what its stages are run with; not for what is done beside the run's own stages."""
    _data: dict[tuple[type, int, int | None], PoseData | VideoData] = field(default_factory=dict, repr=False)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.config.run_dir)

    def beside(self, config: Config) -> StageContext:
        """The same with other settings of the stages, which the run's folder is not to remember; the data are the same.
        """
        assert config.data == self.config.data
        return replace(self, config=config, notes_config=False)

    def images(self, keypoints: int | None) -> PoseData:
        """The configured people of images; other numbers of keypoints are refused when they are read."""
        found = self._data.setdefault((PoseData, 0, keypoints), PoseData(self.config.data, keypoints))
        assert isinstance(found, PoseData)
        return found

    def videos(self, frames: int, keypoints: int | None) -> VideoData:
        """As :meth:`images`, of videos in clips of 1 + ``frames`` frames."""
        found = self._data.setdefault((VideoData, frames, keypoints), VideoData(self.config.data, frames, keypoints))
        assert isinstance(found, VideoData)
        return found

    def data(self, keypoints: int | None) -> PoseData | VideoData:
        """Of the kind of network that the configuration is about."""
        if self.config.is_video:
            return self.videos(self.config.video.frames, keypoints)
        return self.images(keypoints)

    def space(self) -> SearchSpace:
        """The configured space; where it does not say how many keypoints, they are as many as the data's.

        Raises:
            InputError: as :func:`load_space`; or the annotations cannot be read.
        """
        space = load_space(self.config)
        if states_keypoints(self.config.space):
            return space
        data = self.data(None)
        count = len(data.train.keypoint_set)
        self._data.setdefault((type(data), self.config.video.frames, count), data)  # read once
        return replace(space, keypoints=count)

    def tell_of_training_people(self, data: PoseData | VideoData) -> None:
        """What is not known of their keypoints, as far as training minds."""
        if is_first_process():
            mirrors = self.config.data.augmentation.flip_probability > 0
            data.tell_of_keypoints("train", mirrors=mirrors, evaluates=False)

    @contextmanager
    def recording(
        self, sections: Sequence[str], progress: Callable[Arguments, None]
    ) -> Iterator[Callable[Arguments, None]]:
        """Notes the stage's sections of the configuration in the run's folder, once the stage has got going.

        Yields ``progress`` for the stage to call: with the first call all checks have passed, so a stage that is
        refused leaves the file as it was. A stage that has nothing left to do never calls it; then the end counts.
        An interruption tells where the state is.

        Raises:
            InputError: somebody has written that file by hand.
        """
        noted = False

        def note() -> None:
            nonlocal noted
            if not noted and self.notes_config and is_first_process():
                note_config(self.config, self.run.config, sections)
            noted = True

        def noting(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
            note()
            progress(*args, **kwargs)

        if self.notes_config:
            refuse_foreign_config(self.run.path)
        with keeping_state(self.run.path):
            yield noting
            note()

    def refuse_to_overwrite(self, path: Path, what: str) -> None:
        """Hours of work are not thrown away because ``--resume`` was forgotten.

        Raises:
            InputError: ``path`` exists and nothing was said about resuming.
        """
        if path.exists() and not self.resume:
            raise InputError(f"{path}: {what} is there; go on with --resume, or choose another --run-dir")


def load_space(config: Config) -> SearchSpace:
    """The configuration's search space.

    Raises:
        InputError: there is none of that name; or some of its networks give heatmaps that are no whole part of their
            input.
    """
    space = get_space(config.space)
    check_heatmaps(config.space, space)
    return space


def check_heatmaps(name: str, space: SearchSpace) -> None:
    """Raise InputError where networks of a space give heatmaps that are not a half, a quarter, an eighth … of their
    input."""
    height, width = space.input_size  # at other sizes heatmaps are the same part of it: the space sees to that
    for network in space.of_each_head():
        if not network.is_simcc and not is_whole_part(network.heatmap_size, space.input_size):
            found = network.heatmap_size
            raise InputError(
                f"{name}: its networks give heatmaps of {found[0]} × {found[1]}, which are no half, quarter or eighth "
                f"of the input, {height} × {width}; change the stages' strides or the head's layers"
            )
