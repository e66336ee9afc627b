"""Trains ingredient embeddings (Item2Vec: skip-gram over recipes) and logs the run to MLflow.

It uses the stock client and nothing of mlgate. Point it at a server the usual way:

    export MLFLOW_TRACKING_URI=http://localhost:5000
    export MLFLOW_TRACKING_TOKEN=...        # npx mlgate tokens create --name me --role editor
    python train.py --recipes recipes.json --epochs 60

Progress goes to stderr. The last line on stdout is one JSON document about what was logged.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_RUN_NOTE

from recipes import read_recipes

EXPERIMENT = "ingredient-embeddings"
MODEL = "flavor-ml-embeddings"
ARTIFACT = "ingredient-embeddings.bin"
ARTIFACT_FOLDER = "embeddings"


class LossPerEpoch(CallbackAny2Vec):
    """Keeps the mean loss per trained word of each epoch. Gensim only keeps a running sum."""

    def __init__(self, words_per_epoch: int) -> None:
        self.words_per_epoch = words_per_epoch
        self.losses: list[float] = []

    def on_epoch_begin(self, model: Word2Vec) -> None:
        model.running_training_loss = 0.0

    def on_epoch_end(self, model: Word2Vec) -> None:
        self.losses.append(float(model.get_latest_training_loss()) / self.words_per_epoch)


def split(recipes: list[list[str]], share: float, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Shuffles and holds out `share` of the recipes: (training, held out)."""
    shuffled = recipes[:]
    random.Random(seed).shuffle(shuffled)
    held_out = int(len(shuffled) * share)
    return shuffled[held_out:], shuffled[:held_out]


def leave_one_out_ranks(held_out: list[list[str]], scores) -> list[int]:
    """Hides each known ingredient of each held-out recipe in turn and ranks it (1 = first) among all
    ingredients that are not in the recipe already. `scores(context)` maps names to a score, higher is better."""
    ranks = []
    for recipe in held_out:
        for hidden in recipe:
            context = [name for name in recipe if name != hidden]
            table = scores(context)
            if table is None or hidden not in table:
                continue
            better = sum(1 for name, value in table.items() if value > table[hidden] and name not in context)
            ranks.append(better + 1)
    return ranks


def probes(model: Word2Vec, training: list[list[str]], held_out: list[list[str]]) -> dict[str, float]:
    """Held-out probes beside what plain popularity reaches on the same questions.

    `heldout_*` asks the skip-gram model itself (ingredient vectors against its output layer),
    `heldout_cosine_*` only the vectors that are saved, `heldout_popularity_*` counts recipes.
    """
    names = model.wv.index_to_key
    unit = model.wv.get_normed_vectors()
    popularity = Counter(name for recipe in training for name in recipe)

    def rows(context: list[str]) -> list[int]:
        return [model.wv.key_to_index[name] for name in context if name in model.wv]

    def by_model(known: list[int]):
        return model.syn1neg @ model.wv.vectors[known].mean(axis=0)

    def by_cosine(known: list[int]):
        return unit @ unit[known].mean(axis=0)

    def by_popularity(_known: list[int]):
        return [popularity[name] for name in names]

    metrics: dict[str, float] = {}
    for label, score in (("", by_model), ("cosine_", by_cosine), ("popularity_", by_popularity)):

        def scores(context: list[str]):
            known = rows(context)
            return dict(zip(names, score(known))) if known else None

        ranks = np.array(leave_one_out_ranks(held_out, scores))
        metrics[f"heldout_{label}hit_at_10"] = float((ranks <= 10).mean())
        metrics[f"heldout_{label}mrr"] = float((1.0 / ranks).mean())
    metrics["heldout_questions"] = float(len(ranks))
    # Ingredients that share a held-out recipe should lie closer than any two taken at random.
    pairs = [
        float(unit[model.wv.key_to_index[a]] @ unit[model.wv.key_to_index[b]])
        for recipe in held_out
        for i, a in enumerate(recipe)
        for b in recipe[i + 1 :]
        if a in model.wv and b in model.wv
    ]
    everything = unit @ unit.T
    off_diagonal = (everything.sum() - len(names)) / (len(names) * (len(names) - 1))
    metrics["heldout_pair_similarity"] = float(np.mean(pairs))
    metrics["random_pair_similarity"] = float(off_diagonal)
    return metrics


def train_once(recipes: list[list[str]], epochs: int, vector_size: int, seed: int) -> dict:
    """One run: params, loss history, probes, artifact and a registered version. Returns what was logged."""
    training, held_out = split(recipes, share=0.2, seed=seed)
    window = max(len(recipe) for recipe in training)
    params = {
        "corpus_recipes": len(recipes),
        "training_recipes": len(training),
        "heldout_recipes": len(held_out),
        "vector_size": vector_size,
        "window": window,
        "epochs": epochs,
        "alpha": 0.05,
        "negative": 10,
        "ns_exponent": 0.5,
        "min_count": 2,
        "seed": seed,
    }
    with mlflow.start_run(run_name=f"item2vec-{vector_size}d-seed{seed}") as run:
        mlflow.log_params(params)
        if os.environ.get("GIT_SHA"):
            mlflow.set_tag(MLFLOW_GIT_COMMIT, os.environ["GIT_SHA"])
        mlflow.set_tag(MLFLOW_RUN_NOTE, "Item2Vec over recipes: which ingredients go together.")
        loss = LossPerEpoch(words_per_epoch=sum(len(recipe) for recipe in training))
        started = time.monotonic()
        model = Word2Vec(
            training,
            sg=1,
            alpha=params["alpha"],
            negative=params["negative"],
            ns_exponent=params["ns_exponent"],
            vector_size=vector_size,
            window=window,
            min_count=params["min_count"],
            epochs=epochs,
            sample=0,  # a few hundred recipes are too few to throw words away
            seed=seed,
            workers=1,  # more would make the numbers differ from run to run
            compute_loss=True,
            callbacks=[loss],
        )
        for epoch, value in enumerate(loss.losses):
            mlflow.log_metric("loss", value, step=epoch)
        metrics = probes(model, training, held_out)
        metrics["vocabulary"] = float(len(model.wv))
        metrics["training_seconds"] = time.monotonic() - started
        mlflow.log_metrics(metrics)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ARTIFACT
            model.wv.save_word2vec_format(str(path), binary=True)
            mlflow.log_artifact(str(path), artifact_path=ARTIFACT_FOLDER)
    version = mlflow.register_model(f"runs:/{run.info.run_id}/{ARTIFACT_FOLDER}", MODEL)
    return {
        "run_id": run.info.run_id,
        "run_name": run.info.run_name,
        "params": params,
        "metrics": {**metrics, "loss": loss.losses[-1]},
        "model_version": str(version.version),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", default="recipes.json")
    parser.add_argument("--epochs", type=int, default=int(os.environ.get("EPOCHS", "60")))
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "1")))
    parser.add_argument("--vector-size", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.runs < 1:
        parser.error("--epochs and --runs must be 1 or more")

    # The client prints progress of its own on stdout, which belongs to the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    recipes = read_recipes(arguments.recipes)
    print(f"{len(recipes)} recipes from {arguments.recipes}", file=sys.stderr)
    mlflow.set_experiment(EXPERIMENT)
    experiment = MlflowClient().get_experiment_by_name(EXPERIMENT)
    runs = []
    for number in range(arguments.runs):
        logged = train_once(recipes, arguments.epochs, arguments.vector_size, seed=number + 1)
        print(
            f"run {number + 1}/{arguments.runs} {logged['run_id']}: hit@10 "
            f"{logged['metrics']['heldout_hit_at_10']:.3f} "
            f"(popularity {logged['metrics']['heldout_popularity_hit_at_10']:.3f})",
            file=sys.stderr,
        )
        runs.append(logged)
    document = {
        "experiment": EXPERIMENT,
        "experiment_id": experiment.experiment_id,
        "model": MODEL,
        "runs": runs,
    }
    print(json.dumps(document, ensure_ascii=False), file=answer)


if __name__ == "__main__":
    main()
