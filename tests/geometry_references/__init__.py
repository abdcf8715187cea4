"""Independent float64 references for manifold geometry, written for clarity rather than for speed.

Every function follows the published formula literally, with loops over classes, draws and pairs. A manifold is an array
(M, N): M points in N dimensions, points in rows.

Convention of the margin: for a Gaussian t the program is min |v - t|^2 subject to <s, v> <= -kappa for every point s of the
manifold (with its centre coordinate 1 appended), F = min |v - t|^2, capacity = 1 / E F.
"""
