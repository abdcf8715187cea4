"""Model cards: what stands on them, what is unknown, and that texts stay texts."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from markdown_it import MarkdownIt

from neuroalign import FGSM, CardFacts, CategoryManifolds, GuidedNetwork, NeuralPredictor, evaluate_robustness, register
from neuroalign.evaluation import compare
from neuroalign.functional import wilson
from neuroalign.sharing import HeldOutCorrelation, stimulus_hash
from neuroalign.sharing.card import is_as_written, model_card
from neuroalign.sharing.kinds import GUIDED_NETWORK
from neuroalign.sharing.metadata import metadata_of, repository_name

SHAPE = (3, 8, 8)
HOSTILE = [
    "V4](https://evil.example) [click",
    "V4 | 1.000 |\n| Accuracy | 1.000",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "V4\n\n# Heading\n\n- item",
    "---\nlicense: mit\n---",
    "**bold** _it_ `code` ~~no~~ $x$ &lt; \\",
    "-->\n<!-- ",
    "{{ 7 * 7 }}{% raw %}",
    "# x",
    "===",
    "1. x",
]


def predictor():
    return NeuralPredictor("small_resnet", 5, image_shape=SHAPE)


def network():
    return GuidedNetwork("small_resnet", 4, {"V4": ("layer3", 7)}, image_shape=SHAPE)


def parts(card):
    """Metadata and Markdown of a card."""
    found = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL)
    return yaml.safe_load(found[1]), found[2]


def rendered(markdown):
    return MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown)


def table_of(markdown):
    """Cells of all tables with two columns, by the first."""
    rows = re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*</tr>", rendered(markdown))
    return {html.unescape(name): html.unescape(value) for name, value in rows}


def test_a_full_card():
    facts = CardFacts(
        dataset="Natural Scenes Dataset",
        simulated=False,
        subject=1,
        region="V4",
        num_voxels=687,
        responses="z-scored",
        num_training_images=9000,
        num_held_out_images=1000,
        training_hash=stimulus_hash([1]),
        held_out_hash=stimulus_hash([2]),
        noise_ceiling=0.41,
        correlation=HeldOutCorrelation(0.32, 0.3, 0.34, 1000, 687),
        license="cc-by-nc-4.0",
        authors="A lab",
        tags=["resnet"],
    )
    metadata, text = parts(model_card(predictor(), facts, "nsd-subj01-V4-resnet18", "lab/nsd-subj01-V4-resnet18"))
    rows = table_of(text)
    assert rows["Data set"] == "Natural Scenes Dataset" and rows["Recorded or simulated"] == "recorded"
    assert rows["Subject"] == "1" and rows["Region"] == "V4" and rows["Voxels"] == "687"
    assert rows["Training images"] == "9000" and rows["Hash of the held-out images"] == stimulus_hash([2])
    assert rows["Noise ceiling of the held-out responses (median over voxels)"] == "0.410"
    said = "0.320 (95 % interval 0.300 to 0.340 over 1000 images), 687 voxels"
    assert rows["Held-out correlation (median Pearson r over voxels)"] == said
    assert rows["Backbone"] == "small_resnet" and rows["Output"] == "5 voxels" and rows["Class"] == "NeuralPredictor"
    assert "Data Access Agreement" in text and all(
        f"{{{key}," in text for key in ("neuroalign", "shao2024", "allen2022")
    )
    assert "Simulated data" not in text and "cc-by-nc-4.0" in text and "A lab" in text
    assert 'NeuralPredictor.from_pretrained("lab/nsd-subj01-V4-resnet18")' in text
    assert metadata["license"] == "cc-by-nc-4.0" and metadata["pipeline_tag"] == "image-feature-extraction"
    assert {"neuroalign", "fmri", "neural-predictor", "V4", "resnet"} <= set(metadata["tags"])


def test_what_is_unknown_is_said_to_be_unknown():
    for model, missing in (
        (predictor(), "Held-out correlation (median Pearson r over voxels)"),
        (network(), "Accuracy"),
    ):
        metadata, text = parts(model_card(model, CardFacts(), "mine"))
        rows = table_of(text)
        for name in ("Data set", "Recorded or simulated", "Subject", "Region", "Voxels", "Training images", missing):
            assert rows[name] == "not given", name
        assert "License of the weights: not given" in text and "is not given" in text
        assert "license" not in metadata and "model-index" not in metadata and "datasets" not in metadata
        assert "Natural Scenes" not in text and "allen2022" not in text and "fmri" not in metadata["tags"]


def test_simulated_responses_are_said_first():
    simulated = CardFacts(dataset="simulated subject in NSD's layout", simulated=True, region="V4")
    metadata, text = parts(model_card(predictor(), simulated, "mine"))
    assert text.index("**Simulated data.**") < text.index("## Use")
    assert "simulated-data" in metadata["tags"] and "fmri" not in metadata["tags"]
    assert "Data Access Agreement" not in text and "allen2022" not in text
    assert table_of(text)["Recorded or simulated"] == "simulated"


def test_a_guided_network_with_its_measurements():
    model, images, labels = network(), torch.rand(40, *SHAPE), torch.randint(4, (40,))
    loader = [{"image": images, "label": labels}]
    table = evaluate_robustness(model, loader, [FGSM()], [2 / 255, 0.3])
    images_table = pd.DataFrame(
        {"condition": ["V4"] * 40 + ["none"] * 40, "replication": [0] * 20 + [1] * 20 + [0] * 20 + [1] * 20, "eps": 0.1,
         "stimulus": [*range(20)] * 4, "correct": [1, 0, 1, 1] * 10 + [1, 0, 0, 0] * 10}
    )  # fmt: skip
    comparison = compare(images_table, "V4", "none")
    facts = CardFacts(accuracy=(30, 40), test_set="digits", robustness=table, controls=comparison)
    metadata, text = parts(model_card(model, facts, "mine"))
    low, high = wilson(30, 40)
    assert table_of(text)["Accuracy"] == f"0.750 (95 % interval {low:.3f} to {high:.3f} over 40 images)"
    assert "| fgsm-linf | linf | 2/255 |" in text and "| fgsm-linf | linf | 0.3 |" in text
    row = table.iloc[0]
    assert f"| {row['accuracy']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} | 40 |" in text
    assert "{goodfellow2015," in text and "allen2022" not in text
    assert f"| V4 | none | {comparison.difference:+.3f} |" in text and comparison.interval_over in text
    assert table_of(text)["Head V4"] == "PooledLinear on layer3, 7 voxels"
    result = metadata["model-index"][0]["results"][0]
    assert result["metrics"][0]["value"] == 0.75 and result["dataset"] == {"type": "digits", "name": "digits"}
    assert (
        facts.controls == CardFacts(controls=[comparison]).controls == CardFacts(controls=list(facts.controls)).controls
    )


class MyNet(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(192, 4))


def test_a_backbone_of_the_users_own_is_asked_for():
    model = GuidedNetwork(MyNet(), 4, image_shape=SHAPE)
    text = model_card(model, CardFacts(), "mine", "lab/mine")
    assert 'GuidedNetwork.from_pretrained("lab/mine", backbone=MyNet())' in text
    assert f"from neuroalign import GuidedNetwork\nfrom {__name__} import MyNet\n\n" in text
    assert (
        "The class MyNet is the authors' own or of another package. This folder doesn't hold it: ask the authors for it.\n"
        in text
    )
    assert table_of(text)["Backbone"] == "MyNet, a module of the authors'"
    assert "authors' own" not in model_card(network(), CardFacts(), "mine")


class Conv(torch.nn.Sequential):
    def __init__(self, width, depth=1, *, groups=1):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(192, width))


class Default(Conv):
    def __init__(self, width=6):
        super().__init__(width)


class AnyArguments(Conv):
    def __init__(self, *arguments, **more):
        super().__init__(6)


@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [(Conv(6), "width, depth, groups"), (Default(7), "width"), (AnyArguments(), "arguments, more")],
)
def test_the_arguments_of_a_backbone_are_asked_for(backbone, arguments):
    name = type(backbone).__name__
    text = model_card(GuidedNetwork(backbone, 4, image_shape=SHAPE), CardFacts(), "mine", "lab/mine")
    assert f"from {__name__} import {name}\n" in text
    assert (
        f"# ... stands for the arguments that {name} was made with, which this folder doesn't hold: {arguments}\n"
        in text
    )
    assert f'GuidedNetwork.from_pretrained("lab/mine", backbone=lambda: {name}(...))\n' in text
    compile(text.partition("```python\n")[2].partition("```")[0], "card", "exec")


def test_a_class_that_no_module_holds_is_not_imported():
    class Local(MyNet):
        pass

    text = model_card(GuidedNetwork(Local(), 4, image_shape=SHAPE), CardFacts(), "mine", "lab/mine")
    assert "# Local is not defined in a module that others could import: ask the authors for it\n" in text
    assert "import Local" not in text and "backbone=Local())" in text


def test_a_registered_backbone_is_asked_for():
    @register(name="my_lab.Registered")
    class Registered(MyNet):
        pass

    text = model_card(NeuralPredictor(Registered(), 4, image_shape=SHAPE), CardFacts(), "mine", "lab/mine")
    assert 'NeuralPredictor.from_pretrained("lab/mine")' in text
    assert "ask the authors for it, and call `neuroalign.register` on it first.\n" in text


def test_manifolds_have_no_accuracy():
    manifolds = CategoryManifolds.from_features(torch.randn(40, 6), torch.arange(40) % 3)
    metadata, text = parts(model_card(manifolds, CardFacts(region="V4"), "mine"))
    rows = table_of(text)
    assert rows["Classes"] == "3" and rows["Width of the space"] == "6" and "Accuracy" not in rows
    assert "pipeline_tag" not in metadata


TEXTS = (
    "name",
    "summary",
    "dataset",
    "subject",
    "region",
    "test_set",
    "training_procedure",
    "intended_use",
    "limitations",
    "terms",
    "license",
    "authors",
    "responses",
    "tags",
)


@pytest.fixture(scope="module")
def shared_network():
    return network()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_a_text(text, shared_network):
    tags = r"<(/?)(\w+)"
    plain = rendered(parts(model_card(shared_network, CardFacts(**dict.fromkeys(TEXTS, "plain")), "mine"))[1])
    given = {name: f"{text} {name}" for name in TEXTS} | {
        "summary": text,
        "training_procedure": text,
        "limitations": text,
    }
    metadata, markdown = parts(model_card(shared_network, CardFacts(**given), "mine"))
    found = rendered(markdown)
    assert re.findall(tags, found) == re.findall(tags, plain)  # nothing became markup
    shown = " ".join(html.unescape(re.sub(r"<[^>]*>", "", found)).split())
    for name in set(TEXTS) - {"tags"}:  # which stand in the metadata alone
        assert " ".join(given[name].split()) in shown, name
    assert metadata["license"] == " ".join(given["license"].split()) and metadata["library_name"] == "neuroalign"


def test_texts_of_tables_and_networks_stay_texts():
    row = {
        "perturbation": HOSTILE[1],
        "norm": HOSTILE[2],
        "eps": 0.1,
        "accuracy": 0.5,
        "num_images": 10,
        "settings": HOSTILE[3],
    }
    model = GuidedNetwork("small_resnet", 4, {HOSTILE[0].replace(".", ""): ("layer3", 7)}, image_shape=SHAPE)
    found = rendered(parts(model_card(model, CardFacts(robustness=[row]), "mine", "](x)/y"))[1])
    assert "<script" not in found and "<img" not in found and found.count("<a ") == 1
    assert found.count("<td>") == found.count("</td>") and "from_pretrained(&quot;path/to/this/folder&quot;)" in found


def test_a_citation_stays_in_its_block():
    mine = "@misc{me,\n  note = {```` ends? ```}\n}\n# no heading"
    tokens = MarkdownIt("commonmark").parse(parts(model_card(network(), CardFacts(citation=mine), "mine"))[1])
    blocks = [token.content for token in tokens if token.type == "fence" and token.info == "bibtex"]
    assert len(blocks) == 1 and blocks[0].endswith(f"\n\n{mine}\n")


def test_folders_of_this_machine_and_passwords_stay_here(tmp_path):
    text = f"{tmp_path}/responses.h5 of https://me:secret@host/nsd?token=abc, C:\\lab\\me\\x.h5, ~/lab/y.h5, file:///home/me/z"
    model = network()
    model.save_pretrained(
        tmp_path / "mine",
        card=CardFacts(dataset=text, summary=text, training_procedure=text, citation=f"@misc{{x, note={text}}}"),
    )
    written = [(tmp_path / "mine" / name).read_text() for name in ("README.md", "config.json")]
    for content in written:
        assert "secret" not in content and "abc" not in content
        for folder in (str(tmp_path), "C:\\lab", "C:\\\\lab", "~/lab", "/home/me"):
            assert folder not in content, folder
    assert "responses.h5" in written[0]


def test_the_hub_understands_the_metadata():
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra: hub)")
    facts = CardFacts(
        accuracy=(3, 4),
        test_set="digits",
        dataset="Natural Scenes Dataset",
        correlation=(0.3, 0.2, 0.4, 100, 50),
        region="V4",
        license="cc-by-nc-4.0",
        datasets=["lab/digits"],
    )
    card = hub.ModelCard(model_card(network(), facts, "mine"))
    assert card.data.library_name == "neuroalign" and card.data.license == "cc-by-nc-4.0"
    assert card.data.model_name == "mine" and card.data.datasets == ["lab/digits"]
    found = {(r.task_type, r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert found == {
        ("image-classification", "digits", "accuracy"): 0.75,
        ("image-classification", "Natural Scenes Dataset", "pearsonr"): 0.3,
    }
    assert hub.ModelCard(str(card)).data.to_dict() == card.data.to_dict()  # as it would be written back


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"dataset": "Natural Scenes Dataset", "subject": 1, "region": "V4"}, "nsd-subj01-V4-guided-resnet18"),
        ({"dataset": "Natural Scenes Dataset", "subject": 1, "region": "V4", "simulated": True},
         "simulated-subj01-V4-guided-resnet18"),
        ({"dataset": "my lab/x..y", "subject": "Ann B.", "region": ["LO", "TO"]}, "my-lab-x.y-Ann-B-LO-TO-guided-resnet18"),
        ({}, "guided-resnet18"),
    ],
)  # fmt: skip
def test_names(facts, name):
    assert repository_name("guided network", "resnet18", CardFacts(**facts)) == name


def test_an_edited_card_is_known():
    card = model_card(network(), CardFacts(), "mine")
    assert is_as_written(card) and not is_as_written(card.replace("mine", "yours"))
    assert not is_as_written(card + "more") and not is_as_written("")


def test_numbers_in_metadata_are_numbers():
    facts = CardFacts(accuracy=(np.int64(3), np.int64(4)), test_set="digits", correlation=(np.float64(0.5), 0.4, 0.6, 10, 2),
                      dataset="x")  # fmt: skip
    found = yaml.safe_load(yaml.safe_dump(metadata_of(GUIDED_NETWORK, facts, "mine")))
    assert [r["metrics"][0]["value"] for r in found["model-index"][0]["results"]] == [0.75, 0.5]
