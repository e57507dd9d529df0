"""How each of the three taggers is trained: architecture, tags it lacks, loss, data, steps.

The taggers differ on purpose, as published ones do: in architecture, resolution, geometry, loss,
augmentation, training images and vocabulary. That is what gives a stack something to learn.
"""

from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models import zoo
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.base_models.zoo.tags import VOCABULARY

# Where the taggers ship: a folder each.
FOLDER = Path(zoo.__path__[0])
# Seeds from here on belong to training and measuring: a demonstration or test that draws from a
# seed below never sees a picture that a tagger was trained on.
FIRST_RESERVED_SEED = 1000
VALIDATION_SEED = 2000
MEASUREMENT_SEED = 3000
# Beside each model: its recipe as trained, with steps and seconds.
RECORD_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a tagger's weights, apart from its contract.

    Parameters
    ----------
    name : str
        Folder and contract name.
    architecture : str
        ``"resnet"``, ``"convnext"`` or ``"vit"``.
    lacks : frozenset of str
        Tags that it never learnt.
    outdated : tuple of (str, str)
        Current and old name of tags it knows under an old name.
    loss : str
        ``"bce"``, ``"asymmetric"`` or ``"focal"``.
    seed : int
        Seed of the pictures, of the weights and of the augmentation.
    n_images, epochs, batch_images : int
    learning_rate, weight_decay : float
        Peak of the one-cycle schedule, and decay of matrices.
    mirrored : bool
        Whether half of the pictures are mirrored.
    shift : int
        Largest shift of a picture in pixels, each way.
    colour_jitter : float
        Standard deviation of a channel's gain.
    grey_share : float
        Share of pictures shown in grey, in [0, 1].
    erased_share : float
        Share of pictures with a rectangle painted over, in [0, 1].
    """

    name: str
    architecture: str
    lacks: frozenset[str]
    outdated: tuple[tuple[str, str], ...] = ()
    loss: str
    seed: int
    n_images: int = 20_000
    epochs: int = 8
    batch_images: int = 64
    learning_rate: float
    weight_decay: float = 0.05
    mirrored: bool = True
    shift: int
    colour_jitter: float
    grey_share: float
    erased_share: float

    @property
    def vocabulary(self) -> Vocabulary:
        """Current names of the tags it knows, in output order."""
        kept = [i for i, tag in enumerate(VOCABULARY.tags) if tag not in self.lacks]
        return Vocabulary(
            tuple(VOCABULARY.tags[i] for i in kept), tuple(VOCABULARY.categories[i] for i in kept)
        )

    @property
    def published_tags(self) -> tuple[str, ...]:
        """Tags as the tagger's own file spells them, in output order."""
        old = dict(self.outdated)
        return tuple(old.get(tag, tag) for tag in self.vocabulary.tags)


RECIPES = (
    Recipe(
        name="doll_resnet",
        architecture="resnet",
        lacks=frozenset({
            "chibi", "double_bun", "eyepatch", "halo", "heterochromia", "holding_umbrella",
            "multiple_views", "night_sky", "speech_bubble", "spot_color", "striped_shirt",
        }),
        outdated=(("grey_hair", "silver_hair"),),
        loss="bce",
        seed=1000,
        learning_rate=3e-3,
        shift=4,
        colour_jitter=0.02,
        grey_share=0.0,
        erased_share=0.0,
    ),
    Recipe(
        name="doll_convnext",
        architecture="convnext",
        lacks=frozenset({
            "arms_up", "blood", "boots", "cloud", "crown", "fox_ears", "general", "santa_hat",
            "sensitive", "sketch", "thighhighs", "tree",
        }),
        loss="asymmetric",
        seed=1001,
        epochs=9,
        learning_rate=4e-3,
        shift=3,
        colour_jitter=0.05,
        grey_share=0.06,
        erased_share=0.0,
    ),
    Recipe(
        name="doll_vit",
        architecture="vit",
        lacks=frozenset({
            "angel_wings", "apron", "blue_background", "closed_eyes", "crescent_moon",
            "gradient_background", "hoodie", "no_humans", "red_dress", "snowing", "straw_hat",
            "two-tone_hair",
        }),
        loss="focal",
        seed=1002,
        learning_rate=1.5e-3,
        shift=6,
        colour_jitter=0.04,
        grey_share=0.0,
        erased_share=0.25,
    ),
)  # fmt: skip
