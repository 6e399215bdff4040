"""The culture LIF network as a candidate for simulation, where no weights of the default network pass."""

from dataclasses import dataclass

import numpy as np

from organoid.fitting.culture_lif.columns import make_columns
from organoid.fitting.culture_lif.forced import fit_forced_culture
from organoid.fitting.culture_lif.free import FreeStage
from organoid.fitting.culture_lif.selection import CultureWeights, choose_culture_weights
from organoid.fitting.data.history import History
from organoid.fitting.free_run.settings import DEFAULT, FreeRunSettings
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.models.culture_lif.network import CultureLIFParameters
from organoid.recording import SpikeRecording


@dataclass(frozen=True)
class CultureCandidate:
    """A culture LIF network that may be simulated.

    Parameters
    ----------
    weights : CultureWeights
    forced : CultureLIFParameters
        Before any correction in free run.
    """

    weights: CultureWeights
    forced: CultureLIFParameters


def fit_candidate(
    rec: SpikeRecording, training: History, *, seed: int, settings: FreeRunSettings = DEFAULT, progress: bool = False
) -> CultureCandidate | None:
    """Fit a culture LIF network to the training part; None for more units than can be coupled.

    Parameters
    ----------
    rec : SpikeRecording
        The training part.
    training : History
        The same.
    seed : int
    settings : FreeRunSettings
    progress : bool
    """
    if training.n_units > MAX_COUPLED:
        return None
    columns = make_columns(training, np.random.default_rng(seed))
    forced = fit_forced_culture(training, columns)
    stage = FreeStage.prepare(training, columns, forced, seed)
    if not stage.states.bins.size:
        return None
    weights = choose_culture_weights(rec, stage, settings=settings, progress=progress)
    return CultureCandidate(weights, stage.network(forced.theta))
