"""Laws of earlier versions that are now histories: records of them replay, and their names select what they became."""

from properties.cases.history import Backward, Convert, Copy, Forward, History, Update
from properties.laws.histories import right_after_any_history, right_after_copying
from properties.laws.law import Law

_CALL = Forward(input_gradient=True)
_EVAL = Forward(training=False, mode="no_grad")
_CALLS, _COPIES = right_after_any_history, right_after_copying

# By name: the law that it is part of, and the history that it was.
RETIRED: dict[str, tuple[Law, History]] = {
    "same_on_second_call": (_CALLS, (_CALL, Forward(data=1), _CALL, Backward(call=1), Backward())),
    "same_at_other_sizes": (
        _CALLS,
        (_CALL, *(Forward(sizes=n, input_gradient=True) for n in (1, 2, 3)), _CALL, *[Backward()] * 5),
    ),
    "same_in_eval_mode": (
        _CALLS,
        (Forward(input_gradient=True, training=False), Backward(), _CALL, Backward()),
    ),
    "same_without_grad": (
        _CALLS,
        (Forward(mode="inference"), Forward(mode="no_grad"), _CALL, Backward()),
    ),
    "arguments_unchanged": (_CALLS, (_CALL, Backward(), _CALL)),
    "gradient_accumulates": (_CALLS, (_CALL, Backward(into="accumulated"), _CALL, Backward(into="accumulated"))),
    "loaded_state_shows": (
        _CALLS,
        (_CALL, Update(way="loaded"), _CALL, Update(way="assigned"), _CALL),
    ),
    "in_place_update_shows": (_CALLS, (_CALL, Update(), _CALL, Update(way="data"), _CALL)),
    "optimizer_step_shows": (_CALLS, (_CALL, Update(way="optimizer"), _CALL)),
    "updates_show_in_inference": (
        _CALLS,
        (
            *(_EVAL, Update(), _EVAL, Update(way="data"), _EVAL, Update(way="optimizer"), _EVAL),
            *(Update(way="loaded"), _EVAL, Update(way="assigned"), _EVAL),
        ),
    ),
    "survives_copying": (
        _COPIES,
        (_CALL, Copy(), _CALL, Update(), _CALL, Copy("pickle"), _CALL, Copy("save"), _CALL, Update(), _CALL),
    ),
    "survives_conversion": (_COPIES, (_CALL, Convert(), _CALL)),
}
