"""A form as it came: what was typed, and what is wrong in which field. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from mainstay.kernel.errors import MainstayError

_OF_A_FIELD = ("is ", "must ", "mixes ", "repeats ", "consists ")


@dataclass(slots=True)
class Draft:
    """The fields of a form in their order; those that no page shows again are empty in `typed`."""

    typed: dict[str, str]
    wrong: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, fields: Collection[str], given: Mapping[str, str] | None = None, *, hidden: Collection[str] = ()
    ) -> Self:
        """The fields with what was given for them, but for hidden ones."""
        told = given or {}
        return cls({name: "" if name in hidden else told.get(name, "").strip() for name in fields})

    @property
    def first_wrong(self) -> str:
        """The field to begin with; '' where nothing is wrong."""
        return next((name for name in self.typed if name in self.wrong), "")

    def take(self, error: MainstayError, at: Mapping[str, str] | None = None) -> bool:
        """Whether what was refused is of fields, and stands there now; `at` has the fields of errors by their code."""
        if at and error.code in at:
            self.wrong[at[error.code]] = _sentence(error.faults[0].detail if error.faults else error.detail)
            return True
        for fault in error.faults:
            name = fault.pointer.removeprefix("#/").partition("/")[0]
            if name not in self.typed:
                return False
            self.wrong.setdefault(name, _sentence(fault.detail))
        return bool(self.wrong)


def _sentence(words: str) -> str:
    """What is wrong, said of the field at which it stands."""
    whole = f"This {words}" if words.startswith(_OF_A_FIELD) else words[:1].upper() + words[1:]
    return whole if whole.endswith(".") else f"{whole}."
