"""Item ids of ours that a database's own dictionaries (d_items, d_labitems) do not list.

Databases add items from version to version, and a variable has ids of several, so that a few unlisted ones mean nothing. A
variable none of whose ids is listed has no values at all, and looks as if nobody had measured it: that is said.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from icu_lightning.data.concepts import Charted
from icu_lightning.data.sources.tables import RawTables


def unlisted_items(tables: RawTables, dictionaries: Mapping[str, str], places: Sequence[Charted]) -> str | None:
    """One line naming the variables that a table cannot have, with their ids; None if every variable has an id that is listed.

    Arguments:
        dictionaries: table of the places -> table that lists its items, "itemid" among its columns. Places of other
            tables, and of dictionaries that are not there, are not judged.

    Raises UserError if a dictionary cannot be read.
    """
    judged = [place for place in places if dictionaries.get(place.table, "") in tables]
    names = sorted({dictionaries[place.table] for place in judged})
    listed = {name: set(tables.collect(tables.scan(name, ["itemid"]).unique())["itemid"]) for name in names}
    ids: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place in judged:
        ids[place.variable, place.table] += place.labels
    strange = {of: labels for of, labels in ids.items() if listed[dictionaries[of[1]]].isdisjoint(labels)}
    if not strange:
        return None
    known = sum(label in listed[dictionaries[table]] for (_, table), labels in ids.items() for label in labels)
    total = sum(map(len, ids.values()))
    each = "; ".join(f"{variable} in {table} ({', '.join(labels)})" for (variable, table), labels in strange.items())
    return (
        f"{total - known} of {total} item ids are not in {' or '.join(names)} of {tables.folder}, among them all of {each}: "
        "these have no values there. Are the files of one version of the database?"
    )
