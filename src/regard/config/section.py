"""What every table of a run file is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of a run file: frozen, every key known, every value of its own type (a whole number is a float too)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, serialize_by_alias=True, validate_by_name=False
    )

    def changed(self, *names: str) -> str | None:
        """The first of these keys that is not at its default."""
        return next((name for name in names if getattr(self, name) != type(self).model_fields[name].default), None)
