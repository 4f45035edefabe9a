"""A recurrent cell from position to position, and its gradient."""

from keras import ops


def over_time(cell, inputs, states, is_real=None):
    """The states after each position.

    Args:
        cell: A `RecurrentCell`.
        inputs: projected, `(length, batch, num_gates * units)`.
        states: before the first position, each `(batch, units)`.
        is_real: bool `(length, batch)`. Where `False`, states stay.

    Returns:
        list of `num_states` tensors `(length, batch, units)`.
    """

    def step(states, now):
        _, new = cell(inputs[now], states)
        new = _where_real(is_real, now, new, states)
        return new, new

    return ops.scan(step, list(states), _places(inputs))[1]


def lean_over_time(cell, inputs, states, is_real=None):
    """`over_time`, with a gradient of its own, for training.

    TensorFlow's keeps every value of every step by itself, and sums up the
    gradient of the kernel step by step. Here one product a step is left in the
    loop. A graph with it is kept by TensorFlow as long as the process runs.
    """
    weights = [
        ops.cast(each, cell.compute_dtype)
        for each in (cell.recurrent.kernel, cell.recurrent.bias)
        if each is not None
    ]

    @ops.custom_gradient
    def run(inputs, *others):
        first = others[: cell.num_states]
        kernel, *bias = others[cell.num_states :]

        def recurrent(hidden):
            return sum(bias, ops.matmul(hidden, kernel))

        after, gates = _with_gates(cell, recurrent, inputs, first, is_real)

        def gradient(*args, upstream=None):
            if upstream is None:  # PyTorch gives the arguments first
                [upstream] = args
            before = [
                ops.concatenate([x[None], y[:-1]], axis=0)
                for x, y in zip(first, after, strict=True)
            ]
            slopes = cell.slopes(gates, before, after)
            of_after = ops.unstack(upstream, cell.num_states)
            of_first, made = _backward(cell, kernel, slopes, of_after, is_real)
            of_recurrent, _ = cell.back(slopes, made)
            of_inputs = cell.of_inputs(slopes, of_recurrent, made)
            rows = ops.reshape(of_recurrent, (-1, kernel.shape[1]))
            hidden = ops.reshape(before[0], (-1, kernel.shape[0]))
            of_weights = [ops.matmul(ops.transpose(hidden), rows)]
            of_weights += [ops.sum(rows, axis=0) for _ in bias]
            return of_inputs, *of_first, *of_weights

        return ops.stack(after), gradient

    return ops.unstack(run(inputs, *states, *weights), cell.num_states)


def _with_gates(cell, recurrent, inputs, states, is_real):
    """The states after each position, and the gates there."""

    def step(carry, now):
        states = carry[: cell.num_states]
        gates = cell.gates(inputs[now], recurrent(states[0]))
        new = cell.advance(gates, states)
        both = [*_where_real(is_real, now, new, states), *gates]
        return both, both

    # Carried for their shapes: what Keras' `scan` stacks is as what it carries.
    gates = [ops.zeros_like(states[0])] * cell.num_kept
    _, both = ops.scan(step, [*states, *gates], _places(inputs))
    return both[: cell.num_states], both[cell.num_states :]


def _backward(cell, kernel, slopes, of_after, is_real):
    """Gradients of the first states, and of those that each step made."""
    kernel = ops.transpose(kernel)

    def step(later, now):
        total = [x + y[now] for x, y in zip(later, of_after, strict=True)]
        made = _where_real(is_real, now, total, nothing)
        of_recurrent, before = cell.back([x[now] for x in slopes], made)
        before[0] = before[0] + ops.matmul(of_recurrent, kernel)
        return _where_real(is_real, now, before, total), made

    nothing = [ops.zeros_like(each[0]) for each in of_after]
    return ops.scan(step, nothing, _places(slopes[0]), reverse=True)


def _where_real(is_real, now, these, others):
    if is_real is None:
        return these
    real = is_real[now][:, None]
    return [ops.where(real, *pair) for pair in zip(these, others, strict=True)]


def _places(x):
    return ops.arange(ops.shape(x)[0], dtype="int32")
