"""What a layer does after any history: calls, updates, backward passes, copies, in any order (C11, C13, C14, H5, H6).

``trials/playing.py`` plays the history of a case beside a model. Where it breaks off, the verdict names the clause of
the step that broke.
"""

from properties.laws.law import law
from properties.trials.playing import play
from properties.trials.trial import Trial


@law("C14", "C13", "C11", on="histories")
def right_after_any_history(trial: Trial) -> None:
    """Whatever was done with a layer before, what it gives is what its input and its parameters say.

    Other data, sizes, layouts and modes in between, inputs that are filled anew or come from another operation, and a
    call many times (C14); parameters changed, one or all, by one element or by all, frozen or not (C13); backward
    passes in any order, once or twice over a graph, returned or accumulated (C11). What was handed out stays as it was.
    Catches caches, buffers that are reused, copies of the weight that go stale, and layers that keep state.
    """
    play(trial)


@law("H5", "H6", on="copies", needs=("native",))
def right_after_copying(trial: Trial) -> None:
    """A copy goes on as the layer would have, and leaves it alone; so does a layer that was converted there and back.

    The same with copies, conversions and calls under autocast in the history. A class that is defined inside a function
    cannot be pickled by Python's own rules; it is deep-copied only. Catches buffers and caches that stay in the old
    dtype, or that copies share, and parameters that are kept in autocast's.
    """
    play(trial)
