"""The words that haystacks and needles are made of; the lists share no word, so that nothing in a haystack answers."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words(
    "baker farmer teacher sailor doctor painter student neighbour clerk driver carpenter gardener librarian "
    "tailor nurse singer lawyer barber plumber editor"
)
QUALITIES = _words(
    "old young quiet cheerful tired careful curious patient clever polite busy kind serious gentle proud"
)
ACTS = _words(
    "walked hurried returned drove travelled wandered looked pointed listened waved smiled ran moved stepped turned"
)
MANNERS = _words("slowly quickly quietly calmly gladly carefully eagerly often rarely again")
PLACES = _words(
    "market station school kitchen office village hotel museum theatre park farm shop church hospital airport "
    "street square mill café clinic"
)
THINGS = _words(
    "letter basket ladder map clock chair newspaper ticket umbrella blanket suitcase notebook hammer bottle coat "
    "picture table cake bicycle phone"
)
HANDLED = _words(
    "bought sold carried found lost repaired cleaned borrowed painted opened wrapped packed sorted kept lifted"
)
LOOKS = _words("small large heavy broken new cheap dusty wooden round clean useful plain torn bright")
TIMES = (
    "before noon",
    "after lunch",
    "in the evening",
    "on Monday",
    "on Friday",
    "last week",
    "in spring",
    "during the winter",
    "after the storm",
    "at dawn",
    "in the afternoon",
    "every summer",
    "early in the day",
    "late at night",
    "without a sound",
)
WEATHER = _words("rain snow wind fog sun frost")
STATES = _words("cold warm wet dry mild harsh pleasant dull")

KEY_QUALITIES = _words(
    "crimson silver golden ancient hidden northern southern eastern western frozen emerald scarlet violet ivory "
    "granite marble bronze misty stormy shining twisted forgotten sunken burning"
)
KEY_PLACES = _words(
    "lighthouse castle tower harbour bridge temple garden palace fortress cavern island valley forest monastery "
    "mansion cottage windmill observatory lagoon canyon fountain chapel pavilion orchard dungeon citadel volcano "
    "glacier desert meadow quarry vineyard cathedral aqueduct waterfall pyramid labyrinth greenhouse bakery "
    "brewery foundry stadium embassy academy shipyard workshop stable cellar"
)
SECRETS = ("secret code", "passphrase", "access code", "magic phrase", "vault password", "safe word")
VALUES = _words(
    "apple tiger piano rocket candle dolphin guitar hammock pepper saddle tulip violin walnut zebra anchor banana "
    "camel dragon eagle falcon ginger helmet iguana jacket kettle lemon magnet needle olive parrot quartz rabbit "
    "salmon turtle unicorn vanilla wizard yogurt acorn beaver cactus daisy engine feather goblin honey insect "
    "jungle koala lizard mango nickel orange pencil raven shadow trumpet uncle velvet whale thunder bishop copper "
    "diamond elbow fabric gravel hunter ink jewel knight lantern monkey nest oyster pirate queen ribbon spider "
    "thimble trolley vessel wolf lobster pillow cricket marathon cinnamon planet puzzle sandal"
)
