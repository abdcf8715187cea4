"""The right image for every trial, splits, and the behaviour table."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from neuroalign.data import NSDError, read_nsd, read_nsd_split
from neuroalign.data.nsd import NSDPaths, trials
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.trials import Design
from tests.data.nsd.tree_writer import write_tree


def rewrite(path, **changes):
    design = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    savemat(path, {**design, **changes}, do_compression=True)


def test_every_trial(planted):
    for subject in planted.subjects:
        design = Design.read(Tree(planted.root), NSDPaths(planted.root, subject))
        np.testing.assert_array_equal(design.stimulus[:2250], planted.rows(subject))
        np.testing.assert_array_equal(design.trials([3, 1])[:2], [1500, 1501])


def test_a_session_beyond_the_design_is_refused():
    design = Design(np.arange(750), np.arange(750) + 1)
    np.testing.assert_array_equal(design.trials([1]), np.arange(750))
    with pytest.raises(NSDError, match="session 2 lies beyond the 750 trials of the design"):
        design.trials([1, 2])


@pytest.mark.slow
def test_splits_against_counting(planted):
    order = planted.masterordering
    for subject in planted.subjects:
        row_of = planted.subjectim[subject - 1] - 1
        assert set(read_nsd_split(planted.root, subject)) == set(row_of[:1000])
        three = [k for k in range(1, 1001) if list(order[:22500]).count(k) == 3]
        np.testing.assert_array_equal(
            read_nsd_split(planted.root, subject, "shared515"), np.sort(row_of[np.array(three) - 1])
        )
        early, late = set(order[: 37 * 750]), set(order[37 * 750 :])
        only_late = np.array(sorted(late - early))
        np.testing.assert_array_equal(
            read_nsd_split(planted.root, subject, "algonauts2023"), np.sort(row_of[only_late - 1])
        )
    with pytest.raises(ValueError, match="unknown split 'shared100'; did you mean 'shared1000'"):
        read_nsd_split(planted.root, 1, "shared100")


def test_anchors_of_the_real_design(tmp_path, planted, monkeypatch):
    """Known images of subject 1's first trials are asserted where the volume is NSD's own, and only there."""
    assert planted.subjectim[0, planted.masterordering[0] - 1] == 46003
    paths = NSDPaths(write_tree(tmp_path / "tree", subjects=(1,), sessions=1, real_anchors=True).root, 1)
    order = loadmat(paths.expdesign)["masterordering"]
    swapped = order.copy()
    swapped[0, [28, 35]] = order[0, [35, 28]]
    cases = [(order, None), (swapped, r"trials \[28, 35, 44\] show"),
             (np.roll(order, 1), r"subject 1's first trial shows image .* in NSD it is 46003")]  # fmt: skip
    for changed, message in cases:
        rewrite(paths.expdesign, masterordering=changed)
        paths.behaviour.unlink(missing_ok=True)
        read_nsd(paths.root, 1, roi="V1")  # another volume than NSD's: not held against it
        with monkeypatch.context() as patch:
            patch.setitem(trials.FACTS, 1, trials.FACTS[1]._replace(shape=(11, 10, 9)))
            patch.setattr(trials, "_REAL_SHARED", (0, 1))
            read_nsd(paths.root, 1, roi="V1")  # nor are other shared images
            patch.undo()
            patch.setitem(trials.FACTS, 1, trials.FACTS[1]._replace(shape=(11, 10, 9)))
            if message is None:
                read_nsd(paths.root, 1, roi="V1")
            else:
                with pytest.raises(NSDError, match=message):
                    read_nsd(paths.root, 1, roi="V1")


def test_a_design_that_contradicts_itself(small):
    paths = NSDPaths(small.root, 2)
    good = paths.expdesign.read_bytes()
    for changes, message in [
        ({"masterordering": planted_zero(small)}, "masterordering runs from 0 to 9999, not within"),
        ({"subjectim": small.subjectim + 1000}, "subjectim runs from .*, not within 1..73000"),
        ({"sharedix": small.subjectim[:1, 1000:2000]}, "are not the shared ones"),
    ]:
        rewrite(paths.expdesign, **changes)
        with pytest.raises(NSDError, match=message):
            read_nsd(small.root, 2, roi="V1")
        paths.expdesign.write_bytes(good)
    savemat(paths.expdesign, {"other": np.ones(3)})
    with pytest.raises(NSDError, match="it lacks 'masterordering'"):
        read_nsd(small.root, 2, roi="V1")


def planted_zero(tree):
    return tree.masterordering[None] - 1


def test_behaviour_is_joined(planted):
    table = pd.read_csv(planted.root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    r = read_nsd(planted.root, 1, roi="V4", sessions=[2, 3])
    rows = table[table["SESSION"].isin([2, 3])]
    np.testing.assert_allclose(r.behaviour["reaction_time"], rows["RT"], rtol=1e-6)
    np.testing.assert_array_equal(r.behaviour["is_old"], rows["ISOLD"])
    np.testing.assert_array_equal(r.behaviour["memory_recent"], rows["MEMORYRECENT"].astype(np.float32))
    averaged = r.zscore_sessions().average_repeats()
    for stimulus in averaged.stimulus[:20]:
        mine = averaged.behaviour["reaction_time"][averaged.stimulus == stimulus][0]
        np.testing.assert_allclose(mine, rows["RT"][rows["73KID"] == stimulus + 1].mean(), rtol=1e-5)
    assert read_nsd(planted.root, 1, roi="V4", sessions=[1], behaviour=False).behaviour == {}


def test_behaviour_in_any_order_of_rows(small):
    path = NSDPaths(small.root, 2).behaviour
    before = read_nsd(small.root, 2, roi="V4").behaviour
    pd.read_csv(path, sep="\t").sample(frac=1, random_state=0).to_csv(path, sep="\t", index=False, na_rep="NaN")
    after = read_nsd(small.root, 2, roi="V4").behaviour
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_behaviour_that_contradicts_the_design(small):
    path = NSDPaths(small.root, 2).behaviour
    table = pd.read_csv(path, sep="\t")
    shifted = table.assign(**{"73KID": table["73KID"] - 1})
    shifted.to_csv(path, sep="\t", index=False)
    with pytest.raises(NSDError, match="name different images in 2250 of 2250 trials, first in session 1, trial 1"):
        read_nsd(small.root, 2, roi="V4")
    table[:-5].to_csv(path, sep="\t", index=False)
    with pytest.raises(NSDError, match="has 745 trials of session 3, not 750"):
        read_nsd(small.root, 2, roi="V4")
    path.write_text("nothing\tof this kind\n1\t2\n")
    with pytest.raises(NSDError, match=r"is not NSD's behaviour table: it has no columns \['SESSION'"):
        read_nsd(small.root, 2, roi="V4")
    path.unlink()
    assert read_nsd(small.root, 2, roi="V4").behaviour == {}
    with pytest.raises(FileNotFoundError, match=r"no file .*responses.tsv"):
        read_nsd(small.root, 2, roi="V4", behaviour=True)


def test_repeats(planted):
    r = read_nsd(planted.root, 1, roi="V4").average_repeats()
    counts = pd.Series(planted.rows(1)).value_counts()
    np.testing.assert_array_equal(r.repeats, counts.loc[r.stimulus])
    assert set(np.unique(r.repeats)) == {1, 2, 3}
    rest, test = r.split(read_nsd_split(planted.root, 1, "shared515"))
    assert len(rest) + len(test) == len(r) and not set(rest.stimulus) & set(test.stimulus)
    with pytest.raises(ValueError, match=r"0 of .* rows show a test stimulus"):
        r.split([])
