#!/usr/bin/env bash
# Trains and evaluates the five systems, and ours without two concepts, at one budget; writes RUNS/table.md.
# Run from the repository's root: Training/configs/comparison/run.sh DATA RUNS STEPS [SEED], STEPS being 600 or 2400 (the
# budgets budget_600.yaml and budget_2400.yaml). What is already there is not done again.
set -euo pipefail
data=$1 runs=$2 steps=$3 seed=${4:-0}
configs=Training/configs
budget=$configs/comparison/budget_$steps.yaml
store=$runs/store
case $steps in 600) warmup=40 ;; *) warmup=100 ;; esac
grid='{spacing_mm: [4.0, 6.0, 6.0], hu_windows: [[-1000.0, 1500.0], [-160.0, 240.0]], tile: [64, 32, 32], tile_overlap: 0.375}'

fit() { # NAME CONFIG PREFIX [OPTION ...]; PREFIX: where the configuration keeps the network's options
    local name=$1 config=$2 prefix=$3
    shift 3
    [ -e "$runs/$name/done" ] && return
    rm -rf "${runs:?}/$name"
    openvocabct-train fit --config "$configs/$config" --config "$budget" \
        --data.store "$store" --trainer.default_root_dir "$runs/$name" --trainer.logger.init_args.save_dir "$runs/$name" \
        "--$prefix.preprocessing=$grid" "--$prefix.learning_rate=1.0e-3" "--$prefix.warmup_steps=$warmup" \
        --seed_everything "$seed" "$@"
    touch "$runs/$name/done"
}

evaluate() { # NAME MODEL [OPTION ...]
    local name=$1 model=$2
    shift 2
    openvocabct-train evaluate "$data" --model "$model" --output "$runs/evaluation/$name" --suite accuracy laterality "$@"
}

export_ours() { # NAME, which the tables show; CHECKPOINT
    [ -e "$runs/models/$1/config.json" ] || openvocabct-train export "$2" \
        --store "$store" --output "$runs/models/$1" --name "$1" --decision "$configs/comparison/decision.yaml"
}

[ -e "$store/manifest.jsonl" ] || openvocabct-train prepare "$data" --dataset openkbp --store "$store" --spacing 4 6 6

fit ours small16_cpu.yaml model
trained=$runs/ours/logs/version_0
export_ours ours "$trained/checkpoints/last.ckpt"
evaluate ours "$runs/models/ours"
# Not of the budget: sixty more image passes, from which the queries alone learn.
[ -e "$runs/refitted.ckpt" ] || openvocabct-train refit "$trained/checkpoints/last.ckpt" \
    --config "$trained/config.yaml" --store "$store" --output "$runs/refitted.ckpt" --patches 60
export_ours ours_refitted "$runs/refitted.ckpt"
evaluate ours_refitted "$runs/models/ours_refitted"
for baseline in cnn vit universal visual; do
    fit $baseline baselines/$baseline.yaml model.init_args
    evaluate $baseline "$runs/$baseline/logs/version_0/checkpoints/last.ckpt" \
        --predictor openvocabct_training.evaluation.baseline_systems:baseline
done
openvocabct-train compare "$runs"/evaluation/{ours,ours_refitted,cnn,vit,universal,visual} --output "$runs/table.md"
openvocabct-train curves "$runs"/{ours,cnn,vit,universal,visual} --output "$runs/curves.png"

# Concepts that the network was never asked for, prompted by name.
for concept in mandible left_parotid_gland; do
    fit without_$concept small16_cpu.yaml model "--data.sampling.exclude_concepts=[$concept]"
    export_ours without_$concept "$runs/without_$concept/logs/version_0/checkpoints/last.ckpt"
    evaluate without_$concept "$runs/models/without_$concept" --held-out $concept
done
