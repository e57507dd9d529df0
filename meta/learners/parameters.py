"""Parameters of an estimator the scikit-learn way: its `clone`, `get_tags` and searches work.

A search splits a table by whole images; see `PairTable.__getitem__`.

Written out instead of inherited: importing scikit-learn costs more than loading a bundle.
"""

import inspect
from typing import Any, Self

from tagstack.configs.errors import TagstackError
from tagstack.configs.section import Section


class Parameters:
    """Gives a class whose constructor stores its arguments unchanged `get_params`, `set_params`."""

    @classmethod
    def _parameter_names(cls) -> tuple[str, ...]:
        return tuple(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator: it is fitted on labels, not on arrays."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier" if hasattr(self, "predict_proba") else None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False),
            no_validation=True,
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments; with ``deep``, the fields of its settings too.

        A field of a settings section is named ``argument__field``.
        """
        found = {name: getattr(self, name) for name in self._parameter_names()}
        if deep:
            for name, value in tuple(found.items()):
                if isinstance(value, Section):
                    found |= {f"{name}__{field}": getattr(value, field) for field in _fields(value)}
        return found

    def set_params(self, **parameters: Any) -> Self:
        """Replace arguments, or single fields of settings, and return the estimator.

        Raises
        ------
        TagstackError
            If there is no such argument or field; pydantic's own error if a field's value is out
            of range.
        """
        for key, value in parameters.items():
            name, _, field = key.partition("__")
            if key not in self.get_params():
                known = list(self.get_params())
                msg = f"{type(self).__name__} has no parameter {key!r}; it has {known}."
                raise TagstackError(msg)
            if field:
                section: Section = getattr(self, name)
                value = type(section).model_validate(section.model_dump() | {field: value})
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in self.get_params(deep=False).items())
        return f"{type(self).__name__}({values})"


def _fields(section: Section) -> tuple[str, ...]:
    return tuple(type(section).model_fields)
