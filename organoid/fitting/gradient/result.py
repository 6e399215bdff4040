"""`GradientFit`: a network trained by gradient, with its scores, its free-running form, and how it is saved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, ClassVar

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import FitError, ModelError
from organoid.fitting.data.history import bin_history
from organoid.fitting.gradient.prediction import N_DRAWS, Counts, answers, as_recording, mixed
from organoid.fitting.result import Fit
from organoid.losses import LOSSES, SpikeLoss
from organoid.models import TrainableModel
from organoid.models.serialization import read_network, read_trained, write_network, write_trained
from organoid.recording import SpikeRecording

Array = NDArray[np.float64]

_HELD_OUT = {
    "fitted": "held_out_loss",
    "silent": "held_out_loss_silent",
    "constant_rate": "held_out_loss_constant_rate",
    "own_history": "held_out_loss_own_history",
    "shuffled": "held_out_loss_shuffled",
}


@dataclass(frozen=True, eq=False, repr=False)
class GradientFit(Fit):
    """A model trained by gradient descent, and how well it does; `Fit` says what every fit has.

    Attributes
    ----------
    model : TrainableModel
        The trained model as torch knows it; its step is ``bin_width``.
    loss : SpikeLoss
        The loss it was trained with.
    scores : Series
        heldout_bits_per_spike (of `predict` on the held-out part), heldout_bits_per_spike_own_history (what each
        unit's own history predicts; also as heldout_bits_per_spike_uncoupled), held_out_loss, held_out_loss_silent,
        held_out_loss_constant_rate, held_out_loss_shuffled (NaN unless requested), n_units, n_spikes, seconds,
        peak_rss_mb.
    per_unit : DataFrame
        Beside what every fit has: training_mean_count (a bin).
    curve : DataFrame
        step, loss (training batch), held_out_loss (NaN between evaluations).
    """

    model: TrainableModel
    loss: SpikeLoss
    curve: pd.DataFrame

    HOW: ClassVar[str] = "gradient"
    TABLES: ClassVar[tuple[str, ...]] = (*Fit.TABLES, "curve")
    PARTS: ClassVar[tuple[str, ...]] = ("model", "loss")

    @property
    def seed(self) -> int:
        """Seed of initial weights, windows and noise."""
        return int(self.settings["seed"])

    @property
    def seconds(self) -> float:
        """Time the fit took, s."""
        return float(self.scores["seconds"])

    @property
    def held_out(self) -> pd.Series[float]:
        """Loss on the held-out part, all by the same function on the same windows.

        ``fitted``; ``silent``, no spike at all; ``constant_rate``, independent spikes at the training rates;
        ``shuffled``, the same model trained on the spikes of wrong units (NaN unless requested). Own history is
        compared in bits/spike (``scores``), as it has no form for every loss: NaN here.
        """
        return pd.Series({name: float(self.scores.get(key, np.nan)) for name, key in _HELD_OUT.items()}, dtype=float)

    def predict(
        self,
        data: SpikeRecording | Counts,
        t_start: float | None = None,
        t_stop: float | None = None,
        *,
        n_draws: int = N_DRAWS,
        seed: int = 0,
    ) -> Array:
        """Return expected spike counts, each bin from earlier recorded spikes only.

        A model trained on recorded history alone answers with the probabilities that follow from it, another one
        trained on log-odds with their probabilities, averaged over draws of the noise. Any other
        answers with its spikes, averaged over draws, with a share of the unit's training mean mixed in
        (``settings["share_of_mean"]``, chosen on the training part): a hard threshold makes a model too sure, and
        some draws without a spike do not prove that none can come.

        Parameters
        ----------
        data : SpikeRecording, or ndarray of int, shape (bin, unit)
            What was recorded, of the same units.
        t_start, t_stop : float, optional, s
            Bins are those of ``rec.counts(fit.bin_width, t_start, t_stop)``; spikes before `t_start` are used as
            history.
        n_draws : int
            Draws of the background noise to average over.
        seed : int
            Seed of the noise.

        Returns
        -------
        ndarray, shape (bin, unit)

        Raises
        ------
        FitError
            If the data have another number of units.
        """
        rec = as_recording(data, self.bin_width)
        if rec.n_units != self.model.n_units:
            raise FitError(f"the data have {rec.n_units} units, the fit {self.model.n_units}; they must be the same")
        history = bin_history(rec, self.bin_width, t_start, t_stop)
        mean, share = self.per_unit["training_mean_count"].to_numpy(dtype=np.float64), self.settings["share_of_mean"]
        resets = bool(self.settings.get("recorded_resets"))  # fits of older versions have no such setting
        found = answers(self.model, self.loss.reads, history, history.first_bin, n_draws, seed, resets)
        parts = [mixed(answer, mean, share) for _, answer in found]
        return np.concatenate([np.empty((0, rec.n_units)), *parts])

    def _write_own(self, group: h5py.Group) -> None:
        try:
            write_trained(group.create_group("model"), self.model)
            if self.network is not None:
                write_network(group.create_group("network"), self.network)
        except ModelError as error:
            raise FitError(f"this fit cannot be saved: {error}") from None
        _put_loss(group.create_group("loss"), self.loss)

    @classmethod
    def _read_own(cls, group: h5py.Group) -> dict[str, Any]:
        return {
            "network": read_network(group["network"]) if "network" in group else None,
            "model": read_trained(group["model"]),
            "loss": _take_loss(group["loss"]),
        }

    def __repr__(self) -> str:
        loss, silent = self.held_out["fitted"], self.held_out["silent"]
        what = f"{self.settings['model']}, {self.settings['loss']}, {self.model.n_units} units"
        return f"GradientFit({what}, held-out loss {loss:.3g}, silent {silent:.3g})"


def _put_loss(group: h5py.Group, loss: SpikeLoss) -> None:
    name = loss_name(loss)
    if name not in LOSSES or not is_dataclass(loss):
        raise FitError(f"this fit cannot be saved: its loss {name} is not registered in organoid.losses.LOSSES")
    try:
        group.attrs["settings"] = json.dumps(asdict(loss))
    except TypeError as error:
        raise FitError(f"this fit cannot be saved: settings of its loss {name} are no plain values: {error}") from None
    group.attrs["name"] = name


def _take_loss(group: h5py.Group) -> SpikeLoss:
    name = group.attrs.get("name")
    if name not in LOSSES:
        raise FitError(f"{group.file.filename}: trained with the loss {name!r}; expected one of {', '.join(LOSSES)}")
    try:
        settings = json.loads(group.attrs["settings"])
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        return LOSSES[name](**plain)
    except (AttributeError, TypeError, ValueError) as error:
        raise FitError(f"{group.file.filename}: settings of the loss {name} cannot be used: {error}") from None


def loss_name(loss: SpikeLoss) -> str:
    """Return the name of a loss's class in `LOSSES`, or of the class itself where it is not registered."""
    return next((name for name, make in LOSSES.items() if make is type(loss)), type(loss).__name__)
