"""Words of a line that have a shorter form: with `imputer=pypots`, `imputer.name=SAITS` is `model.imputer.name=SAITS`.

They are written out before Hydra reads them: of a run, of a sweep and of an experiment's lines alike. So a job has one name, whichever
was typed, and run folders know the long one alone.
"""

import re

from icu_lightning.runfolder import PARTS

SHORT = re.compile(rf"(\+\+?|~)?(?=(?:{'|'.join(PARTS)})\.)")


def in_full(word: str) -> str:
    """A word with the long name of its setting.

    >>> in_full("imputer.name=SAITS,BRITS"), in_full("+predictor.x=1"), in_full("~imputer.usual.d_k")
    ('model.imputer.name=SAITS,BRITS', '+model.predictor.x=1', '~model.imputer.usual.d_k')
    >>> in_full("imputer=pypots"), in_full("model.imputer.name=SAITS")
    ('imputer=pypots', 'model.imputer.name=SAITS')
    """
    short = SHORT.match(word)
    return f"{short[0]}model.{word[short.end() :]}" if short else word
