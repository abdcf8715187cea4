"""Which references belong to what a run may use: measures, attacks, guidance, geometry, data, statistics."""

from __future__ import annotations

__all__: list[str] = []

ALWAYS = ("neuroalign", "shao2024")
"""The software, and the paper whose method it implements."""

MEASURES: dict[str, tuple[str, ...]] = {
    "mse": ("shao2024",),
    "pearson": (),  # textbook formulas have no reference of their own
    "cosine": (),
    "gaussian_nll": (),
    "poisson_nll": (),
    "cka": ("kornblith2019", "murphy2024"),
    "rbf_cka": ("kornblith2019",),
    "rsa": ("kriegeskorte2008",),
    "procrustes": ("williams2021",),
    "soft_matching": ("khosla2024", "cuturi2013"),
    "ridge": ("schrimpf2018", "golub1979"),
}

ATTACKS: dict[str, tuple[str, ...]] = {
    "FGSM": ("goodfellow2015",),
    "PGD": ("madry2018",),
    "APGD": ("croce2020",),
    "AutoAttack": ("croce2020",),
    "SquareAttack": ("andriushchenko2020",),
    "CarliniWagner": ("carlini2017",),
    "DeepFool": ("moosavidezfooli2016",),
    "FMN": ("pintor2021",),
    "BrendelBethge": ("brendel2019",),
}

CLASSES: dict[str, tuple[str, ...]] = {
    "Corruption": ("hendrycks2019",),
    "RotationTranslation": ("engstrom2019",),
    "AdversarialTraining": ("madry2018",),
    "TRADES": ("zhang2019",),
    "GradientRegularization": ("ross2018",),
    "NSDDataModule": ("allen2022",),
    "CapacityLoss": ("chung2018",),
    "MMCRLoss": ("yerxa2023",),
    "RDMAlignmentLoss": ("kriegeskorte2008",),
    "RDMGuidance": ("kriegeskorte2008",),
    "OddOneOutLoss": ("hebart2020", "muttenthaler2023"),
    "OddOneOutGuidance": ("hebart2020", "muttenthaler2023"),
    "OddOneOutAccuracy": ("hebart2020",),
    "RandomFourierFeatures": ("rahimi2007",),
    "WeightedGuidance": ("kendall2018",),
    "ManifoldGeometryCallback": ("chung2018", "cohen2020"),
    "ManifoldGeometry": ("chung2018", "cohen2020"),
    "RDMSimilarity": ("kriegeskorte2008", "nili2014"),
    "RSA": ("kriegeskorte2008",),
    "CKA": ("kornblith2019", "murphy2024"),
    "CCA": ("hotelling1936",),
    "ProcrustesSimilarity": ("williams2021",),
    "SoftMatching": ("khosla2024", "cuturi2013"),
    "RidgePredictivity": ("schrimpf2018",),
    "RidgePredictor": ("golub1979",),
    "ShapeBias": ("geirhos2019",),
}

TOPICS: dict[str, tuple[str, ...]] = {
    "nsd": ("allen2022",),
    "natural scenes dataset": ("allen2022",),  # as model cards name it
    "algonauts": ("gifford2023", "allen2022"),
    "algonauts 2023": ("gifford2023", "allen2022"),
    "digits": ("alpaydin1998",),
    "cifar10": ("krizhevsky2009",),
    "cifar100": ("krizhevsky2009",),
    "square": ("andriushchenko2020",),
    "corruptions": ("hendrycks2019",),
    "masking": ("athalye2018", "carlini2019"),
    "shape_bias": ("geirhos2019",),
    "error_consistency": ("geirhos2020",),
    "local_lipschitz": ("yang2020",),
    "targeted": ("carlini2017", "kurakin2017"),
    "capacity": ("chung2018", "cohen2020"),
    "geometry": ("chung2018", "cohen2020"),
    "glue": ("glue2025", "glue2026"),
    "few_shot": ("sorscher2022",),
    "effective_rank": ("roy2007",),
    "voxel_corrected": ("chun2025",),
    "whitened": ("diedrichsen2021",),
    "cca": ("hotelling1936",),
    "svcca": ("raghu2017",),
    "pwcca": ("morcos2018",),
    "hsic": ("gretton2005", "song2012"),
    "signal_gram": ("walther2016", "gavish2017"),
    "principal_angles": ("bjorck1973",),
    "cone_projection": ("lawson1974",),
    "random_projection": ("charikar2004", "weinberger2009"),
    "spearman_brown": ("spearman1910", "brown1910"),
    "odd_one_out": ("hebart2020", "muttenthaler2022"),
    "factorized": ("klindt2017",),
    "gaussian": ("lurz2021",),
    "attention": ("pierzchlewicz2023", "lee2019"),
    "adversarial": ("madry2018",),
    "trades": ("zhang2019",),
    "gradient regularization": ("ross2018",),
    "noise ceiling": ("searle1992", "allen2022"),
    "comparisons": ("obuchowski1995", "banerjee1960", "holm1979"),
    "paired images": ("tango1998", "mcnemar1947"),
    "equivalence": ("schuirmann1987",),
    "hierarchy": ("page1963",),
    "mixed": ("laird1982", "pinheiro2000"),
    "explaining": ("mackinnon2023", "bell2002", "fisher1924"),
    "intervals": ("wilson1927", "efron1987"),
}

SUITES: dict[str, tuple[str, ...]] = {
    "fast": ("PGD", "corruptions", "masking"),
    "standard": (
        "PGD", "FGSM", "APGD", "SquareAttack", "AutoAttack", "DeepFool", "FMN", "CarliniWagner", "corruptions", "masking",
        "RotationTranslation",
    ),
    "paper": ("FGSM", "PGD", "CarliniWagner", "DeepFool", "masking"),
    "paper-stronger": ("FGSM", "PGD", "CarliniWagner", "DeepFool", "masking"),
}  # fmt: skip
"""What each suite runs; Brendel & Bethge's attack runs only where foolbox is installed, and its records name it."""


def all_names() -> dict[str, tuple[str, ...]]:
    """The references of every name, in lower case."""
    return {name.casefold(): keys for table in (TOPICS, CLASSES, ATTACKS, MEASURES) for name, keys in table.items()}
