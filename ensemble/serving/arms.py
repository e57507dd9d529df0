"""A stack that is two: each picture is tagged by the arm of the experiment that it belongs to.

The unit is the picture's content, so the same picture gets the same arm and the same tags, whoever
sends it. Arms stay as they were when the experiment began: nothing is reloaded under way.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from tagstack.base_models.pictures.given import Given
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.experiments.contrast import A, B
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.serving.stack import OpenStack
from tagstack.ensemble.tasks.explain import Explanation


def unit_of(picture: bytes) -> str:
    """Return the unit that a picture is."""
    return hashlib.sha256(picture).hexdigest()


class ArmedStack:
    """Two arms as one stack; see `tagstack.ensemble.serving.stack.OpenStack`.

    Parameters
    ----------
    stack : OpenStack
        Whose taggers the arms share where they are the same; closed with them.
    experiment : Experiment
    bundles : mapping of "A" and "B" to Bundle
    """

    def __init__(
        self, stack: OpenStack, experiment: Experiment, bundles: Mapping[str, Bundle]
    ) -> None:
        self.experiment = experiment
        self._stack = stack
        self._arms = {arm: stack.beside(bundles[arm]) for arm in (A, B)}

    @property
    def bundle(self) -> Bundle:
        """That of arm A."""
        return self._arms[A].bundle

    @property
    def settings(self) -> Settings:
        """Of the run."""
        return self._stack.settings

    def tag_many(self, images: Iterable[Given]) -> Iterator[TaggedImage]:
        """Yield the tags of each picture by its own arm, in their order."""
        pictures = list(images)
        arms = [self._arm(picture) for picture in pictures]
        done: dict[int, TaggedImage] = {}
        for arm, stack in self._arms.items():
            places = [i for i, own in enumerate(arms) if own == arm]
            tagged = stack.tag_many([pictures[i] for i in places])
            done |= dict(zip(places, tagged, strict=True))
        for i in range(len(pictures)):
            yield done[i]

    def explain(self, image: Given, tag: str | None = None) -> Explanation:
        """Return what led to a picture's tags in its arm."""
        return self._arms[self._arm(image)].explain(image, tag)

    def reloaded(self) -> Self:
        """Refuse: arms stay as they are.

        Raises
        ------
        TagstackError
            Always.
        """
        msg = (
            f"The experiment {self.experiment.name!r} is running: its arms stay as they were at "
            "its start. Restart the service without --experiment."
        )
        raise TagstackError(msg)

    def shares_taggers(self, other: Self) -> bool:
        """Return whether another is the same."""
        return self is other

    def beside(self, bundle: Bundle) -> OpenStack:
        """Return another bundle over the same taggers."""
        return self._stack.beside(bundle)

    def close(self) -> None:
        """Free the taggers of the arms, and those that they share."""
        for stack in self._arms.values():
            if not self._stack.shares_taggers(stack):
                stack.close()
        self._stack.close()

    def _arm(self, picture: Given) -> str:
        if not isinstance(picture, bytes):
            raise TypeError("the service gives pictures as bytes")
        return self.experiment.arm_of(unit_of(picture))
