"""Two processes share the batches of an NSDDataModule; run by test_datamodule.py in a process of its own."""

import json
import sys
from pathlib import Path

import lightning as L
import torch

from neuroalign import NeuralPredictionTask, NeuralPredictor, NSDDataModule


class Seen(L.Callback):
    """Write down which images each process was given, and how wide the targets were."""

    def __init__(self, folder):
        self.folder, self.stimuli = folder, []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.stimuli += batch["stimulus"].tolist()

    def on_fit_end(self, trainer, module):
        loss = float(trainer.callback_metrics["val/loss"])
        path = Path(self.folder) / f"rank{trainer.global_rank}-of-{trainer.world_size}.json"
        path.write_text(json.dumps({"stimuli": self.stimuli, "loss": loss}))


def main(root, folder):
    for devices in (1, 2):
        torch.manual_seed(0)
        data = NSDDataModule(root, [1, 2], "V4", cache=f"{folder}/cache", image_size=6, batch_size=64 // devices)
        data.prepare_data()
        data.setup()
        predictor = NeuralPredictor(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 16)), data.num_voxels,
                                    image_shape=(3, 6, 6))  # fmt: skip
        trainer = L.Trainer(
            accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=1,
            default_root_dir=folder, num_sanity_val_steps=0, callbacks=[Seen(folder)],
        )  # fmt: skip
        trainer.fit(NeuralPredictionTask(predictor, lr=0.01), datamodule=data)


if __name__ == "__main__":
    main(*sys.argv[1:])
