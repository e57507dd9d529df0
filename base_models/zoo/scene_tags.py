"""What a scene is truly tagged with.

A tag is given where the drawing can show it: no boots on a portrait, no hair colour in a greyscale
picture.
"""

from tagstack.base_models.zoo.looks import Look
from tagstack.base_models.zoo.scene import Doll, Scene
from tagstack.base_models.zoo.tags import VOCABULARY, closed


def scene_tags(scene: Scene) -> frozenset[str]:
    """Return every tag that is true of the picture, implications included.

    Examples
    --------
    >>> from tagstack.base_models.zoo.scene import sample_scene
    >>> sorted(scene_tags(sample_scene(0, 0)) & {"1girl", "1boy", "solo"})
    ['1girl', 'solo']
    """
    tags = {*_medium_tags(scene), *_count_tags(scene), *_background_tags(scene)}
    for doll in scene.dolls:
        tags |= {doll.framing, *_head_tags(doll), *_clothes_tags(doll), *_pose_tags(doll)}
        if scene.medium == "colour":
            tags |= _colour_tags(doll)
        if scene.medium in {"colour", "spot"}:
            tags |= _eye_colour_tags(doll)
    tags.add("sensitive" if "blood" in tags else "general")
    return closed(tags)


def _medium_tags(scene: Scene) -> set[str]:
    tags = {
        "colour": set[str](),
        "greyscale": {"greyscale"},
        "tinted": {"monochrome"},
        "spot": {"greyscale", "spot_color"},
        "sketch": {"greyscale", "sketch"},
    }[scene.medium]
    shown = {"chibi": scene.chibi, "speech_bubble": scene.speech_bubble}
    return tags | {tag for tag, true in shown.items() if true}


def _count_tags(scene: Scene) -> set[str]:
    if not scene.dolls:
        return {"no_humans"}
    if scene.several_views:
        return {"multiple_views", "solo", "1girl" if scene.dolls[0].look.girl else "1boy"}
    n_girls = sum(doll.look.girl for doll in scene.dolls)
    n_boys = len(scene.dolls) - n_girls
    counts = {f"{n_girls}girl{'s' if n_girls > 1 else ''}"} if n_girls else set()
    counts |= {"1boy"} if n_boys == 1 else set()
    return counts | ({"solo"} if len(scene.dolls) == 1 else set())


def _background_tags(scene: Scene) -> set[str]:
    if scene.place == "simple":
        return {"simple_background", *_paper_tags(scene)}
    if scene.place == "indoors":
        return {"indoors"}
    tags = {"outdoors", "sky", *({"city"} if scene.place == "city" else set())}
    tags |= {"day": {"day"}, "night": {"night_sky"}, "sunset": {"sunset"}}[scene.time]
    shown = {
        "blue_sky": scene.time == "day" and scene.medium == "colour",
        "cloud": scene.clouds,
        "tree": scene.tree and scene.place == "outdoors",
        "star_(sky)": scene.stars,
        "moon": scene.moon != "none",
        "crescent_moon": scene.moon == "crescent",
        "snowing": scene.snowing,
    }
    return tags | {tag for tag, true in shown.items() if true}


def _paper_tags(scene: Scene) -> set[str]:
    if scene.backdrop in {"white", "gradient"}:
        return {f"{scene.backdrop}_background"}
    if scene.medium == "colour":
        return {f"{scene.backdrop}_background"} & set(VOCABULARY.tags)
    return set() if scene.medium == "tinted" else {"grey_background"}


def _head_tags(doll: Doll) -> set[str]:
    look = doll.look
    mouth = {
        "smile": {"smile", "closed_mouth"},
        "grin": {":d"},
        "neutral": {"closed_mouth"},
        "open": {"open_mouth"},
        "frown": {"frown", "closed_mouth"},
        "fang": {"blood", "open_mouth", "smile"},
    }[doll.expression]
    hats = {"witch": "witch_hat", "straw": "straw_hat", "santa": "santa_hat", "cap": "hat"}
    ornaments = {
        "bow": "hair_bow",
        "hairclip": "hairclip",
        "flower": "hair_flower",
        "crown": "crown",
    }
    shown = {
        hats.get(doll.headwear, ""): doll.headwear != "none",
        ornaments.get(doll.ornament, ""): doll.ornament != "none",
        f"{look.ears}_ears": look.ears != "none",
        look.eyewear: look.eyewear != "none",
        "blush": doll.blush,
        "closed_eyes": doll.eyes == "closed",
        "one_eye_closed": doll.eyes == "wink" and look.eyewear != "eyepatch",
        "looking_at_viewer": doll.facing and doll.eyes != "closed",
        "horns": look.horns,
        "halo": look.halo,
    }
    return mouth | _hair_tags(doll) | {tag for tag, true in shown.items() if true}


def _hair_tags(doll: Doll) -> set[str]:
    look = doll.look
    length = look.hair_length
    # A bun hides the length, and a picture that ends at the waist hides where long hair ends.
    if length == "very_long" and doll.framing in {"portrait", "upper_body"}:
        length = "long"
    pinned_up = look.hairstyle in {"single_bun", "double_bun"} and length != "short"
    styles = {"single_bun": "hair_bun"}
    shown = {
        f"{length}_hair": not pinned_up,
        styles.get(look.hairstyle, look.hairstyle): look.hairstyle != "loose",
        "blunt_bangs": look.fringe == "blunt",
        "ahoge": look.ahoge and doll.headwear == "none",
    }
    return {tag for tag, true in shown.items() if true}


def _colour_tags(doll: Doll) -> set[str]:
    look = doll.look
    tags = {f"{look.hair}_hair"}
    if look.second_hair:
        tags |= {f"{look.second_hair}_hair", "two-tone_hair"}
    if look.outfit in {"dress", "maid", "apron"} and doll.framing != "portrait":
        tags |= {f"{look.upper}_dress"} & set(VOCABULARY.tags)
    return tags | ({"white_shirt"} if _white_shirt(look) and doll.framing != "portrait" else set())


def _eye_colour_tags(doll: Doll) -> set[str]:
    look = doll.look
    if doll.eyes == "closed":
        return set()
    both = doll.eyes == "open" and look.eyewear != "eyepatch"
    if look.second_eye and both:
        return {f"{look.eyes}_eyes", f"{look.second_eye}_eyes", "heterochromia"}
    return {f"{look.eyes}_eyes"}


def _clothes_tags(doll: Doll) -> set[str]:
    """Return what is worn below the head; the nearer the picture, the less of it is seen."""
    look = doll.look
    tags = {
        "serafuku": {"serafuku"},
        "blazer": {"school_uniform"},
        "hoodie": {"hoodie"},
        "kimono": {"kimono"},
        "maid": {"maid"},
    }.get(look.outfit, set[str]())
    tags |= {tag for tag, true in {"necktie": _tie(look), "scarf": look.scarf}.items() if true}
    if doll.framing != "portrait":
        tags |= _torso_tags(look)
    if doll.framing in {"cowboy_shot", "full_body"}:
        tags |= _lower_tags(look)
    return tags | (_foot_tags(look) if doll.framing == "full_body" else set())


def _torso_tags(look: Look) -> set[str]:
    shown = {
        "dress": look.outfit in {"dress", "maid", "apron"},
        "apron": look.outfit in {"maid", "apron"},
        "shirt": look.outfit in {"shirt", "blazer"},
        "striped_shirt": look.striped,
        "cape": look.cape,
        "wings": look.wings != "none",
        "angel_wings": look.wings == "angel",
    }
    return {tag for tag, true in shown.items() if true}


def _lower_tags(look: Look) -> set[str]:
    if look.outfit in {"dress", "maid", "apron", "kimono"}:
        return set()
    return {"pants"} if look.trousers else {"pleated_skirt" if look.pleated else "skirt"}


def _foot_tags(look: Look) -> set[str]:
    bare_leg = not look.trousers and look.outfit != "kimono"
    shown = {"boots": look.boots, "thighhighs": bare_leg and look.legs == "thighhighs"}
    return {tag for tag, true in shown.items() if true}


def _pose_tags(doll: Doll) -> set[str]:
    if doll.held == "umbrella":
        return {"holding_umbrella"}
    if doll.held == "balloon":
        return {"holding", "balloon"}
    return {"arms_up"} if doll.arms == "up" else set()


def _tie(look: Look) -> bool:
    return look.necktie and not look.scarf


def _white_shirt(look: Look) -> bool:
    return look.outfit == "blazer" or (
        look.outfit == "shirt" and look.upper == "white" and not look.striped
    )
