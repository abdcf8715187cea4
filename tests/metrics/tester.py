"""What torchmetrics asks of a metric, asked of ours: one value however the data are cut, merged, wrapped and spread.

A case is a metric and the arguments of one ``update`` on everything; every question cuts these along the stimuli.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import BootStrapper, Running
from torchmetrics.wrappers.bootstrapping import _bootstrap_sampler

BATCHES = (9, 9, 9, 9, 4)


@dataclass
class Case:
    """A metric to ask.

    Args:
        make: Makes it.
        data: The arguments of ``update``, all along the stimuli.
        higher_is_better: What it must say.
        order_matters: Whether the value depends on the order, which several processes keep by an index only.
        key: Of the quantity to follow, where the value is a dict.
    """

    make: Callable[[], Metric]
    data: tuple[torch.Tensor, ...]
    higher_is_better: bool | None = True
    order_matters: bool = False
    key: str | None = None


def parts(case):
    return list(zip(*(x.split(BATCHES) for x in case.data)))


def assert_equal(value, expected):
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def on(case, *batches):
    """The value of one ``update`` on some batches together."""
    metric = case.make()
    metric.update(*(torch.cat(x) for x in zip(*batches)))
    return metric.compute()


def whole(case):
    return on(case, case.data)


def assert_batch_by_batch(case):
    """By ``update``; and by ``forward``, whose value is that of its batch."""
    updated, called = case.make(), case.make()
    for part in parts(case):
        updated.update(*part)
        value, alone = called(*part), case.make()
        assert_equal(value, alone(*part))
    assert_equal(updated.compute(), whole(case))
    assert_equal(called.compute(), whole(case))
    called.reset()
    called(*case.data)
    assert_equal(called.compute(), whole(case))


def assert_merged(case):
    batches = parts(case)
    a, b, c = case.make(), case.make(), case.make()
    for part in batches[:2]:
        a.update(*part)
    assert_equal(a.compute(), on(case, *batches[:2]))  # a value that must not stay
    b.update(*batches[2])
    for part in batches[3:]:
        c(*part)
    a.merge_state(b)
    a.merge_state(c.metric_state)
    assert_equal(a.compute(), whole(case))
    fresh = case.make()
    fresh.merge_state(a)
    assert_equal(fresh.compute(), whole(case))
    fresh.reset()
    assert_equal(a.compute(), whole(case))


def assert_copied(case):
    metric = case.make()
    for part in parts(case)[:3]:
        metric.update(*part)
    for one in (copy.deepcopy(metric), metric.clone(), pickle.loads(pickle.dumps(metric))):
        for part in parts(case)[3:]:
            one(*part)
        assert_equal(one.compute(), whole(case))
    assert not metric.state_dict()  # a checkpoint holds no data


def assert_in_a_collection(case, other):
    for how in ("update", "forward"):
        collection = MetricCollection({"first": other(), "asked": case.make(), "last": other()})
        for part in parts(case):
            getattr(collection, how)(*part)
        assert_equal(collection["asked"].compute(), whole(case))


def assert_running(case):
    for how in ("update", "forward"):
        metric = Running(case.make(), window=2)
        for part in parts(case):
            getattr(metric, how)(*part)
        assert_equal(metric.compute(), on(case, *parts(case)[-2:]))


def assert_bootstrapped(case):
    """Every drawn row counts, however often it was drawn."""
    one = case.make() if case.key is None else case.make()[case.key]
    wrapper = BootStrapper(one, num_bootstraps=3, raw=True, mean=False, std=False, sampling_strategy="multinomial")
    torch.manual_seed(0)
    wrapper.update(*case.data)
    torch.manual_seed(0)
    for value in wrapper.compute()["raw"]:
        rows = _bootstrap_sampler(len(case.data[0]), "multinomial")
        expected = on(case, tuple(x[rows] for x in case.data))
        assert_equal(value, expected if case.key is None else expected[case.key])


def spread(case, rank, world):
    """The values on a process that saw every world-th stimulus, batch by batch; the last process sees the least."""
    values = []
    for how in ("update", "forward"):
        for dealt in ("in turn", "nothing to the last"):
            shares = world if dealt == "in turn" else world - 1
            metric = case.make()
            if rank < shares:
                mine = [x[rank::shares] for x in case.data]
                index = [torch.arange(len(case.data[0]))[rank::shares]] if case.order_matters else []
                for batch in zip(*(x.split(7) for x in (*mine, *index))):
                    getattr(metric, how)(*batch)
            value = metric.compute()
            values.append(value if case.key is None else value[case.key])
    return torch.stack(values)
