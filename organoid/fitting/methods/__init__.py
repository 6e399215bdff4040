"""Ways to fit: each in a file of its own, found by model and loss in `METHODS`."""

from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

from organoid.errors import FitError
from organoid.fitting.settings import (
    CultureLIFSettings,
    FitSettings,
    GradientSettings,
    LikelihoodSettings,
    settings_from,
)

ANY = "*"


@dataclass(frozen=True)
class Method:
    """A way to fit.

    Parameters
    ----------
    title : str
        In words, as errors name it.
    settings : type
        Its options, a subclass of `FitSettings`.
    place : str
        ``"module:function"``, imported when first used. The function is called as
        ``function(rec, model=..., loss=..., settings=..., seed=..., progress=...)`` with one culture, and returns an
        `organoid.fitting.result.Fit`.
    """

    title: str
    settings: type[FitSettings]
    place: str

    def run(self, rec: Any, **options: Any) -> Any:
        """Fit one culture."""
        module, function = self.place.split(":")
        return getattr(import_module(module), function)(rec, **options)


METHODS: dict[tuple[str, str], Method] = {  # (model, loss); ANY stands for all that have no line of their own
    ("escape_lif", "likelihood"): Method(
        "the likelihood fit (model='escape_lif', loss='likelihood')",
        LikelihoodSettings,
        "organoid.fitting.methods.likelihood:fit_likelihood",
    ),
    ("culture_lif", "likelihood"): Method(
        "the culture LIF fit (model='culture_lif', loss='likelihood')",
        CultureLIFSettings,
        "organoid.fitting.methods.culture_lif:fit_culture_lif",
    ),
    (ANY, ANY): Method("a fit by gradient", GradientSettings, "organoid.fitting.methods.gradient:fit_gradient"),
}


def method_for(model: Any, loss: Any) -> Method:
    """Return the way to fit a model (a name, or a model) with a loss (a name, or a loss).

    Examples
    --------
    >>> method_for("lif", "van_rossum").title
    'a fit by gradient'
    """
    named = (model if isinstance(model, str) else ANY, loss if isinstance(loss, str) else ANY)
    return next(METHODS[key] for key in (named, (named[0], ANY), (ANY, named[1]), (ANY, ANY)) if key in METHODS)


def settings_for(method: Method, given: FitSettings | None, by_name: dict[str, Any]) -> FitSettings:
    """Return the settings of a method from what a user gave.

    None stands for the default. An option of another method is dropped where it has that method's default, so that
    the same keywords can be used for every model and loss.

    Raises
    ------
    FitError
        If an option is unknown, or belongs to another method; names it.
    """
    mine = _defaults(method)
    for name in sorted(set(by_name) - set(mine)):
        others = [other for other in METHODS.values() if name in _defaults(other)]
        if others and all(_differs(by_name[name], _defaults(other)[name]) for other in others):
            raise FitError(f"{name}={by_name[name]!r} belongs to {others[0].title}, not to {method.title}")
        if others:
            by_name = {key: value for key, value in by_name.items() if key != name}
    meant = {name: value for name, value in by_name.items() if value is not None or mine.get(name, 0) is None}
    return settings_from(method.settings, given, meant, method.title)


def _defaults(method: Method) -> dict[str, Any]:
    return {each.name: each.default for each in fields(method.settings)}


def _differs(value: Any, default: Any) -> bool:
    """Return whether an option is not at its default; None stands for the default."""
    return value is not None and bool((tuple(value) if isinstance(default, tuple) else value) != default)
